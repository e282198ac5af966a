//! The active inputs of a group: those that are not zero.
//!
//! They are taken in ascending order and four at a time. The last four is filled with zero
//! activations; the weights read for these are those of the last active input, because they
//! are in cache, and any weight times zero is zero.

use core::ops::Range;

use crate::dot_product::DotProduct;
use crate::simd::{Compressed, MAX_GROUP, Simd};
use crate::sparse::Sparse;
use crate::weight_type::WeightType;

/// The active inputs of a group, taken four at a time, in ascending order.
#[derive(Clone, Copy)]
pub(super) struct Fours<'a> {
    /// Activations, each four of them packed; zeros fill the last four.
    pub(super) q: &'a [[i16; 4]],
    /// Inputs of the group; the last one again fills the last four.
    pub(super) inputs: &'a [[i16; 4]],
    /// The sum of q times the negative zero point.
    pub(super) correction: i32,
}

/// Writes the active inputs of group `group` of token `token`, as [`Fours`] has them,
/// and returns the number of fours and the correction.
///
/// # Safety
///
/// As for [`product`](super::product).
#[inline(always)]
pub(super) unsafe fn find<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    token: usize,
    group: usize,
    values: &mut Compressed,
    inputs: &mut Compressed,
) -> (usize, i32) {
    let start = group * job.matrix.group();
    let len = job.matrix.group().min(job.padded - start);
    let sums = &job.input.token_sums(token)[start / 32..(start + len) / 32];
    let q = &job.input.token(token)[start..start + len];
    // SAFETY: the caller's promise.
    let count = unsafe { D::Simd::compress(q, values, inputs) };
    let fours = count.div_ceil(4);
    values[count..4 * fours].fill(0);
    // The last active input again, because another one's weights would be read for nothing.
    let last = inputs[count.saturating_sub(1)];
    inputs[count..4 * fours].fill(last);
    for q in &mut values.as_chunks_mut().0[..fours] {
        *q = D::pack(*q);
    }
    (fours, sums.iter().sum::<i32>().wrapping_mul(-W::ZERO_POINT))
}

/// The active inputs of one group of one token.
pub(super) struct Active {
    pub(super) q: Compressed,
    pub(super) inputs: Compressed,
    /// Number of fours.
    pub(super) fours: usize,
    /// The group.
    pub(super) group: usize,
    pub(super) correction: i32,
}

impl Active {
    pub(super) const fn new() -> Self {
        let (q, inputs) = ([0; MAX_GROUP + 32], [0; MAX_GROUP + 32]);
        Self { q, inputs, fours: 0, group: 0, correction: 0 }
    }

    /// Finds the active inputs of group `group` of token `token`.
    ///
    /// # Safety
    ///
    /// As for [`product`](super::product).
    #[inline(always)]
    pub(super) unsafe fn find<D: DotProduct, W: WeightType>(
        &mut self,
        job: &Sparse<'_, W>,
        token: usize,
        group: usize,
    ) {
        self.group = group;
        // SAFETY: the caller's promise.
        (self.fours, self.correction) =
            unsafe { find::<D, W>(job, token, group, &mut self.q, &mut self.inputs) };
    }

    /// Like [`find`](Self::find), for the first group of `groups` with an active
    /// input, if there is one. Takes the groups up to this one.
    ///
    /// # Safety
    ///
    /// As for [`product`](super::product).
    #[inline(always)]
    pub(super) unsafe fn find_next<D: DotProduct, W: WeightType>(
        &mut self,
        job: &Sparse<'_, W>,
        groups: &mut Range<usize>,
    ) {
        self.fours = 0;
        for group in groups {
            // SAFETY: the caller's promise.
            unsafe { self.find::<D, W>(job, 0, group) };
            if self.fours > 0 {
                break;
            }
        }
    }

    #[inline(always)]
    pub(super) fn fours(&self) -> Fours<'_> {
        let Self { fours, correction, .. } = *self;
        let q = &self.q.as_chunks().0[..fours];
        Fours { q, inputs: &self.inputs.as_chunks().0[..fours], correction }
    }
}
