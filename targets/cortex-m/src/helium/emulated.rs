//! The instructions emulated in plain Rust, for machines that do not have them: the signatures
//! are those of `instructions.rs`, so that the same callers are tested on any machine.

use kinglet::kernels::matrix::TILE_ROWS;

use crate::dsp::Dsp;
use crate::quads::{
    Fold, INT4_WEIGHTS, Int4, Int8, List, PAIRS, ROWS, TILE_SCALES, Token, WEIGHTS, WeightWords,
};

/// Whether the core has the instructions: always, because these run anywhere.
pub(super) fn is_available() -> bool {
    true
}

/// VMOVLB or VMOVLT: the even or, with `odd` 1, the odd bytes of a vector as halfwords.
fn movl(words: [u32; 4], odd: usize) -> [u8; 8] {
    let bytes = words.map(u32::to_le_bytes);
    core::array::from_fn(|i| bytes[i / 2][i % 2 * 2 + odd])
}

/// VMLAVA: all products of halfwords, added to `sum`.
fn mlava(sum: i32, a: [i16; 8], b: [i16; 8]) -> i32 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(b));
    products.fold(sum, i32::wrapping_add)
}

/// VLD2 or VLD4: the halfwords of four words, `step` words apart, from word `first` on.
fn every(step: usize, words: &[u32], first: usize) -> [i16; 8] {
    core::array::from_fn(|i| (words[i / 2 * step + first] >> (i % 2 * 16)) as i16)
}

/// The gathering load: a row's word in each of the four tiles or blocks of `weights`.
fn gather(weights: &[u32], row: usize) -> [u32; 4] {
    [0, 1, 2, 3].map(|tile| weights[tile * TILE_ROWS + row])
}

/// A row of int8 times a segment.
fn int8_row(mut sum: i32, weights: &[u32; WEIGHTS], row: usize, q: &[u32; PAIRS]) -> i32 {
    let halves = weights.as_chunks::<{ WEIGHTS / 2 }>().0.iter();
    for (weights, q) in halves.zip(q.as_chunks::<{ PAIRS / 2 }>().0) {
        let word = gather(weights, row);
        for odd in 0..2 {
            let widened = movl(word, odd).map(|byte| i16::from(byte as i8));
            sum = mlava(sum, widened, every(2, q, odd));
        }
    }
    sum
}

/// A row of int4 times a segment.
fn int4_row(mut sum: i32, weights: &[u32; INT4_WEIGHTS], row: usize, q: &[u32; PAIRS]) -> i32 {
    let word = gather(weights, row);
    for odd in 0..2 {
        let bytes = movl(word, odd);
        sum = mlava(sum, bytes.map(|byte| i16::from(byte & 15)), every(4, q, odd));
        sum = mlava(sum, bytes.map(|byte| i16::from(byte >> 4)), every(4, q, 2 + odd));
    }
    sum
}

/// Sixteen rows times one token, with the token's scale. `row` adds to a sum the products of a segment
/// with the weights of a row.
fn tile_of<W: WeightWords>(
    weights: &[W::Segment],
    scales: &[[u32; TILE_SCALES]],
    token: Token<'_>,
    group: usize,
    scale: f32,
    row: fn(i32, &W::Segment, usize, &[u32; PAIRS]) -> i32,
) -> [f32; TILE_ROWS] {
    let mut acc = [[0.0; ROWS]; TILE_ROWS / ROWS];
    let groups = weights.chunks(group).zip(token.q.chunks(group)).zip(scales);
    for (number, ((weights, q), scales)) in groups.enumerate() {
        let first = number * group;
        let [start, ..] = W::start(token.sums, first..first + q.len());
        let mut sums = [start; TILE_ROWS];
        for (weights, q) in weights.iter().zip(q) {
            for (number, sum) in sums.iter_mut().enumerate() {
                *sum = row(*sum, weights, number, q);
            }
        }
        let quads = sums.as_chunks().0.iter().zip(scales.as_chunks().0);
        for (acc, (sums, scales)) in acc.iter_mut().zip(quads) {
            Dsp::fold(acc, *sums, scales);
        }
    }
    bytemuck::cast::<_, [f32; TILE_ROWS]>(acc).map(|acc| acc * scale)
}

/// Sixteen rows of int8 times one token, with the token's scale.
///
/// # Safety
///
/// Sixteen values can be written at `y`. The instructions need as many segments of `weights` as of
/// the token, at least 1, and one of `scales` for each `group` of them, too.
pub(super) unsafe fn tile(
    weights: &[[u32; WEIGHTS]],
    scales: &[[u32; TILE_SCALES]],
    token: Token<'_>,
    group: usize,
    scale: f32,
    y: *mut f32,
) {
    let rows = tile_of::<Int8>(weights, scales, token, group, scale, int8_row);
    // SAFETY: sixteen values can be written, by the caller's promise.
    unsafe { y.cast::<[f32; TILE_ROWS]>().write(rows) };
}

/// [`tile`] of int4.
///
/// # Safety
///
/// That of [`tile`], with as many sums in the token as segments.
pub(super) unsafe fn tile_int4(
    weights: &[[u32; INT4_WEIGHTS]],
    scales: &[[u32; TILE_SCALES]],
    token: Token<'_>,
    group: usize,
    scale: f32,
    y: *mut f32,
) {
    let rows = tile_of::<Int4>(weights, scales, token, group, scale, int4_row);
    // SAFETY: sixteen values can be written, by the caller's promise.
    unsafe { y.cast::<[f32; TILE_ROWS]>().write(rows) };
}

/// Adds the products of listed inputs to the sums of sixteen rows, which start at `start`.
///
/// # Safety
///
/// None is needed here; the instructions need sixteen bytes at each entry's offset.
pub(super) unsafe fn listed(start: i32, list: List<'_>, weights: &[u8]) -> [i32; TILE_ROWS] {
    listed_as(start, list, weights, |byte| i32::from(byte as i8))
}

/// [`listed`] of the low nibbles.
///
/// # Safety
///
/// That of [`listed`].
pub(super) unsafe fn listed_low(start: i32, list: List<'_>, weights: &[u8]) -> [i32; TILE_ROWS] {
    listed_as(start, list, weights, |byte| i32::from(byte & 15))
}

/// [`listed`] of the high nibbles.
///
/// # Safety
///
/// That of [`listed`].
pub(super) unsafe fn listed_high(start: i32, list: List<'_>, weights: &[u8]) -> [i32; TILE_ROWS] {
    listed_as(start, list, weights, |byte| i32::from(byte >> 4))
}

/// The loop of [`listed`], where `take` leaves of a byte the weight.
fn listed_as(
    start: i32,
    list: List<'_>,
    weights: &[u8],
    take: impl Fn(u8) -> i32,
) -> [i32; TILE_ROWS] {
    let mut sums = [start; TILE_ROWS];
    for entry in list.entries() {
        for (sum, byte) in sums.iter_mut().zip(&weights[entry.offset as usize..][..TILE_ROWS]) {
            *sum = sum.wrapping_add(take(*byte) * entry.q);
        }
    }
    sums
}
