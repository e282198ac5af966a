//! Products with a dense input, GEMV and GEMM: the part that all sets share.
//!
//! ```text
//! for each tile of 16 rows:
//!     for each register tile of tokens, at most TOKENS:
//!         acc[token][row] = 0
//!         for each group:
//!             sums = the set's exact i32 sums over the group        (traits Dense, Packing)
//!             acc += f32(sums) * scales[group]
//!         out[token][row] = acc * scale of the token
//! ```
//!
//! A tile is `[input/4][16 rows][4 inputs]`, 64 bytes: four registers, called quarters, of four
//! rows by four inputs each, which is the operand of `sdot` as it lies. Int4 has two tiles in such
//! four registers, a pair, which is the unit of all sets. `TOKENS` is the number
//! of tokens whose 16 rows of accumulators stay in the 32 registers beside the operands.
//!
//! [`Group`] is the one place where lengths are checked: a group's weights and activations
//! agree in their number of inputs, so the loads inside its loops are unchecked.

use core::array::from_fn;
use core::marker::PhantomData;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, TILE, TILE_ROWS};
use kinglet::kernels::weights::Weights;
use kinglet_simd::OutputRows;

use crate::fold::{self, Sums};
use crate::intrinsics::{int8x16_t, int16x4_t};
use crate::packing::{Int4, Int8, Packing};

/// Exact products of sixteen rows with tokens, in one set's instructions.
pub(crate) trait Dense: Copy {
    /// Tokens whose accumulators fit in registers; at most 4.
    const TOKENS: usize;

    /// The sums of one group, of weights as they are stored. Must be inlined where the set's instructions are
    /// switched on.
    ///
    /// * `weights`: `[input/4][16][4]`, a multiple of 8 inputs
    /// * `q`: `[C][input]`, packed for the set
    fn group<W: Packing, const C: usize>(self, weights: &[u8], q: [&[i16]; C]) -> [Sums; C];
}

/// Computes the rows of `out`.
#[inline(always)]
pub(crate) fn product<D: Dense>(
    dense: D,
    matrix: &Matrix<'_>,
    input: &Quantized<'_>,
    out: &mut OutputRows<'_>,
) {
    match matrix.weights() {
        Weights::Int8(_) => packed_product::<D, Int8>(dense, matrix, input, out),
        Weights::Int4(_) => packed_product::<D, Int4>(dense, matrix, input, out),
    }
}

/// [`product`] with weights of one type.
#[inline(always)]
fn packed_product<D: Dense, W: Packing>(
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
                1 => register_tile::<D, W, 1>(dense, matrix, input, at, token, out),
                2 => register_tile::<D, W, 2>(dense, matrix, input, at, token, out),
                3 => register_tile::<D, W, 3>(dense, matrix, input, at, token, out),
                _ => register_tile::<D, W, 4>(dense, matrix, input, at, token, out),
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
fn register_tile<D: Dense, W: Packing, const C: usize>(
    dense: D,
    matrix: &Matrix<'_>,
    input: &Quantized<'_>,
    at: Position,
    token: usize,
    out: &mut OutputRows<'_>,
) {
    let (weights, scales) = matrix.row_tile(at.first + at.tile);
    let bytes = matrix.group() * TILE_ROWS / W::PER_BYTE;
    let q: [&[i16]; C] = from_fn(|c| input.token(token + c));
    let mut acc = [fold::zero(); C];
    let groups = weights.bytes().chunks(bytes).zip(scales.as_chunks().0);
    for (group, (weights, scales)) in groups.enumerate() {
        let start = group * matrix.group();
        let inputs = start..start + weights.len() * W::PER_BYTE / TILE_ROWS;
        let q = q.map(|q| &q[inputs.clone()]);
        let sums = dense.group::<W, C>(weights, q);
        let scales = fold::f16_scales_to_f32(scales);
        for (c, (acc, sums)) in acc.iter_mut().zip(sums).enumerate() {
            let excess = W::excess(input, token + c, inputs.clone());
            fold::fold(acc, &W::correct(sums, excess), &scales);
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
pub(crate) struct Group<'a, W, const C: usize> {
    weights: &'a [u8],
    q: [&'a [i16]; C],
    packing: PhantomData<W>,
}

impl<'a, W: Packing, const C: usize> Group<'a, W, C> {
    /// # Panics
    ///
    /// When `weights` are not sixteen rows of a multiple of 8 inputs, or a
    /// token has another number of inputs.
    #[inline(always)]
    pub(crate) fn new(weights: &'a [u8], q: [&'a [i16]; C]) -> Self {
        assert!(weights.len().is_multiple_of(2 * TILE / W::PER_BYTE));
        assert!(q.iter().all(|q| q.len() == weights.len() * W::PER_BYTE / TILE_ROWS));
        Self { weights, q, packing: PhantomData }
    }

    /// Number of eights of inputs: pairs of tiles.
    #[inline(always)]
    pub(crate) fn pairs(&self) -> usize {
        self.weights.len() / (2 * TILE / W::PER_BYTE)
    }

    /// Rows `4 * quarter..` of the first or second tile of a pair: `[4][4]`.
    ///
    /// # Safety
    ///
    /// `pair < self.pairs()`, `tile < 2` and `quarter < 4`.
    #[inline(always)]
    pub(crate) unsafe fn weights(&self, pair: usize, tile: usize, quarter: usize) -> int8x16_t {
        // Of int4 both tiles lie in the first one's place.
        let block = pair * 8 / W::PER_BYTE + tile * 4 % (8 / W::PER_BYTE) + quarter;
        // SAFETY: the caller names 16 bytes of a tile that is there.
        let bytes =
            unsafe { self.weights.as_ptr().cast::<int8x16_t>().add(block).read_unaligned() };
        W::part(bytes, tile)
    }

    /// Four values of a token, those of the first or second tile of a pair.
    ///
    /// # Safety
    ///
    /// `pair < self.pairs()` and `tile < 2`.
    #[inline(always)]
    pub(crate) unsafe fn q(&self, token: usize, pair: usize, tile: usize) -> &'a [i16; 4] {
        // SAFETY: the caller names four values that are there.
        unsafe { &*self.q[token].as_ptr().add(8 * pair + 4 * tile).cast() }
    }

    /// Packed values of a token, those of a pair of tiles.
    ///
    /// # Safety
    ///
    /// `pair < self.pairs()`.
    #[inline(always)]
    pub(crate) unsafe fn q_pair(&self, token: usize, pair: usize) -> int8x16_t {
        // SAFETY: the caller names eight values that are there.
        unsafe {
            let at = self.q[token].as_ptr().add(8 * pair);
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
