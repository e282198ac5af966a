//! How tensors' values are stored: floats, or ggml's blocks.

use std::fmt;

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE binary64; read with one rounding to f32.
    F64,
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// ggml blocks of 32 4-bit values and an f16 scale.
    Q4_0,
    /// ggml blocks of 32 4-bit values, an f16 scale and an f16 minimum.
    Q4_1,
    /// ggml blocks of 32 5-bit values and an f16 scale.
    Q5_0,
    /// ggml blocks of 32 5-bit values, an f16 scale and an f16 minimum.
    Q5_1,
    /// ggml blocks of 32 8-bit values and an f16 scale.
    Q8_0,
    /// ggml blocks of 256 2-bit values, with a scale and a minimum for every 16.
    Q2K,
    /// ggml blocks of 256 3-bit values, with a scale for every 16.
    Q3K,
    /// ggml blocks of 256 4-bit values, with a scale and a minimum for every 32.
    Q4K,
    /// ggml blocks of 256 5-bit values, with a scale and a minimum for every 32.
    Q5K,
    /// ggml blocks of 256 6-bit values, with a scale for every 16.
    Q6K,
    /// ggml blocks of 32 numbers of 16 unevenly spaced values, and an f16 scale.
    Iq4Nl,
    /// ggml blocks of 256 such numbers, with a scale for every 32.
    Iq4Xs,
}

impl Dtype {
    /// Values that are stored together, and the bytes that they take.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q2K => (SUPER_BLOCK, 84),
            Self::Q3K => (SUPER_BLOCK, 110),
            Self::Q4K => (SUPER_BLOCK, 144),
            Self::Q5K => (SUPER_BLOCK, 176),
            Self::Q6K => (SUPER_BLOCK, 210),
            Self::Iq4Nl => (BLOCK, 18),
            Self::Iq4Xs => (SUPER_BLOCK, 136),
        }
    }

    /// Bytes of `elements` values; `None` when they are no whole number of blocks, or too many.
    pub(super) fn bytes_of(self, elements: usize) -> Option<usize> {
        let (values, bytes) = self.block();
        elements.is_multiple_of(values).then(|| (elements / values).checked_mul(bytes))?
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2_k",
            Self::Q3K => "q3_k",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
            Self::Iq4Nl => "iq4_nl",
            Self::Iq4Xs => "iq4_xs",
        })
    }
}

/// Values of a ggml block.
pub(super) const BLOCK: usize = 32;
/// Values of a ggml block with scales for its parts.
pub(super) const SUPER_BLOCK: usize = 256;
