//! The int8 dot product, `sdot`: activations as two signed bytes, `q = 256 * high + low`.
//!
//! `sdot` multiplies four signed bytes in each of four lanes with four others and adds the
//! products to the lane. A lane is a row; the four bytes of a token are broadcast from a lane
//! of its register. Weights have one byte and activations two, so a dot product takes two
//! `sdot`s with sums of their own:
//!
//! ```text
//! high[row] += w[row][4] . high bytes of q[4]
//! low[row]  += w[row][4] . low bytes of q[4]
//! sum[row]   = 256 * high[row] + low[row]                  at the group's end
//! ```
//!
//! [`pack`] rearranges each four activations to `[high; 4] [low; 4]`, so that one load of 16
//! bytes brings both halves of eight inputs. Sparse products interleave the weights of four
//! active inputs, `[4 inputs][16 rows]`, to the quarters of a tile first.
//!
//! High and low sums of 16 rows take eight registers per token; with weights and activations
//! beside them, three tokens fit in 32 registers.

use core::arch::asm;
use core::array::from_fn;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix};
use kinglet_simd::{OutputRows, SimdKernels, fp_mode_is_ieee};

use crate::dense::{self, Dense, Group, load};
use crate::detect::Features;
use crate::fold::Sums;
use crate::intrinsics::*;
use crate::packing::Packing;
use crate::sparse::{self, Active, Lines, Sparse};

/// The set `aarch64-dotprod`.
#[derive(Clone, Copy, Debug)]
pub struct Dotprod(());

impl Dotprod {
    /// The set, where the CPU has `sdot` and the thread's floats are IEEE.
    pub fn new() -> Option<Self> {
        (Features::detect().dotprod && fp_mode_is_ieee()).then_some(Self(()))
    }
}

impl SimdKernels for Dotprod {
    fn name(&self) -> &'static str {
        "aarch64-dotprod"
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        pack(q);
    }

    #[inline(always)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        // NEON is on everywhere, and dot products do nothing for float loops.
        f()
    }

    fn product(&self, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
        // SAFETY: `self` exists only where the CPU has the instructions.
        unsafe { product(*self, matrix, input, out) }
    }

    fn sparse_product(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        out: &mut OutputRows<'_>,
    ) {
        // SAFETY: `self` exists only where the CPU has the instructions.
        unsafe { sparse_product(*self, matrix, input, out) }
    }
}

#[target_feature(enable = "dotprod")]
fn product(set: Dotprod, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
    dense::product(set, matrix, input, out);
}

#[target_feature(enable = "dotprod")]
fn sparse_product(
    set: Dotprod,
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    out: &mut OutputRows<'_>,
) {
    sparse::product(set, matrix, input, out);
}

/// Rearranges each four values to `[high; 4] [low; 4]`, signed bytes.
#[inline(always)]
pub(crate) fn pack(q: &mut [i16]) {
    for four in q.as_chunks_mut::<4>().0 {
        let q = load(four);
        let q = vcombine_s16(q, q);
        // The rounding shift leaves a low byte that is signed.
        let (high, low) = (vrshrn_n_s16(q), vmovn_s16(q));
        let packed = vzip1_s32(vreinterpret_s32_s8(high), vreinterpret_s32_s8(low));
        // SAFETY: four values.
        unsafe { four.as_mut_ptr().cast::<int32x2_t>().write_unaligned(packed) };
    }
}

/// `256 * high + low`. Nothing overflows: in a group of 512, `256 * high` is at most
/// 256 * 127 * 127 * 512 and the sum 32639 * 127 * 512, both below 2^31.
#[inline(always)]
pub(crate) fn join(high: int32x4_t, low: int32x4_t) -> int32x4_t {
    vaddq_s32(vshlq_n_s32(high), low)
}

