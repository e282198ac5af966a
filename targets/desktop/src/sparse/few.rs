//! Products of a few tokens, which share the weights of a window.
//!
//! ```text
//! for each window of rows:                       256 KB of a group's weights: L2
//!     for each group:
//!         for each token:
//!             find the active inputs
//!             add_group: out[token][window] += fold(sum over the active inputs)
//! ```
//!
//! The tokens are the innermost loop, because the active inputs of several tokens overlap:
//! the second token finds most of its weights in the second-level cache. The sums of up to
//! 128 rows stay in registers over all active inputs of a group; `out` holds the f32
//! accumulators between groups.

#![expect(
    clippy::needless_range_loop,
    reason = "indices name registers: constant bounds, unrolled, several arrays at once"
)]

use kinglet_simd::OutputRows;

use super::nonzero::{Active, Fours};
use crate::dot_product::DotProduct;
use crate::simd::Simd;
use crate::sparse::{MAX_UNIT, Sparse, first_row, padded, unit};
use crate::weight_type::{MAX_PER_BYTE, Operand, WeightType};

/// Adds the products with all tokens to `out`, a window of weights at a time.
///
/// # Safety
///
/// As for [`product`](super::product).
#[inline(always)]
pub(super) unsafe fn few<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    out: &mut OutputRows<'_>,
) {
    let (tokens, rows) = (out.tokens(), out.rows());
    let mut active = Active::new();
    let window = job.window();
    for first in rows.clone().step_by(window) {
        let end = rows.end.min(first + window);
        for group in 0..job.matrix.groups() {
            for token in 0..tokens {
                // SAFETY: the caller's promise; `acc` are rows of the matrix
                // from a tile on, and `active` are inputs of `group`.
                unsafe {
                    active.find::<D, W>(job, token, group);
                    if active.fours > 0 {
                        let acc = &mut out.token(token)[first - rows.start..end - rows.start];
                        add_group::<D, W>(job, active.fours(), group, first, acc);
                    }
                }
            }
        }
    }
}

/// Adds a group's products to the accumulators `acc` of the rows from `row` on.
///
/// # Safety
///
/// As for [`product`](super::product); `acc` are rows of the matrix, `row` is at a block, and
/// `active` are inputs of group `group`.
#[inline(always)]
pub(super) unsafe fn add_group<D: DotProduct, W: WeightType>(
    job: &Sparse<'_, W>,
    active: Fours<'_>,
    group: usize,
    row: usize,
    acc: &mut [f32],
) {
    let unit = unit::<D, W>();
    // SAFETY: group, row and input are within the matrix, so weights and scales
    // are readable to the end of the padded row.
    unsafe {
        let mut weights = job.weights(group * job.matrix.group(), row);
        let mut scales = job.scales(group, row);
        // Sums of more than eight registers of rows do not stay in registers.
        let together = 2 / W::PER_BYTE * unit;
        let (first, rest) = acc.split_at_mut(acc.len() / together * together);
        for acc in first.chunks_exact_mut(together) {
            if W::PER_BYTE == 1 {
                rows::<D, W, 2, WHOLE>(active, weights, job.stride, scales, acc);
            } else {
                rows::<D, W, 1, WHOLE>(active, weights, job.stride, scales, acc);
            }
            weights = weights.add(together / W::PER_BYTE);
            scales = scales.add(together);
        }
        for acc in rest.chunks_mut(unit) {
            let len = padded::<W>(acc.len());
            let mut padded = [0.0; MAX_UNIT];
            if len == unit && acc.len() == unit {
                rows::<D, W, 1, WHOLE>(active, weights, job.stride, scales, acc);
            } else {
                padded[..acc.len()].copy_from_slice(acc);
                if len == unit {
                    rows::<D, W, 1, WHOLE>(active, weights, job.stride, scales, &mut padded[..len]);
                } else {
                    rows::<D, W, 1, SHORT>(active, weights, job.stride, scales, &mut padded[..len]);
                }
                acc.copy_from_slice(&padded[..acc.len()]);
            }
            weights = weights.wrapping_add(unit / W::PER_BYTE);
            scales = scales.wrapping_add(unit);
        }
    }
}

/// What [`rows`] reads of an input: N registers, or the end of its row.
pub(super) const WHOLE: bool = false;
pub(super) const SHORT: bool = true;

/// Adds the products of the active inputs with the rows of N registers of weights, or with
/// fewer where the matrix ends.
///
/// # Safety
///
/// As for [`product`](super::product); the active inputs have N registers of weights each, from
/// `weights` on and `stride` bytes apart, and there are `acc.len()` scales, a multiple of
/// [`padded`] and at most N units. With LENGTH SHORT there are weights for `acc.len()` rows,
/// which are less.
#[inline(always)]
pub(super) unsafe fn rows<D: DotProduct, W: Operand, const N: usize, const LENGTH: bool>(
    active: Fours<'_>,
    weights: *const u8,
    stride: usize,
    scales: *const u16,
    acc: &mut [f32],
) {
    let lanes = D::Simd::LANES;
    // SAFETY: the caller's promise; registers beyond `acc.len()` are skipped.
    unsafe {
        let mut sums = [[[D::start(); 4]; MAX_PER_BYTE]; N];
        for (inputs, q) in active.inputs.iter().zip(active.q) {
            let q = q.as_ptr();
            let activations = [D::Simd::broadcast(q), D::Simd::broadcast(q.add(2))];
            for n in 0..N {
                let mut bytes = [D::Simd::splat(0); 4];
                for i in 0..4 {
                    let at = weights.add(inputs[i] as usize * stride + n * 4 * lanes);
                    bytes[i] = if LENGTH == SHORT {
                        D::Simd::load_short(at, acc.len() / W::PER_BYTE)
                    } else {
                        D::Simd::load(at)
                    };
                }
                let tiles = D::Simd::interleave(bytes);
                for block in 0..W::PER_BYTE {
                    for t in 0..4 {
                        let weights = W::unsigned::<D::Simd>(tiles[t], block);
                        sums[n][block][t] = D::steps(sums[n][block][t], weights, activations);
                    }
                }
            }
        }
        let correction = D::Simd::splat(active.correction);
        for n in 0..N {
            for block in 0..W::PER_BYTE {
                let mut totals = [correction; 4];
                for t in 0..4 {
                    totals[t] = D::total(sums[n][block][t]);
                }
                let totals = D::Simd::restore(totals);
                for t in 0..4 {
                    let at = n * unit::<D, W>() + first_row::<D, W>(block, t);
                    if at < acc.len() {
                        let scales = D::Simd::scales(scales.add(at));
                        let sums = D::Simd::add(totals[t], correction);
                        D::Simd::fold(sums, scales, acc.as_mut_ptr().add(at));
                    }
                }
            }
        }
    }
}
