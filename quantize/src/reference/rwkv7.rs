//! RWKV-7 (Goose; Peng et al. 2025, arXiv 2503.14456): the state is edited by a
//! generalised delta rule. Per head of N channels, in float64 and in the paper's order:
//!
//! ```text
//! w  = exp(-e^-0.5 s(w0 + tanh(x_w w1) w2))       decay
//! a  = s(a0 + (x_a a1) a2)                        in-context learning rate
//! v  = v + (v_first - v) s(v0 + (x_v v1) v2)      but in layer 0, whose v is v_first
//! kk = k k_k / |k k_k|,  k = k (1 + (a - 1) k_a)
//! S  = S (diag(w) - kk (a kk)^T) + v k^T          S is [value][key]
//! y  = group_norm(S r) + (r . k r_k) v            times the gate s(x_g g1) g2
//! ```
//!
//! Written from the paper and the 150-line example apart from the runtime's `rwkv/v7.rs`, which
//! tests compare with it; what both share is the tensors' names.

use super::math::{
    Batch, Matrix, Norm, add, dot, map, map_each, mix_previous, mul, relu_squared, sigmoid, towards,
};
use super::rwkv5::{head_size, zero_state};
use super::rwkv7a::DeepEmbed;
use super::{Error, LayerState, Mixers, Source, Tokens};

/// Below this the normalised removal key is left small rather than scaled up.
const MIN_NORM: f64 = 1e-12;

pub(super) struct Layer<'a> {
    head_size: usize,
    mix: [Vec<f64>; 6], // r, w, k, v, a, g: [D] each
    decay: LowRank<'a>,
    in_context_rate: LowRank<'a>,
    /// Absent in layer 0, which has no earlier value to blend with.
    value_residual: Option<LowRank<'a>>,
    g1: Matrix<'a>,         // [D][rank]
    g2: Matrix<'a>,         // [rank][D]
    k_k: Vec<f64>,          // [D]
    k_a: Vec<f64>,          // [D]
    r_k: Vec<f64>,          // [H][N]
    receptance: Matrix<'a>, // [D][D]
    key: Matrix<'a>,        // [D][D]
    value: Matrix<'a>,      // [D][D]
    output: Matrix<'a>,     // [D][D]
    ln_x: Norm,
    ffn_mix_k: Vec<f64>,   // [D]
    ffn_key: Matrix<'a>,   // [F][D]
    ffn_value: Matrix<'a>, // [D][F]
    deep_embed: Option<DeepEmbed<'a>>,
}

/// base + f(x w1) w2: the paper's "loramlp".
struct LowRank<'a> {
    base: Vec<f64>, // [D]
    w1: Matrix<'a>, // [D][rank]
    w2: Matrix<'a>, // [rank][D]
}

impl<'a> LowRank<'a> {
    /// Takes `letter`0, `letter`1 and `letter`2.
    fn take(source: &mut Source<'a>, letter: &str, d: usize) -> Result<Self, Error> {
        let rank = source.dim(&format!("{letter}1"), 1)?;
        Ok(Self {
            base: source.vector(&format!("{letter}0"), d)?,
            w1: source.matrix(&format!("{letter}1"), d, rank)?,
            w2: source.matrix(&format!("{letter}2"), rank, d)?,
        })
    }

    fn apply(&self, xs: &[Vec<f64>], f: fn(f64) -> f64) -> Batch {
        let low = self.w2.left_mul(&map_each(&self.w1.left_mul(xs), f));
        low.iter().map(|low| add(&self.base, low)).collect()
    }
}

