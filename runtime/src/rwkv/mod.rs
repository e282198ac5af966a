//! The forward pass of every architecture, a file each, and what they share.
//!
//! A batch of tokens is embedded, runs through the layers and, where logits are wanted, through
//! the output matrix:
//!
//! ```text
//! x = emb[token]                            ln0 is folded into it
//! x = layer(x, state[layer])                for each layer: v4, v5, v6, v7, v7a
//! logits = lm_head LN(x; ln_out)
//! ```

pub(crate) mod batch;
mod channel_mix;
mod cost;
mod prefetch;
pub(crate) mod scratch;
mod v4;
mod v5;
mod v6;
mod v7;
mod v7a;
mod wkv;

use crate::format::model::Model;
use crate::format::shape::{Architecture, Shape};
use crate::kernels::{ChunksOf, Kernels, Phase, Product};
use crate::num::reduce;
use crate::num::state_dtype::StateElement;
use batch::{Batch, LN_EPS};
use cost::region;
use scratch::{ScratchArena, max, scratch};

scratch! {
    /// Buffers that live through all layers.
    pub(crate) struct StreamBuffers(shape, tokens) {
        /// The residual stream: `[token][width]`
        x: floats(tokens * shape.width),
        /// What one layer hands to the next besides x.
        carried: floats(carried_len(shape, tokens)),
    }
}

scratch! {
    /// Buffers of [`lm_head`].
    struct HeadBuffers(shape, tokens) {
        /// The tokens that want logits: `[token][width]`
        x: floats(tokens * shape.width),
        input: quantized(tokens, shape.width),
    }
}

/// Elements (f32) of the workspace for batches of up to `tokens`.
pub(crate) const fn workspace_len(shape: &Shape, tokens: usize) -> usize {
    let layer = match shape.architecture {
        Architecture::Rwkv4 => v4::workspace_len(shape, tokens),
        Architecture::Rwkv5_0 | Architecture::Rwkv5_1 | Architecture::Rwkv5_2 => {
            v5::workspace_len(shape, tokens)
        }
        Architecture::Rwkv6 => v6::workspace_len(shape, tokens),
        Architecture::Rwkv7 => v7::workspace_len(shape, tokens),
        Architecture::Rwkv7a => v7a::workspace_len(shape, tokens),
    };
    StreamBuffers::len(shape, tokens) + max(layer, HeadBuffers::len(shape, tokens))
}

/// Elements that one layer hands to the next besides the residual stream.
const fn carried_len(shape: &Shape, tokens: usize) -> usize {
    match shape.architecture {
        Architecture::Rwkv7 | Architecture::Rwkv7a => v7::carried_len(shape, tokens),
        _ => 0,
    }
}

/// The embedding of each token: `x`, `[token][width]`.
pub(crate) fn embed<K: Kernels>(batch: &Batch<'_, K>, model: &Model<'_>, x: &mut [f32]) {
    let embedding = model.embedding();
    let region = region(Phase::Embedding, cost::EMBEDDING, x.len());
    batch.for_each_token(
        region,
        ChunksOf::new(x, batch.shape.width),
        #[inline(always)]
        |token, x| embedding.read(batch.tokens[token].token as usize, x),
    );
}

/// A layer of the model's architecture; those that are not enabled are not linked.
///
/// * `x`, `carried`: of [`StreamBuffers`]
/// * `state`: the layer's states, all sequences together
/// * `scratch`: what [`workspace_len`] has besides [`StreamBuffers`]
pub(crate) fn layer<K: Kernels, S: StateElement>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    carried: &mut [f32],
    scratch: &mut [f32],
) {
    match batch.shape.architecture {
        Architecture::Rwkv4 if const { Architecture::Rwkv4.enabled() } => {
            // `Cpu::new` has refused other elements.
            if let Some(state) = S::as_f32_mut(state) {
                v4::layer(batch, model, layer, x, state, scratch);
            }
        }
        Architecture::Rwkv5_0 | Architecture::Rwkv5_1 | Architecture::Rwkv5_2
            if const { Architecture::Rwkv5_0.enabled() } =>
        {
            v5::layer(batch, model, layer, x, state, scratch)
        }
        Architecture::Rwkv6 if const { Architecture::Rwkv6.enabled() } => {
            v6::layer(batch, model, layer, x, state, scratch)
        }
        Architecture::Rwkv7 if const { Architecture::Rwkv7.enabled() } => {
            v7::layer(batch, model, layer, x, state, carried, scratch)
        }
        Architecture::Rwkv7a if const { Architecture::Rwkv7a.enabled() } => {
            v7a::layer(batch, model, layer, x, state, carried, scratch)
        }
        // `Model::open` has refused them.
        _ => {}
    }
}

/// ln_out and the output matrix for the tokens that want logits: `logits`, `[wanted][vocab]`.
#[inline(never)]
pub(crate) fn lm_head<K: Kernels>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    x: &[f32],
    scratch: &mut [f32],
    logits: &mut [f32],
) {
    if logits.is_empty() {
        return;
    }
    let Batch { shape, tokens, kernels, .. } = batch;
    let (width, wanted) = (shape.width, logits.len() / shape.vocab);
    let mut arena = ScratchArena::new(scratch);
    let HeadBuffers { x: gathered, mut input } = HeadBuffers::carve(&mut arena, shape, wanted);
    let rows = tokens.iter().zip(x.chunks_exact(width)).filter(|(token, _)| token.logits);
    kernels.once(
        region(Phase::Norm, cost::GATHER, wanted * width),
        #[inline(always)]
        || {
            for (gathered, (_, x)) in gathered.chunks_exact_mut(width).zip(rows) {
                gathered.copy_from_slice(x);
            }
        },
    );
    let ln_out = model.ln_out();
    batch::for_each_token(
        *kernels,
        wanted,
        region(Phase::Norm, cost::NORM, wanted * width),
        (ChunksOf::new(gathered, width), input.reborrow()),
        #[inline(always)]
        |_, (x, input)| {
            reduce::layer_norm_in_place(x, ln_out.weight, ln_out.bias, LN_EPS);
            input.quantize(x, |q| kernels.pack(q));
        },
    );
    let product = Product { matrix: model.lm_head(), input: input.view(), output: logits };
    kernels.products(&mut [product]);
}
