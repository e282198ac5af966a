//! NEON without the dot product: weights widened to i16, `smlal` with 16-bit activations.
//!
//! `smlal` multiplies four i16 with four others and adds the products to four i32 lanes. The
//! activations need no second byte and no packing. Lanes are
//!
//! * inputs, for one token: four inputs of a row lie side by side, so nothing is rearranged;
//!   the lanes of a row are added up at the group's end;
//! * rows, for several tokens: the weights of a quarter are transposed once, `[input][row]`,
//!   which all tokens share, and a token's activation comes from a lane of its register. A
//!   token then takes four accumulators instead of sixteen.

use core::arch::asm;
use core::array::from_fn;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix};
use kinglet_simd::{OutputRows, SimdKernels, fp_mode_is_ieee};

use crate::dense::{self, Dense, Group, load};
use crate::fold::Sums;
use crate::intrinsics::*;
use crate::packing::Packing;
use crate::sparse::{self, Active, Lines, Sparse};

/// The set `aarch64-neon`.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The set, where the thread's floats are IEEE. Every AArch64 CPU that this crate compiles
    /// for has the instructions.
    pub fn new() -> Option<Self> {
        fp_mode_is_ieee().then_some(Self(()))
    }
}

impl SimdKernels for Neon {
    fn name(&self) -> &'static str {
        "aarch64-neon"
    }

    #[inline(always)]
    fn pack(&self, _q: &mut [i16]) {}

    #[inline(always)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        // NEON is on everywhere.
        f()
    }

    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
        dense::product(*self, matrix, input, out);
    }

    fn sparse_product(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        out: &mut OutputRows<'_>,
    ) {
        sparse::product(*self, matrix, input, out);
    }
}

impl Dense for Neon {
    const TOKENS: usize = 4;

    #[inline(always)]
    fn group<W: Packing, const C: usize>(self, weights: &[u8], q: [&[i16]; C]) -> [Sums; C] {
        let group = Group::<W, C>::new(weights, q);
        if C == 1 { lanes_of_inputs(&group) } else { lanes_of_rows(&group) }
    }
}

/// Lanes are the four inputs of one row, sixteen accumulators per token; they
/// are added up at the end. The cheapest for one token: nothing is rearranged.
#[inline(always)]
fn lanes_of_inputs<W: Packing, const C: usize>(group: &Group<'_, W, C>) -> [Sums; C] {
    let mut acc = [[[vdupq_n_s32(0); 4]; 4]; C];
    for pair in 0..group.pairs() {
        // SAFETY: `pair` is below their number, and of two tiles.
        let q: [[int16x8_t; C]; 2] =
            from_fn(|tile| from_fn(|c| twice(unsafe { group.q(c, pair, tile) })));
        W::quarters(
            #[inline(always)]
            |tile, quarter| {
                // SAFETY: as above; a pair has two tiles of four quarters.
                let weights = unsafe { group.weights(pair, tile, quarter) };
                let (a, b) = (vmovl_s8(vget_low_s8(weights)), vmovl_high_s8(weights));
                for (acc, q) in acc.iter_mut().zip(q[tile]) {
                    let acc = &mut acc[quarter];
                    acc[0] = vmlal_s16(acc[0], vget_low_s16(a), vget_low_s16(q));
                    acc[1] = vmlal_high_s16(acc[1], a, q);
                    acc[2] = vmlal_s16(acc[2], vget_low_s16(b), vget_low_s16(q));
                    acc[3] = vmlal_high_s16(acc[3], b, q);
                }
            },
        );
    }
    acc.map(|token| token.map(|[a, b, c, d]| vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))))
}

/// Four values in both halves of a register.
///
/// Opaque, since the compiler would see that the halves agree, and replace each
/// `smlal2` by an `ext` and a `smlal`.
#[inline(always)]
fn twice(q: &[i16; 4]) -> int16x8_t {
    let result;
    // SAFETY: reads four values; every CPU with NEON has the instruction.
    unsafe {
        asm!(
            "ld1r {{{result:v}.2d}}, [{q}]",
            result = out(vreg) result,
            q = in(reg) q,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    result
}

/// One value in all lanes; opaque as [`twice`] is.
#[inline(always)]
fn all(q: &i16) -> int16x8_t {
    let result;
    // SAFETY: reads one value; every CPU with NEON has the instruction.
    unsafe {
        asm!(
            "ld1r {{{result:v}.8h}}, [{q}]",
            result = out(vreg) result,
            q = in(reg) q,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    result
}

/// Lanes are four rows, four accumulators per token; the weights are transposed
/// to `[input][row]` within each quarter of a tile, which several tokens share.
#[inline(always)]
fn lanes_of_rows<W: Packing, const C: usize>(group: &Group<'_, W, C>) -> [Sums; C] {
    const TRANSPOSE: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
    // SAFETY: sixteen bytes.
    let transpose = unsafe { TRANSPOSE.as_ptr().cast::<uint8x16_t>().read_unaligned() };
    let mut acc = [[vdupq_n_s32(0); 4]; C];
    for pair in 0..group.pairs() {
        // SAFETY: `pair` is below their number, and of two tiles.
        let q: [[int16x4_t; C]; 2] =
            from_fn(|tile| from_fn(|c| load(unsafe { group.q(c, pair, tile) })));
        W::quarters(
            #[inline(always)]
            |tile, quarter| {
                // SAFETY: as above; a pair has two tiles of four quarters.
                let weights = vqtbl1q_s8(unsafe { group.weights(pair, tile, quarter) }, transpose);
                let (a, b) = (vmovl_s8(vget_low_s8(weights)), vmovl_high_s8(weights));
                for (acc, q) in acc.iter_mut().zip(q[tile]) {
                    let mut sum = acc[quarter];
                    sum = vmlal_lane_s16::<0>(sum, vget_low_s16(a), q);
                    sum = vmlal_high_lane_s16::<1>(sum, a, q);
                    sum = vmlal_lane_s16::<2>(sum, vget_low_s16(b), q);
                    acc[quarter] = vmlal_high_lane_s16::<3>(sum, b, q);
                }
            },
        );
    }
    acc
}

impl Sparse for Neon {
    const TILES: usize = 4;

    #[inline(always)]
    fn prepare(self, _active: &mut Active) {}

    #[inline(always)]
    unsafe fn tiles<W: Packing, const T: usize>(
        self,
        weights: &Lines<'_, W, T>,
        active: &Active,
    ) -> [Sums; T] {
        let mut acc = [[vdupq_n_s32(0); 4]; T];
        for (input, q) in active.iter() {
            let q = all(q);
            for block in 0..Lines::<W, T>::BLOCKS {
                // SAFETY: an active input; there are so many blocks.
                let bytes = unsafe { weights.load(input, block) };
                for part in 0..Lines::<W, T>::PARTS {
                    let acc = &mut acc[block * Lines::<W, T>::PARTS + part];
                    let weights = weights.part(bytes, part);
                    let (a, b) = (vmovl_s8(vget_low_s8(weights)), vmovl_high_s8(weights));
                    acc[0] = vmlal_s16(acc[0], vget_low_s16(a), vget_low_s16(q));
                    acc[1] = vmlal_high_s16(acc[1], a, q);
                    acc[2] = vmlal_s16(acc[2], vget_low_s16(b), vget_low_s16(q));
                    acc[3] = vmlal_high_s16(acc[3], b, q);
                }
            }
        }
        acc
    }
}
