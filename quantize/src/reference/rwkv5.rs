//! RWKV-5.0, 5.1 and 5.2 (Eagle; Peng et al. 2024, arXiv 2404.05892). 5.1 adds
//! the gate; 5.2 makes decay and bonus per channel, where they were per head.
//!
//! ```text
//! w    = exp(-exp(time_decay)),  u = time_faaaa, or exp(time_first) in the first files
//! y_j  = sum_i r_i (S_ij + u_i k_i v_j)           per head, i of key and j of value
//! S_ij = w_i S_ij + k_i v_j
//! out  = output (group_norm(y) silu(gate x_g))    without a gate before 5.1
//! ```
//!
//! RWKV-6 computes the same [`wkv`] with a decay of each token, and takes it from here.

use super::math::{Batch, Matrix, Norm, map, map_each, mix_current, mul, silu};
use super::rwkv4::ChannelMix;
use super::{Error, LayerState, Mixers, Source, Tokens};

pub(super) struct Layer<'a> {
    head_size: usize,
    decay: Vec<f64>, // [H][N], in (0, 1)
    bonus: Vec<f64>, // [H][N]
    mix_k: Vec<f64>, // [D]
    mix_v: Vec<f64>, // [D]
    mix_r: Vec<f64>, // [D]
    gate: Option<Gate<'a>>,
    receptance: Matrix<'a>, // [D][D]
    key: Matrix<'a>,        // [D][D]
    value: Matrix<'a>,      // [D][D]
    output: Matrix<'a>,     // [D][D]
    ln_x: Norm,
    channel_mix: ChannelMix<'a>,
}

struct Gate<'a> {
    mix: Vec<f64>,      // [D]
    weight: Matrix<'a>, // [D][D]
}

impl<'a> Layer<'a> {
    pub(super) fn take(source: &mut Source<'a>, index: usize, d: usize) -> Result<Self, Error> {
        let att = |name: &str| format!("blocks.{index}.att.{name}");
        let heads = source.heads(&att("time_decay"))?;
        let head_size = head_size(&att("time_decay"), heads, d)?;
        let decay = per_channel(source, &att("time_decay"), heads, head_size)?;
        // The name tells what is stored: the bonus, or in the first files its logarithm.
        let bonus = if source.has(&att("time_faaaa")) {
            per_channel(source, &att("time_faaaa"), heads, head_size)?
        } else {
            map(&per_channel(source, &att("time_first"), heads, head_size)?, f64::exp)
        };
        let gate = if source.has(&att("gate.weight")) {
            Some(Gate {
                mix: source.vector(&att("time_mix_g"), d)?,
                weight: source.matrix(&att("gate.weight"), d, d)?,
            })
        } else {
            None
        };
        Ok(Self {
            head_size,
            decay: map(&decay, |w| (-w.exp()).exp()),
            bonus,
            mix_k: source.vector(&att("time_mix_k"), d)?,
            mix_v: source.vector(&att("time_mix_v"), d)?,
            mix_r: source.vector(&att("time_mix_r"), d)?,
            gate,
            receptance: source.matrix(&att("receptance.weight"), d, d)?,
            key: source.matrix(&att("key.weight"), d, d)?,
            value: source.matrix(&att("value.weight"), d, d)?,
            output: source.matrix(&att("output.weight"), d, d)?,
            ln_x: Norm::take(source, &att("ln_x"), d)?,
            channel_mix: ChannelMix::take(source, index, d)?,
        })
    }

    pub(super) fn head_size(&self) -> usize {
        self.head_size
    }
}

