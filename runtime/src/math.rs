//! Elementary functions of the core.

/// e^x; a result below the smallest normal number is +0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let y = libm::expf(x);
    if y < f32::MIN_POSITIVE { 0.0 } else { y }
}
