//! RWKV-7a: the time mix of RWKV-7 and a channel mix with DeepEmbed, a small
//! matrix for each token id and layer, of which a token reads one.
//!
//! With `n` the normed input, `p` its predecessor, `E` the matrix of the token
//! id, and parentheses as the operations are computed in f32:
//!
//! ```text
//! n_k = n + (p - n) * x_k
//! e   = s1 n                                            without token shift
//! e'[j] = sum over i ascending of e[i] * E[i][j]
//! h   = relu(key n_k)^2 * (s2 e' + s0)
//! ChannelMix = value h
//! ```
//!
//! E is `s_emb + s_emb_x LN0(emb)` of the token, computed by the quantizer.

use core::convert::identity;

use crate::format::model::Model;
use crate::format::shape::Shape;
pub(crate) use crate::format::weights::v7::ChannelMix;
pub(crate) use crate::format::weights::v7a::DeepEmbed;
use crate::kernels::{ChunksOf, Kernels, Phase, Product};
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Batch, lerp_to_previous};
use crate::rwkv::cost::{self, region};
use crate::rwkv::scratch::{ScratchArena, max, scratch};
use crate::rwkv::{channel_mix, v7};

/// Elements of a layer's scratch for a batch of `tokens`.
pub(crate) const fn workspace_len(shape: &Shape, tokens: usize) -> usize {
    max(v7::time_mix_len(shape, tokens), ChannelMixBuffers::len(shape, tokens))
}

/// Computes a layer: as [`v7::layer`], with [`workspace_len`] elements of `scratch`.
#[inline(never)]
pub(crate) fn layer<K: Kernels, S: StateElement>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    v_first: &mut [f32],
    scratch: &mut [f32],
) {
    v7::time_mix(batch, model, layer, x, state, v_first, scratch);
    let shifts = batch.sequences * batch.shape.width;
    let channel_shift = &mut state[shifts..2 * shifts];
    let mix = ChannelMix::load(&model.layer(layer));
    DeepEmbed::load(&model.layer(layer)).forward(&mix, batch, x, channel_shift, scratch);
}

scratch! {
    /// Buffers of the channel mix.
    struct ChannelMixBuffers(shape, tokens) {
        /// `[token][width]` each.
        normed: floats(tokens * shape.width),
        output: floats(tokens * shape.width),
        /// n_k
        shifted: quantized(tokens, shape.width) [1],
        /// n
        unshifted: quantized(tokens, shape.width),
        /// `[token][ffn]` each.
        hidden: floats(tokens * shape.ffn),
        scales: floats(tokens * shape.ffn),
        activation: quantized(tokens, shape.ffn),
        /// e and e': `[token][rank]` each.
        e: floats(tokens * shape.ranks.deep_embed),
        embedded: floats(tokens * shape.ranks.deep_embed),
        embedded_input: quantized(tokens, shape.ranks.deep_embed),
        /// E of each token: `[token][rank][rank]`
        matrices: floats(tokens * shape.ranks.deep_embed * shape.ranks.deep_embed),
    }
}

impl DeepEmbed<'_> {
    /// The channel mix `mix` with DeepEmbed.
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        mix: &ChannelMix<'_>,
        batch: &Batch<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        scratch: &mut [f32],
    ) {
        let Batch { shape, kernels, .. } = batch;
        let mut arena = ScratchArena::new(scratch);
        let buffers = ChannelMixBuffers::carve(&mut arena, shape, batch.len());
        let ChannelMixBuffers { normed, output, mut shifted, mut unshifted, hidden, .. } = buffers;
        let ChannelMixBuffers { scales, mut activation, e, embedded, .. } = buffers;
        let ChannelMixBuffers { mut embedded_input, matrices, .. } = buffers;

        batch.norm(x, mix.ln2, normed);
        batch.token_shift(normed, shift, [mix.x_k], lerp_to_previous, output, &mut shifted);
        batch.save_shift_state(normed, shift);
        batch.activate(normed, identity, &mut unshifted);
        let (n_k, n) = (shifted[0].view(), unshifted.view());
        kernels.products(&mut [
            Product { matrix: mix.key, input: n_k, output: &mut *hidden },
            Product { matrix: self.s1, input: n, output: &mut *e },
        ]);
        self.embed(batch, e, matrices, embedded);
        batch.activate(embedded, identity, &mut embedded_input);
        let input = embedded_input.view();
        kernels.products(&mut [Product { matrix: self.s2, input, output: &mut *scales }]);

        let scale = |token: usize, h: &mut [f32]| {
            let scales = &scales[token * shape.ffn..][..shape.ffn];
            for ((h, s2), s0) in h.iter_mut().zip(scales).zip(self.s0) {
                *h *= s2 + s0;
            }
        };
        channel_mix::squared(batch, hidden, scale, mix.value, &mut activation, output);
        batch.add(output, x);
    }

    /// `e' = e E`, each token with its id's E.
    ///
    /// * `e`, `embedded`: `[token][rank]`
    /// * `matrices`: `[token][rank][rank]`, scratch
    fn embed<K: Kernels>(
        &self,
        batch: &Batch<'_, K>,
        e: &[f32],
        matrices: &mut [f32],
        embedded: &mut [f32],
    ) {
        let rank = batch.shape.ranks.deep_embed;
        let region = region(Phase::Embedding, cost::DEEP_EMBED, matrices.len());
        batch.for_each_token(
            region,
            (ChunksOf::new(matrices, rank * rank), ChunksOf::new(embedded, rank)),
            #[inline(always)]
            |token, (matrix, embedded)| {
                self.s_emb.read(batch.tokens[token].token as usize, matrix);
                embedded.fill(0.0);
                let e = &e[token * rank..][..rank];
                for (e, row) in e.iter().zip(matrix.chunks_exact(rank)) {
                    for (embedded, x) in embedded.iter_mut().zip(row) {
                        *embedded += e * x;
                    }
                }
            },
        );
    }
}
