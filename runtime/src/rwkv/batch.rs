//! What the layers of every architecture do to a block of columns: norms,
//! token shift, activations, residual sums.

use crate::format::shape::Shape;
use crate::kernels::activations::QuantizedMut;
use crate::kernels::matrix::Matrix;
use crate::kernels::{Kernels, Product, Rows};
use crate::num::reduce;
use crate::num::state_dtype::StateElement;

/// One token of one sequence, in a block that is computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Column {
    /// The token id, below [`Shape::vocab`].
    pub token: u32,
    /// The sequence: which of the engine's states it continues.
    pub slot: usize,
    /// Whether the logits after this token are wanted.
    pub logits: bool,
}

/// Epsilon of every LayerNorm but the per-head one.
pub(crate) const LN_EPS: f32 = 1e-5;

/// Token shift of RWKV-6 and 7: `x` is the share of the predecessor `p`.
#[inline(always)]
pub(crate) fn toward_previous(n: f32, p: f32, x: f32) -> f32 {
    n + (p - n) * x
}

/// Token shift of RWKV-4 and 5: `x` is the share of the current input `n`.
#[inline(always)]
pub(crate) fn toward_current(n: f32, p: f32, x: f32) -> f32 {
    p + (n - p) * x
}

/// Column `column` of `[head][column][channel]` as `[head][channel]`, for heads of `n` channels.
#[inline(always)]
fn gather_heads(y: &[f32], column: usize, columns: usize, n: usize, out: &mut [f32]) {
    let heads = y.chunks_exact(columns * n);
    for (out, y) in out.chunks_exact_mut(n).zip(heads) {
        out.copy_from_slice(&y[column * n..][..n]);
    }
}

/// The input before a column, `[width]`, which a state of `S` remembers.
#[derive(Debug)]
enum Previous<'a, S> {
    /// As it is.
    Exact(&'a [f32]),
    /// A column of the same block, to be rounded as the state would.
    Column(&'a [f32]),
    /// From the state.
    Remembered(&'a [S]),
}

impl<S: StateElement> Previous<'_, S> {
    /// `out = shifted(n, p, x)` with p this input, elementwise.
    #[inline(always)]
    fn mix(
        &self,
        n: &[f32],
        x: impl Iterator<Item = f32>,
        shifted: impl Fn(f32, f32, f32) -> f32,
        out: &mut [f32],
    ) {
        let rest = out.iter_mut().zip(n).zip(x);
        match self {
            Self::Exact(p) => {
                rest.zip(*p).for_each(|(((out, n), x), p)| *out = shifted(*n, *p, x));
            }
            Self::Column(p) => {
                let p = p.iter().map(|p| S::narrow(*p).widen());
                rest.zip(p).for_each(|(((out, n), x), p)| *out = shifted(*n, p, x));
            }
            Self::Remembered(p) => {
                let p = p.iter().map(|p| p.widen());
                rest.zip(p).for_each(|(((out, n), x), p)| *out = shifted(*n, p, x));
            }
        }
    }
}

/// A block of columns on its way through the layers.
#[derive(Debug)]
pub(crate) struct Block<'a, K> {
    pub(crate) shape: Shape,
    pub(crate) columns: &'a [Column],
    pub(crate) slots: usize,
    pub(crate) kernels: &'a K,
}

