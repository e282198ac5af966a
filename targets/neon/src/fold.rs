//! The fold: from the integers of a group to f32, in the order of the numbers' contract.

use core::arch::asm;

use half::f16;
use kinglet::kernels::matrix::TILE_ROWS;

use crate::intrinsics::*;

/// Sixteen f32, of the rows of a tile.
pub(crate) type Acc = [float32x4_t; 4];
/// Sixteen i32, of the rows of a tile.
pub(crate) type Sums = [int32x4_t; 4];

/// `acc + f32(sum) * scale` for each row, multiply and add rounded separately.
#[inline(always)]
pub(crate) fn fold(acc: &mut Acc, sums: &Sums, scales: &Acc) {
    for ((acc, sum), scale) in acc.iter_mut().zip(sums).zip(scales) {
        // Two operations, not `vfmaq_f32`: the contract rounds twice.
        *acc = vaddq_f32(*acc, vmulq_f32(vcvtq_f32_s32(*sum), *scale));
    }
}

/// f16 scales, which are normal numbers or zero, as f32.
#[inline(always)]
pub(crate) fn f16_scales_to_f32(scales: &[f16; TILE_ROWS]) -> Acc {
    let scales = scales.as_ptr().cast::<u16>();
    // SAFETY: `f16` is a `u16` in memory, and there are sixteen.
    let [first, rest] = unsafe { scales.cast::<[uint16x8_t; 2]>().read_unaligned() };
    let ((a, b), (c, d)) = (eight_to_f32(first), eight_to_f32(rest));
    [a, b, c, d]
}

/// Exact for every f16, in any rounding mode.
#[inline(always)]
fn eight_to_f32(bits: uint16x8_t) -> (float32x4_t, float32x4_t) {
    let (low, high);
    // SAFETY: every AArch64 CPU with NEON converts f16; no memory is touched.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {bits:v}.4h",
            "fcvtl2 {high:v}.4s, {bits:v}.8h",
            low = out(vreg) low,
            high = lateout(vreg) high,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    (low, high)
}

/// `acc * scale`
#[inline(always)]
pub(crate) fn scaled(acc: &Acc, scale: f32) -> Acc {
    acc.map(|acc| vmulq_n_f32(acc, scale))
}

/// The values of a tile's rows of an output.
#[inline(always)]
pub(crate) fn load(rows: &[f32; TILE_ROWS]) -> Acc {
    // SAFETY: four times four values.
    unsafe { rows.as_ptr().cast::<Acc>().read_unaligned() }
}

/// Writes all values to a tile's rows of an output.
#[inline(always)]
pub(crate) fn store(acc: &Acc, rows: &mut [f32; TILE_ROWS]) {
    // SAFETY: four times four values.
    unsafe { rows.as_mut_ptr().cast::<Acc>().write_unaligned(*acc) };
}

/// Sixteen zeros.
#[inline(always)]
pub(crate) fn zero() -> Acc {
    [vdupq_n_f32(0.0); 4]
}
