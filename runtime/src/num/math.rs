//! Elementary functions on `f32` that give the same bits on every target.
//!
//! Every function is one fixed sequence of IEEE additions, multiplications and divisions, each
//! rounded to nearest even on its own; choices are comparisons that a vector unit blends. There is
//! no table, no call and no conversion between floats and integers other than of their bits, so a
//! loop over a slice vectorises at any width, and a lane has the bits of the scalar.
//!
//! Bounds are in units in the last place (ULP) of the exact result's binade and were measured
//! over all 2^32 arguments against `f64`. Common to all functions:
//!
//! * a NaN argument gives a NaN, so that a later check finds it;
//! * a result whose magnitude is below [`f32::MIN_POSITIVE`] is a zero, never a subnormal; the
//!   zero is positive, except that [`tanh`] keeps the sign of its argument;
//! * no result depends on whether the target keeps subnormals or flushes them.

use core::f32::consts::LOG2_E;

/// Smallest argument with a normal exponential: the first `f32` above ln(2^-126).
const EXP_LOWEST: f32 = -87.336_54;

/// Largest argument with a finite exponential: the last `f32` below ln(2^128).
const EXP_HIGHEST: f32 = 88.722_83;

/// Where [`tanh`] has long been 1: e^-32 is less than a millionth of the ULP of 1.
const TANH_LOWEST: f32 = -32.0;

/// Leading ten bits of ln 2: a product with an integer below 2^14 is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;

/// ln 2 - [`LN_2_HIGH`].
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// 1.5 * 2^23 + 127. Added to `v` with |v| < 2^21 it rounds `v` to an integer and leaves that
/// integer, biased as the exponent of an `f32`, in the low bits of the sum.
const ROUND: f32 = 12_583_039.0;

/// Width of the fraction of an `f32`: the exponent stands above it.
const FRACTION_BITS: u32 = f32::MANTISSA_DIGITS - 1;

/// Splits x = n ln 2 + r with |r| < 0.3467 for x in [`EXP_LOWEST`, `EXP_HIGHEST`].
///
/// Returns e^r - 1 and the bits of 2^n. For n = 128 those are the bits of an infinity; for x
/// outside the range they mean nothing, and for a NaN the first value is a NaN.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, u32) {
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    // The first difference is exact by cancellation, so r carries one rounding and that of the
    // small product.
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Minimax over |r| < 0.3467 for the relative error of e^r, 3.2e-9, a twentieth of an ULP.
    let q = 0.001_382_130_4;
    let q = q * r + 0.008_368_669;
    let q = q * r + 0.041_668_26;
    let q = q * r + 0.166_665_21;
    let q = q * r + 0.499_999_94;
    (r + (r * r) * q, rounded.to_bits() << FRACTION_BITS)
}

/// e^x for x <= 0, `-inf` included; 2^n never overflows there and a NaN needs no care.
#[inline(always)]
fn exp_of_nonpositive(x: f32) -> f32 {
    let inside = if x < EXP_LOWEST { EXP_LOWEST } else { x };
    let (em1, scale) = exp_parts(inside);
    let y = (1.0 + em1) * f32::from_bits(scale);
    if x < EXP_LOWEST { 0.0 } else { y }
}

/// The exponential e^x.
///
/// Within 1 ULP: at most 0.991, at 70.4. `+inf` from x = 88.72284 (`0x42B17218`) upwards, where
/// e^x passes [`f32::MAX`]; `+0` below x = -87.33654 (`0xC2AEAC4F`), where it falls short of
/// [`f32::MIN_POSITIVE`].
///
/// ```
/// use kinglet::num::math::exp;
/// assert_eq!(exp(0.0), 1.0);
/// assert_eq!(exp(f32::NEG_INFINITY), 0.0);
/// assert_eq!(exp(89.0), f32::INFINITY);
/// ```
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let inside = if x < EXP_LOWEST { EXP_LOWEST } else { x };
    let (em1, scale) = exp_parts(inside);
    // 2^128 is no `f32`, but e^r < 1 goes with it: adding n to the exponent reaches every result.
    let bits = (1.0 + em1).to_bits().wrapping_add(scale).wrapping_sub(1.0_f32.to_bits());
    // The sum is an infinity beyond the highest argument and keeps a NaN.
    let y = if x <= EXP_HIGHEST { f32::from_bits(bits) } else { x + f32::INFINITY };
    if x < EXP_LOWEST { 0.0 } else { y }
}

/// The logistic sigmoid 1 / (1 + e^-x).
///
/// Within 2.41 ULP, the worst at -4.16. 1 at `+inf`; `+0` below x = -87.33654, as [`exp`].
///
/// ```
/// use kinglet::num::math::sigmoid;
/// assert_eq!(sigmoid(0.0), 0.5);
/// assert_eq!(sigmoid(f32::INFINITY), 1.0);
/// assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
/// ```
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // e^-|x| cannot overflow, and the left half keeps its relative accuracy.
    let t = exp_of_nonpositive(-x.abs());
    let numerator = if x < 0.0 { t } else { 1.0 };
    numerator / (1.0 + t)
}

/// The hyperbolic tangent.
///
/// Within 2.5 ULP, the worst at 4.51. Odd bit for bit: `tanh(-x) == -tanh(x)`, zeros included.
/// For |x| <= 2^-27 it is x itself, but for a subnormal x the zero of its sign. ±1 at ±`inf`.
///
/// ```
/// use kinglet::num::math::tanh;
/// assert_eq!(tanh(1e-20), 1e-20);
/// assert_eq!(tanh(f32::INFINITY), 1.0);
/// assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
/// ```
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // tanh a = -m / (2 + m) with m = e^(-2a) - 1, which keeps small arguments accurate.
    let a = x.abs();
    let a = if a < f32::MIN_POSITIVE { 0.0 } else { a };
    let y = -2.0 * a;
    let y = if y < TANH_LOWEST { TANH_LOWEST } else { y };
    let (em1, scale) = exp_parts(y);
    let scale = f32::from_bits(scale);
    // For n = 0 the sum is `em1` itself; 2^n - 1 is exact wherever the result is not yet 1.
    let m = em1 * scale + (scale - 1.0);
    (m / (2.0 + m)).copysign(x)
}

/// The softplus ln(1 + e^x).
///
/// Within 2.05 ULP, the worst at -0.46, and as good where it is close to e^x or to x. `+inf` at
/// `+inf`; `+0` below x = -87.33654, as [`exp`].
///
/// ```
/// use kinglet::num::math::softplus;
/// assert_eq!(softplus(0.0), core::f32::consts::LN_2);
/// assert_eq!(softplus(100.0), 100.0);
/// assert_eq!(softplus(f32::NEG_INFINITY), 0.0);
/// ```
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    let t = exp_of_nonpositive(-x.abs());
    let positive = if x > 0.0 { x } else { 0.0 };
    positive + ln_1p_of_unit(t)
}

/// ln(1 + t) for t in [0, 1].
///
/// With s = t / (2 + t), ln(1 + t) = 2 artanh s = t - s (t - w P(w)), w = s^2; in the last form
/// the rounding of s weighs least.
#[inline(always)]
fn ln_1p_of_unit(t: f32) -> f32 {
    let s = t / (2.0 + t);
    let w = s * s;
    // Minimax over w <= 1/9 for the relative error of the logarithm, 4.6e-9.
    let p = 0.280_263_6;
    let p = p * w + 0.279_986_65;
    let p = p * w + 0.400_217_35;
    let p = p * w + 0.666_664_1;
    t - s * (t - w * p)
}
