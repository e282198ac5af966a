//! The wkv of a matrix-valued state: what RWKV-5, 6 and 7 share, and the wkv of 5 and 6.
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
//!
//! The state S is `[key][value]`, value innermost: the lanes of a vector register are value
//! channels, and sums over key channels run in ascending order. [`wkv`] walks over the value
//! channels, [`LANES`] at a time; all of a head's keys are read for these before the next ones,
//! so that sums stay in registers.

use crate::format::weights::LayerNorm;
use crate::kernels::{ChunksOf, Kernels, Phase};
use crate::num::state_dtype::StateElement;
use crate::num::{math, reduce};
use crate::rwkv::batch::Batch;
use crate::rwkv::cost::{self, region};

/// Epsilon of the per-head norm: training normalises y / 8 with 1e-5.
pub(crate) const HEAD_NORM_EPS: f32 = 64e-5;

/// Value channels that are computed together: as many as registers hold.
const LANES: usize = if cfg!(target_pointer_width = "64") { 32 } else { 8 };

/// The recurrence of one head and token.
pub(crate) trait Recurrence {
    /// Advances the value channels `at..at + C` of `state`, `[key][value]`, and writes theirs of
    /// y, `[value]`.
    fn lanes<K: Kernels, S: StateElement, const C: usize>(
        &self,
        kernels: &K,
        state: &mut [S],
        at: usize,
        y: &mut [f32],
    );
}

/// One head and token: advances `state`, `[key][value]`, and writes y, `[value]`. `cost` is that of
/// an element of the state; the first `done` value channels are done. Of two ways, `small` takes the one
/// with less code, a channel at a time.
#[inline(always)]
pub(crate) fn wkv<K: Kernels, S: StateElement>(
    step: &impl Recurrence,
    kernels: &K,
    state: &mut [S],
    y: &mut [f32],
    cost: usize,
    done: usize,
    small: bool,
) {
    let n = y.len();
    let whole = if small { done } else { n / LANES * LANES };
    let region = |lanes| region(Phase::Wkv, cost, lanes * n);
    let mut at = done;
    while at < whole {
        kernels.once(
            region(LANES),
            #[inline(always)]
            || step.lanes::<K, S, LANES>(kernels, state, at, y),
        );
        at += LANES;
    }
    while at < n {
        kernels.once(
            region(1),
            #[inline(always)]
            || step.lanes::<K, S, 1>(kernels, state, at, y),
        );
        at += 1;
    }
}

/// Elements of a state as the recurrence computes with them.
#[inline(always)]
pub(crate) fn widened<S: StateElement, const C: usize>(
    kernels: &impl Kernels,
    elements: &[S; C],
) -> [f32; C] {
    match S::as_f16(elements) {
        Some(elements) => kernels.widen_f16::<C>(first(elements)),
        None => elements.map(S::widen),
    }
}

/// `elements = values`, rounded as the state keeps them.
#[inline(always)]
pub(crate) fn narrow<S: StateElement, const C: usize>(
    kernels: &impl Kernels,
    values: &[f32; C],
    elements: &mut [S; C],
) {
    match S::as_f16_mut(elements) {
        Some(elements) => kernels.narrow_f16::<C>(values, first_mut(elements)),
        None => *elements = values.map(S::narrow),
    }
}

/// The first C values of `x`.
#[inline(always)]
pub(crate) fn first<T, const C: usize>(x: &[T]) -> &[T; C] {
    let Some((first, _)) = x.split_first_chunk() else { unreachable!("a whole chunk") };
    first
}

/// The first C values of `x`, to be written.
#[inline(always)]
pub(crate) fn first_mut<T, const C: usize>(x: &mut [T]) -> &mut [T; C] {
    let Some((first, _)) = x.split_first_chunk_mut() else { unreachable!("a whole chunk") };
    first
}

/// Inputs of the wkv of RWKV-5 and 6 for a batch.
#[derive(Debug)]
pub(crate) struct Wkv<'a> {
    /// `[token][width]` each.
    pub(crate) r: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    /// Decay: `[token][width]`, or `[width]` for all tokens.
    pub(crate) w: &'a [f32],
    /// Bonus of the current token: `[width]`
    pub(crate) u: &'a [f32],
    /// Before its activation: `[token][width]`
    pub(crate) gate: Option<&'a [f32]>,
    /// The norm of each head: `[width]`
    pub(crate) ln_x: LayerNorm<'a>,
}

