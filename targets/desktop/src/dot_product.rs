//! The dot product instructions: how weights meet 16-bit activations.
//!
//! A lane holds four unsigned weights `u` of a row, `w + 128` or `w + 8`. No instruction multiplies bytes
//! with 16-bit values, so a dot product of four takes two steps:
//!
//! | flavour | instruction | step 1                       | step 2                      | total |
//! |---------|-------------|------------------------------|-----------------------------|-------|
//! | bytes   | VPDPBUSD    | u times high bytes of q      | u times low bytes of q      | `256 * high + low` |
//! | words   | VPMADDWD,   | even weights times even q    | odd weights times odd q     | their sum |
//! |         | VPDPWSSD    |                              |                             |       |
//!
//! Bytes: `q = 256 h + l` with signed h and l, which [`DotProduct::pack`] stores as the four h,
//! then the four l. Words: weights are masked or shifted to 16 bits without sign, and `pack`
//! stores the even q, then the odd ones. All sums are exact in wrapping i32, because the final
//! result fits and addition is associative modulo 2^32.
//!
//! VPDPWSSD is compiled for tests only; the AVX-512 set takes VPDPBUSD, which needs no masks
//! and shifts.

use core::arch::x86_64::*;

use crate::simd::{Simd, Ymm, Zmm};

/// A flavour of the dot product of four unsigned weights in each lane with four activations.
///
/// # Safety
///
/// As for [`Simd`]: every function needs the instructions that its
/// implementation names, in the function that it is inlined into.
pub(crate) trait DotProduct {
    /// The registers.
    type Simd: Simd;
    /// Sums of both steps while they are accumulated together.
    type Sums: Copy;

    /// Four activations in the order that the steps read: two i16 each.
    fn pack(q: [i16; 4]) -> [i16; 4];
    /// [`pack`](Self::pack) for sixteen activations.
    unsafe fn pack_sixteen(q: &mut [i16; 16]);

    /// The operand of the first step, of unsigned weights.
    unsafe fn first(weights: Ints<Self>) -> Ints<Self>;
    /// The operand of the second step.
    unsafe fn second(weights: Ints<Self>) -> Ints<Self>;
    /// Adds the products of a step to `sums`.
    unsafe fn step(sums: Ints<Self>, weights: Ints<Self>, activations: Ints<Self>) -> Ints<Self>;
    /// Sums of the first step as the start of those of the second.
    unsafe fn carry(sums: Ints<Self>) -> Ints<Self>;

    /// No sums yet.
    unsafe fn start() -> Self::Sums;
    /// Both steps at once.
    unsafe fn steps(
        sums: Self::Sums,
        weights: Ints<Self>,
        activations: [Ints<Self>; 2],
    ) -> Self::Sums;
    /// The sums of both steps.
    unsafe fn total(sums: Self::Sums) -> Ints<Self>;
}

/// Integer registers of a [`DotProduct`].
pub(crate) type Ints<D> = <<D as DotProduct>::Simd as Simd>::Ints;

/// `q = 256 h + l` with signed bytes: the four h, then the four l.
#[inline(always)]
fn pack_bytes(q: [i16; 4]) -> [i16; 4] {
    let high = q.map(|q| (q.wrapping_add(128) >> 8) as u8);
    let low = q.map(|q| q as u8);
    let pair = |bytes: [u8; 4], i: usize| i16::from_le_bytes([bytes[i], bytes[i + 1]]);
    [pair(high, 0), pair(high, 2), pair(low, 0), pair(low, 2)]
}

/// [`pack_bytes`] of sixteen.
///
/// # Safety
///
/// Needs AVX2.
#[inline(always)]
unsafe fn pack_sixteen_bytes(q: &mut [i16; 16]) {
    // SAFETY: the caller vouches for AVX2; the array has 32 bytes.
    unsafe {
        let low = _mm256_loadu_si256(q.as_ptr().cast());
        let high = _mm256_add_epi16(low, _mm256_set1_epi16(128));
        // High bytes of the rounded values beside the low bytes.
        let low = _mm256_and_si256(low, _mm256_set1_epi16(0xFF));
        let high = _mm256_andnot_si256(_mm256_set1_epi16(0xFF), high);
        let order = _mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14);
        let bytes = _mm256_or_si256(low, high);
        let packed = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order));
        _mm256_storeu_si256(q.as_mut_ptr().cast(), packed);
    }
}

