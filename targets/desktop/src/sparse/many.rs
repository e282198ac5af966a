//! Products of many tokens, which share a copy of the weights of a strip.
//!
//! ```text
//! for each group:
//!     for each batch of tokens, as many as there is room for:
//!         find the active inputs of all of them
//!         if each input of the group is active once in the mean:
//!             for each strip of rows:
//!                 copy the strip's weights of all inputs side by side             (L1)
//!                 for each token: out[token][strip] += fold(sums from the copy)
//!         else:
//!             for each window of rows:
//!                 for each token: out[token][window] += fold(sums from the matrix)
//! ```
//!
//! In the matrix the strip's weights lie `stride` bytes apart, so far that they evict each other
//! from the first-level cache, and each token would read them from the second level again.

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::ops::Range;

use kinglet_simd::OutputRows;

use super::few::{WHOLE, add_group, rows};
use super::nonzero::{Fours, find};
use crate::dot_product::DotProduct;
use crate::simd::{MAX_GROUP, Simd};
use crate::sparse::{MAX_UNIT, Sparse, padded, unit};
use crate::weight_type::WeightType;

/// The least tokens for which it pays to copy a group's weights, if enough of them are
/// wanted: with eight a prompt is 4 to 28 % faster, the more zeros the less.
pub(super) const COPY_MIN_TOKENS: usize = 8;
/// The most active inputs that are listed at a time, of all tokens together.
const MAX_NONZERO: usize = 16 * MAX_GROUP;
/// The most tokens that are listed at a time.
const MAX_TOKENS: usize = 64;
/// Bytes that the widest strip has of an input.
const STRIP: usize = 64;

/// The active inputs of a group in several tokens.
struct Lists {
    q: [i16; MAX_NONZERO + MAX_GROUP + 32],
    inputs: [i16; MAX_NONZERO + MAX_GROUP + 32],
    /// The first four of each token, the number of fours and the correction.
    tokens: [(usize, usize, i32); MAX_TOKENS],
    len: usize,
}

impl Lists {
    const fn new() -> Self {
        let (q, inputs) = ([0; MAX_NONZERO + MAX_GROUP + 32], [0; MAX_NONZERO + MAX_GROUP + 32]);
        Self { q, inputs, tokens: [(0, 0, 0); MAX_TOKENS], len: 0 }
    }

    /// Finds the active inputs of group `group` in as many of the tokens `tokens`
    /// as there is room for, at least in one.
    ///
    /// # Safety
    ///
    /// As for [`product`](super::product).
    #[inline(always)]
    unsafe fn find<D: DotProduct, W: WeightType>(
        &mut self,
        job: &Sparse<'_, W>,
        tokens: Range<usize>,
        group: usize,
    ) {
        let mut first = 0;
        self.len = 0;
        for (token, found) in tokens.zip(&mut self.tokens) {
            let lists = self.q[4 * first..].first_chunk_mut();
            let Some((q, inputs)) = lists.zip(self.inputs[4 * first..].first_chunk_mut()) else {
                break;
            };
            // SAFETY: the caller's promise.
            let (fours, correction) = unsafe { find::<D, W>(job, token, group, q, inputs) };
            *found = (first, fours, correction);
            first += fours;
            self.len += 1;
        }
    }

    /// Whether it pays to copy all weights of a group of `group` inputs: each is then
    /// active once in the mean, in all tokens together. With fewer a prompt is up to
    /// 1.2 times as fast without, measured with eight tokens and 92 to 99 % of zeros.
    #[inline(always)]
    fn pay_for_a_copy(&self, group: usize) -> bool {
        let (first, fours, _) = self.tokens[self.len.saturating_sub(1)];
        4 * (first + fours) >= group
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = Fours<'_>> {
        self.tokens[..self.len].iter().map(|&(first, fours, correction)| {
            let q = &self.q.as_chunks().0[first..first + fours];
            Fours { q, inputs: &self.inputs.as_chunks().0[first..first + fours], correction }
        })
    }
}

/// The weights that a group's inputs have for a strip of rows, a [`unit`]: `[input][row]`, of
/// the type [`WeightType::Copied`], contiguous, so that the first-level cache keeps them.
#[repr(align(64))]
struct Strip([u8; STRIP * MAX_GROUP]);

