//! The interface that a target's SIMD kernels implement: products of some rows, on one thread.

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix, TILE_ROWS, padded_inputs};
use kinglet::kernels::scalar::{self, Scalar};

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
    /// [`SparseProduct`](kinglet::kernels::SparseProduct); they start at a multiple of the rows
    /// that its weights are [padded](kinglet::kernels::matrix::padded_sparse_rows) to.
    fn sparse_product(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        out: &mut OutputRows<'_>,
    );

    /// Computes what `groups` contribute to each row of a sparse product with a
    /// single token: `terms`, `[group][row]`. Their sum over the groups in
    /// ascending order, from +0.0, is the product without the input's scale and
    /// the matrix's multiplier.
    ///
    /// # Panics
    ///
    /// When there is no such group, or `terms` is not so long.
    fn sparse_terms(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        groups: Range<usize>,
        terms: &mut [f32],
    ) {
        assert_eq!(terms.len(), groups.len() * matrix.rows(), "terms of other groups");
        for (group, terms) in groups.zip(terms.chunks_exact_mut(matrix.rows())) {
            let (matrix, input) = one_group(matrix, input, group);
            self.sparse_product(&matrix, &input, &mut OutputRows::whole(terms, matrix.rows()));
        }
    }

    /// Asks for values that are read soon; see
    /// [`Kernels::prefetch`](kinglet::kernels::Kernels::prefetch).
    #[inline(always)]
    fn prefetch(&self, _values: &[f32]) {}
}

/// A group of inputs as a matrix of its own, and the first token's
/// activations for it, without scales: the product is what the group contributes.
fn one_group<'a>(
    matrix: &SparseMatrix<'a>,
    input: &Quantized<'a>,
    group: usize,
) -> (SparseMatrix<'a>, Quantized<'a>) {
    let start = group * matrix.group();
    let end = padded_inputs(matrix.inputs()).min(start + matrix.group());
    let matrix = matrix.one_group(group);
    let input = input.first_token_part(start..end, matrix.inputs());
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
        for token in 0..out.tokens() {
            let q = input.token(token);
            let scale = input.scales()[token] * matrix.multiplier();
            for (tile, out) in (first..).zip(out.token(token).chunks_mut(TILE_ROWS)) {
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
        for token in 0..out.tokens() {
            let q = input.token(token);
            let scale = input.scales()[token] * matrix.multiplier();
            for (tile, out) in (first..).zip(out.token(token).chunks_mut(TILE_ROWS)) {
                for (out, acc) in out.iter_mut().zip(scalar::sparse_row_tile(matrix, tile, q)) {
                    *out = acc * scale;
                }
            }
        }
    }
}
