//! Products of one token: the stream of weights from memory.
//!
//! ```text
//! for each run of rows (at most 4096):                  sums and totals: L1, L2
//!     totals = 0
//!     for each group with active inputs:
//!         sums = correction of the zero point
//!         for each 4, 2 or 1 fours of active inputs:
//!             for each piece of the run, in line_order's order:
//!                 prefetch the piece of the inputs some fours ahead    (L2)
//!                 sums[piece] += dot products of the fours with q
//!         prefetch the scales of the next group with active inputs                  (L2)
//!         totals += f32(sums) * scales[group]
//! ```
//!
//! The product is bound by memory: each weight is read once and used once. The lists of the next
//! four groups' active inputs are made before a group is summed, so that prefetching does not stop
//! at a group's end: with nine tenths of zeros a group of 128 has three fours or four, and so has
//! one of 32 with half of them zero. More fours side by side mean more streams at a time; four of
//! them are used where rows are read out of order, and with int4, whose rows are half as long,
//! where there are 32 registers; two otherwise.
//!
//! # Tried and lost
//!
//! Adding the products of a group with four fours or fewer to the totals at once, without sums in
//! memory: on Zen 4 whole models of int4 are 6 % slower in the median of eight pairs (12 % slower
//! to 2 % faster). The reason is not confirmed; the floats then come between the loads.

#![expect(
    clippy::needless_range_loop,
    reason = "indices name registers: constant bounds, unrolled, several arrays at once"
)]

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::mem::MaybeUninit;
use core::ops::Range;

use kinglet_simd::OutputRows;

use super::line_order::{LINE, Order};
use super::nonzero::Active;
use crate::dot_product::DotProduct;
use crate::simd::Simd;
use crate::sparse::{Sparse, first_row, padded, unit};
use crate::weight_type::{MAX_PER_BYTE, Operand, WeightType};

/// Prefetch distance in fours of inputs with a weight to a byte; with two it is twice as many,
/// which are as many bytes, where the next four groups have them. Weights are prefetched into the
/// second-level cache (T1), because the first level has too few outstanding misses to fill the
/// memory bus where the hardware prefetcher cannot guess the next address: with T0 whole models of
/// int4 are a sixth slower.
const AHEAD: usize = 4;
/// Groups whose active inputs are listed: one that is summed, and those that may have the next
/// fours that are asked for.
const LISTS: usize = 5;
/// Rows that are summed together for a single token. Their sums and totals may be all of a
/// first-level cache; with half as many rows, which leave room, products with 4096 rows are
/// slower from memory by 10 to 30 %.
pub(super) const RUN_ROWS: usize = 4096;

/// Sums of a run of rows, as integers over a group and as floats over all. Those of the rows in
/// use are written before they are read.
#[repr(align(64))]
struct Run {
    /// Of each unit the blocks, each in the order of [`Simd::interleave`].
    sums: [MaybeUninit<i32>; RUN_ROWS],
    totals: [MaybeUninit<f32>; RUN_ROWS],
}

impl Run {
    const fn new() -> Self {
        let (sums, totals) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        Self { sums: [sums; RUN_ROWS], totals: [totals; RUN_ROWS] }
    }
}

/// Multiplies with one token: bound by reading the weights of its active
/// inputs once, in runs that are as long as possible, each asked for while
/// the one before is in use.
///
/// # Safety
///
/// As for [`product`](super::product); there is a token.
#[inline(always)]
pub(super) unsafe fn single<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    out: &mut OutputRows<'_>,
) {
    let rows = out.rows();
    let scale = job.input.scales()[0] * job.matrix.multiplier();
    let mut run = Run::new();
    let mut lists = [const { Active::new() }; LISTS];
    for (first, out) in runs::<W>(rows.start, out.token(0)) {
        let padded = padded::<W>(out.len());
        run.totals[..padded].fill(MaybeUninit::new(0.0));
        // SAFETY: the caller's promise; the rows of the run are in the matrix.
        unsafe {
            groups::<D, W>(
                job,
                0..job.matrix.groups(),
                &mut lists,
                #[inline(always)]
                |lists| {
                    let task = GroupTask { job, lists, first, len: padded };
                    add_group_task::<D, W>(&task, &mut run);
                },
            );
        }
        for (out, total) in out.iter_mut().zip(&run.totals) {
            // SAFETY: `padded` totals, at least as many as the rows, were written.
            *out = unsafe { total.assume_init() } * scale;
        }
    }
}

