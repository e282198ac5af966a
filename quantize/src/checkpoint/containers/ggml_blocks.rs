//! ggml's block types whose parts have scales of their own, and those that look values up.
//!
//! A value is `scale * q - minimum`. A block's f16 scale times a part's (of 7 bits at most) times
//! `q` (of 8 bits at most) is exact in f32, so a value is rounded once at most, by the
//! subtraction. `i` counts the values of a block and `part` its parts.

use half::f16;

use crate::checkpoint::dtype::Dtype;

/// What the 4-bit numbers of IQ4_NL and IQ4_XS stand for.
const NON_LINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Decodes one block into `out`, as many values as [`Dtype::block`] says.
///
/// # Panics
///
/// When the lengths are not those of the type, or it is none of this module's.
pub(in crate::checkpoint) fn decode(dtype: Dtype, block: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::Q2K => q2_k(block, out),
        Dtype::Q3K => q3_k(block, out),
        Dtype::Q4K => q4_k(block, out),
        Dtype::Q5K => q5_k(block, out),
        Dtype::Q6K => q6_k(block, out),
        Dtype::Iq4Nl => iq4_nl(block, out),
        Dtype::Iq4Xs => iq4_xs(block, out),
        _ => unreachable!("a type of this module"),
    }
}

/// Fills parts of `len` values by their scale and minimum and by the number of each value.
fn fill(
    out: &mut [f32],
    len: usize,
    scale: impl Fn(usize) -> (f32, f32),
    number: impl Fn(usize) -> i16,
) {
    for (part, out) in out.chunks_exact_mut(len).enumerate() {
        let (scale, minimum) = scale(part);
        for (i, value) in out.iter_mut().enumerate() {
            *value = scale * f32::from(number(part * len + i)) - minimum;
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Two bits of value `i`: the same two of 32 bytes, then the next, and so on by 128 values.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// Four bits of value `i`: the low ones of `run` bytes, then the high ones.
fn four_bits(bytes: &[u8], run: usize, i: usize) -> u8 {
    bytes[i / (2 * run) * run + i % run] >> (i % (2 * run) / run * 4) & 15
}

/// The bit of value `i` in 32 bytes, one bit of each for every 32 values.
fn one_bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 32] >> (i / 32) & 1
}

/// 16 bytes of 4-bit scales and minima, 64 of numbers, scale, minimum.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (d, minimum) = (half(block, 80), half(block, 82));
    let scale = |part: usize| {
        let both = block[part];
        (d * f32::from(both & 15), minimum * f32::from(both >> 4))
    };
    fill(out, 16, scale, |i| two_bits(&block[16..80], i).into());
}

/// 32 bytes of high bits, 64 of low ones, 12 of 6-bit scales, scale. A high bit of 0 is -4.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, low, scales, d) = (&block[..32], &block[32..96], &block[96..108], half(block, 108));
    let scale = |part: usize| {
        let bits = scales[part % 8] >> (part / 8 * 4) & 15;
        let more = scales[8 + part % 4] >> (part / 4 * 2) & 3;
        (d * (f32::from(bits | more << 4) - 32.0), 0.0)
    };
    fill(out, 16, scale, |i| i16::from(two_bits(low, i)) - 4 * i16::from(1 - one_bit(high, i)));
}

/// The 6-bit scale and minimum of a part of Q4_K and Q5_K, out of 12 bytes.
fn six_bits(scales: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (scales[part] & 63, scales[part + 4] & 63);
    }
    let (both, scale, minimum) = (scales[part + 4], scales[part - 4] >> 6, scales[part] >> 6);
    (both & 15 | scale << 4, both >> 4 | minimum << 4)
}

/// Scale and minimum of a block with [`six_bits`] after them.
fn scale_and_minimum(block: &[u8]) -> impl Fn(usize) -> (f32, f32) {
    let (d, m) = (half(block, 0), half(block, 2));
    move |part| {
        let (scale, minimum) = six_bits(&block[4..16], part);
        (d * f32::from(scale), m * f32::from(minimum))
    }
}

/// Scale, minimum, 12 bytes of scales and minima, 128 of numbers.
fn q4_k(block: &[u8], out: &mut [f32]) {
    fill(out, 32, scale_and_minimum(block), |i| four_bits(&block[16..], 32, i).into());
}

/// Q4_K with 32 bytes of high bits before the low ones.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (high, low) = block[16..].split_at(32);
    fill(out, 32, scale_and_minimum(block), |i| {
        (four_bits(low, 32, i) | one_bit(high, i) << 4).into()
    });
}

/// 128 bytes of low bits, 64 of high ones, 16 signed scales, scale.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales, d) =
        (&block[..128], &block[128..192], &block[192..208], half(block, 208));
    let scale = |part: usize| (d * f32::from(scales[part] as i8), 0.0);
    fill(out, 16, scale, |i| i16::from(four_bits(low, 64, i) | two_bits(high, i) << 4) - 32);
}

/// Scale, 16 bytes of numbers.
fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    fill(out, 32, |_| (d, 0.0), |i| NON_LINEAR[usize::from(four_bits(&block[2..], 16, i))].into());
}

/// Scale, 6-bit scales as 16 bits of high and 4 bytes of low ones, 128 bytes of numbers.
fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let (d, high) = (half(block, 0), u16::from_le_bytes([block[2], block[3]]));
    let scale = |part: usize| {
        let low = block[4 + part / 2] >> (part % 2 * 4) & 15;
        let bits = u16::from(low) | (high >> (2 * part) & 3) << 4;
        (d * (f32::from(bits) - 32.0), 0.0)
    };
    fill(out, 32, scale, |i| NON_LINEAR[usize::from(four_bits(&block[8..], 16, i))].into());
}
