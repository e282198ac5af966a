//! The steps that the layers of every architecture do to a batch of tokens: norms, token shift,
//! activations, residual sums.
//!
//! Every step is a loop over tokens or heads that [`Kernels::for_parts`] may split between
//! threads. [`Batch::for_each_token`] is the loop over tokens.

use crate::format::shape::Shape;
use crate::format::weights::LayerNorm;
use crate::kernels::activations::{QuantizedMut, TokenMut};
use crate::kernels::matrix::Matrix;
use crate::kernels::{ChunksOf, Kernels, Phase, Product, Region, Split};
use crate::num::reduce;
use crate::num::state_dtype::StateElement;
use crate::rwkv::cost::{self, region};

/// One token of one sequence, in a batch that is computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BatchToken {
    /// The token id, below [`Shape::vocab`].
    pub token: u32,
    /// The sequence: which of the engine's states it continues.
    pub sequence: usize,
    /// Whether the logits after this token are wanted.
    pub logits: bool,
}

/// Epsilon of every LayerNorm but the per-head one.
pub(crate) const LN_EPS: f32 = 1e-5;

/// Token shift of RWKV-6 and 7: `x` is the share of the predecessor `p`.
#[inline(always)]
pub(crate) fn lerp_to_previous(n: f32, p: f32, x: f32) -> f32 {
    n + (p - n) * x
}

/// Token shift of RWKV-4 and 5: `x` is the share of the current input `n`.
#[inline(always)]
pub(crate) fn lerp_to_current(n: f32, p: f32, x: f32) -> f32 {
    p + (n - p) * x
}

/// Per-token data that is split between threads: an item for each token.
pub(crate) trait PerToken: Split {
    /// The data of one token.
    type Item;

    /// The data of each token, in order.
    fn per_token(self) -> impl Iterator<Item = Self::Item>;
}

impl<'a, T: Send> PerToken for ChunksOf<'a, T> {
    type Item = &'a mut [T];

    #[inline(always)]
    fn per_token(self) -> impl Iterator<Item = Self::Item> {
        self.iter()
    }
}

impl<'a> PerToken for QuantizedMut<'a> {
    type Item = TokenMut<'a>;

    #[inline(always)]
    fn per_token(self) -> impl Iterator<Item = Self::Item> {
        self.tokens()
    }
}

impl<A: PerToken, B: PerToken> PerToken for (A, B) {
    type Item = (A::Item, B::Item);

    #[inline(always)]
    fn per_token(self) -> impl Iterator<Item = Self::Item> {
        self.0.per_token().zip(self.1.per_token())
    }
}

/// Runs `f(token, data)` for each of `tokens` tokens and its part of `data`, split between the
/// threads of `kernels`. Callers mark `f` `#[inline(always)]`, as for [`Kernels::for_parts`].
#[inline(always)]
pub(crate) fn for_each_token<K: Kernels, P: PerToken>(
    kernels: &K,
    tokens: usize,
    region: Region,
    data: P,
    f: impl Fn(usize, P::Item) + Sync,
) {
    kernels.for_parts(
        (0..tokens, data),
        region,
        #[inline(always)]
        |(tokens, data)| {
            for (token, data) in tokens.zip(data.per_token()) {
                f(token, data);
            }
        },
    );
}

/// A batch of tokens on its way through the layers.
#[derive(Debug)]
pub(crate) struct Batch<'a, K> {
    pub(crate) shape: Shape,
    pub(crate) tokens: &'a [BatchToken],
    /// Number of sequences whose states lie together.
    pub(crate) sequences: usize,
    pub(crate) kernels: &'a K,
}

