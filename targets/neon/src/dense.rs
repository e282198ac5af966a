//! Products with a dense input, GEMV and GEMM: the part that all sets share.
//!
//! ```text
//! for each tile of 16 rows:
//!     for each register tile of tokens, at most TOKENS:
//!         acc[token][row] = 0
//!         for each group:
//!             sums = the set's exact i32 sums over the group        (trait Dense)
//!             acc += f32(sums) * scales[group]
//!         out[token][row] = acc * scale of the token
//! ```
//!
//! A tile is `[input/4][16 rows][4 inputs]`, 64 bytes: four registers, called quarters, of four
//! rows by four inputs each, which is the operand of `sdot` as it lies. `TOKENS` is the number
//! of tokens whose 16 rows of accumulators stay in the 32 registers beside the operands.
//!
//! [`Group`] is the one place where lengths are checked: a group's weights and activations
//! agree in their number of inputs, so the loads inside its loops are unchecked.

use core::array::from_fn;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, TILE_INPUTS, TILE_ROWS};
use kinglet_simd::OutputRows;

use crate::fold::{self, Sums};
use crate::intrinsics::{int8x16_t, int16x4_t};

/// Exact products of sixteen rows with tokens, in one set's instructions.
pub(crate) trait Dense: Copy {
    /// Tokens whose accumulators fit in registers; at most 4.
    const TOKENS: usize;

    /// The sums of one group. Must be inlined where the set's instructions are
    /// switched on.
    ///
    /// * `weights`: `[input/4][16][4]`, a multiple of 8 inputs
    /// * `q`: `[C][input]`, packed for the set
    fn group<const C: usize>(self, weights: &[i8], q: [&[i16]; C]) -> [Sums; C];
}

/// Computes the rows of `out`.
#[inline(always)]
pub(crate) fn product<D: Dense>(
    dense: D,
    matrix: &Matrix<'_>,
    input: &Quantized<'_>,
    out: &mut OutputRows<'_>,
) {
    let first = out.rows().start / TILE_ROWS;
    let tiles = out.rows().len().div_ceil(TILE_ROWS);
    for tile in 0..tiles {
        let at = Position { tile, first };
        let mut token = 0;
        while token < out.tokens() {
            let tokens = (out.tokens() - token).min(D::TOKENS);
            match tokens {
                1 => register_tile::<D, 1>(dense, matrix, input, at, token, out),
                2 => register_tile::<D, 2>(dense, matrix, input, at, token, out),
                3 => register_tile::<D, 3>(dense, matrix, input, at, token, out),
                _ => register_tile::<D, 4>(dense, matrix, input, at, token, out),
            }
            token += tokens;
        }
    }
}

/// A tile of a part, and the tile at which the part starts in its matrix.
#[derive(Clone, Copy)]
struct Position {
    tile: usize,
    first: usize,
}

/// A register tile: sixteen rows of `C` tokens, from `token` on.
#[inline(always)]
fn register_tile<D: Dense, const C: usize>(
    dense: D,
    matrix: &Matrix<'_>,
    input: &Quantized<'_>,
    at: Position,
    token: usize,
    out: &mut OutputRows<'_>,
) {
    let (weights, scales) = matrix.row_tile(at.first + at.tile);
    let Some(weights) = weights.int8() else { unimplemented!() };
    let q: [&[i16]; C] = from_fn(|c| input.token(token + c));
    let mut acc = [fold::zero(); C];
    let groups = weights.chunks(matrix.group() * TILE_ROWS).zip(scales.as_chunks().0);
    for (group, (weights, scales)) in groups.enumerate() {
        let start = group * matrix.group();
        let q = q.map(|q| &q[start..start + weights.len() / TILE_ROWS]);
        let sums = dense.group(weights, q);
        let scales = fold::f16_scales_to_f32(scales);
        for (acc, sums) in acc.iter_mut().zip(&sums) {
            fold::fold(acc, sums, &scales);
        }
    }
    for (c, acc) in acc.iter().enumerate() {
        let scale = input.scales()[token + c] * matrix.multiplier();
        let rows = &mut out.token(token + c)[at.tile * TILE_ROWS..];
        let acc = fold::scaled(acc, scale);
        if let Some(rows) = rows.first_chunk_mut() {
            fold::store(&acc, rows);
        } else {
            let mut whole = [0.0; TILE_ROWS];
            fold::store(&acc, &mut whole);
            rows.copy_from_slice(&whole[..rows.len()]);
        }
    }
}

/// One group's operands, with lengths that agree: the invariant that makes the kernels'
/// unchecked loads sound.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a, const C: usize> {
    weights: &'a [i8],
    q: [&'a [i16]; C],
}

impl<'a, const C: usize> Group<'a, C> {
    /// # Panics
    ///
    /// When `weights` are not sixteen rows of a multiple of 8 inputs, or a
    /// token has another number of inputs.
    #[inline(always)]
    pub(crate) fn new(weights: &'a [i8], q: [&'a [i16]; C]) -> Self {
        assert!(weights.len().is_multiple_of(TILE_ROWS * 2 * TILE_INPUTS));
        assert!(q.iter().all(|q| q.len() == weights.len() / TILE_ROWS));
        Self { weights, q }
    }

    /// Number of fours of inputs: tiles.
    #[inline(always)]
    pub(crate) fn fours(&self) -> usize {
        self.weights.len() / (TILE_ROWS * TILE_INPUTS)
    }

    /// Rows `4 * quarter..` of a tile: `[4][4]`.
    ///
    /// # Safety
    ///
    /// `four < self.fours()` and `quarter < 4`.
    #[inline(always)]
    pub(crate) unsafe fn weights(&self, four: usize, quarter: usize) -> int8x16_t {
        // SAFETY: the caller names 16 bytes of a tile that is there.
        unsafe {
            let at = self.weights.as_ptr().add((4 * four + quarter) * 16);
            at.cast::<int8x16_t>().read_unaligned()
        }
    }

    /// Four values of a token.
    ///
    /// # Safety
    ///
    /// `four < self.fours()`.
    #[inline(always)]
    pub(crate) unsafe fn q(&self, token: usize, four: usize) -> &'a [i16; 4] {
        // SAFETY: the caller names four values that are there.
        unsafe { &*self.q[token].as_ptr().add(4 * four).cast() }
    }

    /// Packed values of a token: four, and the four after them.
    ///
    /// # Safety
    ///
    /// `four + 1 < self.fours()`.
    #[inline(always)]
    pub(crate) unsafe fn q_pair(&self, token: usize, four: usize) -> int8x16_t {
        // SAFETY: the caller names eight values that are there.
        unsafe {
            let at = self.q[token].as_ptr().add(4 * four);
            at.cast::<int8x16_t>().read_unaligned()
        }
    }
}

/// Four values as a vector.
#[inline(always)]
pub(crate) fn load(four: &[i16; 4]) -> int16x4_t {
    // SAFETY: four values.
    unsafe { four.as_ptr().cast::<int16x4_t>().read_unaligned() }
}