/// Writes the terms of one token that the groups `range` contribute to every
/// row, `[group][row]`, before they are added up.
///
/// # Safety
///
/// As for [`product`](super::product); there is a token.
///
/// # Panics
///
/// When `terms` is not so long.
#[inline(always)]
pub(crate) unsafe fn terms<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    range: Range<usize>,
    terms: &mut [f32],
) {
    let rows = job.matrix.rows();
    assert_eq!(terms.len(), range.len() * rows, "terms of other groups");
    assert!(range.end <= job.matrix.groups(), "no such group");
    let mut run = Run::new();
    let mut lists = [const { Active::new() }; LISTS];
    let len = run_len::<W>(rows);
    for first in (0..rows).step_by(len) {
        let len = len.min(rows - first);
        let padded = padded::<W>(len);
        let mut of_run = terms.chunks_exact_mut(rows).map(|terms| &mut terms[first..first + len]);
        let mut group = range.start;
        // SAFETY: the caller's promise; the rows of the run are in the matrix.
        unsafe {
            groups::<D, W>(
                job,
                range.clone(),
                &mut lists,
                #[inline(always)]
                |lists| {
                    let active = &lists[0];
                    of_run.by_ref().take(active.group - group).for_each(|idle| idle.fill(0.0));
                    group = active.group + 1;
                    run.totals[..padded].fill(MaybeUninit::new(0.0));
                    let task = GroupTask { job, lists, first, len: padded };
                    add_group_task::<D, W>(&task, &mut run);
                    if let Some(terms) = of_run.next() {
                        terms.copy_from_slice(run.totals[..len].assume_init_ref());
                    }
                },
            );
        }
        of_run.for_each(|idle| idle.fill(0.0));
    }
}

/// Rows of each of the fewest runs of about the same length, whole cache lines of weights.
fn run_len<W: Operand>(rows: usize) -> usize {
    let runs = rows.div_ceil(RUN_ROWS).max(1);
    rows.div_ceil(runs).next_multiple_of(LINE * W::PER_BYTE).max(1)
}

/// The first row of each run, and its rows of `out`, whose first row is `start`.
#[inline(always)]
fn runs<W: Operand>(start: usize, out: &mut [f32]) -> impl Iterator<Item = (usize, &mut [f32])> {
    let len = run_len::<W>(out.len());
    out.chunks_mut(len).enumerate().map(move |(run, out)| (start + run * len, out))
}

/// Calls `f` with the active inputs of each group of `range` that has any, and
/// with those of the next ones.
///
/// # Safety
///
/// As for [`product`](super::product).
#[inline(always)]
unsafe fn groups<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    mut range: Range<usize>,
    lists: &mut [Active; LISTS],
    mut f: impl FnMut(&[&mut Active; LISTS]),
) {
    let mut lists = lists.each_mut();
    // SAFETY: the caller's promise.
    unsafe {
        for list in &mut lists {
            list.find_next::<D, W>(job, &mut range);
        }
        while lists[0].fours > 0 {
            f(&lists);
            lists.rotate_left(1);
            lists[LISTS - 1].find_next::<D, W>(job, &mut range);
        }
    }
}

/// The rows of a run for the active inputs of a group.
struct GroupTask<'a, W> {
    job: &'a Sparse<'a, W>,
    /// The group, and those after it, or some without active inputs.
    lists: &'a [&'a mut Active; LISTS],
    /// The first row.
    first: usize,
    /// Number of rows with padding.
    len: usize,
}

impl<W: WeightType> GroupTask<'_, W> {
    /// Where the weights of four number `four` begin, of the next groups beyond
    /// this one's last; null if there is no such four.
    #[inline(always)]
    fn weights(&self, mut four: usize) -> [*const u8; 4] {
        let mut lists = self.lists.iter();
        let active = loop {
            let Some(active) = lists.next() else { return [core::ptr::null(); 4] };
            match four.checked_sub(active.fours) {
                None => break active,
                Some(beyond) => four = beyond,
            }
        };
        let weights = self.job.weights.as_ptr().wrapping_add(self.first / W::PER_BYTE);
        let group = active.group * self.job.matrix.group();
        let inputs: [i16; 4] = active.inputs.as_chunks().0[four];
        inputs.map(|input| weights.wrapping_add((group + input as usize) * self.job.stride))
    }
}