impl<K: Kernels> Batch<'_, K> {
    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// [`for_each_token`] of this batch.
    #[inline(always)]
    pub(crate) fn for_each_token<P: PerToken>(
        &self,
        region: Region,
        data: P,
        f: impl Fn(usize, P::Item) + Sync,
    ) {
        for_each_token(self.kernels, self.len(), region, data, f);
    }

    /// `normed = LN(x)`, both `[token][width]`.
    pub(crate) fn norm(&self, x: &[f32], ln: LayerNorm<'_>, normed: &mut [f32]) {
        let width = self.shape.width;
        self.for_each_token(
            region(Phase::Norm, cost::NORM, x.len()),
            ChunksOf::new(normed, width),
            #[inline(always)]
            |token, normed| {
                let x = &x[token * width..][..width];
                reduce::layer_norm(x, ln.weight, ln.bias, LN_EPS, normed);
            },
        );
    }

    /// Token shift: quantizes `lerp(n, p, shares[c])` into `shifted[c]`, where n is a token of
    /// `normed` and p its predecessor in the sequence, as a state keeps it.
    ///
    /// * `normed`, `scratch`: `[token][width]`
    /// * `state`: `[sequence][width]`
    /// * `shares`: `[width]` each
    /// * `lerp`: [`lerp_to_previous`] or [`lerp_to_current`]
    pub(crate) fn token_shift<S: StateElement, const N: usize>(
        &self,
        normed: &[f32],
        state: &[S],
        shares: [&[f32]; N],
        lerp: impl Fn(f32, f32, f32) -> f32 + Sync,
        scratch: &mut [f32],
        shifted: &mut [QuantizedMut<'_>; N],
    ) {
        let share = |_, c: usize| shares[c].iter().copied();
        self.token_shift_by(normed, state, share, lerp, scratch, shifted);
    }

    /// Token shift whose shares are `share(token, c)`; otherwise as
    /// [`token_shift`](Self::token_shift).
    pub(crate) fn token_shift_by<S: StateElement, I: Iterator<Item = f32>, const N: usize>(
        &self,
        normed: &[f32],
        state: &[S],
        share: impl Fn(usize, usize) -> I + Sync,
        lerp: impl Fn(f32, f32, f32) -> f32 + Sync,
        scratch: &mut [f32],
        shifted: &mut [QuantizedMut<'_>; N],
    ) {
        let width = self.shape.width;
        let shifted = shifted.each_mut().map(QuantizedMut::reborrow);
        // Not `for_each_token`: an array of N quantized tokens would be moved for each token, and one
        // of N iterators would lie on the stack.
        self.kernels.for_parts(
            (0..self.len(), ChunksOf::new(scratch, width), shifted),
            region(Phase::TokenShift, N * cost::TOKEN_SHIFT, normed.len()),
            #[inline(always)]
            |(tokens, scratch, mut shifted)| {
                for (i, (token, scratch)) in tokens.zip(scratch.iter()).enumerate() {
                    let n = &normed[token * width..][..width];
                    let p = self.shift_input(token, normed, state);
                    for (c, shifted) in shifted.iter_mut().enumerate() {
                        p.lerp(n, share(token, c), &lerp, scratch);
                        shifted.token(i).quantize(scratch, |q| self.kernels.pack(q));
                    }
                }
            },
        );
    }

    /// The input of `token`'s predecessor in its sequence: the one before it in the batch, or the
    /// one that the state keeps.
    #[inline(always)]
    fn shift_input<'b, S: StateElement>(
        &self,
        token: usize,
        normed: &'b [f32],
        state: &'b [S],
    ) -> ShiftInput<'b, S> {
        let width = self.shape.width;
        let sequence = self.tokens[token].sequence;
        let before = self.tokens[..token].iter().rposition(|other| other.sequence == sequence);
        match (S::as_f32(state), before) {
            // One loop for both, because an f32 state keeps the token's input as it is.
            (Some(state), _) => {
                let (rows, row) = before.map_or((state, sequence), |token| (normed, token));
                ShiftInput::Exact(&rows[row * width..][..width])
            }
            (None, Some(token)) => ShiftInput::InBatch(&normed[token * width..][..width]),
            (None, None) => ShiftInput::FromState(&state[sequence * width..][..width]),
        }
    }

    /// Keeps the last input of each sequence for the next batch's token shift.
    ///
    /// * `normed`: `[token][width]`
    /// * `state`: `[sequence][width]`
    pub(crate) fn save_shift_state<S: StateElement>(&self, normed: &[f32], state: &mut [S]) {
        let width = self.shape.width;
        let region = region(Phase::TokenShift, cost::SAVE_SHIFT, normed.len());
        self.kernels.once(
            region,
            #[inline(always)]
            || {
                for (token, normed) in self.tokens.iter().zip(normed.chunks_exact(width)) {
                    S::narrow_all(normed, &mut state[token.sequence * width..][..width]);
                }
            },
        );
    }

    /// Quantizes `f(x)` into `out`; x is `[token][input]` and left as `f(x)`.
    ///
    /// One copy for each `f`: a function where there is one, for closures are of types of their own.
    #[inline(never)]
    pub(crate) fn activate(
        &self,
        x: &mut [f32],
        f: impl Fn(f32) -> f32 + Sync,
        out: &mut QuantizedMut<'_>,
    ) {
        let region = region(Phase::Activation, cost::ACTIVATION, x.len());
        self.for_each_token(
            region,
            (ChunksOf::new(x, out.inputs()), out.reborrow()),
            #[inline(always)]
            |_, (x, out)| {
                for x in x.iter_mut() {
                    *x = f(*x);
                }
                out.quantize(x, |q| self.kernels.pack(q));
            },
        );
    }

    /// The end of a time mix: `x += matrix y`.
    ///
    /// * `y`: `[head][token][channel]`, heads of `n` channels
    /// * `x`, `input`, `output`: `[token][width]`, the latter two scratch
    #[inline(never)]
    pub(crate) fn project(
        &self,
        y: &[f32],
        n: usize,
        matrix: Matrix<'_>,
        [input, output]: [&mut [f32]; 2],
        quantized: &mut QuantizedMut<'_>,
        x: &mut [f32],
    ) {
        let (tokens, width) = (self.len(), self.shape.width);
        self.for_each_token(
            region(Phase::Activation, cost::GATHER, tokens * width),
            (ChunksOf::new(input, width), quantized.reborrow()),
            #[inline(always)]
            |token, (input, quantized)| {
                gather_heads(y, token, tokens, n, input);
                quantized.quantize(input, |q| self.kernels.pack(q));
            },
        );
        let input = quantized.view();
        self.kernels.products(&mut [Product { matrix, input, output: &mut *output }]);
        self.add(output, x);
    }

    /// `x += y`, both `[token][width]`.
    pub(crate) fn add(&self, y: &[f32], x: &mut [f32]) {
        let width = self.shape.width;
        let region = region(Phase::Residual, cost::RESIDUAL, x.len());
        self.for_each_token(
            region,
            ChunksOf::new(x, width),
            #[inline(always)]
            |token, x| {
                for (x, y) in x.iter_mut().zip(&y[token * width..][..width]) {
                    *x += y;
                }
            },
        );
    }
}

