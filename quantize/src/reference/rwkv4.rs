//! RWKV-4 (Peng et al. 2023, arXiv 2305.13048), the numerically stable form of
//! its appendix: sums carry their largest exponent, so every exp is at most 1.
//!
//! The equations are followed one by one with their names, on one token after another; only
//! products with matrices take all tokens at once.

use super::math::{Batch, Matrix, map_each, map2, mix_current, relu_squared, sigmoid};
use super::{Error, LayerState, Mixers, Source, Tokens};

/// Below every exponent that a key can give: the empty average has no weight.
const NO_EXPONENT: f64 = -1e30;

pub(super) struct Layer<'a> {
    time_decay: Vec<f64>,   // [D]
    time_first: Vec<f64>,   // [D]
    mix_k: Vec<f64>,        // [D]
    mix_v: Vec<f64>,        // [D]
    mix_r: Vec<f64>,        // [D]
    receptance: Matrix<'a>, // [D][D]
    key: Matrix<'a>,        // [D][D]
    value: Matrix<'a>,      // [D][D]
    output: Matrix<'a>,     // [D][D]
    channel_mix: ChannelMix<'a>,
}

impl<'a> Layer<'a> {
    pub(super) fn take(source: &mut Source<'a>, index: usize, d: usize) -> Result<Self, Error> {
        let att = |name: &str| format!("blocks.{index}.att.{name}");
        Ok(Self {
            time_decay: source.vector(&att("time_decay"), d)?,
            time_first: source.vector(&att("time_first"), d)?,
            mix_k: source.vector(&att("time_mix_k"), d)?,
            mix_v: source.vector(&att("time_mix_v"), d)?,
            mix_r: source.vector(&att("time_mix_r"), d)?,
            receptance: source.matrix(&att("receptance.weight"), d, d)?,
            key: source.matrix(&att("key.weight"), d, d)?,
            value: source.matrix(&att("value.weight"), d, d)?,
            output: source.matrix(&att("output.weight"), d, d)?,
            channel_mix: ChannelMix::take(source, index, d)?,
        })
    }
}

impl Mixers for Layer<'_> {
    fn zero_state(&self) -> LayerState {
        let d = self.time_decay.len();
        LayerState {
            att_prev: vec![0.0; d],
            ffn_prev: vec![0.0; d],
            aa: vec![0.0; d],
            bb: vec![0.0; d],
            pp: vec![NO_EXPONENT; d],
            s: Vec::new(),
        }
    }

    fn time_mix(&self, xx: &[Vec<f64>], _: &mut Tokens, state: &mut LayerState) -> Batch {
        let LayerState { att_prev, aa, bb, pp, .. } = state;
        let r = self.receptance.mul(&mix_current(xx, att_prev, &self.mix_r));
        let k = self.key.mul(&mix_current(xx, att_prev, &self.mix_k));
        let v = self.value.mul(&mix_current(xx, att_prev, &self.mix_v));

        let mut received = Vec::new();
        for ((r, k), v) in r.iter().zip(&k).zip(&v) {
            let mut wkv = vec![0.0; k.len()];
            for c in 0..k.len() {
                // The average over the past and, with its bonus u, the current token.
                let current = self.time_first[c] + k[c];
                let q = pp[c].max(current);
                let (e1, e2) = ((pp[c] - q).exp(), (current - q).exp());
                wkv[c] = (e1 * aa[c] + e2 * v[c]) / (e1 * bb[c] + e2);

                // The past decays by exp(w) and the current token joins it.
                let w = -self.time_decay[c].exp();
                let past = pp[c] + w;
                let q = past.max(k[c]);
                let (e1, e2) = ((past - q).exp(), (k[c] - q).exp());
                aa[c] = e1 * aa[c] + e2 * v[c];
                bb[c] = e1 * bb[c] + e2;
                pp[c] = q;
            }
            received.push(map2(r, &wkv, |r, wkv| sigmoid(r) * wkv));
        }
        self.output.mul(&received)
    }

    fn channel_mix(&self, xx: &[Vec<f64>], _: &Tokens, state: &mut LayerState) -> Batch {
        self.channel_mix.apply(xx, &state.ffn_prev)
    }
}

