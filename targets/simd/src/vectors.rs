//! What a target's vector instructions do on one thread.

use core::marker::PhantomData;
use core::ops::Range;

use kinglet::matrix::{INPUT_PAD, Matrix, SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet::quantized::Quantized;
use kinglet::scalar;

/// A target's instruction set, on one thread. [`OneThread`](crate::OneThread) and `Threaded`
/// make [`Kernels`](kinglet::kernels::Kernels) of it.
///
/// A value of an implementing type is the proof that the CPU has the
/// instructions: it can be constructed only after asking.
pub trait Vectors: Sync {
    /// Name of the kernel set: `{arch}-{instructions}`.
    fn name(&self) -> &'static str;

    /// See [`Kernels::pack`](kinglet::kernels::Kernels::pack).
    fn pack(&self, q: &mut [i16]);

    /// Runs `f`, compiled with the instructions switched on where it is inlined.
    fn run<R>(&self, f: impl FnOnce() -> R) -> R;

    /// Computes the rows of `out` of a [`Product`](kinglet::kernels::Product); they start at a tile.
    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>);

    /// Computes the rows of `out` of a
    /// [`SparseProduct`](kinglet::kernels::SparseProduct); they start at a tile.
    fn sparse_product(&self, matrix: &SparseMatrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>);

    /// Computes what `groups` contribute to each row of a sparse product with a
    /// single column: `terms`, `[group][row]`. Their sum over the groups in
    /// ascending order, from +0.0, is the product without the input's scale and
    /// the matrix's multiplier.
    ///
    /// # Panics
    /// When there is no such group, or `terms` is not so long.
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
            self.sparse_product(&matrix, &input, &mut Part::whole(terms, matrix.rows));
        }
    }

    /// Asks for values that are read soon; see
    /// [`Kernels::prefetch`](kinglet::kernels::Kernels::prefetch).
    #[inline(always)]
    fn prefetch(&self, _values: &[f32]) {}
}

/// A group of inputs as a matrix of its own, and the first column's
/// activations for it, without scales: the product is what the group contributes.
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

/// Some rows of an output `[column][row]`, for all columns: what one thread
/// writes of a product.
#[derive(Debug)]
pub struct Part<'a> {
    output: *mut f32,
    /// Rows of the whole output: the distance between columns.
    stride: usize,
    columns: usize,
    rows: Range<usize>,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a part is an exclusive borrow of its elements, as `&mut [f32]` is.
unsafe impl Send for Part<'_> {}

impl<'a> Part<'a> {
    /// All of `output`, whose columns have `rows` elements.
    pub fn whole(output: &'a mut [f32], rows: usize) -> Self {
        let columns = output.len() / rows;
        let output = output.as_mut_ptr();
        Self { output, stride: rows, columns, rows: 0..rows, borrow: PhantomData }
    }

    /// The rows of this part.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// This part's rows of one column.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline(always)]
    pub fn column(&mut self, column: usize) -> &mut [f32] {
        assert!(column < self.columns, "no such column");
        // SAFETY: `whole` borrowed `columns * stride` elements, of which parts
        // made by `split_at` own disjoint rows; `rows` ends at `stride` at most,
        // and `&mut self` forbids a second borrow of this part.
        unsafe {
            let start = self.output.add(column * self.stride + self.rows.start);
            core::slice::from_raw_parts_mut(start, self.rows.len())
        }
    }

    /// The first `rows` rows of this part, and the others.
    ///
    /// # Panics
    /// When it has fewer.
    pub fn split_at(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.rows.len(), "no such row");
        let middle = self.rows.start + rows;
        let with = |rows| Self { rows, ..self };
        (with(self.rows.start..middle), with(middle..self.rows.end))
    }
}

/// Plain Rust: the reference of the core, as vectors of one element.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Vectors for Portable {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn pack(&self, _q: &mut [i16]) {}

    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>) {
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

    fn sparse_product(&self, matrix: &SparseMatrix<'_>, input: &Quantized<'_>, out: &mut Part<'_>) {
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
