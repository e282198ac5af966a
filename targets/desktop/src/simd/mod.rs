//! Registers of 256 and 512 bits: what the kernels do besides dot products.

mod ymm;
mod zmm;

pub(crate) use ymm::Ymm;
pub(crate) use zmm::Zmm;

use crate::weight_type::MAX_PER_BYTE;

/// Operations on registers of one width.
///
/// # Safety
///
/// Every function needs the instructions that its implementation names, and
/// must end up inlined into a function that switches them on. Pointers are
/// valid for the bytes that a function says it reads or writes; none needs an
/// alignment.
pub(crate) trait Simd {
    /// i32 lanes, or the bytes of four inputs for each lane.
    type Ints: Copy;
    /// f32 lanes.
    type Floats: Copy;
    /// Lanes: rows that a register of weights has.
    const LANES: usize;
    /// Prefetch distance in bytes for weights that lie in one stream, one to a byte and two to a
    /// byte; none where the hardware prefetcher alone is faster. Measured on Zen 4: loads of half
    /// a line gain a third, loads of whole lines lose a tenth, and with two weights to a byte,
    /// which take twice as long to use, gain a tenth.
    const AHEAD: [Option<usize>; MAX_PER_BYTE];

    /// `x` in every lane.
    unsafe fn splat(x: i32) -> Self::Ints;
    /// A whole register of bytes.
    unsafe fn load(bytes: *const u8) -> Self::Ints;
    /// Writes a whole register.
    unsafe fn store(to: *mut i32, lanes: Self::Ints);
    /// The first `len` bytes, a multiple of 16 and less than a whole register, and zeros.
    unsafe fn load_short(bytes: *const u8, len: usize) -> Self::Ints;
    /// Two i16, in every lane.
    unsafe fn broadcast(pair: *const i16) -> Self::Ints;
    /// Signed bytes as unsigned ones with zero point 128: `w + 128`.
    unsafe fn unsign(bytes: Self::Ints) -> Self::Ints;
    /// The low four bits of each byte.
    unsafe fn low_nibbles(bytes: Self::Ints) -> Self::Ints;
    /// The high four bits of each byte, shifted down.
    unsafe fn high_nibbles(bytes: Self::Ints) -> Self::Ints;
    /// Sums of i32 lanes.
    unsafe fn add(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Four inputs, `4 * LANES` bytes each, as the tiles of `LANES` rows by four
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
    /// ascending order, and returns their number. Elements after them are
    /// overwritten too. The length of `q` is a multiple of 32 and at most [`MAX_GROUP`].
    unsafe fn compress(q: &[i16], values: &mut Compressed, indices: &mut Compressed) -> usize;
}

/// The largest group.
pub(crate) const MAX_GROUP: usize = 512;

/// Values or indices from a group, and room for the register that the last
/// ones are written with.
pub(crate) type Compressed = [i16; MAX_GROUP + 32];
