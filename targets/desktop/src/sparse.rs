//! Products with an input that is mostly zero.

#![expect(
    clippy::needless_range_loop,
    reason = "indices name registers: constant bounds, unrolled, several arrays at once"
)]

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use kinglet::matrix::{SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet::quantized::Quantized;
use kinglet_host::Part;

use crate::multiply::Multiply;
use crate::registers::Width;

/// The largest group.
const LARGEST: usize = 512;
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
    /// A product of which `out` is wanted.
    ///
    /// # Panics
    /// When a slice is shorter than the dimensions say, or the rows of `out`
    /// do not start at a tile.
    pub(crate) fn new(
        matrix: &'a SparseMatrix<'a>,
        input: &'a Quantized<'a>,
        out: &Part<'_>,
    ) -> Self {
        let (padded, stride) = (padded_inputs(matrix.inputs), padded_rows(matrix.rows));
        assert!(matrix.group.is_multiple_of(32), "no group size");
        assert!((32..=LARGEST).contains(&matrix.group), "no group size");
        assert!(matrix.weights.len() >= padded * stride, "too few weights");
        assert!(matrix.scales.len() >= matrix.groups() * stride, "too few scales");
        assert_eq!(input.inputs, matrix.inputs, "input of another length");
        assert!(input.q.len() >= out.columns() * padded, "too few activations");
        assert!(input.sums.len() >= out.columns() * padded / 32, "too few sums");
        assert!(input.scales.len() >= out.columns(), "too few column scales");
        assert!(out.rows().end <= matrix.rows, "rows beyond the matrix");
        assert!(out.rows().start.is_multiple_of(TILE_ROWS), "rows within a tile");
        Self { matrix, input, padded, stride }
    }
}

/// The active inputs of a group, four at a time.
struct Active {
    /// Packed activations; zeros fill the last four.
    q: [[i16; 4]; LARGEST / 4],
    /// Inputs in ascending order; the last four are filled with input 0 of the group.
    inputs: [[u16; 4]; LARGEST / 4],
    /// Number of fours.
    fours: usize,
    /// -128 times the sum of q.
    correction: i32,
}

impl Active {
    const fn new() -> Self {
        let (q, inputs) = ([[0; 4]; LARGEST / 4], [[0; 4]; LARGEST / 4]);
        Self { q, inputs, fours: 0, correction: 0 }
    }

    /// Finds the active inputs of a group of column `column`.
    #[inline(always)]
    fn find<M: Multiply>(&mut self, job: &Sparse<'_>, column: usize, group: usize) {
        let start = group * job.matrix.group;
        let len = job.matrix.group.min(job.padded - start);
        let sums = &job.input.column_sums(column)[start / 32..(start + len) / 32];
        self.correction = sums.iter().sum::<i32>().wrapping_mul(-128);
        let mut count = 0;
        let inputs = self.inputs.as_flattened_mut();
        let values = self.q.as_flattened_mut();
        for (input, &q) in job.input.column(column)[start..start + len].iter().enumerate() {
            // Always written, kept where it is active: no branch to predict.
            inputs[count] = input as u16;
            values[count] = q;
            count += usize::from(q != 0);
        }
        let fours = count.div_ceil(4);
        inputs[count..4 * fours].fill(0);
        values[count..4 * fours].fill(0);
        for q in &mut self.q[..fours] {
            *q = M::pack(*q);
        }
        self.fours = fours;
    }
}

/// Computes the rows of `out`.
///
/// # Safety
/// The CPU has the instructions of M, and the caller has them switched on.
#[inline(always)]
pub(crate) unsafe fn product<M: Multiply>(job: &Sparse<'_>, out: &mut Part<'_>) {
    let columns = out.columns();
    for column in 0..columns {
        out.column(column).fill(0.0);
    }
    let mut active = Active::new();
    // One column reads each row to its end; several share what the cache holds.
    let together = if columns == 1 { usize::MAX } else { WINDOW / job.matrix.group };
    let mut first = out.rows().start;
    while first < out.rows().end {
        let end = out.rows().end.min(first.saturating_add(together));
        for group in 0..job.matrix.groups() {
            for column in 0..columns {
                active.find::<M>(job, column, group);
                if active.fours > 0 {
                    let start = out.rows().start;
                    let acc = &mut out.column(column)[first - start..end - start];
                    // SAFETY: the caller's promise; `acc` are rows of the matrix
                    // from a tile on, and `active` are inputs of `group`.
                    unsafe { add_group::<M>(job, &active, group, first, acc) };
                }
            }
        }
        first = end;
    }
    for column in 0..columns {
        let scale = job.input.scales[column] * job.matrix.multiplier;
        for out in out.column(column) {
            *out *= scale;
        }
    }
}