/// The channel mix of versions 4 and 5.
pub(super) struct ChannelMix<'a> {
    mix_k: Vec<f64>,        // [D]
    mix_r: Vec<f64>,        // [D]
    receptance: Matrix<'a>, // [D][D]
    key: Matrix<'a>,        // [F][D]
    value: Matrix<'a>,      // [D][F]
}

impl<'a> ChannelMix<'a> {
    pub(super) fn take(source: &mut Source<'a>, index: usize, d: usize) -> Result<Self, Error> {
        let ffn = |name: &str| format!("blocks.{index}.ffn.{name}");
        let f = source.dim(&ffn("key.weight"), 0)?;
        Ok(Self {
            mix_k: source.vector(&ffn("time_mix_k"), d)?,
            mix_r: source.vector(&ffn("time_mix_r"), d)?,
            receptance: source.matrix(&ffn("receptance.weight"), d, d)?,
            key: source.matrix(&ffn("key.weight"), f, d)?,
            value: source.matrix(&ffn("value.weight"), d, f)?,
        })
    }

    pub(super) fn apply(&self, xx: &[Vec<f64>], prev: &[f64]) -> Batch {
        let r = self.receptance.mul(&mix_current(xx, prev, &self.mix_r));
        let k = map_each(&self.key.mul(&mix_current(xx, prev, &self.mix_k)), relu_squared);
        received(&r, &self.value.mul(&k))
    }
}

/// sigmoid(r) kv, for every token.
pub(super) fn received(r: &[Vec<f64>], kv: &[Vec<f64>]) -> Batch {
    r.iter().zip(kv).map(|(r, kv)| map2(r, kv, |r, kv| sigmoid(r) * kv)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tensor::{Tensor, Tensors};
    use super::*;

    /// One channel whose receptance is 1/2 and whose key and value are its input.
    fn identity(time_decay: f64, time_first: f64) -> Layer<'static> {
        let mut tensors = Tensors::new();
        let mut set = |name: &str, shape: &[usize], x: f64| {
            tensors.insert(format!("blocks.0.{name}"), Tensor::new(shape.to_vec(), vec![x]));
        };
        set("att.time_decay", &[1], time_decay);
        set("att.time_first", &[1], time_first);
        for name in ["att.time_mix_k", "att.time_mix_v", "att.time_mix_r"] {
            set(name, &[1, 1, 1], 1.0);
        }
        for name in ["att.key", "att.value", "att.output"] {
            set(&format!("{name}.weight"), &[1, 1], 1.0);
        }
        for name in ["att.receptance", "ffn.key", "ffn.receptance", "ffn.value"] {
            set(&format!("{name}.weight"), &[1, 1], 0.0);
        }
        set("ffn.time_mix_k", &[1], 1.0);
        set("ffn.time_mix_r", &[1], 1.0);
        Layer::take(&mut Source::held(tensors), 0, 1).unwrap()
    }

    /// The paper's average over all tokens so far, weights from the definition.
    fn average(inputs: &[f64], w: f64, u: f64) -> f64 {
        let (last, past) = inputs.split_last().unwrap();
        let age = |i: usize| (past.len() - 1 - i) as f64;
        let exponents = past.iter().enumerate().map(|(i, k)| age(i) * w + k);
        let exponents: Vec<f64> = exponents.chain([u + last]).collect();
        let max = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = exponents.iter().map(|e| (e - max).exp());
        let (sum, total) = weights
            .zip(inputs)
            .fold((0.0, 0.0), |(sum, total), (weight, v)| (sum + weight * v, total + weight));
        sum / total
    }

    #[test]
    fn average_is_the_definition_far_outside_the_range_of_exp() {
        for scale in [1.0, 30.0, 1000.0, 1e5] {
            for (decay, first) in [(-7.0, 0.3), (0.0, -2.0), (2.0, 5.0)] {
                let layer = identity(decay, first);
                let mut state = layer.zero_state();
                let mut tokens = Tokens::default();
                let inputs: Vec<f64> =
                    (0..40).map(|t| f64::from(t * 29 % 37 - 18) / 18.0 * scale).collect();
                for t in 0..inputs.len() {
                    let got = layer.time_mix(&[vec![inputs[t]]], &mut tokens, &mut state)[0][0];
                    let want = 0.5 * average(&inputs[..=t], -decay.exp(), first);
                    assert!((got - want).abs() <= 1e-12 * scale, "{got} {want} at {t} of {scale}");
                }
            }
        }
    }
}