/// VPDPBUSD: high bytes of the activations, then low ones.
macro_rules! bytes {
    ($(#[$attribute:meta])* $name:ident, $width:ident, $dot:ident, $shift:ident) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl DotProduct for $name {
            type Simd = $width;
            /// High and low: sums that do not wait for each other.
            type Sums = [Ints<Self>; 2];

            #[inline(always)]
            fn pack(q: [i16; 4]) -> [i16; 4] {
                pack_bytes(q)
            }

            #[inline(always)]
            unsafe fn pack_sixteen(q: &mut [i16; 16]) {
                // SAFETY: the caller vouches for AVX2, which this set includes.
                unsafe { pack_sixteen_bytes(q) }
            }

            #[inline(always)]
            unsafe fn first(weights: Ints<Self>) -> Ints<Self> {
                weights
            }

            #[inline(always)]
            unsafe fn second(weights: Ints<Self>) -> Ints<Self> {
                weights
            }

            #[inline(always)]
            unsafe fn step(sums: Ints<Self>, weights: Ints<Self>, q: Ints<Self>) -> Ints<Self> {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe {
                    $dot(sums, weights, q)
                }
            }

            #[inline(always)]
            unsafe fn carry(sums: Ints<Self>) -> Ints<Self> {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { $shift::<8>(sums) }
            }

            #[inline(always)]
            unsafe fn start() -> Self::Sums {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { [$width::splat(0); 2] }
            }

            #[inline(always)]
            unsafe fn steps(
                [high, low]: Self::Sums,
                weights: Ints<Self>,
                [q_high, q_low]: [Ints<Self>; 2],
            ) -> Self::Sums {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { [$dot(high, weights, q_high), $dot(low, weights, q_low)] }
            }

            #[inline(always)]
            unsafe fn total([high, low]: Self::Sums) -> Ints<Self> {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { $width::add($shift::<8>(high), low) }
            }
        }
    };
}

/// Products of 16-bit pairs: the even inputs, then the odd ones.
macro_rules! words {
    ($(#[$attribute:meta])* $name:ident, $width:ident, $dot:path, $and:ident, $splat:ident, $shift:ident) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl DotProduct for $name {
            type Simd = $width;
            type Sums = Ints<Self>;

            #[inline(always)]
            fn pack([a, b, c, d]: [i16; 4]) -> [i16; 4] {
                [a, c, b, d]
            }

            #[inline(always)]
            unsafe fn pack_sixteen(q: &mut [i16; 16]) {
                // SAFETY: the caller vouches for AVX2; the array has 32 bytes.
                unsafe {
                    let order =
                        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
                    let values = _mm256_loadu_si256(q.as_ptr().cast());
                    let packed = _mm256_shuffle_epi8(values, _mm256_broadcastsi128_si256(order));
                    _mm256_storeu_si256(q.as_mut_ptr().cast(), packed);
                }
            }

            #[inline(always)]
            unsafe fn first(weights: Ints<Self>) -> Ints<Self> {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { $and(weights, $splat(0xFF)) }
            }

            #[inline(always)]
            unsafe fn second(weights: Ints<Self>) -> Ints<Self> {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { $shift::<8>(weights) }
            }

            #[inline(always)]
            unsafe fn step(sums: Ints<Self>, weights: Ints<Self>, q: Ints<Self>) -> Ints<Self> {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { $dot(sums, weights, q) }
            }

            #[inline(always)]
            unsafe fn carry(sums: Ints<Self>) -> Ints<Self> {
                sums
            }

            #[inline(always)]
            unsafe fn start() -> Self::Sums {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe { $width::splat(0) }
            }

            #[inline(always)]
            unsafe fn steps(
                sums: Self::Sums,
                weights: Ints<Self>,
                [even, odd]: [Ints<Self>; 2],
            ) -> Self::Sums {
                // SAFETY: the caller vouches for the instructions of this set.
                unsafe {
                    let sums = $dot(sums, Self::first(weights), even);
                    $dot(sums, Self::second(weights), odd)
                }
            }

            #[inline(always)]
            unsafe fn total(sums: Self::Sums) -> Ints<Self> {
                sums
            }
        }
    };
}

/// VPMADDWD and an addition.
///
/// # Safety
///
/// Needs AVX2.
#[inline(always)]
unsafe fn multiply_add(sums: __m256i, weights: __m256i, q: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(weights, q)) }
}

words! {
    /// AVX2: VPMADDWD.
    Words256, Ymm, multiply_add, _mm256_and_si256, _mm256_set1_epi16, _mm256_srli_epi16
}

#[cfg(test)]
words! {
    /// AVX-512: VPDPWSSD.
    Words512, Zmm, _mm512_dpwssd_epi32, _mm512_and_si512, _mm512_set1_epi16, _mm512_srli_epi16
}

bytes! {
    /// AVX-512: VPDPBUSD.
    Bytes512, Zmm, _mm512_dpbusd_epi32, _mm512_slli_epi32
}

bytes! {
    /// AVX-VNNI: VPDPBUSD on 256 bits.
    Bytes256, Ymm, _mm256_dpbusd_avx_epi32, _mm256_slli_epi32
}

#[cfg(test)]
bytes! {
    /// The instructions of [`Bytes256`] in the encoding of AVX-512 VL, so that
    /// a CPU without AVX-VNNI can test the algorithm.
    Bytes256Vl, Ymm, _mm256_dpbusd_epi32, _mm256_slli_epi32
}
