//! RWKV-6 "Finch" (arXiv 2404.05892), the forward pass of a layer: RWKV-5.2
//! whose token shift and decay depend on the data.
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
//! z   = n + (p - n) * time_maa_x
//! m   = tanh(time_maa_w1 z)                              five vectors: w, k, v, r, g
//! n_c = n + (p - n) * (time_maa_c + time_maa_w2_c m_c)   for c in w, k, v, r, g
//! r = receptance n_r;  k = key n_k;  v = value n_v;  g = gate n_g
//! w = exp(-exp(time_decay + time_decay_w2 tanh(time_decay_w1 n_w)))
//! u = time_faaaa
//! y = wkv(r, k, v, w, u, g)                              per head, see `wkv`
//! TimeMix = output y
//! ```
//!
//! **Channel mix**: see [`channel_mix`](crate::rwkv::channel_mix).

use crate::format::model::Model;
use crate::format::shape::Shape;
use crate::format::tensors::SHIFTS;
pub(crate) use crate::format::weights::v6::{ChannelMix, TimeMix};
use crate::kernels::activations::QuantizedMut;
use crate::kernels::{ChunksOf, Kernels, Phase, Product};
use crate::num::math;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::{Batch, lerp_to_previous};
use crate::rwkv::channel_mix::{GatedBuffers, GatedChannelMix};
use crate::rwkv::cost::{self, region};
use crate::rwkv::scratch::{ScratchArena, max, scratch};
use crate::rwkv::v5::decay;
use crate::rwkv::wkv::Wkv;

/// Elements of a layer's scratch for a batch of `tokens`.
pub(crate) const fn workspace_len(shape: &Shape, tokens: usize) -> usize {
    let time_mix = TimeMixBuffers::len(shape, tokens) + ShiftBuffers::len(shape, tokens);
    max(time_mix, GatedBuffers::len(shape, tokens))
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
    TimeMix::load(&model.layer(layer)).forward(batch, x, time_shift, heads, scratch);
    let ChannelMix { ln2, time_maa_k, time_maa_r, receptance, key, value } =
        ChannelMix::load(&model.layer(layer));
    GatedChannelMix { ln2, shares: [time_maa_k, time_maa_r], receptance, key, value }.forward(
        batch,
        x,
        channel_shift,
        lerp_to_previous,
        scratch,
    );
}

scratch! {
    /// Buffers of the time mix.
    struct TimeMixBuffers(shape, tokens) {
        /// `[token][width]`
        normed: floats(tokens * shape.width),
        /// The shift's corrections for w, k, v, r, g, then the products: `[token][width]` each.
        products: floats(tokens * shape.width) [SHIFTS],
        /// `[head][token][channel]`
        y: floats(tokens * shape.width),
        /// Inputs of w, k, v, r, g.
        shifted: quantized(tokens, shape.width) [SHIFTS],
        /// `time_decay_w1 n_w`: `[token][rank]`
        decay_hidden: floats(tokens * shape.ranks.decay),
        decay_input: quantized(tokens, shape.ranks.decay),
    }
}

scratch! {
    /// Buffers of the token shift's low-rank pairs.
    struct ShiftBuffers(shape, tokens) {
        /// `time_maa_w1 z`: `[token][5][rank]`
        hidden: floats(tokens * SHIFTS * shape.ranks.shift),
        /// m: `[token][rank]` each.
        inputs: quantized(tokens, shape.ranks.shift) [SHIFTS],
    }
}

