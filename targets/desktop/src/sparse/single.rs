//! Products of one column.

#![expect(
    clippy::needless_range_loop,
    reason = "indices name registers: constant bounds, unrolled, several arrays at once"
)]

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::ops::Range;

use kinglet::matrix::padded_rows;
use kinglet_simd::OutputRows;

use super::line_order::{LINE, Order};
use super::nonzero::Active;
use crate::dot_product::Multiply;
use crate::simd::Width;
use crate::sparse::Sparse;

/// Fours of inputs between the one in use and the one that is asked for.
/// Weights go to the second-level cache (T1): misses of the first level are too
/// few at a time to fill the memory bus where the hardware cannot guess what
/// comes next.
const AHEAD: usize = 4;
/// Rows that are summed together for a single column: their sums and the
/// weights in use fit into the first-level cache.
pub(super) const RUN: usize = 2048;

/// Sums of a run of rows, as integers over a group and as floats over all.
#[repr(align(64))]
struct Run {
    /// In the order of [`Width::interleave`].
    sums: [i32; RUN],
    totals: [f32; RUN],
}

impl Run {
    const fn new() -> Self {
        Self { sums: [0; RUN], totals: [0.0; RUN] }
    }
}

/// Multiplies with one column: bound by reading the weights of its active
/// inputs once, in runs that are as long as possible, each asked for while
/// the one before is in use.
///
/// # Safety
/// As for [`product`]; there is a column.
#[inline(always)]
pub(super) unsafe fn single<M: Multiply>(job: &Sparse<'_>, out: &mut OutputRows<'_>) {
    let rows = out.rows();
    let scale = job.input.scales[0] * job.matrix.multiplier;
    let mut run = Run::new();
    let mut lists = [Active::new(), Active::new()];
    for (first, out) in runs(rows.start, out.column(0)) {
        let padded = padded_rows(out.len());
        run.totals[..padded].fill(0.0);
        // SAFETY: the caller's promise; the rows of the run are in the matrix.
        unsafe {
            groups::<M>(
                job,
                0..job.matrix.groups(),
                &mut lists,
                #[inline(always)]
                |active, next| {
                    let rows = Rows { job, active, next, first, len: padded };
                    add_group_rows::<M>(&rows, &mut run);
                },
            );
        }
        for (out, total) in out.iter_mut().zip(&run.totals) {
            *out = total * scale;
        }
    }
}

/// Writes the terms of one column that the groups `range` contribute to every
/// row, `[group][row]`, before they are added up.
///
/// # Safety
/// As for [`product`]; there is a column.
///
/// # Panics
/// When `terms` is not so long.
#[inline(always)]
pub(crate) unsafe fn terms<M: Multiply>(job: &Sparse<'_>, range: Range<usize>, terms: &mut [f32]) {
    let rows = job.matrix.rows;
    assert_eq!(terms.len(), range.len() * rows, "terms of other groups");
    assert!(range.end <= job.matrix.groups(), "no such group");
    let mut run = Run::new();
    let mut lists = [Active::new(), Active::new()];
    let len = run_len(rows);
    for first in (0..rows).step_by(len) {
        let len = len.min(rows - first);
        let padded = padded_rows(len);
        let mut of_run = terms.chunks_exact_mut(rows).map(|terms| &mut terms[first..first + len]);
        let mut group = range.start;
        // SAFETY: the caller's promise; the rows of the run are in the matrix.
        unsafe {
            groups::<M>(
                job,
                range.clone(),
                &mut lists,
                #[inline(always)]
                |active, next| {
                    of_run.by_ref().take(active.group - group).for_each(|idle| idle.fill(0.0));
                    group = active.group + 1;
                    run.totals[..padded].fill(0.0);
                    let rows = Rows { job, active, next, first, len: padded };
                    add_group_rows::<M>(&rows, &mut run);
                    if let Some(terms) = of_run.next() {
                        terms.copy_from_slice(&run.totals[..len]);
                    }
                },
            );
        }
        of_run.for_each(|idle| idle.fill(0.0));
    }
}

/// Rows of each of the fewest runs of about the same length.
fn run_len(rows: usize) -> usize {
    let runs = rows.div_ceil(RUN).max(1);
    rows.div_ceil(runs).next_multiple_of(64).max(1)
}

/// The first row of each run, and its rows of `out`, whose first row is `start`.
#[inline(always)]
fn runs(start: usize, out: &mut [f32]) -> impl Iterator<Item = (usize, &mut [f32])> {
    let len = run_len(out.len());
    out.chunks_mut(len).enumerate().map(move |(run, out)| (start + run * len, out))
}

/// Calls `f` with the active inputs of each group of `range` that has any, and
/// with those of the next one.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn groups<M: Multiply>(
    job: &Sparse<'_>,
    range: Range<usize>,
    lists: &mut [Active; 2],
    mut f: impl FnMut(&Active, &Active),
) {
    let [mut active, mut next] = lists.each_mut();
    // SAFETY: the caller's promise.
    unsafe {
        active.find_next::<M>(job, range.clone());
        while active.fours > 0 {
            next.find_next::<M>(job, active.group + 1..range.end);
            f(active, next);
            core::mem::swap(&mut active, &mut next);
        }
    }
}

