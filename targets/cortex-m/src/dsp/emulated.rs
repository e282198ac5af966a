//! The instructions emulated in plain Rust, for machines that do not have them: the signatures
//! are those of `instructions.rs`, so that the same callers are tested on any machine.

use kinglet::kernels::matrix::TILE_ROWS;

use crate::quads::{INT4_WEIGHTS, List, PAIRS, ROWS, WEIGHTS};

/// Whether the core has the instructions: always, because these run anywhere.
pub(super) fn is_available() -> bool {
    true
}

/// SXTB16 after ROR #`rotate`: bytes 0 and 2, sign-extended to halfwords.
fn sxtb16(word: u32, rotate: u32) -> u32 {
    let [low, _, high, _] = word.rotate_right(rotate).to_le_bytes();
    let widen = |byte: u8| u32::from(i16::from(byte as i8) as u16);
    widen(low) | widen(high) << 16
}

/// The signed lower and upper halfword.
fn halves(word: u32) -> (i32, i32) {
    (i32::from(word as i16), i32::from((word >> 16) as i16))
}

/// SMLAD: both products of halfwords, added to `sum`.
fn smlad(a: u32, b: u32, sum: i32) -> i32 {
    let ((a0, a1), (b0, b1)) = (halves(a), halves(b));
    sum.wrapping_add(a0 * b0).wrapping_add(a1 * b1)
}

/// Four rows times a segment.
///
/// # Safety
///
/// None is needed here; the instructions need `row` to be at most 12.
pub(super) unsafe fn segment(
    mut sums: [i32; ROWS],
    weights: &[u32; WEIGHTS],
    row: usize,
    q: &[u32; PAIRS],
) -> [i32; ROWS] {
    let quads = weights.as_chunks::<TILE_ROWS>().0.iter().zip(q.as_chunks::<2>().0);
    for (weights, [even, odd]) in quads {
        for (sum, weights) in sums.iter_mut().zip(&weights[row..]) {
            *sum = smlad(sxtb16(*weights, 0), *even, *sum);
            *sum = smlad(sxtb16(*weights, 8), *odd, *sum);
        }
    }
    sums
}

/// Four rows of int4 times a segment.
///
/// # Safety
///
/// None is needed here; the instructions need `row` to be at most 12.
pub(super) unsafe fn segment_int4(
    mut sums: [i32; ROWS],
    weights: &[u32; INT4_WEIGHTS],
    row: usize,
    q: &[u32; PAIRS],
) -> [i32; ROWS] {
    let quads = weights.as_chunks::<TILE_ROWS>().0.iter().zip(q.as_chunks::<4>().0);
    for (weights, q) in quads {
        for (sum, weights) in sums.iter_mut().zip(&weights[row..]) {
            for (shift, q) in [0, 8, 4, 12].into_iter().zip(q) {
                *sum = smlad(nibbles(*weights, shift), *q, *sum);
            }
        }
    }
    sums
}

/// AND of a word, shifted by LSR #`shift`, with a mask: a nibble in each halfword.
fn nibbles(word: u32, shift: u32) -> u32 {
    word >> shift & 0x000F_000F
}

/// The sums over listed inputs of four rows.
///
/// # Safety
///
/// None is needed here; the instructions need four weights at each entry's offset.
pub(super) unsafe fn listed(sums: [i32; ROWS], list: List<'_>, weights: &[u8]) -> [i32; ROWS] {
    listed_as(sums, list, weights, |word| [sxtb16(word, 0), sxtb16(word, 8)])
}

/// [`listed`] of the low nibbles.
///
/// # Safety
///
/// None is needed here; the instructions need four bytes at each entry's offset.
pub(super) unsafe fn listed_low(sums: [i32; ROWS], list: List<'_>, weights: &[u8]) -> [i32; ROWS] {
    listed_as(sums, list, weights, |word| [nibbles(word, 0), nibbles(word, 8)])
}

/// [`listed`] of the high nibbles.
///
/// # Safety
///
/// None is needed here; the instructions need four bytes at each entry's offset.
pub(super) unsafe fn listed_high(sums: [i32; ROWS], list: List<'_>, weights: &[u8]) -> [i32; ROWS] {
    listed_as(sums, list, weights, |word| [nibbles(word, 4), nibbles(word, 12)])
}

/// The loop of [`listed`], where `widen` makes halfwords of the four weights in a word: the first
/// and third, the second and fourth.
fn listed_as(
    mut sums: [i32; ROWS],
    list: List<'_>,
    weights: &[u8],
    widen: impl Fn(u32) -> [u32; 2],
) -> [i32; ROWS] {
    for entry in list.entries() {
        let at = entry.offset as usize;
        let word = u32::from_le_bytes([0, 1, 2, 3].map(|i| weights[at + i]));
        let [(w0, w2), (w1, w3)] = widen(word).map(halves);
        for (sum, w) in sums.iter_mut().zip([w0, w1, w2, w3]) {
            *sum = sum.wrapping_add(w * entry.q);
        }
    }
    sums
}