impl<'a> Layer<'a> {
    pub(super) fn take(
        source: &mut Source<'a>,
        index: usize,
        vocab: usize,
        d: usize,
    ) -> Result<Self, Error> {
        let att = |name: &str| format!("blocks.{index}.att.{name}");
        let ffn = |name: &str| format!("blocks.{index}.ffn.{name}");
        let heads = source.dim(&att("r_k"), 0)?;
        let head_size = head_size(&att("r_k"), heads, d)?;
        let value_residual = if index == 0 {
            // Some releases carry them, trained by nothing and read by nothing.
            ["v0", "v1", "v2"].iter().for_each(|name| source.ignore(&att(name)));
            None
        } else {
            Some(LowRank::take(source, &att("v"), d)?)
        };
        let gate_rank = source.dim(&att("g1"), 1)?;
        let f = source.dim(&ffn("key.weight"), 0)?;
        let mut x = |name| source.vector(&att(name), d);
        Ok(Self {
            head_size,
            mix: [x("x_r")?, x("x_w")?, x("x_k")?, x("x_v")?, x("x_a")?, x("x_g")?],
            decay: LowRank::take(source, &att("w"), d)?,
            in_context_rate: LowRank::take(source, &att("a"), d)?,
            value_residual,
            g1: source.matrix(&att("g1"), d, gate_rank)?,
            g2: source.matrix(&att("g2"), gate_rank, d)?,
            k_k: source.vector(&att("k_k"), d)?,
            k_a: source.vector(&att("k_a"), d)?,
            r_k: source.per_head(&att("r_k"), heads, head_size)?,
            receptance: source.matrix(&att("receptance.weight"), d, d)?,
            key: source.matrix(&att("key.weight"), d, d)?,
            value: source.matrix(&att("value.weight"), d, d)?,
            output: source.matrix(&att("output.weight"), d, d)?,
            ln_x: Norm::take(source, &att("ln_x"), d)?,
            ffn_mix_k: source.vector(&ffn("x_k"), d)?,
            ffn_key: source.matrix(&ffn("key.weight"), f, d)?,
            ffn_value: source.matrix(&ffn("value.weight"), d, f)?,
            deep_embed: DeepEmbed::take(source, index, f, [vocab, d])?,
        })
    }

    pub(super) fn head_size(&self) -> usize {
        self.head_size
    }
}

impl Mixers for Layer<'_> {
    fn zero_state(&self) -> LayerState {
        zero_state(self.k_k.len(), self.head_size)
    }

    fn time_mix(&self, xx: &[Vec<f64>], tokens: &mut Tokens, state: &mut LayerState) -> Batch {
        let [x_r, x_w, x_k, x_v, x_a, x_g] =
            self.mix.each_ref().map(|mix| mix_previous(xx, &state.att_prev, mix));

        let r = self.receptance.mul(&x_r);
        let raw_k = self.key.mul(&x_k);
        let own_v = self.value.mul(&x_v);
        // exp(-e^-0.5 sigmoid): never below 0.545, however strong the decay.
        let w =
            map_each(&self.decay.apply(&x_w, f64::tanh), |w| (-(-0.5f64).exp() * sigmoid(w)).exp());
        let a = map_each(&self.in_context_rate.apply(&x_a, |h| h), sigmoid);
        let g = self.g2.left_mul(&map_each(&self.g1.left_mul(&x_g), sigmoid));
        let v = match &self.value_residual {
            None => {
                tokens.v_first.clone_from(&own_v);
                own_v
            }
            Some(residual) => {
                let shares = map_each(&residual.apply(&x_v, |h| h), sigmoid);
                let pairs = own_v.iter().zip(&tokens.v_first).zip(&shares);
                pairs.map(|((own, first), share)| towards(own, first, share)).collect()
            }
        };

        let mut gated = Vec::new();
        for (t, g) in g.iter().enumerate() {
            let y = self.attend(&r[t], &w[t], &raw_k[t], &v[t], &a[t], &mut state.s);
            gated.push(mul(&y, g));
        }
        self.output.mul(&gated)
    }

    fn channel_mix(&self, xx: &[Vec<f64>], tokens: &Tokens, state: &mut LayerState) -> Batch {
        let k = self.ffn_key.mul(&mix_previous(xx, &state.ffn_prev, &self.ffn_mix_k));
        let mut k = map_each(&k, relu_squared);
        if let Some(deep_embed) = &self.deep_embed {
            let scales = deep_embed.scales(xx, tokens);
            k = k.iter().zip(&scales).map(|(k, scales)| mul(k, scales)).collect();
        }
        self.ffn_value.mul(&k)
    }
}

