//! Architecture and dimensions of an RWKV model, from which the shapes of all tensors, the length
//! of the state and that of the workspace follow.
//!
//! Everything here is a `const fn`, so that firmware computes it at compile time.
//! [`Shape::check`] bounds every dimension; behind it no product of two dimensions and a size in
//! bytes overflows 64 bits.

/// A generation of the RWKV recurrence that this crate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Architecture {
    /// RWKV-4 "Dove": a weighted average per channel.
    Rwkv4,
    /// RWKV-5.0: a matrix-valued state, one decay and one bonus per head, no gate.
    Rwkv5_0,
    /// RWKV-5.1: 5.0 with a gate.
    Rwkv5_1,
    /// RWKV-5.2 "Eagle": 5.1 with a decay and a bonus per channel.
    Rwkv5_2,
    /// RWKV-6 "Finch" (x060): decay and token shift depend on the data.
    Rwkv6,
    /// RWKV-7 "Goose" (x070): the generalised delta rule.
    Rwkv7,
    /// RWKV-7a: RWKV-7 with DeepEmbed, a small matrix per token id in every channel mix.
    Rwkv7a,
}

impl Architecture {
    /// The number that stands for the architecture in a model file: the
    /// version, in two hexadecimal digits where it has two parts.
    pub const fn code(self) -> u32 {
        match self {
            Self::Rwkv4 => 4,
            Self::Rwkv5_0 => 0x50,
            Self::Rwkv5_1 => 0x51,
            Self::Rwkv5_2 => 0x52,
            Self::Rwkv6 => 6,
            Self::Rwkv7 => 7,
            Self::Rwkv7a => 0x7A,
        }
    }

    /// The architecture of a model file's number, if this crate knows it.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            4 => Some(Self::Rwkv4),
            0x50 => Some(Self::Rwkv5_0),
            0x51 => Some(Self::Rwkv5_1),
            0x52 => Some(Self::Rwkv5_2),
            6 => Some(Self::Rwkv6),
            7 => Some(Self::Rwkv7),
            0x7A => Some(Self::Rwkv7a),
            _ => None,
        }
    }

    /// The feature of this crate with which models of the architecture are run.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Rwkv4 => "rwkv4",
            Self::Rwkv5_0 | Self::Rwkv5_1 | Self::Rwkv5_2 => "rwkv5",
            Self::Rwkv6 => "rwkv6",
            Self::Rwkv7 => "rwkv7",
            Self::Rwkv7a => "rwkv7a",
        }
    }

    /// Whether that feature is on.
    pub const fn enabled(self) -> bool {
        match self {
            Self::Rwkv4 => cfg!(feature = "rwkv4"),
            Self::Rwkv5_0 | Self::Rwkv5_1 | Self::Rwkv5_2 => cfg!(feature = "rwkv5"),
            Self::Rwkv6 => cfg!(feature = "rwkv6"),
            Self::Rwkv7 => cfg!(feature = "rwkv7"),
            Self::Rwkv7a => cfg!(feature = "rwkv7a"),
        }
    }

    /// Whether the state can be kept in f16 instead of f32. All but that of
    /// RWKV-4, whose sums aa and bb grow with the number of tokens that they
    /// remember, until a f16 of 11 significant bits no longer changes when a
    /// token joins, and whose exponent pp moves by less than f16 resolves:
    /// slow channels would stop forgetting. Its state is small, besides: five
    /// vectors per layer.
    pub const fn allows_f16_state(self) -> bool {
        !matches!(self, Self::Rwkv4)
    }

    /// The name that users know: `"RWKV-7"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rwkv4 => "RWKV-4",
            Self::Rwkv5_0 => "RWKV-5.0",
            Self::Rwkv5_1 => "RWKV-5.1",
            Self::Rwkv5_2 => "RWKV-5.2",
            Self::Rwkv6 => "RWKV-6",
            Self::Rwkv7 => "RWKV-7",
            Self::Rwkv7a => "RWKV-7a",
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
    /// Decay: `w1`, `w2`; in RWKV-6 `time_decay_w1`, `time_decay_w2`.
    pub decay: usize,
    /// In-context learning rate: `a1`, `a2`.
    pub iclr: usize,
    /// Value residual: `v1`, `v2`. 0 when the model has a single layer.
    pub value: usize,
    /// Output gate: `g1`, `g2`.
    pub gate: usize,
    /// Token shift of RWKV-6, for each of its five inputs: `time_maa_w1`, `time_maa_w2`.
    pub shift: usize,
    /// DeepEmbed of RWKV-7a: `s1`, `s2`; a token's matrix is of this many rows and columns.
    pub deep_embed: usize,
}

