//! Registers of 512 bits.

use core::arch::x86_64::*;

use super::{Compressed, MAX_GROUP, Simd};
use crate::weight_type::MAX_PER_BYTE;

/// 512 bits: AVX-512 F and BW.
#[derive(Debug)]
pub(crate) enum Zmm {}

impl Simd for Zmm {
    type Ints = __m512i;
    type Floats = __m512;
    const LANES: usize = 16;
    const AHEAD: [Option<usize>; MAX_PER_BYTE] = [None, Some(4096)];

    #[inline(always)]
    unsafe fn splat(x: i32) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F.
        unsafe { _mm512_set1_epi32(x) }
    }

    #[inline(always)]
    unsafe fn load(bytes: *const u8) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F and 64 readable bytes.
        unsafe { _mm512_loadu_si512(bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut i32, lanes: __m512i) {
        // SAFETY: the caller vouches for AVX-512 F and 64 writable bytes.
        unsafe { _mm512_storeu_si512(to.cast(), lanes) }
    }

    #[inline(always)]
    unsafe fn load_short(bytes: *const u8, len: usize) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 BW and `len` readable bytes;
        // the mask keeps the others from being read.
        unsafe { _mm512_maskz_loadu_epi8((1 << len) - 1, bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const i16) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F and two readable i16.
        unsafe { _mm512_set1_epi32(pair.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn unsign(bytes: __m512i) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F.
        unsafe { _mm512_xor_si512(bytes, _mm512_set1_epi8(i8::MIN)) }
    }

    #[inline(always)]
    unsafe fn low_nibbles(bytes: __m512i) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F.
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    unsafe fn high_nibbles(bytes: __m512i) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 BW.
        unsafe { Self::low_nibbles(_mm512_srli_epi16::<4>(bytes)) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn interleave([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        // SAFETY: the caller vouches for AVX-512 BW.
        unsafe {
            let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            [
                _mm512_unpacklo_epi16(ab_low, cd_low),
                _mm512_unpackhi_epi16(ab_low, cd_low),
                _mm512_unpacklo_epi16(ab_high, cd_high),
                _mm512_unpackhi_epi16(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn restore([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        // SAFETY: the caller vouches for AVX-512 F.
        unsafe {
            let ab_low = _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b);
            let ab_high = _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b);
            let cd_low = _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d);
            let cd_high = _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d);
            [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, cd_low),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, cd_low),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn fold(sums: __m512i, scales: __m512, acc: *mut f32) {
        // SAFETY: the caller vouches for AVX-512 F and 16 floats.
        unsafe {
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales);
            _mm512_storeu_ps(acc, _mm512_add_ps(_mm512_loadu_ps(acc), product));
        }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const u16) -> __m512 {
        // SAFETY: the caller vouches for AVX-512 F and 32 readable bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(scales.cast())) }
    }

    #[inline(always)]
    unsafe fn compress(q: &[i16], values: &mut Compressed, indices: &mut Compressed) -> usize {
        assert!(q.len() <= MAX_GROUP, "no group");
        let mut count = 0;
        // SAFETY: the caller vouches for AVX-512 F; each sixteen values are read
        // whole, and sixteen are written where `count` <= MAX_GROUP lie before.
        unsafe {
            let mut index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            for sixteen in q.as_chunks::<16>().0 {
                let q = _mm512_cvtepi16_epi32(_mm256_loadu_si256(sixteen.as_ptr().cast()));
                let active = _mm512_test_epi32_mask(q, q);
                let q = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(active, q));
                let at = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(active, index));
                _mm256_storeu_si256(values.as_mut_ptr().add(count).cast(), q);
                _mm256_storeu_si256(indices.as_mut_ptr().add(count).cast(), at);
                count += active.count_ones() as usize;
                index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
            }
        }
        count
    }
}
