//! A self-test of the operations that a program was linked with, for any target: what they compute
//! of many pairs, as one number that a machine with floats in hardware knows.

use core::hint::black_box;

/// Random pairs of [`checksum`], beside all pairs of [`EDGES`].
const RANDOM: u32 = 100_000;

/// [`checksum`] as IEEE 754 has it.
pub const CHECKSUM: u32 = 0xC264_8172;

/// Magnitudes that lie beside a border: of zero, subnormals, ties, carries, ranges that the
/// assembly distinguishes, infinity, NaN. With either sign they are 124 floats.
const EDGES: [u32; 62] = [
    // Zero, subnormals, the smallest normals.
    0x0000_0000,
    0x0000_0001,
    0x0000_0002,
    0x0000_0003,
    0x003F_FFFF,
    0x0040_0000,
    0x0040_0001,
    0x007F_FFFE,
    0x007F_FFFF,
    0x0080_0000,
    0x0080_0001,
    0x00FF_FFFF,
    0x0100_0000,
    // Exponents 8 to 33, where additions leave the assembly.
    0x0480_0000,
    0x0C00_0001,
    0x0F7F_FFFF,
    0x0F80_0000,
    0x0FFF_FFFF,
    0x1000_0000,
    0x1080_0001,
    // Exponents 62 to 65, where multiplications do, below.
    0x1F00_0000,
    0x1F7F_FFFF,
    0x1F80_0000,
    0x1FFF_FFFF,
    0x2000_0000,
    0x2000_0001,
    0x2080_0000,
    // Small against one, to either side of half a step.
    0x3280_0000,
    0x3300_0000,
    0x3300_0001,
    0x3380_0000,
    0x3380_0001,
    0x33C0_0000,
    0x3400_0000,
    // About one and two.
    0x3F00_0000,
    0x3F7F_FFFE,
    0x3F7F_FFFF,
    0x3F80_0000,
    0x3F80_0001,
    0x3F80_0002,
    0x3FB5_04F3,
    0x3FC0_0000,
    0x3FFF_FFFF,
    0x4000_0000,
    0x4000_0001,
    0x4040_0000,
    0x407F_FFFF,
    // Integers at the end of a fraction.
    0x4AFF_FFFF,
    0x4B00_0001,
    0x4B7F_FFFF,
    0x4B80_0000,
    // Exponents 189 to 192 and 246 to 248, where the assembly is left above.
    0x5EFF_FFFF,
    0x5F00_0000,
    0x5F80_0000,
    0x6000_0000,
    0x7BFF_FFFF,
    0x7C00_0000,
    // The largest, infinity, NaN.
    0x7E80_0000,
    0x7F7F_FFFF,
    0x7F80_0000,
    0x7FC0_0000,
    0x7FFF_FFFF,
];

/// A number made of the sum, difference and product of many pairs of floats and of the floats
/// nearest to as many integers, computed by the operations that the program was linked with. It is
/// [`CHECKSUM`] where they are right. 115,376 pairs: some 40 million instructions.
pub fn checksum() -> u32 {
    let mut sum = 0u32;
    let mut add = |a, b| {
        for result in results(a, b) {
            sum = (sum.rotate_left(5) ^ result).wrapping_mul(0x9E37_79B1);
        }
    };
    edges(&mut add);
    let mut random = Random::new(1);
    for _ in 0..RANDOM {
        let (a, b) = random.pair();
        add(a, b);
    }
    sum
}

/// All pairs of edges, with either sign.
pub(crate) fn edges(mut f: impl FnMut(u32, u32)) {
    let signed = || EDGES.into_iter().flat_map(|bits| [bits, bits | 1 << 31]);
    for a in signed() {
        for b in signed() {
            f(a, b);
        }
    }
}

/// The bits of a + b, a - b, a * b and of the integer a as a float; all NaN as one.
fn results(a: u32, b: u32) -> [u32; 4] {
    let (x, y) = (black_box(f32::from_bits(a)), black_box(f32::from_bits(b)));
    let integer = black_box(a.cast_signed()) >> (b & 31);
    [x + y, x - y, x * y, integer as f32].map(canonical)
}

/// Bits, of every NaN the same. Compares integers, so that only the results are tested.
pub(crate) fn canonical(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits & 0x7FFF_FFFF > 0x7F80_0000 { 0x7FC0_0000 } else { bits }
}

/// A generator of pairs that meet the hard cases often.
pub(crate) struct Random(u32);

impl Random {
    /// `seed` is not 0.
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// Marsaglia's xorshift of 32 bits.
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A pair: in one of four any bits; in others with exponents that differ by -32 to 31, half of
    /// them by -2 to 1; in half of all with few bits of fraction, so that there are ties.
    pub(crate) fn pair(&mut self) -> (u32, u32) {
        let (a, mut b, kind) = (self.next(), self.next(), self.next());
        if kind & 3 != 0 {
            let apart = if kind & 4 == 0 { kind >> 8 & 3 } else { kind >> 8 & 63 };
            let middle = if kind & 4 == 0 { 2 } else { 32 };
            let e = (a >> 23).wrapping_add(apart).wrapping_sub(middle) & 0xFF;
            b = b & 0x807F_FFFF | e << 23;
        }
        // A run of low bits of zero, of either.
        let cut = |bits: u32, places: u32| bits >> places << places;
        match kind >> 3 & 3 {
            0 => (cut(a, kind >> 16 & 15), cut(b, kind >> 20 & 15)),
            1 => (cut(a, 8 + (kind >> 16 & 15)), cut(b, 8 + (kind >> 20 & 15))),
            _ => (a, b),
        }
    }
}
