//! Registers of 256 and 512 bits: what the kernels do besides multiplying bytes.

use core::arch::x86_64::*;

/// Operations on registers of one width.
///
/// # Safety
/// Every function needs the instructions that its implementation names, and
/// must end up inlined into a function that switches them on. Pointers are
/// valid for the bytes that a function says it reads or writes; none needs an
/// alignment.
pub(crate) trait Width {
    /// i32 lanes, or the bytes of four inputs for each lane.
    type Ints: Copy;
    /// f32 lanes.
    type Floats: Copy;
    /// Lanes: rows that a register of weights has.
    const LANES: usize;
    /// How many bytes before their use weights that lie in one stream are asked
    /// for, where that is faster than leaving it to the hardware. Measured on
    /// Zen 4: loads of half a line gain a third, loads of whole lines lose a tenth.
    const AHEAD: Option<usize>;

    /// `x` in every lane.
    unsafe fn splat(x: i32) -> Self::Ints;
    /// A whole register of bytes.
    unsafe fn load(bytes: *const i8) -> Self::Ints;
    /// Writes a whole register.
    unsafe fn store(to: *mut i32, lanes: Self::Ints);
    /// The first `len` bytes, a multiple of 16 and less than a whole register, and zeros.
    unsafe fn load_short(bytes: *const i8, len: usize) -> Self::Ints;
    /// Two i16, in every lane.
    unsafe fn broadcast(pair: *const i16) -> Self::Ints;
    /// Signed bytes as unsigned ones that are larger by 128.
    unsafe fn unsign(bytes: Self::Ints) -> Self::Ints;
    /// Sums of i32 lanes.
    unsafe fn add(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Four inputs of `4 * LANES` rows as the tiles of `LANES` rows by four
    /// inputs, in the order that [`restore`](Self::restore) undoes.
    unsafe fn interleave(inputs: [Self::Ints; 4]) -> [Self::Ints; 4];
    /// Lanes of the registers that came of [`interleave`](Self::interleave), by rows.
    unsafe fn restore(lanes: [Self::Ints; 4]) -> [Self::Ints; 4];

    /// `acc + f32(sums) * scale`, the product rounded before it is added;
    /// `scales` and `acc` are one for each lane.
    unsafe fn fold(sums: Self::Ints, scales: Self::Floats, acc: *mut f32);
    /// f16 scales, one for each lane.
    unsafe fn scales(scales: *const u16) -> Self::Floats;

    /// Writes the values of `q` that are not zero, and their indices, in
    /// ascending order, and returns how many there are. What follows them is
    /// overwritten too. The length of `q` is a multiple of 32 and at most [`LARGEST`].
    unsafe fn compress(q: &[i16], values: &mut Compressed, indices: &mut Compressed) -> usize;
}

/// The largest group.
pub(crate) const LARGEST: usize = 512;

/// Values or indices from a group, and room for the register that the last
/// ones are written with.
pub(crate) type Compressed = [i16; LARGEST + 32];

/// 256 bits: AVX2 and F16C.
#[derive(Debug)]
pub(crate) enum Ymm {}

impl Width for Ymm {
    type Ints = __m256i;
    type Floats = __m256;
    const LANES: usize = 8;
    const AHEAD: Option<usize> = Some(4096);

    #[inline(always)]
    unsafe fn splat(x: i32) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_set1_epi32(x) }
    }

    #[inline(always)]
    unsafe fn load(bytes: *const i8) -> __m256i {
        // SAFETY: the caller vouches for AVX2 and 32 readable bytes.
        unsafe { _mm256_loadu_si256(bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut i32, lanes: __m256i) {
        // SAFETY: the caller vouches for AVX2 and 32 writable bytes.
        unsafe { _mm256_storeu_si256(to.cast(), lanes) }
    }

    #[inline(always)]
    unsafe fn load_short(bytes: *const i8, _len: usize) -> __m256i {
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

/// 512 bits: AVX-512 F and BW.
#[derive(Debug)]
pub(crate) enum Zmm {}

impl Width for Zmm {
    type Ints = __m512i;
    type Floats = __m512;
    const LANES: usize = 16;
    const AHEAD: Option<usize> = None;

    #[inline(always)]
    unsafe fn splat(x: i32) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F.
        unsafe { _mm512_set1_epi32(x) }
    }

    #[inline(always)]
    unsafe fn load(bytes: *const i8) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 F and 64 readable bytes.
        unsafe { _mm512_loadu_si512(bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut i32, lanes: __m512i) {
        // SAFETY: the caller vouches for AVX-512 F and 64 writable bytes.
        unsafe { _mm512_storeu_si512(to.cast(), lanes) }
    }

    #[inline(always)]
    unsafe fn load_short(bytes: *const i8, len: usize) -> __m512i {
        // SAFETY: the caller vouches for AVX-512 BW and `len` readable bytes;
        // the mask keeps the others from being read.
        unsafe { _mm512_maskz_loadu_epi8((1 << len) - 1, bytes) }
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
        assert!(q.len() <= LARGEST, "no group");
        let mut count = 0;
        // SAFETY: the caller vouches for AVX-512 F; each sixteen values are read
        // whole, and sixteen are written where `count` <= LARGEST lie before.
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
