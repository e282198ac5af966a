//! Errors of a model file. Each names the place, the value found and the value expected; the
//! programs above add the file's name and the next step.
//!
//! They are plain values without text, because firmware prints them through `defmt`, which keeps
//! the words on the host: a reason is an enum, and `Display` is where its words stand.

use core::fmt;

use super::header::{HEADER_LEN, MAGIC, MAJOR};
use super::section::Section;
use crate::format::shape::{Architecture, ShapeError};
use crate::format::tensors::TensorName;
use crate::kernels::matrix::ALIGN;

/// Why bytes are not a model that can be run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes end before the header does.
    TooShort {
        /// Bytes given.
        found: usize,
    },
    /// The bytes are something else than a model file.
    Magic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// The file is of a newer format.
    Version {
        /// Major version of the file.
        major: u16,
        /// Minor version of the file.
        minor: u16,
    },
    /// The header's own CRC-32 is wrong.
    HeaderCrc {
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },
    /// The architecture is not one that this crate runs.
    Architecture {
        /// Its number in the file.
        code: u32,
    },
    /// The architecture's feature is not on: [`Architecture::feature`].
    Disabled {
        /// The file's.
        architecture: Architecture,
    },
    /// A dimension is outside what this crate accepts.
    Shape(ShapeError),
    /// A section does not lie inside the file, or not at a multiple of 64 after the one before.
    SectionBounds {
        /// The section.
        section: Section,
        /// Where it starts.
        offset: u64,
        /// Its length.
        len: u64,
        /// Bytes in the file.
        file: u64,
    },
    /// The bytes do not start at a multiple of 64 in memory.
    Misaligned {
        /// The address modulo 64.
        remainder: usize,
    },
    /// A directory record does not fit the shape, or points outside its section.
    Tensor {
        /// The tensor.
        tensor: TensorName,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// The tokenizer has more ids than the model has logits.
    Tokenizer {
        /// Number of ids.
        found: u32,
        /// Size of the model's vocabulary.
        vocab: usize,
    },
    /// A section's bytes are damaged.
    SectionCrc {
        /// The section.
        section: Section,
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { found } => {
                write!(f, "{found} bytes are too few for the header of a model ({HEADER_LEN})")
            }
            Self::Magic { found } => write!(
                f,
                "not a Kinglet model: starts with \"{}\", expected \"{}\"",
                found.escape_ascii(),
                MAGIC.escape_ascii()
            ),
            Self::Version { major, minor } => write!(
                f,
                "model format {major}.{minor} is newer than this program reads ({MAJOR}.x)"
            ),
            Self::HeaderCrc { found, expected } => write!(
                f,
                "the header is damaged: CRC-32 is {found:08x}, the header says {expected:08x}"
            ),
            Self::Architecture { code } => write!(f, "architecture {code} is not known"),
            Self::Disabled { architecture } => write!(
                f,
                "the model is of {architecture}, which was left out of this build; build with the feature `{}`",
                architecture.feature()
            ),
            Self::Shape(error) => write!(f, "the header's shape is impossible: {error}"),
            Self::SectionBounds { section, offset, len, file } => write!(
                f,
                "section {section} ({len} bytes at {offset}) does not lie in the file of {file} bytes; the file may be cut short"
            ),
            Self::Misaligned { remainder } => write!(
                f,
                "the model lies {remainder} bytes past a multiple of {ALIGN} in memory; align it to {ALIGN}"
            ),
            Self::Tensor { tensor, problem } => write!(f, "tensor {tensor}: {problem}"),
            Self::Tokenizer { found, vocab } => write!(
                f,
                "the tokenizer has {found} ids, more than the model's vocabulary of {vocab}"
            ),
            Self::SectionCrc { section, found, expected } => write!(
                f,
                "section {section} is damaged: CRC-32 is {found:08x}, the header says {expected:08x}"
            ),
        }
    }
}

impl core::error::Error for ModelError {}

/// Why a tensor of a model file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TensorProblem {
    /// The directory ends before its record.
    NoRecord,
    /// Its storage is none of the format's.
    UnknownStorage,
    /// Its layer needs it, and the file does not have it.
    Absent,
    /// The file has it, and its layer does not use it.
    Unused,
    /// Its storage is another one than the architecture's table says.
    Storage,
    /// Its weights have four bits, and the feature `q4` is not on.
    WeightsDisabled,
    /// Its dimensions are others than the header's shape says.
    Shape,
    /// Its group size is none of the format's.
    Group,
    /// Its multiplier is no power of two.
    Multiplier,
    /// Its bytes are not inside its section.
    Outside,
    /// Its bytes begin before the tensor before it ends.
    Overlap,
    /// A value is NaN or infinite.
    NonFinite,
    /// An int8 value is -128.
    Int8Bounds,
    /// A scale is neither zero nor a positive normal number.
    ScaleBounds,
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRecord => "has no directory record",
            Self::UnknownStorage => "has a storage that the format does not have",
            Self::Absent => "is absent",
            Self::Unused => "is not used by its layer",
            Self::Storage => "is stored in another way than its architecture has it",
            Self::WeightsDisabled => "has weights of four bits: build with the feature `q4`",
            Self::Shape => "has another shape than the header says",
            Self::Group => "has a group size that the format does not have",
            Self::Multiplier => "has a multiplier that is not a power of two",
            Self::Outside => "lies outside its section",
            Self::Overlap => "overlaps the tensor before it",
            Self::NonFinite => "has a value that is not finite",
            Self::Int8Bounds => "has an int8 value of -128",
            Self::ScaleBounds => "has a scale that is not a positive normal number or zero",
        })
    }
}
