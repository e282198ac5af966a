//! Activations as integers: the int16 values that a weight matrix is multiplied with.
//!
//! [`Quantized`] is read by kernels, [`QuantizedMut`] is written by the forward pass, token by
//! token. Both are complete by construction: kernels rest on the lengths and do not check them
//! again.
//!
//! With m = max |x| of a token, `q = round(x * (32639 / m))` and `scale = m / 32639`; see
//! [the contract](crate::num#activations). The sums of q over each 32 inputs travel along because
//! instruction sets whose dot product wants one unsigned operand correct for its zero point with
//! them: `sum (w + 128) q = sum w q + 128 sum q`, the same for all rows.

use core::ops::Range;

use crate::kernels::Split;
use crate::kernels::matrix::{INPUT_PAD, padded_inputs};

/// Largest magnitude of a quantized activation. 32639 = 127 * 257, so that a
/// value also splits into two signed bytes, `q = 256 * high + low`.
pub const MAX_Q: i32 = 32639;

/// Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits.
const ROUND: f32 = 12_582_912.0;
const ROUND_BITS: i32 = 0x4B40_0000;
/// 2^-100: below it a token is zero, so that `MAX_Q / m` is finite.
const TINY: u32 = (127 - 100) << 23;
const INFINITY: u32 = 0x7F80_0000;

/// The activations of a batch of tokens: `x = f32(q) * scale`.
///
/// A value is complete: it has as many values, sums and scales as its dimensions say.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    inputs: usize,
    /// `[token][input]`
    q: &'a [i16],
    /// `[token][input/32]`
    sums: &'a [i32],
    /// `[token]`
    scales: &'a [f32],
}

impl<'a> Quantized<'a> {
    /// The activations of as many tokens as there are `scales`.
    ///
    /// * `inputs`: number of inputs, without padding
    /// * `q`: `[token][input]`, inputs padded to 32 with zeros; within each four values in the
    ///   order of [`Kernels::pack`](crate::kernels::Kernels::pack)
    /// * `sums`: `[token][input/32]`, the sums of q over each 32 inputs
    /// * `scales`: `[token]`; NaN where the token had a value that is not finite
    ///
    /// `None` when the slices are not exactly that long: kernels that do not check each access
    /// rest on it.
    pub const fn new(
        inputs: usize,
        q: &'a [i16],
        sums: &'a [i32],
        scales: &'a [f32],
    ) -> Option<Self> {
        let Some(padded) = inputs.checked_next_multiple_of(INPUT_PAD) else { return None };
        match padded.checked_mul(scales.len()) {
            Some(len) if q.len() == len && sums.len() == len / INPUT_PAD => {
                Some(Self { inputs, q, sums, scales })
            }
            _ => None,
        }
    }

    /// Number of tokens.
    #[inline(always)]
    pub const fn tokens(&self) -> usize {
        self.scales.len()
    }

    /// Number of inputs, without padding.
    #[inline(always)]
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// All values: `[token][input]`, padded.
    #[inline(always)]
    pub const fn q(&self) -> &'a [i16] {
        self.q
    }

    /// All sums: `[token][input/32]`.
    #[inline(always)]
    pub const fn sums(&self) -> &'a [i32] {
        self.sums
    }

    /// The scales: `[token]`.
    #[inline(always)]
    pub const fn scales(&self) -> &'a [f32] {
        self.scales
    }

    /// Values of one token, `[input]`, padded.
    #[inline(always)]
    pub fn token(&self, token: usize) -> &'a [i16] {
        let len = padded_inputs(self.inputs);
        &self.q[token * len..(token + 1) * len]
    }

    /// Sums of one token, `[input/32]`.
    #[inline(always)]
    pub fn token_sums(&self, token: usize) -> &'a [i32] {
        let len = padded_inputs(self.inputs) / INPUT_PAD;
        &self.sums[token * len..(token + 1) * len]
    }

    /// The activations of the tokens `range`.
    ///
    /// # Panics
    ///
    /// When there are no such tokens.
    #[inline(always)]
    pub fn some_tokens(&self, range: Range<usize>) -> Self {
        let len = padded_inputs(self.inputs);
        let sums = range.start * len / INPUT_PAD..range.end * len / INPUT_PAD;
        Self {
            inputs: self.inputs,
            q: &self.q[range.start * len..range.end * len],
            sums: &self.sums[sums],
            scales: &self.scales[range],
        }
    }

    /// The first token's activations for the inputs `range`, a multiple of 32 from a multiple
    /// of 32 on, with a scale of 1; `inputs` of them are no padding.
    ///
    /// # Panics
    ///
    /// When the range is not inside the inputs, or not of such multiples.
    pub fn first_token_part(&self, range: Range<usize>, inputs: usize) -> Self {
        let sums = range.start / INPUT_PAD..range.end / INPUT_PAD;
        let (q, sums) = (&self.token(0)[range], &self.token_sums(0)[sums]);
        let Some(part) = Self::new(inputs, q, sums, &[1.0]) else { panic!("a part of groups") };
        part
    }
}

/// A batch of quantized tokens that is being written.
#[derive(Debug)]
pub struct QuantizedMut<'a> {
    inputs: usize,
    q: &'a mut [i16],
    sums: &'a mut [i32],
    scales: &'a mut [f32],
}

