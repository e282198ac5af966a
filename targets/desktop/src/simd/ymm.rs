//! Registers of 256 bits.

use core::arch::x86_64::*;

use super::{Compressed, Simd};
use crate::weight_type::MAX_PER_BYTE;

/// 256 bits: AVX2 and F16C.
#[derive(Debug)]
pub(crate) enum Ymm {}

impl Simd for Ymm {
    type Ints = __m256i;
    type Floats = __m256;
    const LANES: usize = 8;
    const AHEAD: [Option<usize>; MAX_PER_BYTE] = [Some(4096); MAX_PER_BYTE];

    #[inline(always)]
    unsafe fn splat(x: i32) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_set1_epi32(x) }
    }

    #[inline(always)]
    unsafe fn load(bytes: *const u8) -> __m256i {
        // SAFETY: the caller vouches for AVX2 and 32 readable bytes.
        unsafe { _mm256_loadu_si256(bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut i32, lanes: __m256i) {
        // SAFETY: the caller vouches for AVX2 and 32 writable bytes.
        unsafe { _mm256_storeu_si256(to.cast(), lanes) }
    }

    #[inline(always)]
    unsafe fn load_short(bytes: *const u8, _len: usize) -> __m256i {
        // SAFETY: the caller vouches for AVX2 and `len` readable bytes, which is
        // 16: the only multiple below 32.
        unsafe { _mm256_zextsi128_si256(_mm_loadu_si128(bytes.cast())) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const i16) -> __m256i {
        // SAFETY: the caller vouches for AVX2 and two readable i16.
        unsafe { _mm256_set1_epi32(pair.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn unsign(bytes: __m256i) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_xor_si256(bytes, _mm256_set1_epi8(i8::MIN)) }
    }

    #[inline(always)]
    unsafe fn low_nibbles(bytes: __m256i) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8(15)) }
    }

    #[inline(always)]
    unsafe fn high_nibbles(bytes: __m256i) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe { Self::low_nibbles(_mm256_srli_epi16::<4>(bytes)) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn interleave([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: the caller vouches for AVX2.
        unsafe {
            let (ab_low, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
            [
                _mm256_unpacklo_epi16(ab_low, cd_low),
                _mm256_unpackhi_epi16(ab_low, cd_low),
                _mm256_unpacklo_epi16(ab_high, cd_high),
                _mm256_unpackhi_epi16(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn restore([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: the caller vouches for AVX2.
        unsafe {
            [
                _mm256_permute2x128_si256::<0x20>(a, b),
                _mm256_permute2x128_si256::<0x20>(c, d),
                _mm256_permute2x128_si256::<0x31>(a, b),
                _mm256_permute2x128_si256::<0x31>(c, d),
            ]
        }
    }

    #[inline(always)]
    unsafe fn fold(sums: __m256i, scales: __m256, acc: *mut f32) {
        // SAFETY: the caller vouches for AVX2 and 8 floats.
        unsafe {
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales);
            _mm256_storeu_ps(acc, _mm256_add_ps(_mm256_loadu_ps(acc), product));
        }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const u16) -> __m256 {
        // SAFETY: the caller vouches for F16C and 16 readable bytes.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(scales.cast())) }
    }

    #[inline(always)]
    unsafe fn compress(q: &[i16], values: &mut Compressed, indices: &mut Compressed) -> usize {
        let mut count = 0;
        for (index, &q) in q.iter().enumerate() {
            // Always written, kept where it is active: no branch to predict.
            values[count] = q;
            indices[count] = index as i16;
            count += usize::from(q != 0);
        }
        count
    }
}