/// Adds a group's products to the accumulators `acc` of the rows from `row` on.
///
/// # Safety
/// As for [`product`]; `acc` are rows of the matrix, `row` is at a tile, and
/// `active` are inputs of group `group`.
#[inline(always)]
unsafe fn add_group<M: Multiply>(
    job: &Sparse<'_>,
    active: &Active,
    group: usize,
    row: usize,
    acc: &mut [f32],
) {
    let unit = 4 * M::Width::LANES;
    // SAFETY: group, row and input are within the matrix, so weights and scales
    // are readable to the end of the padded row.
    unsafe {
        let input = group * job.matrix.group;
        let mut weights = job.matrix.weights.as_ptr().add(input * job.stride + row);
        let mut scales = job.matrix.scales.as_ptr().cast::<u16>().add(group * job.stride + row);
        let (pairs, rest) = acc.split_at_mut(acc.len() / (2 * unit) * (2 * unit));
        for acc in pairs.chunks_exact_mut(2 * unit) {
            rows::<M, 2, false>(active, weights, job.stride, scales, acc);
            weights = weights.add(2 * unit);
            scales = scales.add(2 * unit);
        }
        for acc in rest.chunks_mut(unit) {
            let len = padded_rows(acc.len());
            let mut padded = [0.0; 64];
            if len == unit && acc.len() == unit {
                rows::<M, 1, false>(active, weights, job.stride, scales, acc);
            } else {
                padded[..acc.len()].copy_from_slice(acc);
                if len == unit {
                    rows::<M, 1, false>(active, weights, job.stride, scales, &mut padded[..len]);
                } else {
                    rows::<M, 1, true>(active, weights, job.stride, scales, &mut padded[..len]);
                }
                acc.copy_from_slice(&padded[..acc.len()]);
            }
            weights = weights.wrapping_add(unit);
            scales = scales.wrapping_add(unit);
        }
    }
}

/// Adds the products of the active inputs with `N * 4 * LANES` rows, or with
/// fewer where the matrix ends (SHORT).
///
/// # Safety
/// As for [`product`]; the active inputs have `acc.len()` bytes each, from
/// `weights` on and `stride` apart, and there are so many scales. `acc.len()`
/// is `N * 4 * LANES`, or, with SHORT, a multiple of 16 below it.
#[inline(always)]
unsafe fn rows<M: Multiply, const N: usize, const SHORT: bool>(
    active: &Active,
    weights: *const i8,
    stride: usize,
    scales: *const u16,
    acc: &mut [f32],
) {
    let lanes = M::Width::LANES;
    // SAFETY: the caller's promise; registers beyond `acc.len()` are skipped.
    unsafe {
        let mut sums = [[M::start(); 4]; N];
        for (inputs, q) in active.inputs[..active.fours].iter().zip(&active.q) {
            let q = q.as_ptr();
            let activations = [M::Width::broadcast(q), M::Width::broadcast(q.add(2))];
            for n in 0..N {
                let mut bytes = [M::Width::splat(0); 4];
                for i in 0..4 {
                    let at = weights.add(usize::from(inputs[i]) * stride + n * 4 * lanes);
                    bytes[i] = if SHORT {
                        M::Width::load_short(at, acc.len())
                    } else {
                        M::Width::load(at)
                    };
                    // The next rows of the same inputs come after the group's others.
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(N * 4 * lanes));
                }
                let tiles = M::Width::interleave(bytes);
                for t in 0..4 {
                    sums[n][t] = M::steps(sums[n][t], M::Width::unsign(tiles[t]), activations);
                }
            }
        }
        let correction = M::Width::splat(active.correction);
        for n in 0..N {
            let mut totals = [correction; 4];
            for t in 0..4 {
                totals[t] = M::total(sums[n][t]);
            }
            let totals = M::Width::restore(totals);
            for t in 0..4 {
                let at = (n * 4 + t) * lanes;
                if at < acc.len() {
                    let scales = M::Width::scales(scales.add(at));
                    let sums = M::Width::add(totals[t], correction);
                    M::Width::fold(sums, scales, acc.as_mut_ptr().add(at));
                }
            }
        }
    }
}
