//! Why a model file is refused.

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
        problem: &'static str,
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
            Self::SectionCrc { section, found, expected } => write!(
                f,
                "section {section} is damaged: CRC-32 is {found:08x}, the header says {expected:08x}"
            ),
        }
    }
}

impl core::error::Error for ModelError {}
