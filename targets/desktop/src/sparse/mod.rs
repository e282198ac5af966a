//! Products with an input that is mostly zero.

mod few;
mod line_order;
mod many;
mod nonzero;
mod single;

use core::ops::Range;

use kinglet::matrix::{SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet::quantized::Quantized;
use kinglet_simd::OutputRows;

use crate::dot_product::Multiply;
use crate::simd::LARGEST;
use few::several;
use many::{PACKED, many};
use single::single;
pub(crate) use single::terms;

/// Bytes of a group's weights that are worked on together for several columns:
/// a part of the second-level cache.
const WINDOW: usize = 1 << 18;

/// A sparse product whose slices were found long enough.
#[derive(Debug)]
pub(crate) struct Sparse<'a> {
    matrix: &'a SparseMatrix<'a>,
    input: &'a Quantized<'a>,
    /// Inputs with padding.
    padded: usize,
    /// Rows with padding: the bytes between inputs.
    stride: usize,
}

impl<'a> Sparse<'a> {
    /// A product of which these columns and rows are wanted.
    ///
    /// # Panics
    /// When a slice is shorter than the dimensions say, or the rows do not start
    /// at a tile.
    pub(crate) fn new(
        matrix: &'a SparseMatrix<'a>,
        input: &'a Quantized<'a>,
        columns: usize,
        rows: Range<usize>,
    ) -> Self {
        assert!(matrix.group.is_multiple_of(32), "no group size");
        assert!((32..=LARGEST).contains(&matrix.group), "no group size");
        assert!(matrix.is_complete(), "too few weights or scales");
        assert_eq!(input.inputs, matrix.inputs, "input of another length");
        assert!(input.has(columns), "too few columns");
        assert!(rows.end <= matrix.rows, "rows beyond the matrix");
        assert!(rows.start.is_multiple_of(TILE_ROWS), "rows within a tile");
        let (padded, stride) = (padded_inputs(matrix.inputs), padded_rows(matrix.rows));
        Self { matrix, input, padded, stride }
    }

    /// Rows that are worked on together for several columns.
    fn window(&self) -> usize {
        WINDOW / self.matrix.group / 64 * 64
    }
}

/// Computes the rows of `out`.
///
/// # Safety
/// The CPU has the instructions of M, and the caller has them switched on.
#[inline(always)]
pub(crate) unsafe fn product<M: Multiply>(job: &Sparse<'_>, out: &mut OutputRows<'_>) {
    let columns = out.columns();
    if columns == 1 {
        // SAFETY: the caller's promise.
        return unsafe { single::<M>(job, out) };
    }
    for column in 0..columns {
        out.column(column).fill(0.0);
    }
    // SAFETY: the caller's promise.
    unsafe { if columns < PACKED { several::<M>(job, out) } else { many::<M>(job, out) } }
    for column in 0..columns {
        let scale = job.input.scales[column] * job.matrix.multiplier;
        for out in out.column(column) {
            *out *= scale;
        }
    }
}