impl Layer<'_> {
    /// One token's attention, normalised, with the bonus for the current token.
    fn attend(
        &self,
        r: &[f64],
        w: &[f64],
        raw_k: &[f64],
        v: &[f64],
        a: &[f64],
        s: &mut [f64],
    ) -> Vec<f64> {
        let n = self.head_size;
        let removal = mul(raw_k, &self.k_k);
        let removal: Vec<f64> = removal.chunks_exact(n).flat_map(unit).collect();
        let k: Vec<f64> =
            (0..raw_k.len()).map(|c| raw_k[c] * (1.0 + (a[c] - 1.0) * self.k_a[c])).collect();

        let replacement = mul(&removal, a);
        let mut y = Vec::new();
        for (h, s) in s.chunks_exact_mut(n * n).enumerate() {
            let of = |x| head(x, h, n);
            y.extend(delta_rule(of(r), of(w), of(&k), of(v), of(&removal), of(&replacement), s));
        }
        let mut y = self.ln_x.group(&y, n);
        for (h, y) in y.chunks_exact_mut(n).enumerate() {
            let bonus = dot(&mul(head(r, h, n), head(&k, h, n)), head(&self.r_k, h, n));
            y.iter_mut().zip(head(v, h, n)).for_each(|(y, v)| *y += bonus * v);
        }
        y
    }
}

/// The channels of head `h`.
fn head(x: &[f64], h: usize, n: usize) -> &[f64] {
    &x[h * n..][..n]
}

/// x over its Euclidean norm.
fn unit(x: &[f64]) -> Vec<f64> {
    let norm = dot(x, x).sqrt().max(MIN_NORM);
    map(x, |x| x / norm)
}

/// One head: S = S (diag(w) - removal replacement^T) + v k^T, then y = S r.
///
/// `s` is `[value][key]`.
fn delta_rule(
    r: &[f64],
    w: &[f64],
    k: &[f64],
    v: &[f64],
    removal: &[f64],
    replacement: &[f64],
    s: &mut [f64],
) -> Vec<f64> {
    let rows = s.chunks_exact_mut(r.len()).zip(v);
    rows.map(|(row, &v)| {
        let removed = dot(row, removal);
        for (j, s) in row.iter_mut().enumerate() {
            *s = *s * w[j] - removed * replacement[j] + v * k[j];
        }
        dot(row, r)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_vectors_are_not_scaled_up() {
        assert_eq!(unit(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(unit(&[3e-13, 0.0]), [0.3, 0.0]);
        assert_eq!(unit(&[3e-9, -4e-9]), [0.6, -0.8]);
    }

    #[test]
    fn a_written_value_is_read_back_and_replaced() {
        let (e0, e1) = ([1.0, 0.0], [0.0, 1.0]);
        let (keep, zero) = ([1.0, 1.0], [0.0, 0.0]);
        let mut s = [0.0; 4]; // [value][key]
        assert_eq!(delta_rule(&e0, &keep, &e0, &[5.0, 7.0], &zero, &zero, &mut s), [5.0, 7.0]);
        assert_eq!(delta_rule(&e1, &keep, &e1, &[2.0, 3.0], &zero, &zero, &mut s), [2.0, 3.0]);
        // Half of what key 0 holds gives way to the new value.
        assert_eq!(delta_rule(&e0, &keep, &e0, &[1.0, 1.0], &e0, &[0.5, 0.0], &mut s), [3.5, 4.5]);
        assert_eq!(s, [3.5, 2.0, 4.5, 3.0]);
        // Decay acts on keys.
        delta_rule(&e0, &[0.5, 1.0], &zero, &zero, &zero, &zero, &mut s);
        assert_eq!(s, [1.75, 2.0, 2.25, 3.0]);
    }
}
