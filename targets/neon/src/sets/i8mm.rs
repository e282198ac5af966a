//! The int8 matrix product, `smmla`, for several tokens; one token is `sdot`'s.
//!
//! `smmla` multiplies a matrix of 2 by 8 bytes with the transpose of another and adds the 2 by 2
//! dot products to its sum. Rows of the first are two rows of weights; rows of the second are
//! the high and the low bytes of one token. One instruction makes 32 multiplications, where
//! `sdot` makes 16.
//!
//! ```text
//! sum[2 rows][high, low] += weights[2 rows][8 inputs] * q[high, low][8 inputs]
//! ```

use core::arch::asm;
use core::array::from_fn;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix};
use kinglet_simd::{OutputRows, SimdKernels, fp_mode_is_ieee};

use super::dotprod::{Dotprod, join, pack};
use crate::dense::{self, Dense, Group};
use crate::detect::Features;
use crate::fold::Sums;
use crate::intrinsics::*;
use crate::packing::Packing;
use crate::sparse;

/// The set `aarch64-i8mm`.
#[derive(Clone, Copy, Debug)]
pub struct I8mm(());

impl I8mm {
    /// The set, where the CPU has `smmla` and `sdot` and the thread's floats are IEEE.
    pub fn new() -> Option<Self> {
        let features = Features::detect();
        (features.dotprod && features.i8mm && fp_mode_is_ieee()).then_some(Self(()))
    }
}

impl SimdKernels for I8mm {
    fn name(&self) -> &'static str {
        "aarch64-i8mm"
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        pack(q);
    }

    #[inline(always)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        // NEON is on everywhere, and integer products do nothing for float loops.
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

#[target_feature(enable = "dotprod,i8mm")]
fn product(set: I8mm, matrix: &Matrix<'_>, input: &Quantized<'_>, out: &mut OutputRows<'_>) {
    dense::product(set, matrix, input, out);
}

#[target_feature(enable = "dotprod,i8mm")]
fn sparse_product(
    set: I8mm,
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    out: &mut OutputRows<'_>,
) {
    sparse::product(Dotprod::beside_i8mm(set), matrix, input, out);
}

impl I8mm {
    /// Adds the products of two rows with the high bytes and with the low bytes
    /// of a token: `sum[row][high, low]`, `weights[row][8]`, `q[high, low][8]`.
    #[inline(always)]
    fn smmla(self, sum: &mut int32x4_t, weights: int8x16_t, q: int8x16_t) {
        // SAFETY: `self` exists only where the CPU has `smmla`; no memory is touched.
        // The intrinsic, `vmmlaq_s32`, is not stable yet. Neither `pure` nor `nomem`,
        // so that loads stay in their place: hoisted, they make accumulators spill.
        unsafe {
            asm!(
                "smmla {sum:v}.4s, {weights:v}.16b, {q:v}.16b",
                sum = inout(vreg) *sum,
                weights = in(vreg) weights,
                q = in(vreg) q,
                options(nostack, preserves_flags),
            );
        }
    }
}

impl Dense for I8mm {
    const TOKENS: usize = 3;

    #[inline(always)]
    fn group<W: Packing, const C: usize>(self, weights: &[u8], q: [&[i16]; C]) -> [Sums; C] {
        if C == 1 {
            return Dotprod::beside_i8mm(self).group::<W, C>(weights, q);
        }
        // From [high; 4] [low; 4] [high; 4] [low; 4] to [high; 8] [low; 8].
        const EIGHTS: [u8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15];
        // SAFETY: sixteen bytes.
        let mut eights = unsafe { EIGHTS.as_ptr().cast::<uint8x16_t>().read_unaligned() };
        // SAFETY: no instruction. Hides the constant from the compiler, which makes
        // two instructions of this `tbl`.
        unsafe { asm!("/* {0:v} */", inout(vreg) eights, options(pure, nomem, nostack)) };
        let group = Group::<W, C>::new(weights, q);
        // [token][quarter][rows 0 and 1, rows 2 and 3]
        let mut acc = [[[vdupq_n_s32(0); 2]; 4]; C];
        for pair in 0..group.pairs() {
            // SAFETY: `pair` is below their number.
            let q: [int8x16_t; C] =
                from_fn(|c| vqtbl1q_s8(unsafe { group.q_pair(c, pair) }, eights));
            for quarter in 0..4 {
                // SAFETY: as above; a tile has four quarters.
                let (a, b) = unsafe {
                    let (a, b) = (group.weights(pair, 0, quarter), group.weights(pair, 1, quarter));
                    (vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b))
                };
                let rows = [vzip1q_s32(a, b), vzip2q_s32(a, b)].map(vreinterpretq_s8_s32);
                for (acc, q) in acc.iter_mut().zip(q) {
                    self.smmla(&mut acc[quarter][0], rows[0], q);
                    self.smmla(&mut acc[quarter][1], rows[1], q);
                }
            }
        }
        acc.map(|token| token.map(|[a, b]| join(vuzp1q_s32(a, b), vuzp2q_s32(a, b))))
    }
}
