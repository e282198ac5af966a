//! RWKV-4 (arXiv 2305.13048), the forward pass of a layer, in the numerically
//! stable form of the paper's appendix: sums carry their largest exponent, so
//! no `exp` is taken of a positive number, however large the keys are.
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
//! n_c = p + (n - p) * time_mix_c              for c in k, v, r
//! r = receptance n_r;  k = key n_k;  v = value n_v
//! t = time_first + k;  q = max(pp, t)                       average with the current token
//! a = exp(pp - q);     b = exp(t - q)
//! y = s(r) * ((a * aa + b * v) / (a * bb + b))
//! t = pp - exp(time_decay);  q = max(t, k)                  the past decays, the token joins it
//! a = exp(t - q);      b = exp(k - q)
//! aa = a * aa + b * v;  bb = a * bb + b;  pp = q
//! TimeMix = output y
//! ```
//!
//! Before the first token aa and bb are 0 and pp is -1e30: below every exponent,
//! so that the empty average has no weight. (With 0 it would have the weight of
//! keys of 0, and very negative keys would find a denominator of 0.)
//!
//! **Channel mix**: see [`channel_mix`](crate::rwkv::channel_mix).

use crate::format::model::Model;
use crate::format::shape::{Shape, channels_together};
pub(crate) use crate::format::weights::v4::{ChannelMix, TimeMix};
use crate::kernels::activations::QuantizedMut;
use crate::kernels::{ChunksOf, Kernels, Phase, Product};
use crate::num::math;
use crate::rwkv::batch::{Batch, BatchToken, lerp_to_current};
use crate::rwkv::channel_mix::{GatedBuffers, GatedChannelMix};
use crate::rwkv::cost::{self, region};
use crate::rwkv::scratch::{ScratchArena, max, scratch};

/// Elements of a layer's scratch for a batch of `tokens`.
pub(crate) const fn workspace_len(shape: &Shape, tokens: usize) -> usize {
    max(TimeMixBuffers::len(shape, tokens), GatedBuffers::len(shape, tokens))
}

/// Computes a layer: advances `state` and adds to the residual stream.
///
/// * `x`: `[token][width]`, the residual stream
/// * `state`: the layer's states, `shift [sequence][width]` of the time mix, the
///   same of the channel mix, then aa, bb and pp, each
///   `[width/channels][sequence][channels]` with [`channels_together`]
/// * `scratch`: [`workspace_len`] elements
#[inline(never)]
pub(crate) fn layer<K: Kernels>(
    batch: &Batch<'_, K>,
    model: &Model<'_>,
    layer: usize,
    x: &mut [f32],
    state: &mut [f32],
    scratch: &mut [f32],
) {
    let shifts = batch.sequences * batch.shape.width;
    let (time_shift, state) = state.split_at_mut(shifts);
    let (channel_shift, averages) = state.split_at_mut(shifts);
    TimeMix::load(&model.layer(layer)).forward(batch, x, time_shift, averages, scratch);
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
        /// `[width/channels][token][channels]`
        y: floats(tokens * shape.width),
        /// `[width]`
        decay: floats(shape.width),
        /// Inputs of key, value and receptance.
        shifted: quantized(tokens, shape.width) [3],
    }
}

