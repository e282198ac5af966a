//! Weights as integers: the types that a model file may have, and how they lie in bytes.
//!
//! # int4
//!
//! A weight of four bits is stored as `u = w + 8`, a nibble in [0, 15] for w in [-8, 7]. The order
//! of the weights is that of int8, cut into pairs of blocks of N weights:
//!
//! ```text
//! int8:  w[0] .. w[N-1]   w[N] .. w[2N-1]   w[2N] ..
//! int4:  byte j = u[j] | u[N + j] << 4,     byte N + j = u[2N + j] | u[3N + j] << 4, ..
//! ```
//!
//! so that a load, a mask and a shift give two registers as they would have been loaded from int8,
//! but unsigned. N is 64 in a [`Matrix`](super::matrix::Matrix), a tile, and 16 in a
//! [`SparseMatrix`](super::matrix::SparseMatrix) and a [`RowTable`](super::matrix::RowTable), the
//! narrowest vector that has instructions for it.
//!
//! An exact sum of products is that of the unsigned nibbles less [`INT4_ZERO_POINT`] times the sum
//! of the activations: `sum w q = sum u q - 8 sum q`.

/// The type of the weights of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WeightType {
    /// Integers in [-127, 127], a byte each.
    Int8,
    /// Integers in [-8, 7], two to a byte.
    Int4,
}

impl WeightType {
    /// Bytes of `n` weights, an even number of them for int4.
    pub const fn bytes(self, n: u64) -> u64 {
        match self {
            Self::Int8 => n,
            Self::Int4 => n / 2,
        }
    }

    /// The group sizes that a matrix may have: inputs of a row that share a scale.
    pub const fn groups(self) -> &'static [usize] {
        match self {
            Self::Int8 => &GROUPS,
            Self::Int4 => &INT4_GROUPS,
        }
    }

    /// This type, where this build [reads](Self::enabled) it; int8 otherwise. Without int4 a
    /// matrix that was checked has a type that the compiler knows.
    #[inline(always)]
    pub(crate) const fn read(self) -> Self {
        if cfg!(feature = "q4") { self } else { Self::Int8 }
    }

    /// Whether this build reads such weights: int4 is the feature `q4`.
    pub const fn enabled(self) -> bool {
        match self {
            Self::Int8 => true,
            Self::Int4 => cfg!(feature = "q4"),
        }
    }
}

/// The group sizes of int8.
pub const GROUPS: [usize; 5] = [32, 64, 128, 256, 512];
/// The group sizes of int4.
pub const INT4_GROUPS: [usize; 3] = [32, 64, 128];
/// What a nibble is more than its weight.
pub const INT4_ZERO_POINT: i32 = 8;
/// A byte of two weights that are zero: padding.
pub const INT4_ZEROS: u8 = 0x88;

/// The weights of a matrix or table, in its order, with all padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights<'a> {
    /// A byte each.
    Int8(&'a [i8]),
    /// Two to a byte, in the order that the [module](self) describes.
    Int4(&'a [u8]),
}

impl<'a> Weights<'a> {
    /// Their type.
    #[inline(always)]
    pub const fn weight_type(self) -> WeightType {
        match self {
            Self::Int8(_) => WeightType::Int8,
            Self::Int4(_) => WeightType::Int4,
        }
    }

    /// Their bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Int8(weights) => bytemuck::cast_slice(weights),
            Self::Int4(bytes) => bytes,
        }
    }

    /// The weights, where they are int8.
    pub const fn int8(self) -> Option<&'a [i8]> {
        match self {
            Self::Int8(weights) => Some(weights),
            Self::Int4(_) => None,
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Int8(weights) => weights.len(),
            Self::Int4(bytes) => bytes.len(),
        }
    }

    /// Whether they are `n` weights.
    pub(super) const fn are(self, n: usize) -> bool {
        self.len() as u64 == self.weight_type().bytes(n as u64)
    }

    /// Weights `start..end`, in order; multiples of a pair of blocks.
    #[inline(always)]
    pub(super) fn part(self, start: usize, end: usize) -> Self {
        match self {
            Self::Int8(weights) => Self::Int8(&weights[start..end]),
            Self::Int4(bytes) => Self::Int4(&bytes[start / 2..end / 2]),
        }
    }

    /// Weight `i`, where int4 comes in blocks of `block`.
    #[inline(always)]
    pub(super) fn get(self, i: usize, block: usize) -> i32 {
        match self {
            Self::Int8(weights) => i32::from(weights[i]),
            Self::Int4(bytes) => {
                let byte = bytes[i / (2 * block) * block + i % block];
                let high = i / block % 2;
                i32::from(byte >> (4 * high) & 15) - INT4_ZERO_POINT
            }
        }
    }
}

/// Weights in a matrix or table. A build without int4 knows that they are int8, and compiles
/// no code for others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    #[cfg(feature = "q4")]
    weights: Weights<'a>,
    #[cfg(not(feature = "q4"))]
    weights: &'a [i8],
}

impl<'a> Stored<'a> {
    /// `None` where this build does not read the type.
    #[inline(always)]
    pub(super) const fn new(weights: Weights<'a>) -> Option<Self> {
        #[cfg(feature = "q4")]
        return Some(Self { weights });
        #[cfg(not(feature = "q4"))]
        match weights {
            Weights::Int8(weights) => Some(Self { weights }),
            Weights::Int4(_) => None,
        }
    }

    #[inline(always)]
    pub(super) const fn get(self) -> Weights<'a> {
        #[cfg(feature = "q4")]
        return self.weights;
        #[cfg(not(feature = "q4"))]
        Weights::Int8(self.weights)
    }
}

/// The weights of two blocks: the low nibbles, then the high ones.
#[inline(always)]
pub fn unpack_int4<const N: usize>(bytes: &[u8; N]) -> [[i8; N]; 2] {
    let weight = |nibble: u8| nibble as i8 - INT4_ZERO_POINT as i8;
    [bytes.map(|byte| weight(byte & 15)), bytes.map(|byte| weight(byte >> 4))]
}

/// Packs weights in the order of int8 into pairs of blocks of `N`.
///
/// # Panics
///
/// When `bytes` is not half as long as `weights`, or a weight is not in [-8, 7].
pub fn pack_int4<const N: usize>(weights: &[i8], bytes: &mut [u8]) {
    assert_eq!(weights.len(), 2 * bytes.len(), "two weights to a byte");
    let blocks = weights.as_chunks::<N>().0.as_chunks::<2>().0;
    for (bytes, [low, high]) in bytes.chunks_exact_mut(N).zip(blocks) {
        for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
            let nibble = |w: &i8| {
                assert!((-8..8).contains(w), "{w} has more than four bits");
                (w + INT4_ZERO_POINT as i8) as u8
            };
            *byte = nibble(low) | nibble(high) << 4;
        }
    }
}