/// The rows of a run for the active inputs of a group.
struct Rows<'a> {
    job: &'a Sparse<'a>,
    active: &'a Active,
    /// The group after it, or one without active inputs.
    next: &'a Active,
    /// The first row.
    first: usize,
    /// Number of rows with padding.
    len: usize,
}

impl Rows<'_> {
    /// Where the weights of four number `four` begin, of the next group beyond
    /// this one's last; null if there is no such four.
    #[inline(always)]
    fn weights(&self, four: usize) -> [*const i8; 4] {
        let (active, four) = match four.checked_sub(self.active.fours) {
            None => (self.active, four),
            Some(four) => (self.next, four),
        };
        if four >= active.fours {
            return [core::ptr::null(); 4];
        }
        let weights = self.job.matrix.weights.as_ptr().wrapping_add(self.first);
        let group = active.group * self.job.matrix.group;
        let inputs: [i16; 4] = active.inputs.as_chunks().0[four];
        inputs.map(|input| weights.wrapping_add((group + input as usize) * self.job.stride))
    }
}

/// Adds the products of a group to the totals of a run.
///
/// # Safety
/// As for [`product`]; the matrix has the rows, with padding, at most RUN, and
/// the inputs are of their groups.
#[inline(always)]
unsafe fn add_group_rows<M: Multiply>(rows: &Rows<'_>, run: &mut Run) {
    let lanes = M::Width::LANES;
    let unit = 4 * lanes;
    let Rows { job, active, first, len, .. } = *rows;
    let order = Order::new(len, active.fours * 4 > job.matrix.group / 4 * 3);
    run.sums[..len.next_multiple_of(unit)].fill(active.correction);
    let mut four = 0;
    // SAFETY: the caller's promise; there are that many fours.
    unsafe {
        while order.is_scattered() && four + 3 < active.fours {
            add_fours::<M, 4>(rows, four, order, &mut run.sums);
            four += 4;
        }
        while four + 1 < active.fours {
            add_fours::<M, 2>(rows, four, order, &mut run.sums);
            four += 2;
        }
        if four < active.fours {
            add_fours::<M, 1>(rows, four, order, &mut run.sums);
        }
        let scales = job.matrix.scales.as_ptr().cast::<u16>();
        let scales = scales.add(active.group * job.stride + first);
        for at in (0..len).step_by(unit) {
            let mut sums = [M::Width::splat(0); 4];
            for t in 0..4 {
                sums[t] = M::Width::load(run.sums.as_ptr().add(at + t * lanes).cast());
            }
            let sums = M::Width::restore(sums);
            for t in 0..4 {
                let at = at + t * lanes;
                if at < len {
                    let total = run.totals.as_mut_ptr().add(at);
                    M::Width::fold(sums[t], M::Width::scales(scales.add(at)), total);
                }
            }
        }
    }
}

/// Adds the products of the Q fours of inputs from number `four` on to `sums`,
/// and asks for the weights of as many fours [`AHEAD`] of them.
///
/// # Safety
/// As for [`add_group_rows`]; the group has these fours.
#[inline(always)]
unsafe fn add_fours<M: Multiply, const Q: usize>(
    rows: &Rows<'_>,
    four: usize,
    Order { piece, pieces, step }: Order,
    sums: &mut [i32; RUN],
) {
    let lanes = M::Width::LANES;
    let unit = 4 * lanes;
    let len = rows.len;
    let mut weights = [[core::ptr::null(); 4]; Q];
    let mut ahead = [[core::ptr::null(); 4]; Q];
    for i in 0..Q {
        weights[i] = rows.weights(four + i);
        ahead[i] = rows.weights(four + AHEAD + i);
    }
    // SAFETY: the caller's promise; sums are written in whole units, of which
    // RUN is a multiple. Prefetching does not access memory.
    unsafe {
        let mut activations = [[M::Width::splat(0); 2]; Q];
        for i in 0..Q {
            let q = rows.active.q.as_ptr().add(4 * (four + i));
            activations[i] = [M::Width::broadcast(q), M::Width::broadcast(q.add(2))];
        }
        let mut number = 0;
        for _ in 0..pieces {
            let start = number * piece;
            number += step;
            if number >= pieces {
                number -= pieces;
            }
            for pointer in ahead.as_flattened() {
                _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(start));
                if piece > LINE {
                    _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(start + LINE));
                }
            }
            for at in (start..len.min(start + piece)).step_by(unit) {
                let mut products = [M::start(); 4];
                for i in 0..Q {
                    let mut bytes = [M::Width::splat(0); 4];
                    for j in 0..4 {
                        let weights = weights[i][j].add(at);
                        bytes[j] = if at + unit > len {
                            M::Width::load_short(weights, len - at)
                        } else {
                            M::Width::load(weights)
                        };
                    }
                    let tiles = M::Width::interleave(bytes);
                    for t in 0..4 {
                        let weights = M::Width::unsign(tiles[t]);
                        products[t] = M::steps(products[t], weights, activations[i]);
                    }
                }
                for t in 0..4 {
                    let sums = sums.as_mut_ptr().add(at + t * lanes);
                    let sum = M::Width::add(M::Width::load(sums.cast()), M::total(products[t]));
                    M::Width::store(sums, sum);
                }
            }
        }
    }
}
