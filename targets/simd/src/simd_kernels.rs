//! The interface that a target's SIMD kernels implement: products of some rows, on one thread.
//!
//! It is [`Kernels`](kinglet::kernels::Kernels) one level down. There a call is a whole product
//! and may use threads; here it is the rows of one chunk, and the caller has the threads. The
//! core's reference implements it too, so that a set for any machine exists.
//!
//! An implementation may assume that [`OutputRows`] start at a tile of 16 rows. It must check
//! lengths that its unsafe loads rely on, because all arguments can be made by safe code.

use core::ops::Range;

use kinglet::matrix::{INPUT_PAD, Matrix, SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet::quantized::Quantized;
use kinglet::scalar::{self, Scalar};

use crate::OutputRows;

/// A target's instruction set, on one thread: it computes the rows of a product that it is
/// given. [`OneThread`](crate::OneThread) and `Threaded` of the crate `kinglet-host` make
/// [`Kernels`](kinglet::kernels::Kernels) of it, which own whole products.
///
/// A value of an implementing type is the proof that the CPU has the
/// instructions: it can be constructed only after asking.
pub trait SimdKernels: Sync {
    /// Name of the kernel set: `{arch}-{instructions}`.
    fn name(&self) -> &'static str;

    /// See [`Kernels::pack`](kinglet::kernels::Kernels::pack).
    fn pack(&self, q: &mut [i16]);

    /// Runs `f`, compiled with the instructions switched on where it is inlined.
    fn run<R>(&self, f: impl FnOnce() -> R) -> R;

    /// Computes the rows of `out` of a [`Product`](kinglet::kernels::Product); they start at a tile.
    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>);

    /// Computes the rows of `out` of a
    /// [`SparseProduct`](kinglet::kernels::SparseProduct); they start at a tile.
    fn sparse_product(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        out: &mut OutputRows<'_>,
    );

    /// Computes the terms of a sparse product with one column: what each of `groups` adds to
    /// each row, `[group][row]`. The sum of all groups' terms in ascending order, from +0.0, is
    /// the product before the input's scale and the matrix's multiplier. Threads split such a
    /// product by groups, because each input's weights are then read as a whole.
    ///
    /// # Panics
    ///
    /// When there is no such group, or `terms` has another length.
    fn sparse_terms(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        groups: Range<usize>,
        terms: &mut [f32],
    ) {
        assert_eq!(terms.len(), groups.len() * matrix.rows, "terms of other groups");
        for (group, terms) in groups.zip(terms.chunks_exact_mut(matrix.rows)) {
            let (matrix, input) = one_group(matrix, input, group);
            self.sparse_product(&matrix, &input, &mut OutputRows::whole(terms, matrix.rows));
        }
    }

    /// Asks for values that are read soon; see
    /// [`Kernels::prefetch`](kinglet::kernels::Kernels::prefetch).
    #[inline(always)]
    fn prefetch(&self, _values: &[f32]) {}
}

/// A group of inputs as a matrix of its own, and the first column's activations for it, both
/// with scales of 1 besides the group's own: their product is the group's term.
fn one_group<'a>(
    matrix: &SparseMatrix<'a>,
    input: &Quantized<'a>,
    group: usize,
) -> (SparseMatrix<'a>, Quantized<'a>) {
    let (stride, padded) = (padded_rows(matrix.rows), padded_inputs(matrix.inputs));
    let start = group * matrix.group;
    let end = padded.min(start + matrix.group);
    let inputs = matrix.inputs.min(end) - start;
    let matrix = SparseMatrix {
        inputs,
        weights: &matrix.weights[start * stride..end * stride],
        scales: &matrix.scales[group * stride..(group + 1) * stride],
        multiplier: 1.0,
        ..*matrix
    };
    let input = Quantized {
        columns: 1,
        inputs,
        q: &input.column(0)[start..end],
        sums: &input.column_sums(0)[start / INPUT_PAD..end / INPUT_PAD],
        scales: &[1.0],
    };
    (matrix, input)
}

/// The reference of the core, which lanes of one element compute.
impl SimdKernels for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn pack(&self, _q: &mut [i16]) {}

    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
        let first = out.rows().start / TILE_ROWS;
        for column in 0..out.columns() {
            let q = input.column(column);
            let scale = input.scales[column] * matrix.multiplier;
            for (tile, out) in (first..).zip(out.column(column).chunks_mut(TILE_ROWS)) {
                for (out, acc) in out.iter_mut().zip(scalar::row_tile(matrix, tile, q)) {
                    *out = acc * scale;
                }
            }
        }
    }

    fn sparse_product(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        out: &mut OutputRows<'_>,
    ) {
        let first = out.rows().start / TILE_ROWS;
        for column in 0..out.columns() {
            let q = input.column(column);
            let scale = input.scales[column] * matrix.multiplier;
            for (tile, out) in (first..).zip(out.column(column).chunks_mut(TILE_ROWS)) {
                for (out, acc) in out.iter_mut().zip(scalar::sparse_row_tile(matrix, tile, q)) {
                    *out = acc * scale;
                }
            }
        }
    }
}
