//! How weights lie in bytes, and how they become the signed bytes that the instructions multiply.
//!
//! Int4 is stored as a nibble `u = w + 8`, and is multiplied as that: `u` is a signed byte, too. A
//! sum over a group is then too large by 8 times the sum of the activations, whose sums over 32
//! inputs travel in [`Quantized`]: `sum w q = sum u q - 8 sum q`, the same for all rows.

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{INPUT_PAD, LINE_BLOCK, TILE_ROWS};
use kinglet::kernels::weights::{INT4_GROUPS, INT4_ZERO_POINT, WeightType};

use crate::fold::Sums;
use crate::intrinsics::*;

/// Blocks of 16 bytes of weights as signed bytes.
pub(crate) trait Packing: Copy {
    /// Weights in a byte, and so blocks of signed bytes in a block.
    const PER_BYTE: usize;
    /// The type of the weights.
    const TYPE: WeightType;

    /// Calls `f` with each tile and quarter of a pair of tiles, in an order in which one load
    /// brings all that lies together. Written out, because a loop of them is not always unrolled,
    /// and then sums leave their registers.
    fn quarters(f: impl FnMut(usize, usize));

    /// Where the tile from row `row` on lies in the weights of an input: the first byte of its
    /// block, and which of the block's parts it is.
    fn block(row: usize) -> (usize, usize);

    /// Block `part` of those in `bytes`.
    fn part(bytes: int8x16_t, part: usize) -> int8x16_t;

    /// [`part`](Self::part), where it is not known when this is compiled.
    fn any_part(bytes: int8x16_t, part: usize) -> int8x16_t;

    /// What a sum of products is too large by, over a group of inputs of a token.
    fn excess(input: &Quantized<'_>, token: usize, inputs: Range<usize>) -> i32;

    /// Takes the excess off sums.
    fn correct(sums: Sums, excess: i32) -> Sums;
}

/// A byte for each weight.
#[derive(Clone, Copy)]
pub(crate) struct Int8;

impl Packing for Int8 {
    const PER_BYTE: usize = 1;
    const TYPE: WeightType = WeightType::Int8;

    #[inline(always)]
    fn quarters(mut f: impl FnMut(usize, usize)) {
        f(0, 0);
        f(0, 1);
        f(0, 2);
        f(0, 3);
        f(1, 0);
        f(1, 1);
        f(1, 2);
        f(1, 3);
    }

    #[inline(always)]
    fn block(row: usize) -> (usize, usize) {
        (row, 0)
    }

    #[inline(always)]
    fn part(bytes: int8x16_t, _part: usize) -> int8x16_t {
        bytes
    }

    #[inline(always)]
    fn any_part(bytes: int8x16_t, _part: usize) -> int8x16_t {
        bytes
    }

    #[inline(always)]
    fn excess(_input: &Quantized<'_>, _token: usize, _inputs: Range<usize>) -> i32 {
        0
    }

    #[inline(always)]
    fn correct(sums: Sums, _excess: i32) -> Sums {
        sums
    }
}

/// A nibble for each weight; the low ones are the first block.
#[derive(Clone, Copy)]
pub(crate) struct Int4;

impl Packing for Int4 {
    const PER_BYTE: usize = 2;
    const TYPE: WeightType = WeightType::Int4;

    #[inline(always)]
    fn quarters(mut f: impl FnMut(usize, usize)) {
        f(0, 0);
        f(1, 0);
        f(0, 1);
        f(1, 1);
        f(0, 2);
        f(1, 2);
        f(0, 3);
        f(1, 3);
    }

    #[inline(always)]
    fn block(row: usize) -> (usize, usize) {
        let tile = row / TILE_ROWS;
        (tile / 2 * LINE_BLOCK, tile % 2)
    }

    #[inline(always)]
    fn part(bytes: int8x16_t, part: usize) -> int8x16_t {
        if part == 0 {
            vandq_s8(bytes, vdupq_n_s8(15))
        } else {
            vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(bytes)))
        }
    }

    #[inline(always)]
    fn any_part(bytes: int8x16_t, part: usize) -> int8x16_t {
        let right = vdupq_n_s8(-4 * part as i8);
        let shifted = vshlq_u8(vreinterpretq_u8_s8(bytes), right);
        vandq_s8(vreinterpretq_s8_u8(shifted), vdupq_n_s8(15))
    }

    #[inline(always)]
    fn excess(input: &Quantized<'_>, token: usize, inputs: Range<usize>) -> i32 {
        /// The most sums to a group; a loop of unknown length would be vectorised.
        const SUMS: usize = INT4_GROUPS[INT4_GROUPS.len() - 1] / INPUT_PAD;
        let sums = &input.token_sums(token)[inputs.start / INPUT_PAD..inputs.end / INPUT_PAD];
        INT4_ZERO_POINT * sums.iter().take(SUMS).sum::<i32>()
    }

    #[inline(always)]
    fn correct(sums: Sums, excess: i32) -> Sums {
        let excess = vdupq_n_s32(excess);
        sums.map(|sum| vsubq_s32(sum, excess))
    }
}