impl TimeMix<'_> {
    #[inline(never)]
    fn forward<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        x: &mut [f32],
        shift: &mut [S],
        heads: &mut [S],
        scratch: &mut [f32],
    ) {
        let mut arena = ScratchArena::new(scratch);
        let buffers = TimeMixBuffers::carve(&mut arena, &batch.shape, batch.len());
        let TimeMixBuffers { normed, mut products, y, mut shifted, .. } = buffers;
        let TimeMixBuffers { decay_hidden, mut decay_input, .. } = buffers;

        batch.norm(x, self.ln1, normed);
        let pairs = ShiftBuffers::carve(&mut arena, &batch.shape, batch.len());
        self.corrections(batch, normed, shift, y, &mut shifted[0], pairs, &mut products);
        self.shift(batch, normed, shift, &products, y, &mut shifted);
        batch.save_shift_state(normed, shift);

        // The corrections are used up; their buffers take the products.
        let [w, k, v, r, g] = products;
        {
            let [n_w, n_k, n_v, n_r, n_g] = shifted.each_ref().map(QuantizedMut::view);
            batch.kernels.products(&mut [
                Product { matrix: self.receptance, input: n_r, output: &mut *r },
                Product { matrix: self.key, input: n_k, output: &mut *k },
                Product { matrix: self.value, input: n_v, output: &mut *v },
                Product { matrix: self.gate, input: n_g, output: &mut *g },
                Product { matrix: self.time_decay_w1, input: n_w, output: &mut *decay_hidden },
            ]);
        }
        batch.activate(decay_hidden, math::tanh, &mut decay_input);
        let (matrix, input) = (self.time_decay_w2, decay_input.view());
        batch.kernels.products(&mut [Product { matrix, input, output: &mut *w }]);
        self.decay(batch, w);
        let (u, gate, ln_x) = (self.time_faaaa, Some(&*g), self.ln_x);
        Wkv { r, k, v, w, u, gate, ln_x }.forward(batch, heads, y);
        batch.project(y, batch.shape.head_size, self.output, [r, k], &mut shifted[0], x);
    }

    /// What the data adds to the shares of the token shift: `time_maa_w2_c m_c`.
    ///
    /// * `normed`, `scratch`: `[token][width]`
    /// * `state`: `[sequence][width]`
    /// * `z`: `[token][width]`, scratch
    /// * `corrections`: `[token][width]` for each of w, k, v, r, g
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "inputs, scratch and outputs of one formula")]
    fn corrections<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        normed: &[f32],
        state: &[S],
        scratch: &mut [f32],
        z: &mut QuantizedMut<'_>,
        ShiftBuffers { hidden, mut inputs }: ShiftBuffers<'_>,
        corrections: &mut [&mut [f32]; SHIFTS],
    ) {
        let Batch { shape, kernels, .. } = batch;
        let rank = shape.ranks.shift;
        let mut z = [z.reborrow()];
        batch.token_shift(normed, state, [self.time_maa_x], lerp_to_previous, scratch, &mut z);
        let (matrix, input) = (self.time_maa_w1, z[0].view());
        kernels.products(&mut [Product { matrix, input, output: &mut *hidden }]);
        let region = region(Phase::TokenShift, cost::TANH, hidden.len());
        kernels.for_parts(
            (ChunksOf::new(hidden, SHIFTS * rank), inputs.each_mut().map(QuantizedMut::reborrow)),
            region,
            #[inline(always)]
            |(hidden, inputs)| {
                let mut inputs = inputs.map(QuantizedMut::tokens);
                for hidden in hidden.iter() {
                    for (m, input) in hidden.chunks_exact_mut(rank).zip(&mut inputs) {
                        for m in m.iter_mut() {
                            *m = math::tanh(*m);
                        }
                        if let Some(input) = input.next() {
                            input.quantize(m, |q| kernels.pack(q));
                        }
                    }
                }
            },
        );
        let w2 = [
            self.time_maa_w2_w,
            self.time_maa_w2_k,
            self.time_maa_w2_v,
            self.time_maa_w2_r,
            self.time_maa_w2_g,
        ];
        let products = w2.into_iter().zip(&inputs).zip(corrections);
        let products = products.map(|((matrix, input), output)| Product {
            matrix,
            input: input.view(),
            output,
        });
        kernels.products(&mut heapless::Vec::<_, SHIFTS>::from_iter(products));
    }

    /// The token shift for w, k, v, r and g, whose shares are `time_maa_c + corrections[c]`.
    fn shift<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        normed: &[f32],
        state: &[S],
        corrections: &[&mut [f32]; SHIFTS],
        scratch: &mut [f32],
        shifted: &mut [QuantizedMut<'_>; SHIFTS],
    ) {
        let width = batch.shape.width;
        let maa =
            [self.time_maa_w, self.time_maa_k, self.time_maa_v, self.time_maa_r, self.time_maa_g];
        let corrections = corrections.each_ref().map(|correction| &**correction);
        let share = |token: usize, c: usize| {
            let correction = &corrections[c][token * width..][..width];
            maa[c].iter().zip(correction).map(|(maa, m)| maa + m)
        };
        batch.token_shift_by(normed, state, share, lerp_to_previous, scratch, shifted);
    }

    /// `w = exp(-exp(time_decay + w))`, `[token][width]`.
    fn decay<K: Kernels>(&self, batch: &Batch<'_, K>, w: &mut [f32]) {
        let region = region(Phase::Wkv, cost::DECAY, w.len());
        batch.for_each_token(
            region,
            ChunksOf::new(w, batch.shape.width),
            #[inline(always)]
            |_, w| {
                for (w, base) in w.iter_mut().zip(self.time_decay) {
                    *w = decay(base + *w);
                }
            },
        );
    }
}