// What the forward pass calls is inlined into the crate that instantiates it: without LTO a call
// would return the batch through the caller's stack.
impl<'a> QuantizedMut<'a> {
    /// A batch over buffers of exactly `[token][padded]`, `[token][padded/32]`
    /// and `[token]` elements.
    pub(crate) fn new(
        inputs: usize,
        q: &'a mut [i16],
        sums: &'a mut [i32],
        scales: &'a mut [f32],
    ) -> Self {
        debug_assert_eq!(q.len(), scales.len() * padded_inputs(inputs));
        debug_assert_eq!(q.len(), sums.len() * INPUT_PAD);
        Self { inputs, q, sums, scales }
    }

    /// Number of inputs, without padding.
    #[inline]
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// The same batch under a shorter borrow, to be split and written.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> QuantizedMut<'_> {
        QuantizedMut { inputs: self.inputs, q: self.q, sums: self.sums, scales: self.scales }
    }

    /// The batch for reading.
    #[inline]
    pub(crate) fn view(&self) -> Quantized<'_> {
        Quantized { inputs: self.inputs, q: self.q, sums: self.sums, scales: self.scales }
    }

    /// Token `i`.
    #[inline(always)]
    pub(crate) fn token(&mut self, i: usize) -> TokenMut<'_> {
        let padded = padded_inputs(self.inputs);
        let groups = padded / INPUT_PAD;
        TokenMut {
            q: &mut self.q[i * padded..][..padded],
            sums: &mut self.sums[i * groups..][..groups],
            scale: &mut self.scales[i],
        }
    }

    /// Its tokens.
    #[inline(always)]
    pub(crate) fn tokens(self) -> impl Iterator<Item = TokenMut<'a>> {
        let padded = padded_inputs(self.inputs);
        let q = self.q.chunks_exact_mut(padded);
        let sums = self.sums.chunks_exact_mut(padded / INPUT_PAD);
        let scales = self.scales.iter_mut();
        q.zip(sums).zip(scales).map(|((q, sums), scale)| TokenMut { q, sums, scale })
    }
}

impl Split for QuantizedMut<'_> {
    fn len(&self) -> usize {
        self.scales.len()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let padded = padded_inputs(self.inputs);
        let (q0, q1) = self.q.split_at_mut(at * padded);
        let (sums0, sums1) = self.sums.split_at_mut(at * (padded / INPUT_PAD));
        let (scales0, scales1) = self.scales.split_at_mut(at);
        (
            Self { inputs: self.inputs, q: q0, sums: sums0, scales: scales0 },
            Self { inputs: self.inputs, q: q1, sums: sums1, scales: scales1 },
        )
    }
}

/// One token that is being written.
#[derive(Debug)]
pub(crate) struct TokenMut<'a> {
    q: &'a mut [i16],
    sums: &'a mut [i32],
    scale: &'a mut f32,
}

impl TokenMut<'_> {
    /// Quantizes `x` into the token: with m = max |x|,
    /// `q = round(x * (MAX_Q / m))` and `scale = m / MAX_Q`. `pack` may then
    /// rearrange q within each four values.
    #[inline(always)]
    pub(crate) fn quantize(self, x: &[f32], pack: impl FnOnce(&mut [i16])) {
        *self.scale = quantize(x, self.q);
        for (sum, q) in self.sums.iter_mut().zip(self.q.chunks_exact(INPUT_PAD)) {
            *sum = q.iter().map(|&q| i32::from(q)).sum();
        }
        pack(self.q);
    }
}

/// Quantizes `x` into `q`, pads with zeros and returns the scale: 0 where all
/// values are below 2^-100, NaN where one is not finite.
#[inline(always)]
fn quantize(x: &[f32], q: &mut [i16]) -> f32 {
    // Magnitudes order as their bits do.
    let largest = x.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7FFF_FFFF));
    let (values, padding) = q.split_at_mut(x.len());
    padding.fill(0);
    if !(TINY..INFINITY).contains(&largest) {
        values.fill(0);
        return if largest < TINY { 0.0 } else { f32::NAN };
    }
    let m = f32::from_bits(largest);
    let inverse = MAX_Q as f32 / m;
    for (q, x) in values.iter_mut().zip(x) {
        let t = x * inverse + ROUND;
        *q = (t.to_bits() as i32).wrapping_sub(ROUND_BITS) as i16;
    }
    m / MAX_Q as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounds_to_the_nearest(x in proptest::collection::vec(-1e4f32..1e4, 1..70)) {
            let mut q = [7i16; 96];
            let q = &mut q[..padded_inputs(x.len())];
            let scale = quantize(&x, q);
            let m = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (i, q) in q.iter().enumerate() {
                let exact = x.get(i).map_or(0.0, |x| f64::from(*x) / f64::from(m) * 32639.0);
                prop_assert!(i32::from(*q).abs() <= MAX_Q);
                prop_assert!((f64::from(*q) - exact).abs() <= 0.51, "{} {}", q, exact);
            }
            prop_assert_eq!(scale, m / 32639.0);
        }
    }

    #[test]
    fn the_largest_value_is_the_largest_integer() {
        let mut q = [0; 32];
        for m in [1e-30f32, 1e-29, 1.0, 3.0, 1e30, f32::MAX] {
            quantize(&[m, -m], &mut q);
            assert_eq!((q[0], q[1]), (32639, -32639), "{m}");
        }
    }

    #[test]
    fn tiny_and_not_finite() {
        let mut q = [1; 32];
        assert_eq!(quantize(&[1e-31, -1e-35], &mut q).to_bits(), 0);
        assert_eq!(q, [0; 32]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(quantize(&[1.0, bad], &mut q).is_nan());
        }
    }
}
