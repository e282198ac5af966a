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
//!    `LANES` rows by 4 inputs, the operand of a dot product.
//! 3. Weights are read as unsigned, `w + 128` (zero point 128). The group's sum is then too
//!    large by `128 * sum of q`; a correction of `-128 * sum of q` starts or ends each sum.
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

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet_simd::OutputRows;

use crate::dot_product::DotProduct;
use few::few;
use many::{COPY_MIN_TOKENS, many};
use single::single;
pub(crate) use single::terms;

/// Bytes of a group's weights that are worked on together for several tokens:
/// a part of the second-level cache.
const WINDOW: usize = 1 << 18;

/// A sparse product whose slices were found long enough.
#[derive(Debug)]
pub(crate) struct Sparse<'a> {
    matrix: &'a SparseMatrix<'a>,
    weights: &'a [i8],
    input: &'a Quantized<'a>,
    /// Inputs with padding.
    padded: usize,
    /// Rows with padding: the bytes between inputs.
    stride: usize,
}

impl<'a> Sparse<'a> {
    /// A product of which these tokens and rows are wanted.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the dimensions say, or the rows do not start
    /// at a tile.
    pub(crate) fn new(
        matrix: &'a SparseMatrix<'a>,
        input: &'a Quantized<'a>,
        tokens: usize,
        rows: Range<usize>,
    ) -> Self {
        assert_eq!(input.inputs(), matrix.inputs(), "input of another length");
        assert!(input.tokens() >= tokens, "too few tokens");
        assert!(rows.end <= matrix.rows(), "rows beyond the matrix");
        assert!(rows.start.is_multiple_of(TILE_ROWS), "rows within a tile");
        let (padded, stride) = (padded_inputs(matrix.inputs()), padded_rows(matrix.rows()));
        let Some(weights) = matrix.weights().int8() else { unimplemented!() };
        Self { matrix, weights, input, padded, stride }
    }

    /// Rows of a window: those that are worked on together for several tokens.
    fn window(&self) -> usize {
        WINDOW / self.matrix.group() / 64 * 64
    }
}

/// Computes the rows of `out`, by the algorithm that suits its tokens.
///
/// # Safety
///
/// The CPU has the instructions of D, and the caller has them switched on.
#[inline(always)]
pub(crate) unsafe fn product<D: DotProduct>(job: &Sparse<'_>, out: &mut OutputRows<'_>) {
    let tokens = out.tokens();
    if tokens == 1 {
        // SAFETY: the caller's promise.
        return unsafe { single::<D>(job, out) };
    }
    for token in 0..tokens {
        out.token(token).fill(0.0);
    }
    // SAFETY: the caller's promise.
    unsafe { if tokens < COPY_MIN_TOKENS { few::<D>(job, out) } else { many::<D>(job, out) } }
    for token in 0..tokens {
        let scale = job.input.scales()[token] * job.matrix.multiplier();
        for out in out.token(token) {
            *out *= scale;
        }
    }
}