/// Adds the products of a group to the totals of a run.
///
/// # Safety
///
/// As for [`product`](super::product); the matrix has the rows, with padding, at most RUN_ROWS, and
/// the inputs are of their groups.
#[inline(always)]
unsafe fn add_group_task<D: DotProduct, W: WeightType>(task: &GroupTask<'_, W>, run: &mut Run) {
    let lanes = D::Simd::LANES;
    let unit = unit::<D, W>();
    let GroupTask { job, first, len, .. } = *task;
    let [active, next, ..] = task.lists;
    let order = Order::new(len / W::PER_BYTE, active.fours * 4 > job.matrix.group() / 4 * 3);
    let correction = MaybeUninit::new(active.correction);
    run.sums[..len.next_multiple_of(unit)].fill(correction);
    let wide = lanes == 16;
    let together = if order.is_scattered() || (wide && W::PER_BYTE > 1) { 4 } else { 2 };
    let mut four = 0;
    // SAFETY: the caller's promise; there are that many fours. The sums of the run were written.
    unsafe {
        while together > 2 && four + 3 < active.fours {
            add_fours::<D, W, 4>(task, four, order, &mut run.sums);
            four += 4;
        }
        while four + 1 < active.fours {
            add_fours::<D, W, 2>(task, four, order, &mut run.sums);
            four += 2;
        }
        if four < active.fours {
            add_fours::<D, W, 1>(task, four, order, &mut run.sums);
        }
        let scales = job.scales(active.group, first);
        // Of a group that was looked at, or 0: the matrix has it. Without a next group this asks
        // for what nobody wants, once a run.
        let next = job.scales(next.group, first);
        for at in (0..len).step_by(unit) {
            for scale in (at..at + unit).step_by(LINE / size_of::<u16>()) {
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(scale).cast());
            }
            for block in 0..W::PER_BYTE {
                let of_block = run.sums.as_ptr().add(at + 4 * lanes * block);
                let mut sums = [D::Simd::splat(0); 4];
                for t in 0..4 {
                    sums[t] = D::Simd::load(of_block.add(t * lanes).cast());
                }
                let sums = D::Simd::restore(sums);
                for t in 0..4 {
                    let at = at + first_row::<D, W>(block, t);
                    if at < len {
                        let total = run.totals.as_mut_ptr().add(at).cast();
                        D::Simd::fold(sums[t], D::Simd::scales(scales.add(at)), total);
                    }
                }
            }
        }
    }
}

/// Adds the products of the Q fours of inputs from number `four` on to `sums`,
/// and asks for the weights of as many fours [`AHEAD`] of them.
///
/// # Safety
///
/// As for [`add_group_task`]; the group has these fours.
#[inline(always)]
unsafe fn add_fours<D: DotProduct, W: WeightType, const Q: usize>(
    task: &GroupTask<'_, W>,
    four: usize,
    Order { piece, pieces, step }: Order,
    sums: &mut [MaybeUninit<i32>; RUN_ROWS],
) {
    let lanes = D::Simd::LANES;
    let register = 4 * lanes;
    let len = task.len / W::PER_BYTE;
    let mut weights = [[core::ptr::null(); 4]; Q];
    let mut ahead = [[core::ptr::null(); 4]; Q];
    for i in 0..Q {
        weights[i] = task.weights(four + i);
        ahead[i] = task.weights(four + AHEAD * W::PER_BYTE + i);
    }
    // SAFETY: the caller's promise; sums are written in whole units, of which
    // RUN_ROWS is a multiple. Prefetching does not access memory.
    unsafe {
        let mut activations = [[D::Simd::splat(0); 2]; Q];
        for i in 0..Q {
            let q = task.lists[0].q.as_ptr().add(4 * (four + i));
            activations[i] = [D::Simd::broadcast(q), D::Simd::broadcast(q.add(2))];
        }
        let mut number = 0;
        for _ in 0..pieces {
            let start = number * piece;
            number += step;
            if number >= pieces {
                number -= pieces;
            }
            for pointer in ahead.as_flattened() {
                _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(start).cast());
                if piece > LINE {
                    _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(start + LINE).cast());
                }
            }
            for at in (start..len.min(start + piece)).step_by(register) {
                let mut products = [[D::start(); 4]; MAX_PER_BYTE];
                for i in 0..Q {
                    let mut bytes = [D::Simd::splat(0); 4];
                    for j in 0..4 {
                        let weights = weights[i][j].add(at);
                        bytes[j] = if at + register > len {
                            D::Simd::load_short(weights, len - at)
                        } else {
                            D::Simd::load(weights)
                        };
                    }
                    let tiles = D::Simd::interleave(bytes);
                    for block in 0..W::PER_BYTE {
                        let products = &mut products[block];
                        for t in 0..4 {
                            let weights = W::unsigned::<D::Simd>(tiles[t], block);
                            products[t] = D::steps(products[t], weights, activations[i]);
                        }
                    }
                }
                for block in 0..W::PER_BYTE {
                    for t in 0..4 {
                        let at = at * W::PER_BYTE + (4 * block + t) * lanes;
                        let sums = sums.as_mut_ptr().add(at).cast::<i32>();
                        let products = D::total(products[block][t]);
                        D::Simd::store(sums, D::Simd::add(D::Simd::load(sums.cast()), products));
                    }
                }
            }
        }
    }
}