impl TimeMix<'_> {
    #[inline(never)]
    fn forward<K: Kernels>(
        &self,
        batch: &Batch<'_, K>,
        x: &mut [f32],
        shift: &mut [f32],
        averages: &mut [f32],
        scratch: &mut [f32],
    ) {
        let mut arena = ScratchArena::new(scratch);
        let TimeMixBuffers { normed, r, k, v, y, decay, mut shifted } =
            TimeMixBuffers::carve(&mut arena, &batch.shape, batch.len());

        batch.norm(x, self.ln1, normed);
        let shares = [self.time_mix_k, self.time_mix_v, self.time_mix_r];
        batch.token_shift(normed, shift, shares, lerp_to_current, r, &mut shifted);
        batch.save_shift_state(normed, shift);
        let [n_k, n_v, n_r] = shifted.each_ref().map(QuantizedMut::view);
        batch.kernels.products(&mut [
            Product { matrix: self.receptance, input: n_r, output: &mut *r },
            Product { matrix: self.key, input: n_k, output: &mut *k },
            Product { matrix: self.value, input: n_v, output: &mut *v },
        ]);
        self.wkv(batch, [r, k, v], averages, decay, y);
        let n = channels_together(&batch.shape);
        batch.project(y, n, self.output, [r, k], &mut shifted[0], x);
    }

    /// The wkv: from the products to the input of `output`.
    ///
    /// * `averages`: aa, bb and pp, each `[width/n][sequence][n]`
    /// * `decay`: `[width]`, scratch
    /// * `y`: `[width/n][token][n]`
    fn wkv<K: Kernels>(
        &self,
        batch: &Batch<'_, K>,
        [r, k, v]: [&[f32]; 3],
        averages: &mut [f32],
        decay: &mut [f32],
        y: &mut [f32],
    ) {
        let Batch { shape, tokens, sequences, kernels } = batch;
        let n = channels_together(shape);
        let (aa, averages) = averages.split_at_mut(sequences * shape.width);
        let (bb, pp) = averages.split_at_mut(sequences * shape.width);
        let averages = [aa, bb, pp].map(|part| ChunksOf::new(part, sequences * n));
        let parts = (
            0..shape.width / n,
            averages,
            ChunksOf::new(decay, n),
            ChunksOf::new(y, tokens.len() * n),
        );
        kernels.for_parts(
            parts,
            region(Phase::Wkv, cost::WKV4, tokens.len() * shape.width),
            #[inline(always)]
            |(range, [aa, bb, pp], decay, y)| {
                let averages = aa.iter().zip(bb.iter()).zip(pp.iter());
                let rows = averages.zip(decay.iter()).zip(y.iter());
                for (part, ((((aa, bb), pp), decay), y)) in range.zip(rows) {
                    let channel = part * n;
                    for (decay, x) in decay.iter_mut().zip(&self.time_decay[channel..]) {
                        *decay = math::exp(*x);
                    }
                    let first = &self.time_first[channel..][..n];
                    for ((token, BatchToken { sequence, .. }), y) in
                        tokens.iter().enumerate().zip(y.chunks_exact_mut(n))
                    {
                        let at = token * shape.width + channel;
                        let [r, k, v] = [r, k, v].map(|x| &x[at..][..n]);
                        let [aa, bb, pp] = [&mut *aa, &mut *bb, &mut *pp]
                            .map(|part| &mut part[sequence * n..][..n]);
                        for i in 0..n {
                            let mut average = Average { aa: aa[i], bb: bb[i], pp: pp[i] };
                            y[i] =
                                math::sigmoid(r[i]) * average.step(k[i], v[i], first[i], decay[i]);
                            (aa[i], bb[i], pp[i]) = (average.aa, average.bb, average.pp);
                        }
                    }
                }
            },
        );
    }
}

/// A weighted average of one channel's values: `aa / bb`, both in units of exp(pp).
#[derive(Clone, Copy, Debug)]
struct Average {
    aa: f32,
    bb: f32,
    pp: f32,
}

impl Average {
    /// The average with the current token, whose weight is exp(first + k); then
    /// the token joins with weight exp(k) what is left of the past, exp(-decay).
    #[inline(always)]
    fn step(&mut self, k: f32, v: f32, first: f32, decay: f32) -> f32 {
        let t = first + k;
        let q = larger(self.pp, t);
        let (a, b) = (math::exp(self.pp - q), math::exp(t - q));
        let average = (a * self.aa + b * v) / (a * self.bb + b);

        let t = self.pp - decay;
        let q = larger(t, k);
        let (a, b) = (math::exp(t - q), math::exp(k - q));
        self.aa = a * self.aa + b * v;
        self.bb = a * self.bb + b;
        self.pp = q;
        average
    }
}

/// The larger one; NaN where `b` is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::shape::NO_EXPONENT;
    use std::vec::Vec;

    /// The paper's average over all tokens so far, weights from the definition, in f64.
    fn definition(inputs: &[(f32, f32)], decay: f64, first: f64) -> f64 {
        let (last, past) = inputs.split_last().unwrap();
        let age = |i: usize| (past.len() - 1 - i) as f64;
        let exponents = past.iter().enumerate().map(|(i, &(k, _))| f64::from(k) - age(i) * decay);
        let exponents: Vec<f64> = exponents.chain([first + f64::from(last.0)]).collect();
        let max = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut total) = (0.0, 0.0);
        for (exponent, &(_, v)) in exponents.iter().zip(inputs) {
            sum += (exponent - max).exp() * f64::from(v);
            total += (exponent - max).exp();
        }
        sum / total
    }

    #[test]
    fn average_is_the_definition_far_outside_the_range_of_exp() {
        for scale in [1.0f32, 30.0, 100.0, 1000.0, 1e5] {
            for (time_decay, first) in [(-7.0f32, 0.25f32), (0.0, -2.0), (2.0, 5.0), (88.0, 1.0)] {
                let decay = math::exp(time_decay);
                let mut average = Average { aa: 0.0, bb: 0.0, pp: NO_EXPONENT };
                let inputs: Vec<(f32, f32)> = (0..60)
                    .map(|t| ((t * 29 % 37 - 18) as f32 / 18.0 * scale, (t * 17 % 23 - 11) as f32))
                    .collect();
                for (t, &(k, v)) in inputs.iter().enumerate() {
                    let got = f64::from(average.step(k, v, first, decay));
                    let want = definition(&inputs[..=t], f64::from(decay), f64::from(first));
                    // An f32 exponent of this size is known to half an ULP of itself.
                    let limit = 11.0 * (2e-6 + f64::from(scale) * 1e-7 * (t + 2) as f64);
                    assert!((got - want).abs() < limit, "{got} {want} at {t} of {scale}");
                    assert!(average.bb >= 1.0 && average.pp.is_finite());
                }
            }
        }
    }
}
