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

use kinglet::kernels::matrix::padded_rows;
use kinglet_simd::OutputRows;

use super::nonzero::{Active, Fours};
use crate::dot_product::DotProduct;
use crate::simd::Simd;
use crate::sparse::Sparse;

/// Adds the products with all tokens to `out`, a window of weights at a time.
///
/// # Safety
///
/// As for [`product`](super::product).
#[inline(always)]
pub(super) unsafe fn few<D: DotProduct>(job: &Sparse<'_>, out: &mut OutputRows<'_>) {
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
                    active.find::<D>(job, token, group);
                    if active.fours > 0 {
                        let acc = &mut out.token(token)[first - rows.start..end - rows.start];
                        add_group::<D>(job, active.fours(), group, first, acc);
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
/// As for [`product`](super::product); `acc` are rows of the matrix, `row` is at a tile, and
/// `active` are inputs of group `group`.
#[inline(always)]
pub(super) unsafe fn add_group<D: DotProduct>(
    job: &Sparse<'_>,
    active: Fours<'_>,
    group: usize,
    row: usize,
    acc: &mut [f32],
) {
    let unit = 4 * D::Simd::LANES;
    // SAFETY: group, row and input are within the matrix, so weights and scales
    // are readable to the end of the padded row.
    unsafe {
        let input = group * job.matrix.group();
        let mut weights = job.weights.as_ptr().add(input * job.stride + row);
        let mut scales = job.matrix.scales().as_ptr().cast::<u16>().add(group * job.stride + row);
        let (pairs, rest) = acc.split_at_mut(acc.len() / (2 * unit) * (2 * unit));
        for acc in pairs.chunks_exact_mut(2 * unit) {
            rows::<D, 2, WHOLE>(active, weights, job.stride, scales, acc);
            weights = weights.add(2 * unit);
            scales = scales.add(2 * unit);
        }
        for acc in rest.chunks_mut(unit) {
            let len = padded_rows(acc.len());
            let mut padded = [0.0; 64];
            if len == unit && acc.len() == unit {
                rows::<D, 1, WHOLE>(active, weights, job.stride, scales, acc);
            } else {
                padded[..acc.len()].copy_from_slice(acc);
                if len == unit {
                    rows::<D, 1, WHOLE>(active, weights, job.stride, scales, &mut padded[..len]);
                } else {
                    rows::<D, 1, SHORT>(active, weights, job.stride, scales, &mut padded[..len]);
                }
                acc.copy_from_slice(&padded[..acc.len()]);
            }
            weights = weights.wrapping_add(unit);
            scales = scales.wrapping_add(unit);
        }
    }
}

/// Sources of weights for [`rows`]: the matrix, the end of its rows, or a strip of `many`.
pub(super) const WHOLE: u8 = 0;
pub(super) const SHORT: u8 = 1;
pub(super) const COPIED: u8 = 2;

/// Adds the products of the active inputs with `N * 4 * LANES` rows, or with
/// fewer where the matrix ends.
///
/// # Safety
///
/// As for [`product`](super::product); the active inputs have `acc.len()` bytes each, from
/// `weights` on and `stride` apart, and there are as many scales. `acc.len()`
/// is `N * 4 * LANES`, or, with SHORT, a multiple of 16 below it. Of COPIED weights
/// there are `N * 4 * LANES`, unsigned, also where `acc` is shorter.
#[inline(always)]
pub(super) unsafe fn rows<D: DotProduct, const N: usize, const SOURCE: u8>(
    active: Fours<'_>,
    weights: *const i8,
    stride: usize,
    scales: *const u16,
    acc: &mut [f32],
) {
    let lanes = D::Simd::LANES;
    // SAFETY: the caller's promise; registers beyond `acc.len()` are skipped.
    unsafe {
        let mut sums = [[D::start(); 4]; N];
        for (inputs, q) in active.inputs.iter().zip(active.q) {
            let q = q.as_ptr();
            let activations = [D::Simd::broadcast(q), D::Simd::broadcast(q.add(2))];
            for n in 0..N {
                let mut bytes = [D::Simd::splat(0); 4];
                for i in 0..4 {
                    let at = weights.add(inputs[i] as usize * stride + n * 4 * lanes);
                    bytes[i] = if SOURCE == SHORT {
                        D::Simd::load_short(at, acc.len())
                    } else {
                        D::Simd::load(at)
                    };
                }
                let tiles = D::Simd::interleave(bytes);
                for t in 0..4 {
                    let unsigned = SOURCE == COPIED;
                    let weights = if unsigned { tiles[t] } else { D::Simd::unsign(tiles[t]) };
                    sums[n][t] = D::steps(sums[n][t], weights, activations);
                }
            }
        }
        let correction = D::Simd::splat(active.correction);
        for n in 0..N {
            let mut totals = [correction; 4];
            for t in 0..4 {
                totals[t] = D::total(sums[n][t]);
            }
            let totals = D::Simd::restore(totals);
            for t in 0..4 {
                let at = (n * 4 + t) * lanes;
                if at < acc.len() {
                    let scales = D::Simd::scales(scales.add(at));
                    let sums = D::Simd::add(totals[t], correction);
                    D::Simd::fold(sums, scales, acc.as_mut_ptr().add(at));
                }
            }
        }
    }
}
