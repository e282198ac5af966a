//! Products with an input that is mostly zero: the channel mix's second matrix.
//!
//! ```text
//! y[row] = scale * sum over the groups g, ascending, of
//!              f32(sum over the inputs i of g with q[i] != 0 of w[i][row] * q[i]) * s[g][row]
//! ```
//!
//! Weights are stored by input, `[input][row]`, so that an input whose activation is zero costs
//! nothing: its row of weights, `stride` bytes, is not read. The inner sum is an exact i32; the
//! f32 operations are those of the contract in its order. A group without an active input adds
//! +0.0 and is skipped. The result has the bits of the dense product.
//!
//! # Steps that all algorithms share
//!
//! 1. [`nonzero`] lists the active inputs of a group and packs their activations by fours.
//! 2. Four inputs are a step, because the dot product instructions add four products to a lane.
//!    Four registers with the weights of four inputs are interleaved to four tiles of
//!    `LANES` rows by 4 inputs, the operand of a dot product. Of int4 they are interleaved as
//!    they are, and each makes two tiles: the low nibbles are 16 rows, the high ones the 16
//!    rows after them. A register of an input, a [`unit`], has so twice the rows.
//! 3. Weights are read as unsigned, `w + z` with the zero point z = 128 or 8. The group's sum is
//!    then too large by `z * sum of q`; a correction of `-z * sum of q` starts or ends each sum.
//! 4. At the group's end, lanes go back to the order of rows, and the fold adds
//!    `f32(sum) * s[g][row]` to the accumulators.
//!
//! # Which algorithm when
//!
//! | tokens                          | algorithm            | weights come from  | order of loops        |
//! |----------------------------------|----------------------|--------------------|-----------------------|
//! | 1, this thread has rows          | [`single()`]         | memory             | run, group, input     |
//! | 1, this thread has groups        | [`terms`]            | memory             | run, group, input     |
//! | 2 to 7                           | [`few()`]            | second-level cache | window, group, token |
//! | 8 and more, a group's inputs are | [`many()`], copying  | a copy, first      | group, strip, token  |
//! | active once in the mean          |                      | level              |                       |
//! | 8 and more, fewer are active     | [`many()`], in place | second-level cache | group, window, token |
//!
//! * **One token** (decode) reads each active input's weights once: streaming. Long runs of
//!   whole rows, of which the next are prefetched, read 1.3 to 2.5 times as fast from memory
//!   as blocks of rows do. The order of lines within a run is [`line_order`]'s subject.
//!   Threads split such a product by groups, so that rows are still read whole; [`terms`] is
//!   the same loop with the groups' terms written apart, to be added in order afterwards.
//! * **A few tokens** share weights through the second-level cache.
//! * **Many tokens** (prefill) would read each weight from the second level once per token,
//!   because the rows of a group lie so far apart that they evict each other from the first.
//!   A strip of them is copied side by side, already unsigned, and used by all tokens.
//!   That made prompts 7 % faster at 0.4B and 10 to 14 % at 1.5B.
//!
//! # Tried and lost
//!
//! * Copying where few inputs are active: with eight tokens and 92 to 99 % of zeros a prompt
//!   is 1.07 to 1.2 times as fast without.
//! * Reading short rows (768 or 1024 bytes) in ascending order: the hardware prefetcher's
//!   overshoot took a third of the bandwidth.
//! * Splitting one token by rows between threads: short reads here and there.

mod few;
mod line_order;
mod many;
mod nonzero;
mod single;

use core::marker::PhantomData;
use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{LINE_BLOCK, SparseMatrix, padded_inputs};
use kinglet_simd::OutputRows;

use crate::dot_product::DotProduct;
use crate::simd::Simd;
use crate::weight_type::{MAX_PER_BYTE, Operand, WeightType};
use few::few;
use many::{COPY_MIN_TOKENS, many};
use single::single;
pub(crate) use single::terms;

/// Bytes of a group's weights that are worked on together for several tokens:
/// a part of the second-level cache.
const WINDOW: usize = 1 << 18;

