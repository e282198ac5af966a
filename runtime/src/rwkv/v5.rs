//! RWKV-5.0, 5.1 and 5.2 "Eagle" (arXiv 2404.05892), the forward pass of a layer.
//!
//! With `x` the residual stream, `LN` LayerNorm, `*` elementwise, `s` the
//! logistic function, and parentheses as the operations are computed in f32:
//!
//! ```text
//! x = x + TimeMix(LN(x; ln1))
//! x = x + ChannelMix(LN(x; ln2))
//! ```
//!
//! **Time mix** of the normed input `n`, whose predecessor in the sequence is `p`:
//!
//! ```text
//! n_c = p + (n - p) * time_mix_c                 for c in k, v, r and from 5.1 on g
//! r = receptance n_r;  k = key n_k;  v = value n_v;  g = gate n_g
//! w = exp(-exp(time_decay))                      per head; from 5.2 on per channel
//! u = exp(time_first)                            per head; in 5.2 time_faaaa, per channel
//! y = wkv(r, k, v, w, u, g)                      per head, see `wkv`
//! TimeMix = output y
//! ```
//!
//! **Channel mix**: see [`channel_mix`](crate::rwkv::channel_mix).

use crate::format::model::Model;
use crate::format::shape::{Architecture, Shape};
pub(crate) use crate::format::weights::v5::{ChannelMix, Gate, TimeMix};
use crate::kernels::{ChunksOf, Kernels, Phase, Product};
use crate::num::math;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Batch, lerp_to_current};
use crate::rwkv::channel_mix::{GatedBuffers, GatedChannelMix};
use crate::rwkv::cost::{self, region};
use crate::rwkv::scratch::{ScratchArena, max, scratch};
use crate::rwkv::wkv::Wkv;

/// Elements of a layer's scratch for a batch of `tokens`.
pub(crate) const fn workspace_len(shape: &Shape, tokens: usize) -> usize {
    max(TimeMixBuffers::len(shape, tokens), GatedBuffers::len(shape, tokens))
}

/// Computes a layer: advances `state` and adds to the residual stream.
///
/// * `x`: `[token][width]`, the residual stream
/// * `state`: the layer's states, `shift [sequence][width]` of the time mix, the
///   same of the channel mix, `S [head][sequence][key][value]`
/// * `scratch`: [`workspace_len`] elements
#[inline(never)]
pub(crate) fn layer<K: Kernels, S: StateElement>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [S],
    scratch: &mut [f32],
) {
    let shifts = batch.sequences * batch.shape.width;
    let (time_shift, state) = state.split_at_mut(shifts);
    let (channel_shift, heads) = state.split_at_mut(shifts);
    let gate = (batch.shape.architecture != Architecture::Rwkv5_0)
        .then(|| Gate::load(&model.layer(layer)));
    TimeMix::load(&model.layer(layer)).forward(batch, gate, x, time_shift, heads, scratch);
    let ChannelMix { ln2, time_mix_k, time_mix_r, receptance, key, value } =
        ChannelMix::load(&model.layer(layer));
    GatedChannelMix { ln2, shares: [time_mix_k, time_mix_r], receptance, key, value }.forward(
        batch,
        x,
        channel_shift,
        lerp_to_current,
        scratch,
    );
}

scratch! {
    /// Buffers of the time mix.
    struct TimeMixBuffers(shape, tokens) {
        /// `[token][width]` each.
        normed: floats(tokens * shape.width),
        r: floats(tokens * shape.width),
        k: floats(tokens * shape.width),
        v: floats(tokens * shape.width),
        g: floats(tokens * shape.width),
        /// `[head][token][channel]`
        y: floats(tokens * shape.width),
        /// Decay and bonus of all tokens: `[width]` each.
        w: floats(shape.width),
        u: floats(shape.width),
        /// Inputs of key, value and receptance.
        shifted: quantized(tokens, shape.width) [3],
        /// Input of the gate.
        shifted_g: quantized(tokens, shape.width) [1],
    }
}

impl TimeMix<'_> {
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        gate: Option<Gate<'_>>,
        x: &mut [f32],
        shift: &mut [S],
        heads: &mut [S],
        scratch: &mut [f32],
    ) {
        let Batch { shape, kernels, .. } = batch;
        let mut arena = ScratchArena::new(scratch);
        let TimeMixBuffers { normed, r, k, v, g, y, w, u, mut shifted, mut shifted_g } =
            TimeMixBuffers::carve(&mut arena, shape, batch.len());

        batch.norm(x, self.ln1, normed);
        let shares = [self.time_mix_k, self.time_mix_v, self.time_mix_r];
        batch.token_shift(normed, shift, shares, lerp_to_current, y, &mut shifted);
        if let Some(gate) = &gate {
            batch.token_shift(normed, shift, [gate.time_mix_g], lerp_to_current, y, &mut shifted_g);
        }
        batch.save_shift_state(normed, shift);
        {
            let [n_k, n_v, n_r] = shifted.each_ref().map(|shifted| shifted.view());
            let mut products = heapless::Vec::<_, 4>::from_array([
                Product { matrix: self.receptance, input: n_r, output: &mut *r },
                Product { matrix: self.key, input: n_k, output: &mut *k },
                Product { matrix: self.value, input: n_v, output: &mut *v },
            ]);
            if let Some(gate) = &gate {
                let (input, output) = (shifted_g[0].view(), &mut *g);
                let _ = products.push(Product { matrix: gate.gate, input, output });
            }
            kernels.products(&mut products);
        }
        self.decay_and_bonus(batch, w, u);
        let gate = gate.map(|_| &*g);
        Wkv { r, k, v, w, u, gate, ln_x: self.ln_x }.forward(batch, heads, y);
        batch.project(y, shape.head_size, self.output, [r, k], &mut shifted[0], x);
    }

    /// w and u of all tokens, `[head][channel]` each.
    fn decay_and_bonus<K: Kernels>(&self, batch: &Batch<'_, K>, w: &mut [f32], u: &mut [f32]) {
        let Batch { shape, kernels, .. } = batch;
        let n = shape.head_size;
        kernels.for_parts(
            (0..shape.heads(), ChunksOf::new(w, n), ChunksOf::new(u, n)),
            region(Phase::Wkv, cost::DECAY, shape.width),
            #[inline(always)]
            |(heads, w, u)| {
                for (head, (w, u)) in heads.zip(w.iter().zip(u.iter())) {
                    match shape.architecture {
                        // `time_faaaa`, the bonus itself, and a decay for each channel.
                        Architecture::Rwkv5_2 => {
                            let channels = head * n..(head + 1) * n;
                            u.copy_from_slice(&self.time_first[channels.clone()]);
                            for (w, time_decay) in w.iter_mut().zip(&self.time_decay[channels]) {
                                *w = decay(*time_decay);
                            }
                        }
                        _ => {
                            w.fill(decay(self.time_decay[head]));
                            u.fill(math::exp(self.time_first[head]));
                        }
                    }
                }
            },
        );
    }
}

/// What a token leaves of the state: `exp(-exp(x))`.
#[inline(always)]
pub(crate) fn decay(x: f32) -> f32 {
    math::exp(-math::exp(x))
}