impl<K: Kernels> Block<'_, K> {
    /// Number of columns.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// `normed = LN(x)`, both `[column][width]`; `ln` is weight and bias.
    pub(crate) fn norm(&self, x: &[f32], ln: (&[f32], &[f32]), normed: &mut [f32]) {
        let width = self.shape.width;
        let parts = (0..self.len(), Rows::new(normed, width));
        self.kernels.for_parts(
            parts,
            8 * x.len(),
            #[inline(always)]
            |(range, normed)| {
                for (column, normed) in range.zip(normed.iter()) {
                    let x = &x[column * width..][..width];
                    reduce::layer_norm(x, ln.0, ln.1, LN_EPS, normed);
                }
            },
        );
    }

    /// Token shift: quantizes `shifted(n, p, shift[c])` into `mixed[c]`, where n
    /// is a column of `normed` and p its predecessor in the sequence, as a state
    /// remembers it.
    ///
    /// * `normed`, `scratch`: `[column][width]`
    /// * `state`: `[slot][width]`
    /// * `shifted`: [`toward_previous`] or [`toward_current`]
    pub(crate) fn mix<S: StateElement, const N: usize>(
        &self,
        normed: &[f32],
        state: &[S],
        shift: [&[f32]; N],
        shifted: impl Fn(f32, f32, f32) -> f32 + Sync,
        scratch: &mut [f32],
        mixed: &mut [QuantizedMut<'_>; N],
    ) {
        let share = |_, c: usize| shift[c].iter().copied();
        self.mix_with(normed, state, share, shifted, scratch, mixed);
    }

    /// Token shift whose shares are `share(column, c)`; otherwise as [`mix`](Self::mix).
    pub(crate) fn mix_with<S: StateElement, I: Iterator<Item = f32>, const N: usize>(
        &self,
        normed: &[f32],
        state: &[S],
        share: impl Fn(usize, usize) -> I + Sync,
        shifted: impl Fn(f32, f32, f32) -> f32 + Sync,
        scratch: &mut [f32],
        mixed: &mut [QuantizedMut<'_>; N],
    ) {
        let width = self.shape.width;
        let mixed = mixed.each_mut().map(QuantizedMut::reborrow);
        let parts = (0..self.len(), Rows::new(scratch, width), mixed);
        let work = 8 * N * normed.len();
        self.kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(range, scratch, mixed)| {
                let mut mixed = mixed.map(QuantizedMut::columns);
                for (column, scratch) in range.zip(scratch.iter()) {
                    let n = &normed[column * width..][..width];
                    let p = self.previous(column, normed, state);
                    for (c, mixed) in mixed.iter_mut().enumerate() {
                        p.mix(n, share(column, c), &shifted, scratch);
                        if let Some(mixed) = mixed.next() {
                            mixed.quantize(scratch, |q| self.kernels.pack(q));
                        }
                    }
                }
            },
        );
    }

    /// The input of `column`'s predecessor in its sequence: the column before
    /// it in the block, or what the state remembers.
    #[inline(always)]
    fn previous<'b, S: StateElement>(
        &self,
        column: usize,
        normed: &'b [f32],
        state: &'b [S],
    ) -> Previous<'b, S> {
        let width = self.shape.width;
        let slot = self.columns[column].slot;
        let before = self.columns[..column].iter().rposition(|other| other.slot == slot);
        match (S::as_f32(state), before) {
            // What an f32 state remembers is the column itself: one loop reads both.
            (Some(state), _) => {
                let (rows, row) = before.map_or((state, slot), |column| (normed, column));
                Previous::Exact(&rows[row * width..][..width])
            }
            (None, Some(column)) => Previous::Column(&normed[column * width..][..width]),
            (None, None) => Previous::Remembered(&state[slot * width..][..width]),
        }
    }

    /// Keeps the last input of each sequence for the next block's token shift.
    pub(crate) fn remember<S: StateElement>(&self, normed: &[f32], state: &mut [S]) {
        let width = self.shape.width;
        for (column, normed) in self.columns.iter().zip(normed.chunks_exact(width)) {
            S::narrow_all(normed, &mut state[column.slot * width..][..width]);
        }
    }

    /// Quantizes `f(x)` into `out`; x is `[column][input]` and left as `f(x)`.
    #[inline(always)]
    pub(crate) fn activate(
        &self,
        x: &mut [f32],
        f: impl Fn(f32) -> f32 + Sync,
        out: &mut QuantizedMut<'_>,
    ) {
        let work = 32 * x.len();
        let parts = (Rows::new(x, out.inputs()), out.reborrow());
        self.kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(x, out)| {
                for (x, out) in x.iter().zip(out.columns()) {
                    for x in x.iter_mut() {
                        *x = f(*x);
                    }
                    out.quantize(x, |q| self.kernels.pack(q));
                }
            },
        );
    }

    /// The end of a time mix: `x += matrix y`.
    ///
    /// * `y`: `[head][column][channel]`, heads of `n` channels
    /// * `x`, `input`, `output`: `[column][width]`, the latter two scratch
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
        let (columns, width) = (self.len(), self.shape.width);
        self.kernels.for_parts(
            (0..columns, Rows::new(input, width), quantized.reborrow()),
            4 * columns * width,
            #[inline(always)]
            |(range, input, quantized)| {
                for ((column, input), quantized) in range.zip(input.iter()).zip(quantized.columns())
                {
                    gather_heads(y, column, columns, n, input);
                    quantized.quantize(input, |q| self.kernels.pack(q));
                }
            },
        );
        let input = quantized.view();
        self.kernels.products(&mut [Product { matrix, input, output: &mut *output }]);
        self.add(output, x);
    }

    /// `x += y`, both `[column][width]`.
    pub(crate) fn add(&self, y: &[f32], x: &mut [f32]) {
        let width = self.shape.width;
        let work = x.len();
        let parts = (0..self.len(), Rows::new(x, width));
        self.kernels.for_parts(
            parts,
            work,
            #[inline(always)]
            |(range, x)| {
                for (column, x) in range.zip(x.iter()) {
                    for (x, y) in x.iter_mut().zip(&y[column * width..][..width]) {
                        *x += y;
                    }
                }
            },
        );
    }
}