impl Ranks {
    /// No low-rank pairs.
    pub const NONE: Self = Self { decay: 0, iclr: 0, value: 0, gate: 0, shift: 0, deep_embed: 0 };

    /// Dimensions and values, in the order of the model file's header.
    pub(crate) const fn list(&self) -> [(Dimension, usize); 6] {
        [
            (Dimension::DecayRank, self.decay),
            (Dimension::IclrRank, self.iclr),
            (Dimension::ValueRank, self.value),
            (Dimension::GateRank, self.gate),
            (Dimension::ShiftRank, self.shift),
            (Dimension::DeepEmbedRank, self.deep_embed),
        ]
    }
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
    /// Channels per head; 1 in RWKV-4, each of whose channels is on its own.
    pub head_size: usize,
    /// Hidden width of the channel mix.
    pub ffn: usize,
    /// Number of token ids; logits have this length.
    pub vocab: usize,
    /// Inner widths of the low-rank pairs.
    pub ranks: Ranks,
}

/// A field of a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Dimension {
    /// [`Shape::layers`]
    Layers,
    /// [`Shape::width`]
    Width,
    /// [`Shape::head_size`]
    HeadSize,
    /// [`Shape::ffn`]
    Ffn,
    /// [`Shape::vocab`]
    Vocab,
    /// [`Ranks::decay`]
    DecayRank,
    /// [`Ranks::iclr`]
    IclrRank,
    /// [`Ranks::value`]
    ValueRank,
    /// [`Ranks::gate`]
    GateRank,
    /// [`Ranks::shift`]
    ShiftRank,
    /// [`Ranks::deep_embed`]
    DeepEmbedRank,
}

impl core::fmt::Display for Dimension {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Layers => "layers",
            Self::Width => "width",
            Self::HeadSize => "head size",
            Self::Ffn => "ffn",
            Self::Vocab => "vocab",
            Self::DecayRank => "decay rank",
            Self::IclrRank => "iclr rank",
            Self::ValueRank => "value rank",
            Self::GateRank => "gate rank",
            Self::ShiftRank => "shift rank",
            Self::DeepEmbedRank => "DeepEmbed rank",
        })
    }
}

/// The values that a [`Dimension`] may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Expected {
    /// 1 to a largest value.
    UpTo(usize),
    /// A divisor of the width.
    DivisorOfWidth,
    /// 1: the head size of RWKV-4, each of whose channels is on its own.
    OneInRwkv4,
    /// 0, because the architecture has no such matrices.
    Absent,
}

impl core::fmt::Display for Expected {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::UpTo(MAX_WIDTH) => f.write_str("1 to 2^20"),
            Self::UpTo(largest) => write!(f, "1 to {largest}"),
            Self::DivisorOfWidth => f.write_str("a divisor of the width"),
            Self::OneInRwkv4 => f.write_str("1 in RWKV-4"),
            Self::Absent => f.write_str("0, for the architecture has no such matrices"),
        }
    }
}

/// A dimension that is outside what this crate accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ShapeError {
    /// Which dimension.
    pub dimension: Dimension,
    /// Its value.
    pub found: usize,
    /// What is accepted.
    pub expected: Expected,
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
/// Most layers.
const MAX_LAYERS: usize = 1024;

impl Shape {
    /// Number of heads.
    pub const fn heads(&self) -> usize {
        self.width / self.head_size
    }

    /// Elements of one layer's state: the inputs of the last token that the two
    /// token shifts remember, `[width]` each, then `[head][key][value]`; in
    /// RWKV-4 instead aa, bb and pp, `[width]` each.
    pub const fn layer_state_len(&self) -> usize {
        let (pieces, len) = self.recurrent_pieces();
        2 * self.width + pieces * len
    }

    /// Rank of RWKV-7's blend with the first layer's values. A single layer has none, and so no
    /// tensor bounds what its header says.
    pub const fn value_rank(&self) -> usize {
        if self.layers > 1 { self.ranks.value } else { 0 }
    }