/// The input before a token, `[width]`, as a state of `S` keeps it.
#[derive(Debug)]
enum ShiftInput<'a, S> {
    /// As it is.
    Exact(&'a [f32]),
    /// A token of the same batch, to be rounded as the state would.
    InBatch(&'a [f32]),
    /// From the state.
    FromState(&'a [S]),
}

impl<S: StateElement> ShiftInput<'_, S> {
    /// `out = lerp(n, p, x)` with p this input, elementwise.
    #[inline(always)]
    fn lerp(
        &self,
        n: &[f32],
        x: impl Iterator<Item = f32>,
        lerp: impl Fn(f32, f32, f32) -> f32,
        out: &mut [f32],
    ) {
        let rest = out.iter_mut().zip(n).zip(x);
        match self {
            Self::Exact(p) => {
                rest.zip(*p).for_each(|(((out, n), x), p)| *out = lerp(*n, *p, x));
            }
            Self::InBatch(p) => {
                let p = p.iter().map(|p| S::narrow(*p).widen());
                rest.zip(p).for_each(|(((out, n), x), p)| *out = lerp(*n, p, x));
            }
            Self::FromState(p) => {
                let p = p.iter().map(|p| p.widen());
                rest.zip(p).for_each(|(((out, n), x), p)| *out = lerp(*n, p, x));
            }
        }
    }
}

/// Token `token` of `[head][token][channel]` as `[head][channel]`, for heads of `n` channels.
#[inline(always)]
fn gather_heads(y: &[f32], token: usize, tokens: usize, n: usize, out: &mut [f32]) {
    let heads = y.chunks_exact(tokens * n);
    for (out, y) in out.chunks_exact_mut(n).zip(heads) {
        out.copy_from_slice(&y[token * n..][..n]);
    }
}
