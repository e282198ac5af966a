//! Scales as f16, and the power of two by which all scales of a tensor are multiplied.

use half::f16;

/// The range of normal f16 numbers.
pub(crate) const MIN_SCALE: f32 = f16::MIN_POSITIVE.to_f32_const();
pub(crate) const MAX_SCALE: f32 = f16::MAX.to_f32_const();

/// The power of two that leaves the largest scale of a tensor the exponent `top`.
pub(crate) fn multiplier(largest: f32, top: i32) -> f32 {
    // Of zeros, and of what is too small for f32 to divide.
    if largest == 0.0 {
        return 1.0;
    }
    let exponent = f64::from(largest).log2().floor() as i32 - top;
    f32::from_bits(((exponent.clamp(-126, 127) + 127) as u32) << 23)
}

/// `x`, which is not negative, rounded to the precision of f16, ties to even, but with the
/// exponents of f32.
#[inline(always)]
pub(crate) fn mantissa_of_f16(x: f32) -> f32 {
    /// Bits of an f32 mantissa that an f16 has no room for.
    const DROPPED: u32 = 13;
    let bits = x.to_bits();
    let half = (1 << (DROPPED - 1)) - 1 + (bits >> DROPPED & 1);
    f32::from_bits((bits + half) & !((1 << DROPPED) - 1))
}

/// The normal f16 nearest to `x`, which is not negative.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> f32 {
    mantissa_of_f16(x).clamp(MIN_SCALE, MAX_SCALE)
}

/// What the weights of a group of this scale are multiples of. A group of zeros has any step.
#[inline(always)]
pub(crate) fn step(scale: f32, multiplier: f32) -> f32 {
    let step = scale * multiplier;
    if step == 0.0 { 1.0 } else { step }
}

/// A scale as f16, which holds it exactly.
#[inline(always)]
pub(crate) fn narrow(scale: f32) -> f16 {
    /// Between the exponent's biases, in the place of an f32's exponent.
    const REBIAS: u32 = (127 - 15) << 23;
    f16::from_bits((scale.to_bits().saturating_sub(REBIAS) >> 13) as u16)
}
