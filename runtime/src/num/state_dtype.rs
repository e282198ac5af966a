//! What a state is kept in between tokens: f32, or f16 in half the memory.
//!
//! All arithmetic is in f32. An element is widened when a token reads it and
//! narrowed when the token has computed the new one, inside a batch as between
//! batches, so that the numbers do not depend on how tokens are divided.

pub use half::f16;

/// A type that states are kept in: f32 or [`struct@f16`].
///
/// The trait is sealed: a state file names the type by a code.
pub trait StateElement: bytemuck::Pod + Send + Sync + private::Sealed {
    /// The code of the type in a state file.
    const CODE: u32;

    /// The name of the type.
    const NAME: &'static str;

    /// A value that is not finite: no state that can be gone on from has one.
    const NAN: Self;

    /// The value, exactly, of a finite element.
    fn widen(self) -> f32;

    /// The nearest value of the type, of two the one with an even significand.
    ///
    /// [`struct@f16`] saturates: what is beyond its range becomes 65504 of that sign, the
    /// infinities too. So does NaN, on which the step that computes it fails, so that
    /// an f16 state is always finite.
    fn narrow(value: f32) -> Self;

    /// Whether the element is neither NaN nor infinite.
    fn finite(self) -> bool;

    /// The elements themselves, if they are f32.
    fn as_f32(elements: &[Self]) -> Option<&[f32]>;

    /// The elements themselves, if they are f32.
    fn as_f32_mut(elements: &mut [Self]) -> Option<&mut [f32]>;

    /// The elements themselves, if they are f16.
    fn as_f16(elements: &[Self]) -> Option<&[f16]>;

    /// The elements themselves, if they are f16.
    fn as_f16_mut(elements: &mut [Self]) -> Option<&mut [f16]>;

    /// `out = narrow(values)`, elementwise.
    #[inline(always)]
    fn narrow_all(values: &[f32], out: &mut [Self]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = Self::narrow(*value);
        }
    }

    /// `out = widen(elements)`, elementwise.
    #[inline(always)]
    fn widen_all(elements: &[Self], out: &mut [f32]) {
        for (out, element) in out.iter_mut().zip(elements) {
            *out = element.widen();
        }
    }
}

/// The name of the type that has a code.
pub(crate) const fn name(code: u32) -> Option<&'static str> {
    match code {
        f32::CODE => Some(f32::NAME),
        f16::CODE => Some(f16::NAME),
        _ => None,
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
}

impl StateElement for f32 {
    const CODE: u32 = 1;
    const NAME: &'static str = "f32";
    const NAN: Self = f32::NAN;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn finite(self) -> bool {
        self.is_finite()
    }

    #[inline(always)]
    fn as_f32(elements: &[Self]) -> Option<&[f32]> {
        Some(elements)
    }

    #[inline(always)]
    fn as_f32_mut(elements: &mut [Self]) -> Option<&mut [f32]> {
        Some(elements)
    }

    #[inline(always)]
    fn as_f16(_: &[Self]) -> Option<&[f16]> {
        None
    }

    #[inline(always)]
    fn as_f16_mut(_: &mut [Self]) -> Option<&mut [f16]> {
        None
    }

    #[inline(always)]
    fn narrow_all(values: &[f32], out: &mut [Self]) {
        out.copy_from_slice(values);
    }

    #[inline(always)]
    fn widen_all(elements: &[Self], out: &mut [f32]) {
        out.copy_from_slice(elements);
    }
}

/// 2^112: from the exponents of f16, whose bias is 15, to those of f32 with 127.
const SCALE: f32 = f32::from_bits((127 + 112) << 23);
/// Fraction bits of f32 that f16 does not have.
const DROPPED: u32 = 13;
/// The bits, in f32, of the largest f16, 65504, and of the smallest normal one, 2^-14.
const LARGEST: u32 = 0x477F_E000;
const SMALLEST_NORMAL: u32 = 0x3880_0000;
const EXPONENT: u32 = 0x7F80_0000;

// A few operations and no branch but for selections, so that loops over a slice
// become vector instructions where the processor has none for f16, and cost
// little where it has no vectors.
impl StateElement for f16 {
    const CODE: u32 = 2;
    const NAME: &'static str = "f16";
    const NAN: Self = f16::NAN;

