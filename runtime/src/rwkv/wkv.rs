//! What RWKV-5, 6 and 7 share, whose state is a matrix per head, and the linear
//! attention of 5 and 6.
//!
//! Per head and token, with key channels i, value channels j, and parentheses as
//! the operations are computed in f32:
//!
//! ```text
//! bonus   = sum (r * u) * k                                 in the order of `reduce`
//! y[j]    = (sum over i ascending of S[i][j] * r[i]) + bonus * v[j]
//! S[i][j] = S[i][j] * w[i] + k[i] * v[j]
//! y = ((y - mean) * rstd) * ln_x.weight + ln_x.bias         eps 64e-5
//! y = y * (g * s(g))                                        where there is a gate
//! ```
//!
//! The papers write `y[j] = sum r[i] * (u[i] * k[i] * v[j] + S[i][j])`, the same
//! sum with the factor `v[j]` not taken out.

use crate::kernels::{Kernels, Rows};
use crate::num::math;
use crate::num::reduce;
use crate::num::state_dtype::StateElement;
use crate::rwkv::batch::Block;

/// Epsilon of the per-head norm: training normalises y / 8 with 1e-5.
pub(crate) const HEAD_NORM_EPS: f32 = 64e-5;

/// Value channels that are computed together: as many as registers hold.
pub(crate) const TOGETHER: usize = if cfg!(target_pointer_width = "64") { 32 } else { 8 };

/// The first C values of `x`.
#[inline(always)]
pub(crate) fn lanes<T, const C: usize>(x: &[T]) -> &[T; C] {
    let Some((lanes, _)) = x.split_first_chunk() else { unreachable!("a whole chunk") };
    lanes
}

/// Inputs of the linear attention of RWKV-5 and 6 for a block.
#[derive(Debug)]
pub(crate) struct LinearAttention<'a> {
    /// `[column][width]` each.
    pub(crate) r: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    /// Decay: `[column][width]`, or `[width]` for all columns.
    pub(crate) w: &'a [f32],
    /// Bonus of the current token: `[width]`
    pub(crate) u: &'a [f32],
    /// Before its activation: `[column][width]`
    pub(crate) gate: Option<&'a [f32]>,
    /// Weight and bias of the per-head norm: `[width]` each.
    pub(crate) ln_x: (&'a [f32], &'a [f32]),
}

impl LinearAttention<'_> {
    /// Advances `state`, `[head][slot][key][value]`, and writes y,
    /// `[head][column][channel]`.
    pub(crate) fn forward<K: Kernels, S: StateElement>(
        &self,
        block: &Block<'_, K>,
        state: &mut [S],
        y: &mut [f32],
    ) {
        let Block { shape, columns, slots, kernels } = block;
        let n = shape.head_size;
        let parts =
            (0..shape.heads(), Rows::new(state, slots * n * n), Rows::new(y, columns.len() * n));
        // Five operations for each element of the state, besides the vectors.
        let work = columns.len() * shape.width * (5 * n + 50);
        kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(heads, state, y)| {
                for (head, (state, y)) in heads.zip(state.iter().zip(y.iter())) {
                    let columns = columns.iter().enumerate();
                    for ((column, name), y) in columns.zip(y.chunks_exact_mut(n)) {
                        let state = &mut state[name.slot * n * n..][..n * n];
                        self.step(column * shape.width, head * n, state, y);
                    }
                }
            },
        );
    }

    /// One head, whose first channel is `channel`, and one token, whose column
    /// starts at `column`: advances `state`, `[key][value]`, and writes y, `[channel]`.
    #[inline(always)]
    fn step<S: StateElement>(&self, column: usize, channel: usize, state: &mut [S], y: &mut [f32]) {
        let n = y.len();
        let of_token = |x: &'_ [f32]| -> core::ops::Range<usize> {
            let at = column % x.len() + channel;
            at..at + n
        };
        let of_head = channel..channel + n;
        let (r, k) = (&self.r[of_token(self.r)], &self.k[of_token(self.k)]);
        let (v, w) = (&self.v[of_token(self.v)], &self.w[of_token(self.w)]);
        let u = &self.u[of_head.clone()];
        recurrence(state, &Step { r, k, v, w }, y);
        let bonus = reduce::dot3(r, u, k);
        for (y, v) in y.iter_mut().zip(v) {
            *y += bonus * v;
        }
        let (weight, bias) = (&self.ln_x.0[of_head.clone()], &self.ln_x.1[of_head]);
        reduce::layer_norm_in_place(y, weight, bias, HEAD_NORM_EPS);
        if let Some(gate) = self.gate {
            for (y, g) in y.iter_mut().zip(&gate[of_token(gate)]) {
                *y *= g * math::sigmoid(*g);
            }
        }
    }
}

/// Vectors of one head and token, `[channel]` each.
#[derive(Debug)]
struct Step<'a> {
    r: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    w: &'a [f32],
}

/// `y = S r`, then `S = S diag(w) + v k`, for `state` `[key][value]`.
#[inline(always)]
fn recurrence<S: StateElement>(state: &mut [S], step: &Step<'_>, y: &mut [f32]) {
    let n = y.len();
    let whole = n / TOGETHER * TOGETHER;
    let mut at = 0;
    while at < whole {
        values::<S, TOGETHER>(state, step, at, y);
        at += TOGETHER;
    }
    while at < n {
        values::<S, 1>(state, step, at, y);
        at += 1;
    }
}

/// The recurrence for the value channels `at..at + C`.
#[inline(always)]
fn values<S: StateElement, const C: usize>(
    state: &mut [S],
    step: &Step<'_>,
    at: usize,
    y: &mut [f32],
) {
    let n = y.len();
    let Step { r, k, v, w } = *step;
    // A copy, so that no write to the state can change what the registers hold.
    let v: [f32; C] = *lanes(&v[at..]);
    let mut sum = [0.0; C];
    let keys = r.iter().zip(k).zip(w);
    for (s, ((r, k), w)) in state.chunks_exact_mut(n).zip(keys) {
        let Some((s, _)) = s[at..].split_first_chunk_mut::<C>() else { unreachable!() };
        let mut next = *s;
        for j in 0..C {
            let old = next[j].widen();
            sum[j] += old * r;
            next[j] = S::narrow(old * w + k * v[j]);
        }
        *s = next;
    }
    y[at..at + C].copy_from_slice(&sum);
}
