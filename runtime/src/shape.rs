//! What an RWKV model is, in numbers: its architecture and its dimensions.

/// A generation of the RWKV recurrence that this crate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Architecture {
    /// RWKV-7 "Goose" (x070).
    Rwkv7,
}

impl Architecture {
    /// The number that stands for the architecture in a model file.
    pub const fn code(self) -> u32 {
        match self {
            Self::Rwkv7 => 7,
        }
    }

    /// The architecture of a model file's number, if this crate knows it.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            7 => Some(Self::Rwkv7),
            _ => None,
        }
    }

    /// The name that users know: `"RWKV-7"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rwkv7 => "RWKV-7",
        }
    }
}

impl core::fmt::Display for Architecture {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Inner widths of the low-rank matrix pairs ("LoRA" in the RWKV papers).
/// A rank that an architecture does not have is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ranks {
    /// Decay: `w1`, `w2`.
    pub decay: usize,
    /// In-context learning rate: `a1`, `a2`.
    pub iclr: usize,
    /// Value residual: `v1`, `v2`. 0 when the model has a single layer.
    pub value: usize,
    /// Output gate: `g1`, `g2`.
    pub gate: usize,
}

/// The dimensions of a model, in elements. From these alone follow the shapes
/// of all tensors, the length of the state and that of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Generation of the recurrence.
    pub architecture: Architecture,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream, `n_embd` in checkpoints.
    pub width: usize,
    /// Channels per head.
    pub head_size: usize,
    /// Hidden width of the channel mix.
    pub ffn: usize,
    /// Number of token ids; logits have this length.
    pub vocab: usize,
    /// Inner widths of the low-rank pairs.
    pub ranks: Ranks,
}

/// A dimension that is outside what this crate accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ShapeError {
    /// Which dimension.
    pub dimension: &'static str,
    /// Its value.
    pub found: usize,
    /// What is accepted, in words.
    pub expected: &'static str,
}

impl core::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} is {}, expected {}", self.dimension, self.found, self.expected)
    }
}

impl core::error::Error for ShapeError {}

/// Upper bound of every width, so that no product of two dimensions and a
/// size in bytes overflows 64 bits.
const MAX_WIDTH: usize = 1 << 20;

impl Shape {
    /// Number of heads.
    pub const fn heads(&self) -> usize {
        self.width / self.head_size
    }

    /// Elements of one layer's state: the two token shifts and
    /// `[head][key][value]`.
    pub const fn layer_state_len(&self) -> usize {
        match self.architecture {
            Architecture::Rwkv7 => self.width * (self.head_size + 2),
        }
    }

    /// Elements (f32) of one sequence's state. It does not depend on how many
    /// tokens were read.
    pub const fn state_len(&self) -> usize {
        self.layers * self.layer_state_len()
    }

    /// Checks that the dimensions fit together and are of a sane size.
    ///
    /// # Errors
    /// Names the first dimension that is wrong.
    pub const fn check(&self) -> Result<(), ShapeError> {
        const fn bad(
            dimension: &'static str,
            found: usize,
            expected: &'static str,
        ) -> Result<(), ShapeError> {
            Err(ShapeError { dimension, found, expected })
        }
        if self.layers == 0 || self.layers > 1024 {
            return bad("layers", self.layers, "1 to 1024");
        }
        if self.width == 0 || self.width > MAX_WIDTH {
            return bad("width", self.width, "1 to 2^20");
        }
        if self.head_size == 0 || self.head_size > MAX_HEAD_SIZE {
            return bad("head size", self.head_size, "1 to 256");
        }
        if !self.width.is_multiple_of(self.head_size) {
            return bad("head size", self.head_size, "a divisor of the width");
        }
        if self.ffn == 0 || self.ffn > MAX_WIDTH {
            return bad("ffn", self.ffn, "1 to 2^20");
        }
        if self.vocab == 0 || self.vocab > MAX_WIDTH {
            return bad("vocab", self.vocab, "1 to 2^20");
        }
        let ranks = [self.ranks.decay, self.ranks.iclr, self.ranks.gate, self.ranks.value];
        let names = ["decay rank", "iclr rank", "gate rank", "value rank"];
        let mut i = 0;
        while i < ranks.len() {
            let needed = i < 3 || self.layers > 1;
            if (needed && ranks[i] == 0) || ranks[i] > MAX_WIDTH {
                return bad(names[i], ranks[i], "1 to 2^20");
            }
            i += 1;
        }
        Ok(())
    }
}

/// Largest head size that the recurrence accepts.
pub const MAX_HEAD_SIZE: usize = 256;