    /// The bits of an f16, read as those of an f32, are the value times 2^-112,
    /// as a subnormal where f16 has one.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = i32::from(self.to_bits().cast_signed()) << DROPPED;
        f32::from_bits(bits.cast_unsigned() & 0x8FFF_FFFF) * SCALE
    }

    /// For a value in [2^e, 2^(e + 1)), of which f16 keeps steps of 2^(e - 10), the sum
    /// with 2^(e + 13) has just these steps: the addition rounds to them.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let magnitude = bits & 0x7FFF_FFFF;
        let magnitude = if magnitude < LARGEST { magnitude } else { LARGEST };
        // 2^e, but in the range of f16's subnormals their steps.
        let power = magnitude & EXPONENT;
        let power = if power > SMALLEST_NORMAL { power } else { SMALLEST_NORMAL };
        let magic = power + (DROPPED << 23);
        // The number of steps: 1024 and more for a normal value, of which f16's
        // exponent field counts the first 1024.
        let steps = (f32::from_bits(magnitude) + f32::from_bits(magic)).to_bits() - magic;
        let narrow = ((power - SMALLEST_NORMAL) >> DROPPED) + steps;
        Self::from_bits((bits >> 16 & 0x8000 | narrow) as u16)
    }

    #[inline(always)]
    fn finite(self) -> bool {
        self.is_finite()
    }

    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    #[inline(always)]
    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    #[inline(always)]
    fn as_f16(elements: &[Self]) -> Option<&[f16]> {
        Some(elements)
    }

    #[inline(always)]
    fn as_f16_mut(elements: &mut [Self]) -> Option<&mut [f16]> {
        Some(elements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `half` rounds to, saturated.
    fn expected(value: f32) -> f16 {
        match f16::from_f32(value) {
            rounded if rounded.is_finite() => rounded,
            _ if value.is_sign_positive() => f16::MAX,
            _ => f16::MIN,
        }
    }

    fn check(value: f32) {
        for value in [value, -value] {
            let (found, expected) = (f16::narrow(value), expected(value));
            assert_eq!(found.to_bits(), expected.to_bits(), "{value:e}");
        }
    }

    #[test]
    fn every_f16_widens_exactly_and_narrows_to_itself() {
        for value in (0..=u16::MAX).map(f16::from_bits).filter(|x| x.finite()) {
            assert_eq!(value.widen().to_bits(), value.to_f32().to_bits(), "{value:e}");
            assert_eq!(f16::narrow(value.widen()).to_bits(), value.to_bits(), "{value:e}");
        }
    }

    #[test]
    fn values_between_two_f16_round_to_nearest_even() {
        for bits in 0..f16::MAX.to_bits() {
            let [low, high] = [bits, bits + 1].map(|bits| f16::from_bits(bits).to_f32());
            let middle = (low + high) / 2.0;
            for value in [low, middle, high] {
                check(value);
                check(f32::from_bits(value.to_bits() + 1));
                check(f32::from_bits(value.to_bits().saturating_sub(1)));
            }
        }
    }

    #[test]
    fn values_of_the_whole_range_agree_with_half() {
        // A prime stride meets every exponent with fractions of all kinds.
        for bits in (0..0x7F80_0000).step_by(211) {
            check(f32::from_bits(bits));
        }
    }

    #[test]
    fn what_is_beyond_the_range_saturates() {
        let nans = [0x7F80_0001, 0x7FC0_0000, 0x7FFF_FFFF].map(f32::from_bits);
        for value in
            [65504.0, 65519.0, 65520.0, 1e6, f32::MAX, f32::INFINITY].into_iter().chain(nans)
        {
            assert_eq!((f16::narrow(value), f16::narrow(-value)), (f16::MAX, f16::MIN));
        }
    }

    #[test]
    fn what_is_not_finite_is_known() {
        for value in [f16::INFINITY, f16::NEG_INFINITY, f16::NAN] {
            assert!(!value.finite() && !value.to_f32().finite());
        }
        assert!(f16::MAX.finite() && f16::MIN.finite() && f32::MAX.finite());
    }

    proptest! {
        #[test]
        fn any_value_agrees_with_half(bits in any::<u32>()) {
            check(f32::from_bits(bits));
        }

        #[test]
        fn slices_are_converted_element_by_element(
            values in prop::collection::vec(any::<f32>(), 0..70),
        ) {
            let mut narrow = std::vec![f16::ZERO; values.len()];
            f16::narrow_all(&values, &mut narrow);
            prop_assert!(narrow.iter().zip(&values).all(|(x, y)| *x == f16::narrow(*y)));
            let mut wide = std::vec![f32::NAN; values.len()];
            f16::widen_all(&narrow, &mut wide);
            prop_assert!(wide.iter().zip(&narrow).all(|(x, y)| *x == y.to_f32()));
        }
    }
}