impl Mixers for Layer<'_> {
    fn zero_state(&self) -> LayerState {
        zero_state(self.decay.len(), self.head_size)
    }

    fn time_mix(&self, xx: &[Vec<f64>], _: &mut Tokens, state: &mut LayerState) -> Batch {
        let prev = &state.att_prev;
        let r = self.receptance.mul(&mix_current(xx, prev, &self.mix_r));
        let k = self.key.mul(&mix_current(xx, prev, &self.mix_k));
        let v = self.value.mul(&mix_current(xx, prev, &self.mix_v));
        let gate = self.gate.as_ref();
        let g = gate.map(|g| map_each(&g.weight.mul(&mix_current(xx, prev, &g.mix)), silu));

        let (n, w, u) = (self.head_size, &self.decay, &self.bonus);
        let mut gated = Vec::new();
        for (t, ((r, k), v)) in r.iter().zip(&k).zip(&v).enumerate() {
            let y = self.ln_x.group(&wkv(n, r, k, v, w, u, &mut state.s), n);
            gated.push(match &g {
                Some(g) => mul(&y, &g[t]),
                None => y,
            });
        }
        self.output.mul(&gated)
    }

    fn channel_mix(&self, xx: &[Vec<f64>], _: &Tokens, state: &mut LayerState) -> Batch {
        self.channel_mix.apply(xx, &state.ffn_prev)
    }
}

/// D / H, where H divides D.
pub(super) fn head_size(name: &str, heads: usize, channels: usize) -> Result<usize, Error> {
    if heads > 0 && channels.is_multiple_of(heads) {
        return Ok(channels / heads);
    }
    Err(Error::Shape {
        name: name.to_owned(),
        found: vec![heads],
        expected: format!("a number of heads that divides {channels}"),
    })
}

/// A zero state of D channels with a matrix `[N][N]` per head.
pub(super) fn zero_state(channels: usize, head_size: usize) -> LayerState {
    LayerState {
        att_prev: vec![0.0; channels],
        ffn_prev: vec![0.0; channels],
        s: vec![0.0; channels * head_size],
        ..LayerState::default()
    }
}

/// A parameter `[H, N]`, or `[H]` repeated over each head's channels.
fn per_channel(
    source: &mut Source<'_>,
    name: &str,
    heads: usize,
    head_size: usize,
) -> Result<Vec<f64>, Error> {
    if source.dim(name, 1).is_ok_and(|n| n != 1) {
        return source.per_head(name, heads, head_size);
    }
    let scalars = source.vector(name, heads)?;
    Ok(scalars.into_iter().flat_map(|x| core::iter::repeat_n(x, head_size)).collect())
}

/// Linear attention of versions 5 and 6 with decay w and bonus u, for every head
/// y_j = sum_i r_i (S_ij + u_i k_i v_j), then S_ij = w_i S_ij + k_i v_j.
///
/// Vectors are `[H][N]`, `s` is `[H][key][value]`.
pub(super) fn wkv(
    head_size: usize,
    r: &[f64],
    k: &[f64],
    v: &[f64],
    w: &[f64],
    u: &[f64],
    s: &mut [f64],
) -> Vec<f64> {
    let mut y = vec![0.0; r.len()];
    for (key, row) in s.chunks_exact_mut(head_size).enumerate() {
        let first = key - key % head_size;
        for (value, s) in (first..first + head_size).zip(row) {
            let kv = k[key] * v[value];
            y[value] += r[key] * (*s + u[key] * kv);
            *s = w[key] * *s + kv;
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::super::math::sigmoid;
    use super::*;

    #[test]
    fn attention_is_the_sum_over_all_tokens() {
        const N: usize = 2;
        let vector = |seed: usize| -> Vec<f64> {
            (0..2 * N).map(|c| ((seed * 31 + c * 17) % 23) as f64 / 11.0 - 1.0).collect()
        };
        let (u, w) = (vector(1), map(&vector(2), sigmoid));
        let tokens: Vec<_> = (3..9).map(|t| [vector(t), vector(10 * t), vector(20 * t)]).collect();
        let mut s = vec![0.0; 2 * N * N];
        for (now, [r, k, v]) in tokens.iter().enumerate() {
            let y = wkv(N, r, k, v, &w, &u, &mut s);
            for j in 0..2 * N {
                let mut expected = 0.0;
                for i in j / N * N..(j / N + 1) * N {
                    let past = tokens[..now]
                        .iter()
                        .enumerate()
                        .map(|(then, [_, k, v])| w[i].powi((now - 1 - then) as i32) * k[i] * v[j]);
                    expected += r[i] * (past.sum::<f64>() + u[i] * k[i] * v[j]);
                }
                assert!((y[j] - expected).abs() < 1e-14, "{} {expected}", y[j]);
            }
        }
    }
}