    /// The recurrence's part of a layer's state, as a number of pieces and the
    /// elements of each; a piece is what one head owns.
    pub(crate) const fn recurrent_pieces(&self) -> (usize, usize) {
        match self.architecture {
            Architecture::Rwkv4 => {
                let channels = channels_together(self);
                (3 * (self.width / channels), channels)
            }
            _ => (self.heads(), self.head_size * self.head_size),
        }
    }

    /// What element `index` of a layer's state is before the first token: 0, but
    /// for pp of RWKV-4, the exponent of an average that has no weight yet.
    pub const fn start_value(&self, index: usize) -> f32 {
        match self.architecture {
            Architecture::Rwkv4 if index >= 4 * self.width => NO_EXPONENT,
            _ => 0.0,
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
    ///
    /// Names the first dimension that is wrong.
    pub const fn check(&self) -> Result<(), ShapeError> {
        const fn bad(
            dimension: Dimension,
            found: usize,
            expected: Expected,
        ) -> Result<(), ShapeError> {
            Err(ShapeError { dimension, found, expected })
        }
        if self.layers == 0 || self.layers > MAX_LAYERS {
            return bad(Dimension::Layers, self.layers, Expected::UpTo(MAX_LAYERS));
        }
        if self.width == 0 || self.width > MAX_WIDTH {
            return bad(Dimension::Width, self.width, Expected::UpTo(MAX_WIDTH));
        }
        if self.head_size == 0 || self.head_size > MAX_HEAD_SIZE {
            return bad(Dimension::HeadSize, self.head_size, Expected::UpTo(MAX_HEAD_SIZE));
        }
        if !self.width.is_multiple_of(self.head_size) {
            return bad(Dimension::HeadSize, self.head_size, Expected::DivisorOfWidth);
        }
        if matches!(self.architecture, Architecture::Rwkv4) && self.head_size != 1 {
            return bad(Dimension::HeadSize, self.head_size, Expected::OneInRwkv4);
        }
        if self.ffn == 0 || self.ffn > MAX_WIDTH {
            return bad(Dimension::Ffn, self.ffn, Expected::UpTo(MAX_WIDTH));
        }
        if self.vocab == 0 || self.vocab > MAX_WIDTH {
            return bad(Dimension::Vocab, self.vocab, Expected::UpTo(MAX_WIDTH));
        }
        let ranks = self.ranks.list();
        let needed = self.ranks_needed();
        let mut i = 0;
        while i < ranks.len() {
            let (dimension, rank) = ranks[i];
            match needed[i] {
                Some(least) if rank < least || rank > MAX_WIDTH => {
                    return bad(dimension, rank, Expected::UpTo(MAX_WIDTH));
                }
                None if rank != 0 => return bad(dimension, rank, Expected::Absent),
                _ => (),
            }
            i += 1;
        }
        if self.ranks.deep_embed > MAX_DEEP_EMBED {
            let expected = Expected::UpTo(MAX_DEEP_EMBED);
            return bad(Dimension::DeepEmbedRank, self.ranks.deep_embed, expected);
        }
        Ok(())
    }

    /// The least value of each of [`Ranks::list`]; `None` where the
    /// architecture does not have the rank.
    const fn ranks_needed(&self) -> [Option<usize>; 6] {
        let one = Some(1);
        // A single layer has no earlier value to blend with.
        let value = Some(if self.layers > 1 { 1 } else { 0 });
        match self.architecture {
            Architecture::Rwkv4
            | Architecture::Rwkv5_0
            | Architecture::Rwkv5_1
            | Architecture::Rwkv5_2 => [None; 6],
            Architecture::Rwkv6 => [one, None, None, None, one, None],
            Architecture::Rwkv7 => [one, one, value, one, None, None],
            Architecture::Rwkv7a => [one, one, value, one, None, one],
        }
    }
}

/// Largest rank of DeepEmbed, whose square is the length of a table's row.
const MAX_DEEP_EMBED: usize = 256;
/// Largest head size that the recurrence accepts.
pub const MAX_HEAD_SIZE: usize = 256;

/// The exponent pp of RWKV-4 before the first token.
pub(crate) const NO_EXPONENT: f32 = -1e30;

/// Channels whose states lie together and are computed together: every channel
/// is on its own, and this many make a part of useful size.
pub(crate) const fn channels_together(shape: &Shape) -> usize {
    let mut channels = 64;
    while !shape.width.is_multiple_of(channels) {
        channels /= 2;
    }
    channels
}