/// A sparse product with weights of the type W, whose slices were found long enough.
#[derive(Debug)]
pub(crate) struct Sparse<'a, W> {
    matrix: &'a SparseMatrix<'a>,
    weights: &'a [u8],
    input: &'a Quantized<'a>,
    /// Inputs with padding.
    padded: usize,
    /// Bytes between inputs.
    stride: usize,
    weight_type: PhantomData<W>,
}

impl<'a, W: WeightType> Sparse<'a, W> {
    /// A product of which these tokens and rows are wanted.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the dimensions say, the rows do not start at a
    /// block of each weight in a byte, or the weights are of another type.
    pub(crate) fn new(
        matrix: &'a SparseMatrix<'a>,
        input: &'a Quantized<'a>,
        tokens: usize,
        rows: Range<usize>,
    ) -> Self {
        assert_eq!(input.inputs(), matrix.inputs(), "input of another length");
        assert!(input.tokens() >= tokens, "too few tokens");
        assert!(rows.end <= matrix.rows(), "rows beyond the matrix");
        assert!(rows.start.is_multiple_of(LINE_BLOCK * W::PER_BYTE), "rows within a block");
        let weights = W::bytes(matrix.weights());
        let (padded, stride) = (padded_inputs(matrix.inputs()), matrix.stride() / W::PER_BYTE);
        Self { matrix, weights, input, padded, stride, weight_type: PhantomData }
    }

    /// Rows of a window: those that are worked on together for several tokens.
    fn window(&self) -> usize {
        WINDOW / self.matrix.group() / 64 * (64 * W::PER_BYTE)
    }

    /// The weights of input `input` from row `row` on.
    ///
    /// # Safety
    ///
    /// The matrix has both, and the row is at a block.
    #[inline(always)]
    unsafe fn weights(&self, input: usize, row: usize) -> *const u8 {
        // SAFETY: the caller's promise; `new` found `stride` bytes for each input.
        unsafe { self.weights.as_ptr().add(input * self.stride + row / W::PER_BYTE) }
    }

    /// The scales of group `group` from row `row` on.
    ///
    /// # Safety
    ///
    /// The matrix has both.
    #[inline(always)]
    unsafe fn scales(&self, group: usize, row: usize) -> *const u16 {
        let at = group * self.stride * W::PER_BYTE + row;
        // SAFETY: the caller's promise; a matrix has scales for each of its padded rows.
        unsafe { self.matrix.scales().as_ptr().add(at).cast() }
    }
}

/// The most rows of a [`unit`].
const MAX_UNIT: usize = 64 * MAX_PER_BYTE;

/// Rows of a register of weights of one input.
const fn unit<D: DotProduct, W: Operand>() -> usize {
    4 * D::Simd::LANES * W::PER_BYTE
}

/// The first row, from that of a unit on, of the register of sums that
/// [`restore`](Simd::restore) gives as number `t` for block `block`.
const fn first_row<D: DotProduct, W: Operand>(block: usize, t: usize) -> usize {
    let byte = t * D::Simd::LANES;
    byte / LINE_BLOCK * (LINE_BLOCK * W::PER_BYTE) + block * LINE_BLOCK + byte % LINE_BLOCK
}

/// Rows with the padding that they have at the end of a matrix.
const fn padded<W: Operand>(rows: usize) -> usize {
    rows.next_multiple_of(LINE_BLOCK * W::PER_BYTE)
}

/// Computes the rows of `out`, by the algorithm that suits its tokens.
///
/// # Safety
///
/// The CPU has the instructions of D, and the caller has them switched on.
#[inline(always)]
pub(crate) unsafe fn product<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    out: &mut OutputRows<'_>,
) {
    let tokens = out.tokens();
    if tokens == 1 {
        // SAFETY: the caller's promise.
        return unsafe { single::<D, W>(job, out) };
    }
    for token in 0..tokens {
        out.token(token).fill(0.0);
    }
    // SAFETY: the caller's promise.
    unsafe { if tokens < COPY_MIN_TOKENS { few::<D, W>(job, out) } else { many::<D, W>(job, out) } }
    for token in 0..tokens {
        let scale = job.input.scales()[token] * job.matrix.multiplier();
        for out in out.token(token) {
            *out *= scale;
        }
    }
}
