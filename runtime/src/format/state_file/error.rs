//! Why bytes are no state file, or a state was not written.

use core::fmt;

use super::header::{HEADER_LEN, MAGIC, MAJOR};
#[cfg(doc)]
use crate::format::shape::Shape;
use crate::num::state_dtype;
#[cfg(doc)]
use crate::num::state_dtype::StateElement;

/// Why bytes are not a state that the model can go on from, or why a state was
/// not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StateFileError {
    /// The bytes end before the header does.
    TooShort {
        /// Bytes given.
        found: usize,
    },
    /// The bytes are something else than a state file.
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
    /// The elements are of another type than the engine's.
    Element {
        /// The code of their type.
        found: u32,
        /// [`StateElement::CODE`] of the engine's.
        expected: u32,
    },
    /// The file is not as long as its header says.
    Length {
        /// Bytes given.
        found: u64,
        /// Bytes that the header asks for.
        expected: u64,
    },
    /// The sections after the state are not in the form of the format, or too many.
    Sections {
        /// Offset in the file of the first that is wrong.
        offset: u64,
    },
    /// The file is damaged.
    Crc {
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },
    /// The state belongs to other weights.
    Model {
        /// First four bytes of the content hash in the file, as a big-endian number.
        found: u32,
        /// Those of the model's content hash.
        expected: u32,
    },
    /// The number of elements is not [`Shape::state_len`], in the file or in a
    /// buffer.
    Elements {
        /// Elements found.
        found: usize,
        /// Elements of the model's state.
        expected: usize,
    },
    /// The next token is outside the vocabulary.
    Token {
        /// The id.
        found: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A value is not finite.
    NonFinite {
        /// Index of the first.
        index: usize,
    },
    /// The buffer is too short for the file.
    Buffer {
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The state's bytes do not lie at a multiple of an element's size in memory,
    /// and were to be used in place.
    Misaligned {
        /// The multiple.
        expected: usize,
    },
    /// The file was to be written before all of it was checked, or it was used before all of it
    /// was loaded.
    Incomplete {
        /// Bytes checked or loaded.
        done: usize,
        /// Bytes of the file.
        total: usize,
    },
    /// The engine does not have the sequence whose state was to be saved or restored.
    Sequence {
        /// The sequence.
        found: usize,
        /// Number of sequences.
        sequences: usize,
    },
    /// A device with memory of its own has failed; its engine says more. All states are lost.
    Device,
}

impl fmt::Display for StateFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { found } => {
                write!(f, "{found} bytes are too few for the header of a state ({HEADER_LEN})")
            }
            Self::Magic { found } => write!(
                f,
                "not a Kinglet state: starts with \"{}\", expected \"{}\"",
                found.escape_ascii(),
                MAGIC.escape_ascii()
            ),
            Self::Version { major, minor } => write!(
                f,
                "state format {major}.{minor} is newer than this program reads ({MAJOR}.x)"
            ),
            Self::Element { found, expected } => match state_dtype::name(found) {
                Some(name) => write!(
                    f,
                    "the file has an {name} state, the engine keeps {}; go on with an engine that keeps {name}",
                    state_dtype::name(expected).unwrap_or("another type")
                ),
                None => write!(f, "the state's elements are of type {found}, which is not known"),
            },
            Self::Length { found, expected } => {
                write!(f, "the state file has {found} bytes, its header says {expected}")
            }
            Self::Sections { offset } => {
                write!(f, "the part of the state file at {offset} is no section, or out of order")
            }
            Self::Crc { found, expected } => write!(
                f,
                "the state is damaged: CRC-32 is {found:08x}, the header says {expected:08x}"
            ),
            Self::Model { found, expected } => write!(
                f,
                "the state belongs to a model with content hash {found:08x}..., this one has {expected:08x}..."
            ),
            Self::Elements { found, expected } => {
                write!(f, "a state of {found} elements; the model's has {expected}")
            }
            Self::Token { found, vocab } => {
                write!(f, "next token {found} is outside the vocabulary (0 to {})", vocab - 1)
            }
            Self::NonFinite { index } => {
                write!(f, "element {index} of the state is not finite")
            }
            Self::Buffer { found, needed } => {
                write!(f, "a buffer of {found} bytes; the state file needs {needed}")
            }
            Self::Misaligned { expected } => write!(
                f,
                "the state file must lie at a multiple of {expected} in memory to be used in place"
            ),
            Self::Incomplete { done, total } => {
                write!(f, "{done} of the state file's {total} bytes are done")
            }
            Self::Sequence { found, sequences } => {
                write!(f, "sequence {found} does not exist; the engine has {sequences}")
            }
            Self::Device => f.write_str("the device failed"),
        }
    }
}

impl core::error::Error for StateFileError {}