impl Strip {
    /// Copies the strip from row `row` on, and asks for the next one.
    ///
    /// # Safety
    ///
    /// As for [`product`](super::product); the matrix has the group and the row, which is at a block.
    #[inline(always)]
    unsafe fn copy<D: DotProduct, W: WeightType>(
        &mut self,
        job: &Sparse<'_, W>,
        group: usize,
        row: usize,
    ) {
        let register = 4 * D::Simd::LANES;
        let start = group * job.matrix.group();
        let len = job.matrix.group().min(job.padded - start);
        let left = job.stride - row / W::PER_BYTE;
        let short = left < register;
        // SAFETY: the inputs of the group have a row of `stride` bytes each; the
        // strip has room for a register of MAX_GROUP inputs. Prefetching does not
        // access memory.
        unsafe {
            let mut weights = job.weights(start, row);
            for copy in self.0.chunks_exact_mut(register).take(len) {
                let bytes =
                    if short { D::Simd::load_short(weights, left) } else { D::Simd::load(weights) };
                D::Simd::store(copy.as_mut_ptr().cast(), W::copied::<D::Simd>(bytes));
                _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(register).cast());
                weights = weights.wrapping_add(job.stride);
            }
        }
    }
}

/// Adds the products with many tokens to `out`, a group's weights for a strip of rows
/// at a time.
///
/// # Safety
///
/// As for [`product`](super::product).
#[inline(always)]
pub(super) unsafe fn many<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    out: &mut OutputRows<'_>,
) {
    let unit = unit::<D, W>();
    let (tokens, rows) = (out.tokens(), out.rows());
    let mut lists = Lists::new();
    let mut strip = Strip([0; STRIP * MAX_GROUP]);
    let window = job.window();
    for group in 0..job.matrix.groups() {
        let mut first = 0;
        while first < tokens {
            // SAFETY: the caller's promise.
            unsafe { lists.find::<D, W>(job, first..tokens, group) };
            let copies = lists.pay_for_a_copy(job.matrix.group());
            let step = if copies { unit } else { window };
            for row in rows.clone().step_by(step) {
                // SAFETY: the caller's promise; rows begin at a block, and a step is
                // a number of units. The inputs are of this group.
                unsafe {
                    if copies {
                        strip.copy::<D, W>(job, group, row);
                    }
                    for (active, token) in lists.iter().zip(first..) {
                        if active.q.is_empty() {
                            continue;
                        }
                        let acc = &mut out.token(token)[row - rows.start..];
                        let len = acc.len().min(step);
                        if copies {
                            add_strip::<D, W>(job, active, &strip, (group, row), &mut acc[..len]);
                        } else {
                            add_group::<D, W>(job, active, group, row, &mut acc[..len]);
                        }
                    }
                }
            }
            first += lists.len;
        }
    }
}

/// Adds the products of a strip to the accumulators `acc` of its rows, from `row` on.
///
/// # Safety
///
/// As for [`product`](super::product); `acc` are rows of the matrix, at most a strip, `row` is at a
/// block, and `active` are inputs of `group`; the strip is theirs.
#[inline(always)]
unsafe fn add_strip<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    active: Fours<'_>,
    strip: &Strip,
    (group, row): (usize, usize),
    acc: &mut [f32],
) {
    let register = 4 * D::Simd::LANES;
    // SAFETY: group and row are within the matrix, so scales are readable to the end
    // of the padded row; a strip has whole registers.
    unsafe {
        let scales = job.scales(group, row);
        let weights = strip.0.as_ptr();
        if acc.len() == unit::<D, W>() {
            rows::<D, W::Copied, 1, WHOLE>(active, weights, register, scales, acc);
        } else {
            let len = padded::<W>(acc.len());
            let mut padded = [0.0; MAX_UNIT];
            padded[..acc.len()].copy_from_slice(acc);
            rows::<D, W::Copied, 1, WHOLE>(active, weights, register, scales, &mut padded[..len]);
            acc.copy_from_slice(&padded[..acc.len()]);
        }
    }
}
