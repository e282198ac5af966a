//! Conversions between f16 and f32 by integers, for cores without an FPU: the core's own multiply
//! and add floats, of which a soft one is a call, out of the fast ranges a slow one.

use kinglet::num::state_dtype::f16;

/// From the exponent field of an f16 to that of an f32, whose bias is 127 instead of 15.
const REBIAS: u32 = (127 - 15) << 23;
/// Fraction bits of f32 that f16 does not have.
const DROPPED: u32 = 13;
/// The bits, in f32, of the smallest normal f16, 2^-14, and of the largest, 65504.
const SMALLEST_NORMAL: u32 = 0x3880_0000;
const LARGEST: u32 = 0x477F_E000;

/// The element as f32.
#[inline(always)]
pub(crate) fn widen(element: f16) -> f32 {
    let bits = u32::from(element.to_bits());
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7FFF);
    let wide = if magnitude < 1 << 10 {
        // Steps of 2^-24.
        if magnitude == 0 { 0 } else { (magnitude as f32).to_bits() - (24 << 23) }
    } else {
        (magnitude << DROPPED) + REBIAS
    };
    f32::from_bits(sign | wide)
}

/// The nearest f16, of two the even one; 65504 of its sign for what is beyond, NaN too.
#[inline(always)]
pub(crate) fn narrow(value: f32) -> f16 {
    let bits = value.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7FFF_FFFF);
    let narrow = if magnitude < SMALLEST_NORMAL {
        steps(magnitude)
    } else {
        let magnitude = magnitude.min(LARGEST) - REBIAS;
        // Up to half a step, and all of it where the number of steps is odd.
        (magnitude + (1 << (DROPPED - 1)) - 1 + (magnitude >> DROPPED & 1)) >> DROPPED
    };
    f16::from_bits((sign | narrow) as u16)
}

/// A magnitude below 2^-14 in steps of 2^-24, rounded.
#[inline(never)]
fn steps(magnitude: u32) -> u32 {
    // A mantissa of exponent field e is the value times 2^(150 - e), so that e = 101 and below,
    // under a half of a step, round to 0.
    let e = magnitude >> 23;
    if e < 102 {
        return 0;
    }
    let mantissa = magnitude & 0x007F_FFFF | 0x0080_0000;
    let (whole, rest) = (mantissa >> (126 - e), mantissa << (e - 94));
    whole + u32::from(rest > 1 << 31 || rest == 1 << 31 && whole & 1 == 1)
}

#[cfg(test)]
mod tests {
    use kinglet::num::state_dtype::StateElement;

    use super::*;

    #[test]
    fn elements_widen_as_in_the_core() {
        for element in (0..=u16::MAX).map(f16::from_bits) {
            let expected: f32 = StateElement::widen(element);
            assert_eq!(widen(element).to_bits(), expected.to_bits(), "{element:e}");
        }
    }

    fn check(value: f32) {
        for value in [value, -value] {
            let expected: f16 = StateElement::narrow(value);
            assert_eq!(narrow(value).to_bits(), expected.to_bits(), "{value:e}");
        }
    }

    #[test]
    fn values_narrow_as_in_the_core() {
        for bits in (0..=0x7FFF_FFFF).step_by(211) {
            check(f32::from_bits(bits));
        }
    }

    #[test]
    fn values_between_two_elements_narrow_as_in_the_core() {
        for bits in 0..f16::MAX.to_bits() {
            let [low, high] = [bits, bits + 1].map(|bits| f16::from_bits(bits).to_f32());
            let middle = f32::midpoint(low, high).to_bits();
            for bits in [low.to_bits(), middle - 1, middle, middle + 1, high.to_bits()] {
                check(f32::from_bits(bits));
            }
        }
    }
}
