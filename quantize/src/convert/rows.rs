//! Rows of a tensor, read, measured and quantized in blocks on all cores.

use std::cell::Cell;
use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use crate::checkpoint::Tensor;
use crate::int8::Measured;
use crate::packing::Packing;

use super::error::ConvertError;
use super::finite::check_finite;

/// Rows of a tensor, which are worked on in blocks, in parallel. A block stays in the cache of
/// the core that decodes it.
pub(super) struct RowReader<'t> {
    pub(super) tensor: &'t Tensor<'t>,
    /// Index of the first row.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl RowReader<'_> {
    /// Calls `f` with the values of some rows, counted from the first of these: `[row][columns]`.
    pub(super) fn with<R>(&self, rows: Range<usize>, f: impl FnOnce(&mut [f32]) -> R) -> R {
        thread_local! {
            /// Taken while it is in use: a thread that waits for others inside of `f` may be
            /// given a second block.
            static VALUES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        let mut values = VALUES.take();
        values.resize(rows.len() * self.tensor.columns(), 0.0);
        self.tensor.read_rows(self.first + rows.start..self.first + rows.end, &mut values);
        let result = f(&mut values);
        VALUES.set(values);
        result
    }

    /// The rows of a block.
    fn block(&self, index: usize) -> Range<usize> {
        let step = self.tensor.rows_together();
        index * step..self.count.min((index + 1) * step)
    }

    /// What `f` makes of each block, in order; it is given the index of the block's first row in
    /// the tensor as well.
    fn map<R: Send>(&self, f: impl Fn(usize, &[f32]) -> R + Sync) -> Vec<R> {
        let blocks = (0..self.count.div_ceil(self.tensor.rows_together())).into_par_iter();
        let each = blocks.map(|index| {
            let rows = self.block(index);
            self.with(rows.clone(), |values| f(self.first + rows.start, values))
        });
        each.collect()
    }

    /// Measures all rows, after checking that all values are finite.
    pub(super) fn measure(&self, multiplier: Option<f32>) -> Result<Measured, ConvertError> {
        let inputs = self.tensor.columns();
        let blocks = self.map(|first, values| {
            let measured = measure(values, inputs, multiplier);
            if !measured.iter().all(|row| row.largest.is_finite()) {
                check_finite(self.tensor, first, values)?;
            }
            Ok::<_, ConvertError>(measured)
        });
        Ok(total(&blocks.into_iter().collect::<Result<Vec<_>, _>>()?))
    }

    /// Whether quantizing loses nothing: all rows are multiples of their steps.
    pub(super) fn lie_on(&self, packing: &Packing<'_>) -> bool {
        self.map(|_, values| packing.is_exact(values)).into_iter().all(|exact| exact)
    }

    /// Quantizes rows, after `f` has changed them, and returns what it returned for each block,
    /// with what [`Packing::put`] did.
    /// `values` and `scales` begin with those of the first row; scales of later rows may follow.
    pub(super) fn put<T: Send>(
        &self,
        packing: &Packing<'_>,
        rows: Range<usize>,
        values: &mut [i8],
        scales: &mut [f16],
        f: impl Fn(usize, &mut [f32]) -> Result<T, ConvertError> + Sync,
    ) -> Result<Vec<(T, f64)>, ConvertError> {
        let step = self.tensor.rows_together();
        let blocks = values
            .par_chunks_mut(step * packing.values_per_row())
            .zip(scales.par_chunks_mut(step * packing.scales_per_row()))
            .enumerate();
        let each = blocks.map(|(index, (values, scales))| {
            let first = rows.start + index * step;
            self.with(first..rows.end.min(first + step), |rows| {
                let result = f(self.first + first, rows)?;
                Ok((result, packing.put(rows, values, scales)))
            })
        });
        // The first error is that of the first row, whichever thread was faster.
        each.collect::<Vec<_>>().into_iter().collect()
    }
}

/// More rows are never read together.
pub(super) const MAX_TOGETHER: usize = 64;

/// Measures every row.
pub(super) fn measure(rows: &[f32], inputs: usize, multiplier: Option<f32>) -> Vec<Measured> {
    rows.chunks(inputs).map(|row| Measured::of_row(row, multiplier)).collect()
}

/// All rows of some blocks, in order.
pub(super) fn total(blocks: &[Vec<Measured>]) -> Measured {
    let mut sum = Measured::NONE;
    blocks.iter().flatten().for_each(|row| sum.add(row));
    sum
}
