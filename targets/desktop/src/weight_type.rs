//! The types of weights, as operands of dot products.
//!
//! Every kernel is written once and compiled for each type: the type of weights is a parameter
//! without a value, chosen once for a product. A dot product wants unsigned bytes, so what
//! differs is how these come from the bytes of a matrix:
//!
//! | type       | unsigned operand                 | zero point | operands of a register of bytes |
//! |------------|----------------------------------|------------|---------------------------------|
//! | [`Int8`]   | `w ^ 0x80`                       | 128        | 1                               |
//! | [`Int4`]   | `b & 15`, then `b >> 4 & 15`     | 8          | 2, a block each                 |
//! | [`Uint8`]  | as they are, in a copy of int8   | 128        | 1                               |
//!
//! The nibbles of int4 lie so that the two operands of a register are those that int8 would
//! have loaded from two places; see [`kinglet::kernels::weights`].

use kinglet::kernels::weights::{self, INT4_ZERO_POINT, Weights};

use crate::simd::Simd;

/// The most weights in a byte.
pub(crate) const MAX_PER_BYTE: usize = 2;

/// Weights that come from registers of bytes.
pub(crate) trait Operand {
    /// Weights in a byte, each of another block: operands that a register of bytes makes.
    const PER_BYTE: usize;

    /// The weights of block `block` of a register, one to a byte, without sign: more by the zero
    /// point than they are.
    ///
    /// # Safety
    ///
    /// As for [`Simd`]; `block` is less than [`PER_BYTE`](Self::PER_BYTE).
    unsafe fn unsigned<S: Simd>(bytes: S::Ints, block: usize) -> S::Ints;
}

/// A type of the weights of matrices.
pub(crate) trait WeightType: Operand {
    /// The type by its name in a file.
    const TYPE: weights::WeightType;
    /// What an unsigned weight is more than the weight.
    const ZERO_POINT: i32;
    /// The weights in a copy that is read several times.
    type Copied: Operand;

    /// A register of bytes as it is written to a copy.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    unsafe fn copied<S: Simd>(bytes: S::Ints) -> S::Ints;

    /// The bytes of weights of this type.
    ///
    /// # Panics
    ///
    /// When they are of another type.
    fn bytes(weights: Weights<'_>) -> &[u8] {
        assert_eq!(weights.weight_type(), Self::TYPE, "weights of another type");
        weights.bytes()
    }
}

/// Weights of eight bits.
#[derive(Debug)]
pub(crate) enum Int8 {}

impl Operand for Int8 {
    const PER_BYTE: usize = 1;

    #[inline(always)]
    unsafe fn unsigned<S: Simd>(bytes: S::Ints, _block: usize) -> S::Ints {
        // SAFETY: the caller's promise.
        unsafe { S::unsign(bytes) }
    }
}

impl WeightType for Int8 {
    const TYPE: weights::WeightType = weights::WeightType::Int8;
    const ZERO_POINT: i32 = 128;
    type Copied = Uint8;

    #[inline(always)]
    unsafe fn copied<S: Simd>(bytes: S::Ints) -> S::Ints {
        // SAFETY: the caller's promise.
        unsafe { S::unsign(bytes) }
    }
}

/// Weights of four bits, two to a byte.
#[derive(Debug)]
pub(crate) enum Int4 {}

impl Operand for Int4 {
    const PER_BYTE: usize = 2;

    #[inline(always)]
    unsafe fn unsigned<S: Simd>(bytes: S::Ints, block: usize) -> S::Ints {
        // SAFETY: the caller's promise.
        unsafe { if block == 0 { S::low_nibbles(bytes) } else { S::high_nibbles(bytes) } }
    }
}

impl WeightType for Int4 {
    const TYPE: weights::WeightType = weights::WeightType::Int4;
    const ZERO_POINT: i32 = INT4_ZERO_POINT;
    // Twice the bytes would cost more than a mask and a shift: nibbles of four inputs are
    // interleaved together.
    type Copied = Self;

    #[inline(always)]
    unsafe fn copied<S: Simd>(bytes: S::Ints) -> S::Ints {
        bytes
    }
}

/// Copies of [`Int8`], whose signs are gone.
#[derive(Debug)]
pub(crate) enum Uint8 {}

impl Operand for Uint8 {
    const PER_BYTE: usize = 1;

    #[inline(always)]
    unsafe fn unsigned<S: Simd>(bytes: S::Ints, _block: usize) -> S::Ints {
        bytes
    }
}