impl Dotprod {
    /// Adds the products of four weights of each of four rows with the four
    /// bytes in lane `LANE` of `q`.
    #[inline(always)]
    fn sdot<const LANE: u32>(self, sum: &mut int32x4_t, weights: int8x16_t, q: int8x16_t) {
        // SAFETY: `self` exists only where the CPU has `sdot`; no memory is touched.
        // The intrinsic, `vdotq_laneq_s32`, is not stable yet.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {weights:v}.16b, {q:v}.4b[{lane}]",
                sum = inout(vreg) *sum,
                weights = in(vreg) weights,
                q = in(vreg) q,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }

    /// The proof, from that of a set with more instructions.
    pub(crate) fn beside_i8mm(_: crate::I8mm) -> Self {
        Self(())
    }
}

impl Dense for Dotprod {
    const TOKENS: usize = 3;

    #[inline(always)]
    fn group<W: Packing, const C: usize>(self, weights: &[u8], q: [&[i16]; C]) -> [Sums; C] {
        let group = Group::<W, C>::new(weights, q);
        let mut high = [[vdupq_n_s32(0); 4]; C];
        let mut low = high;
        for pair in 0..group.pairs() {
            // SAFETY: `pair` is below their number.
            let q: [int8x16_t; C] = from_fn(|c| unsafe { group.q_pair(c, pair) });
            W::quarters(
                #[inline(always)]
                |tile, quarter| {
                    // SAFETY: as above; a pair has two tiles of four quarters.
                    let weights = unsafe { group.weights(pair, tile, quarter) };
                    for c in 0..C {
                        let (high, low) = (&mut high[c][quarter], &mut low[c][quarter]);
                        if tile == 0 {
                            self.sdot::<0>(high, weights, q[c]);
                            self.sdot::<1>(low, weights, q[c]);
                        } else {
                            self.sdot::<2>(high, weights, q[c]);
                            self.sdot::<3>(low, weights, q[c]);
                        }
                    }
                },
            );
        }
        from_fn(|c| from_fn(|quarter| join(high[c][quarter], low[c][quarter])))
    }
}

impl Sparse for Dotprod {
    const TILES: usize = 2;

    #[inline(always)]
    fn prepare(self, active: &mut Active) {
        pack(active.pad());
    }

    #[inline(always)]
    unsafe fn tiles<W: Packing, const T: usize>(
        self,
        weights: &Lines<'_, W, T>,
        active: &Active,
    ) -> [Sums; T] {
        let mut high = [[vdupq_n_s32(0); 4]; T];
        let mut low = high;
        for (inputs, q) in active.fours() {
            let q = load(q);
            let q = vreinterpretq_s8_s16(vcombine_s16(q, q));
            for block in 0..Lines::<W, T>::BLOCKS {
                // SAFETY: active inputs, or input 0 as padding; there are so many blocks.
                let rows = inputs.map(|input| unsafe { weights.load(input, block) });
                for (quarter, bytes) in transpose(rows).into_iter().enumerate() {
                    for part in 0..Lines::<W, T>::PARTS {
                        let tile = block * Lines::<W, T>::PARTS + part;
                        let weights = weights.part(bytes, part);
                        self.sdot::<0>(&mut high[tile][quarter], weights, q);
                        self.sdot::<1>(&mut low[tile][quarter], weights, q);
                    }
                }
            }
        }
        from_fn(|tile| from_fn(|quarter| join(high[tile][quarter], low[tile][quarter])))
    }
}

/// `[4 inputs][16 rows]` to `[16 rows][4 inputs]`.
#[inline(always)]
fn transpose([a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
    let zip = |low: int8x16_t, high: int8x16_t| {
        let (low, high) = (vreinterpretq_s16_s8(low), vreinterpretq_s16_s8(high));
        let (first, rest) = (vzip1q_s16(low, high), vzip2q_s16(low, high));
        (vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(rest))
    };
    let (first, second) = zip(vzip1q_s8(a, b), vzip1q_s8(c, d));
    let (third, fourth) = zip(vzip2q_s8(a, b), vzip2q_s8(c, d));
    [first, second, third, fourth]
}
