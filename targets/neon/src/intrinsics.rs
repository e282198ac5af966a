//! The NEON intrinsics that touch no memory, as safe functions that inline into
//! functions with further instructions switched on.
//!
//! The standard library's are safe only in functions that name the feature, and
//! those cannot be inlined by force.

pub(crate) use core::arch::aarch64::{
    float32x4_t, int8x8_t, int8x16_t, int16x4_t, int16x8_t, int32x2_t, int32x4_t, uint8x8_t,
    uint8x16_t, uint16x8_t, uint64x1_t,
};

macro_rules! safe {
    ($($name:ident $(<$lane:literal>)? ($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[inline(always)]
        pub(crate) fn $name($($arg: $type),*) -> $result {
            // SAFETY: the crate is empty where NEON is not on for all functions.
            unsafe { core::arch::aarch64::$name $(::<$lane>)? ($($arg),*) }
        }
    )*};
}

safe! {
    vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vandq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vcombine_s16(low: int16x4_t, high: int16x4_t) -> int16x8_t;
    vcvtq_f32_s32(a: int32x4_t) -> float32x4_t;
    vdupq_n_f32(a: f32) -> float32x4_t;
    vdupq_n_s32(a: i32) -> int32x4_t;
    vdupq_n_s8(a: i8) -> int8x16_t;
    vget_lane_u64<0>(a: uint64x1_t) -> u64;
    vget_low_s16(a: int16x8_t) -> int16x4_t;
    vget_low_s8(a: int8x16_t) -> int8x8_t;
    vmlal_high_s16(sum: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t;
    vmlal_s16(sum: int32x4_t, a: int16x4_t, b: int16x4_t) -> int32x4_t;
    vmovl_high_s8(a: int8x16_t) -> int16x8_t;
    vmovl_s8(a: int8x8_t) -> int16x8_t;
    vmovn_s16(a: int16x8_t) -> int8x8_t;
    vmovn_u16(a: uint16x8_t) -> uint8x8_t;
    vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vmulq_n_f32(a: float32x4_t, b: f32) -> float32x4_t;
    vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vqtbl1q_s8(a: int8x16_t, index: uint8x16_t) -> int8x16_t;
    vreinterpret_s32_s8(a: int8x8_t) -> int32x2_t;
    vreinterpret_u64_u8(a: uint8x8_t) -> uint64x1_t;
    vreinterpretq_s16_s8(a: int8x16_t) -> int16x8_t;
    vreinterpretq_s32_s8(a: int8x16_t) -> int32x4_t;
    vreinterpretq_s8_s16(a: int16x8_t) -> int8x16_t;
    vreinterpretq_s8_s32(a: int32x4_t) -> int8x16_t;
    vreinterpretq_s8_u8(a: uint8x16_t) -> int8x16_t;
    vreinterpretq_u8_s8(a: int8x16_t) -> uint8x16_t;
    vrshrn_n_s16<8>(a: int16x8_t) -> int8x8_t;
    vshlq_n_s32<8>(a: int32x4_t) -> int32x4_t;
    vshlq_u8(a: uint8x16_t, b: int8x16_t) -> uint8x16_t;
    vshrq_n_u8<4>(a: uint8x16_t) -> uint8x16_t;
    vsubq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vtstq_s16(a: int16x8_t, b: int16x8_t) -> uint16x8_t;
    vuzp1q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vuzp2q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vzip1_s32(a: int32x2_t, b: int32x2_t) -> int32x2_t;
    vzip1q_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vzip1q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vzip1q_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vzip2q_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    vzip2q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vzip2q_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
}

/// `sum + a * b[LANE]` for the low half of `a`, widened.
#[inline(always)]
pub(crate) fn vmlal_lane_s16<const LANE: i32>(
    sum: int32x4_t,
    a: int16x4_t,
    b: int16x4_t,
) -> int32x4_t {
    // SAFETY: as above.
    unsafe { core::arch::aarch64::vmlal_lane_s16::<LANE>(sum, a, b) }
}

/// `sum + a * b[LANE]` for the high half of `a`, widened.
#[inline(always)]
pub(crate) fn vmlal_high_lane_s16<const LANE: i32>(
    sum: int32x4_t,
    a: int16x8_t,
    b: int16x4_t,
) -> int32x4_t {
    // SAFETY: as above.
    unsafe { core::arch::aarch64::vmlal_high_lane_s16::<LANE>(sum, a, b) }
}