impl Wkv<'_> {
    /// Advances `state`, `[head][sequence][key][value]`, and writes y,
    /// `[head][token][channel]`.
    pub(crate) fn forward<K: Kernels, S: StateElement>(
        &self,
        batch: &Batch<'_, K>,
        state: &mut [S],
        y: &mut [f32],
    ) {
        let Batch { shape, tokens, sequences, kernels } = batch;
        let n = shape.head_size;
        let parts = (
            0..shape.heads(),
            ChunksOf::new(state, sequences * n * n),
            ChunksOf::new(y, tokens.len() * n),
        );
        kernels.for_heads(
            parts,
            region(Phase::Wkv, cost::wkv5(n), tokens.len() * shape.width),
            #[inline(always)]
            |(heads, state, y)| {
                for (head, (state, y)) in heads.zip(state.iter().zip(y.iter())) {
                    let tokens = tokens.iter().enumerate();
                    for ((token, name), y) in tokens.zip(y.chunks_exact_mut(n)) {
                        let state = &mut state[name.sequence * n * n..][..n * n];
                        self.step(*kernels, token * shape.width, head * n, state, y);
                    }
                }
            },
        );
    }

    /// One head, whose first channel is `channel`, and one token, whose inputs start at `token`:
    /// advances `state`, `[key][value]`, and writes y, `[channel]`.
    #[inline(always)]
    fn step<K: Kernels, S: StateElement>(
        &self,
        kernels: &K,
        token: usize,
        channel: usize,
        state: &mut [S],
        y: &mut [f32],
    ) {
        let n = y.len();
        let of_token = |x: &'_ [f32]| -> core::ops::Range<usize> {
            let at = token % x.len() + channel;
            at..at + n
        };
        let (r, k) = (&self.r[of_token(self.r)], &self.k[of_token(self.k)]);
        let (v, w) = (&self.v[of_token(self.v)], &self.w[of_token(self.w)]);
        let u = &self.u[channel..channel + n];
        wkv(&HeadVectors { r, k, v, w }, kernels, state, y, cost::WKV5_STATE, 0, false);
        kernels.once(
            region(Phase::Wkv, cost::WKV5_OUTPUT, n),
            #[inline(always)]
            || {
                let bonus = reduce::dot3(r, u, k);
                for (y, v) in y.iter_mut().zip(v) {
                    *y += bonus * v;
                }
                let LayerNorm { weight, bias } = self.ln_x.channels(channel, n);
                reduce::layer_norm_in_place(y, weight, bias, HEAD_NORM_EPS);
                if let Some(gate) = self.gate {
                    for (y, g) in y.iter_mut().zip(&gate[of_token(gate)]) {
                        *y *= g * math::sigmoid(*g);
                    }
                }
            },
        );
    }
}

/// Vectors of one head and token, `[channel]` each.
#[derive(Debug)]
struct HeadVectors<'a> {
    r: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    w: &'a [f32],
}

impl Recurrence for HeadVectors<'_> {
    /// `y = S r`, then `S = S diag(w) + v k`.
    #[inline(always)]
    fn lanes<K: Kernels, S: StateElement, const C: usize>(
        &self,
        kernels: &K,
        state: &mut [S],
        at: usize,
        y: &mut [f32],
    ) {
        let n = y.len();
        let Self { r, k, v, w } = *self;
        // A copy, because a write to the state could otherwise change it, for all that the
        // compiler knows.
        let v: [f32; C] = *first(&v[at..]);
        let mut sum = [0.0; C];
        let keys = r.iter().zip(k).zip(w);
        for (s, ((&r, &k), &w)) in state.chunks_exact_mut(n).zip(keys) {
            let s: &mut [S; C] = first_mut(&mut s[at..]);
            let old = widened(kernels, s);
            let mut new = [0.0; C];
            for j in 0..C {
                sum[j] += old[j] * r;
                new[j] = old[j] * w + k * v[j];
            }
            narrow(kernels, &new, s);
        }
        y[at..at + C].copy_from_slice(&sum);
    }
}
