//! The state file: where a sequence stands, kept for later.
//!
//! A prompt is computed once, its state saved, and every later text starts from
//! there: with the numbers that an uninterrupted run would have had, on any target.
//!
//! # The format, version 1.1
//!
//! All numbers are little-endian: a header of 64 bytes, then the state, then optional sections.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 8]` | magic, `KGLSTATE` |
//! | 8 | u16 | major version, 1: a reader refuses a newer one |
//! | 10 | u16 | minor version, 1 where there are sections, otherwise 0: a reader accepts a newer one |
//! | 12 | u32 | length of the header, 64 |
//! | 16 | `[u8; 32]` | content hash of the model |
//! | 48 | u32 | type of the elements: 1 is f32, 2 is f16 |
//! | 52 | u32 | number of elements |
//! | 56 | u32 | next token, or `0xFFFF_FFFF` for none |
//! | 60 | u32 | CRC-32 of bytes 0 to 59 and of all bytes from 64 on |
//! | 64 | `[f32]` or `[f16]` | the state, of [`Shape::state_len`]: `[layer]` of the architecture's layer state |
//!
//! **Sections** follow the elements up to the end of the file, at most 8, each kind once and in
//! ascending order: kind u32, length u32, and the bytes, without padding. A reader skips kinds
//! that it does not know.
//!
//! | kind | content |
//! |---|---|
//! | 1 | unfinished bytes: the end of the text so far that is no whole character, at most 3 bytes |
//! | 2 | the sampler's generator and counts, a [snapshot](crate::sampler::Sampler::snapshot) |
//! | 3 | CRC-32 (u32) of the model's start state section, 0 where it has none |
//! | 4 | the text of a session, in the program's own form |
//!
//! The next token is one that the sequence has reached but the state has not
//! taken in: feeding it gives the logits with which the text goes on, so that
//! they need not be stored.
//!
//! The type is that in which the engine keeps the state: f16 is not a shorter way to
//! write f32. An engine of the other type would go on with other numbers than the
//! uninterrupted run, so the file is refused there.
//!
//! The content hash ties a state to the weights that made it; a tuned start state is no weight,
//! so section 3 tells whether the model starts from the same one. A reader checks
//! everything before it uses anything, and accepts finite values only.

use core::fmt;
use core::marker::PhantomData;

use crate::format::crc32::Crc32;
use crate::format::model::Header;
use crate::format::shape::Shape;
use crate::num::state_dtype::{self, StateElement, f16};

/// The first bytes of a state file.
pub const MAGIC: [u8; 8] = *b"KGLSTATE";
/// Major version that this crate reads and writes.
pub const MAJOR: u16 = 1;
/// Minor version that this crate writes where a file has sections; without them it writes 0.
pub const MINOR: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;

/// Bytes before a section's own: kind and length.
const SECTION_HEADER_LEN: usize = 8;
/// Most sections of a file.
pub const MAX_SECTIONS: usize = 8;

const NO_TOKEN: u32 = u32::MAX;
const CRC: usize = HEADER_LEN - 4;

/// An optional part of a state file, after the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StateSection {
    /// The end of the text so far that is no whole character.
    UnfinishedBytes,
    /// A [snapshot](crate::sampler::Sampler::snapshot) of the sampler.
    Sampler,
    /// CRC-32 (u32, little-endian) of the model's start state section.
    StartState,
    /// The text of a session, in the program's own form.
    Text,
}

impl StateSection {
    /// The kind in the file.
    pub const fn code(self) -> u32 {
        match self {
            Self::UnfinishedBytes => 1,
            Self::Sampler => 2,
            Self::StartState => 3,
            Self::Text => 4,
        }
    }
}

/// Sections to be written: kinds in ascending order, each once, and their bytes.
pub type Sections<'a> = &'a [(StateSection, &'a [u8])];

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
        }
    }
}

impl core::error::Error for StateFileError {}

/// A state file in memory that has been checked against its model, of an engine
/// that keeps states in `S`.
///
/// ```
/// use kinglet::{format::model::Model, format::state_file::StateFile};
///
/// # let bytes = kinglet_stories::MODEL;
/// let model = Model::open(bytes)?;
/// let state = vec![0.5; model.shape().state_len()];
/// let mut file = vec![0; StateFile::<f32>::len(model.shape())];
/// StateFile::write(model.header(), &state, Some(17), &mut file)?;
///
/// let mut restored = vec![0.0; state.len()];
/// let next = StateFile::read(model.header(), &file, &mut restored)?;
/// assert_eq!((restored, next), (state, Some(17)));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StateFile<'a, S = f32> {
    /// The elements as they lie in the file: finite.
    elements: &'a [u8],
    /// What follows them: sections.
    sections: &'a [u8],
    next: Option<u32>,
    element: PhantomData<S>,
}

impl<'a, S: StateElement> StateFile<'a, S> {
    /// Bytes of the state file of a model of this shape, without sections.
    pub const fn len(shape: &Shape) -> usize {
        HEADER_LEN + size_of::<S>() * shape.state_len()
    }

    /// Bytes that `sections` add to it.
    pub fn sections_len(sections: Sections<'_>) -> usize {
        sections.iter().map(|(_, bytes)| SECTION_HEADER_LEN + bytes.len()).sum()
    }

    /// Checks that `bytes` are a state file of `model`.
    ///
    /// # Errors
    ///
    /// When they are not, are damaged, belong to a model with other weights, or
    /// to an engine that keeps states in another type.
    pub fn parse(model: &Header, bytes: &'a [u8]) -> Result<Self, StateFileError> {
        let Some((header, elements)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(StateFileError::TooShort { found: bytes.len() });
        };
        let fields = Fields::parse(header)?;
        if fields.element != S::CODE {
            return Err(StateFileError::Element { found: fields.element, expected: S::CODE });
        }
        let (elements, sections) = fields.split(header, elements, size_of::<S>())?;
        fields.check(model)?;
        check_finite(values::<S>(elements))?;
        check_sections(sections, (HEADER_LEN + elements.len()) as u64)?;
        Ok(Self { elements, sections, next: fields.next_token(), element: PhantomData })
    }

    /// The bytes of a section, where the file has it.
    pub fn section(&self, section: StateSection) -> Option<&'a [u8]> {
        find_section(self.sections, section)
    }

    /// The token to feed first, where the sequence stopped at one.
    pub const fn next_token(&self) -> Option<u32> {
        self.next
    }

    /// The state, in place.
    ///
    /// # Errors
    ///
    /// When the file does not lie at a multiple of an element's size in memory.
    pub fn values(&self) -> Result<&'a [S], StateFileError> {
        bytemuck::try_cast_slice(self.elements).map_err(|_| misaligned::<S>())
    }

    /// Checks `bytes` and copies the state to `state`, of [`Shape::state_len`];
    /// returns the next token. After an error `state` is as it was.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and when `state` has another length.
    pub fn read(
        model: &Header,
        bytes: &[u8],
        state: &mut [S],
    ) -> Result<Option<u32>, StateFileError> {
        check_len(model, state.len())?;
        let file = StateFile::<S>::parse(model, bytes)?;
        for (value, found) in state.iter_mut().zip(values(file.elements)) {
            *value = found;
        }
        Ok(file.next)
    }

    /// Writes the state file of `state` to the front of `out`, which has at
    /// least [`len`](Self::len) bytes; returns their number.
    ///
    /// # Errors
    ///
    /// When a length is wrong, a value is not finite, or `next` is outside the
    /// vocabulary; `out` is then as it was.
    pub fn write(
        model: &Header,
        state: &[S],
        next: Option<u32>,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        Self::write_sections(model, state, next, &[], out)
    }

    /// [`write`](Self::write) with sections after the state: `out` has room for
    /// [`sections_len`](Self::sections_len) bytes more. A file with sections is one of version
    /// 1.1, which a reader of 1.0 refuses; without them it is the same as before.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and when the kinds do not ascend or are too many.
    pub fn write_sections(
        model: &Header,
        state: &[S],
        next: Option<u32>,
        sections: Sections<'_>,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        check_len(model, state.len())?;
        check_next(model, next)?;
        check_finite(state.iter().copied())?;
        let extra = Self::sections_len(sections);
        let ascending = sections.is_sorted_by(|(a, _), (b, _)| a < b);
        let short = sections.iter().all(|(_, bytes)| u32::try_from(bytes.len()).is_ok());
        if !ascending || !short || sections.len() > MAX_SECTIONS {
            return Err(StateFileError::Sections { offset: Self::len(&model.shape) as u64 });
        }
        let (header, elements, rest) = parts::<S>(model, extra, out)?;
        elements.copy_from_slice(bytemuck::cast_slice(state));
        let mut at = 0;
        for (section, bytes) in sections {
            for bytes in
                [&section.code().to_le_bytes(), &(bytes.len() as u32).to_le_bytes(), *bytes]
            {
                rest[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
            }
        }
        Ok(seal::<S>(model, next, header, elements, rest))
    }

    /// [`write`](Self::write) without a second copy of the state: `store`
    /// writes all of it into the file in place.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), what `store` says, and when the file does not
    /// lie at a multiple of an element's size in memory. After an error of `store` or
    /// a value that is not finite `out` is no state file; otherwise it is as it was.
    pub fn write_with<E: From<StateFileError>>(
        model: &Header,
        next: Option<u32>,
        out: &mut [u8],
        store: impl FnOnce(&mut [S]) -> Result<(), E>,
    ) -> Result<usize, E> {
        check_next(model, next)?;
        let (header, elements, _) = parts::<S>(model, 0, out)?;
        let values: &mut [S] =
            bytemuck::try_cast_slice_mut(elements).map_err(|_| misaligned::<S>())?;
        header.fill(0);
        store(values)?;
        check_finite(values.iter().copied())?;
        Ok(seal::<S>(model, next, header, elements, &[]))
    }
}

/// A state file as it is without its model, to be shown: what it is of, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct StateSummary<'a> {
    /// Content hash of the model.
    pub content_hash: [u8; 32],
    /// The type of the elements: `f32` or `f16`.
    pub element: &'static str,
    /// Number of elements.
    pub elements: usize,
    /// The token to feed first.
    pub next_token: Option<u32>,
    sections: &'a [u8],
}

impl<'a> StateSummary<'a> {
    /// Checks that `bytes` are a whole state file, of whichever model.
    ///
    /// # Errors
    ///
    /// As [`StateFile::parse`], but for what needs the model or looks at the values.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StateFileError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(StateFileError::TooShort { found: bytes.len() });
        };
        let fields = Fields::parse(header)?;
        let Some(element) = state_dtype::name(fields.element) else {
            return Err(StateFileError::Element { found: fields.element, expected: f32::CODE });
        };
        let size = if fields.element == f16::CODE { size_of::<f16>() } else { size_of::<f32>() };
        let (elements, sections) = fields.split(header, rest, size)?;
        check_sections(sections, (HEADER_LEN + elements.len()) as u64)?;
        Ok(Self {
            content_hash: fields.hash,
            element,
            elements: fields.elements as usize,
            next_token: fields.next_token(),
            sections,
        })
    }

    /// The bytes of a section, where the file has it.
    pub fn section(&self, section: StateSection) -> Option<&'a [u8]> {
        find_section(self.sections, section)
    }
}

/// The bytes of a section.
fn find_section(sections: &[u8], section: StateSection) -> Option<&[u8]> {
    let mut rest = sections;
    while let Some((code, bytes, after)) = split_section(rest) {
        if code == section.code() {
            return Some(bytes);
        }
        rest = after;
    }
    None
}

/// The header's fields that decide whether the rest can be read.
struct Fields {
    minor: u16,
    hash: [u8; 32],
    /// The code of the elements' type.
    element: u32,
    elements: u32,
    next: u32,
    crc: u32,
}

impl Fields {
    fn parse(header: &[u8; HEADER_LEN]) -> Result<Self, StateFileError> {
        let magic = array(header, 0);
        if magic != MAGIC {
            return Err(StateFileError::Magic { found: magic });
        }
        let major = u16::from_le_bytes(array(header, 8));
        if major > MAJOR {
            let minor = u16::from_le_bytes(array(header, 10));
            return Err(StateFileError::Version { major, minor });
        }
        Ok(Self {
            minor: u16::from_le_bytes(array(header, 10)),
            hash: array(header, 16),
            element: u32::from_le_bytes(array(header, 48)),
            elements: u32::from_le_bytes(array(header, 52)),
            next: u32::from_le_bytes(array(header, 56)),
            crc: u32::from_le_bytes(array(header, CRC)),
        })
    }

    fn next_token(&self) -> Option<u32> {
        (self.next != NO_TOKEN).then_some(self.next)
    }

    /// The elements, of `size` bytes each, and the sections after them: what follows the header,
    /// of the length and with the checksum that it states.
    fn split<'a>(
        &self,
        header: &[u8; HEADER_LEN],
        rest: &'a [u8],
        size: usize,
    ) -> Result<(&'a [u8], &'a [u8]), StateFileError> {
        let found = (HEADER_LEN + rest.len()) as u64;
        let len = size as u64 * u64::from(self.elements);
        let expected = HEADER_LEN as u64 + len;
        // Version 1.0 has no sections.
        if found < expected || (self.minor == 0 && found != expected) {
            return Err(StateFileError::Length { found, expected });
        }
        let found = file_crc(header, rest);
        if found != self.crc {
            return Err(StateFileError::Crc { found, expected: self.crc });
        }
        Ok(rest.split_at(len as usize))
    }

    fn check(&self, model: &Header) -> Result<(), StateFileError> {
        if self.hash != model.content_hash {
            let found = u32::from_be_bytes(array(&self.hash, 0));
            let expected = u32::from_be_bytes(array(&model.content_hash, 0));
            return Err(StateFileError::Model { found, expected });
        }
        check_len(model, self.elements as usize)?;
        check_next(model, self.next_token())
    }
}

/// `N` of `bytes` from `at`, which are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The first section of `bytes`: its kind, its bytes, and the sections after it. `None` at the
/// end, and where there is no whole section.
fn split_section(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<SECTION_HEADER_LEN>()?;
    let len = usize::try_from(u32::from_le_bytes(array(header, 4))).ok()?;
    let (bytes, rest) = rest.split_at_checked(len)?;
    Some((u32::from_le_bytes(array(header, 0)), bytes, rest))
}

/// Checks the form of the sections, which begin `offset` bytes into the file.
fn check_sections(mut sections: &[u8], mut offset: u64) -> Result<(), StateFileError> {
    let (mut last, mut count) = (0, 0);
    while !sections.is_empty() {
        let wrong = StateFileError::Sections { offset };
        let (code, _, rest) = split_section(sections).ok_or(wrong)?;
        if code <= last || count == MAX_SECTIONS {
            return Err(wrong);
        }
        offset += (sections.len() - rest.len()) as u64;
        (sections, last, count) = (rest, code, count + 1);
    }
    Ok(())
}

/// A file to be written: its header, its elements, and the bytes of its sections.
type FileParts<'o> = (&'o mut [u8; HEADER_LEN], &'o mut [u8], &'o mut [u8]);

/// The parts of a file at the front of `out`, with `extra` bytes of sections.
fn parts<'o, S: StateElement>(
    model: &Header,
    extra: usize,
    out: &'o mut [u8],
) -> Result<FileParts<'o>, StateFileError> {
    let (found, len) = (out.len(), StateFile::<S>::len(&model.shape));
    let needed = len.saturating_add(extra);
    let file = out.get_mut(..needed).and_then(|file| file.split_first_chunk_mut());
    let (header, rest) = file.ok_or(StateFileError::Buffer { found, needed })?;
    let (elements, sections) = rest.split_at_mut(len - HEADER_LEN);
    Ok((header, elements, sections))
}

/// Writes the header for `elements` and `sections`; returns the length of the file.
fn seal<S: StateElement>(
    model: &Header,
    next: Option<u32>,
    header: &mut [u8; HEADER_LEN],
    elements: &[u8],
    sections: &[u8],
) -> usize {
    let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    put(0, &MAGIC);
    put(8, &MAJOR.to_le_bytes());
    put(10, &if sections.is_empty() { 0 } else { MINOR }.to_le_bytes());
    put(12, &(HEADER_LEN as u32).to_le_bytes());
    put(16, &model.content_hash);
    put(48, &S::CODE.to_le_bytes());
    put(52, &((elements.len() / size_of::<S>()) as u32).to_le_bytes());
    put(56, &next.unwrap_or(NO_TOKEN).to_le_bytes());
    let crc = Crc32::new().update(&header[..CRC]).update(elements).update(sections).finish();
    header[CRC..].copy_from_slice(&crc.to_le_bytes());
    HEADER_LEN + elements.len() + sections.len()
}

/// The values of a file's elements, wherever they lie.
fn values<S: StateElement>(elements: &[u8]) -> impl Iterator<Item = S> {
    elements.chunks_exact(size_of::<S>()).map(bytemuck::pod_read_unaligned)
}

fn misaligned<S>() -> StateFileError {
    StateFileError::Misaligned { expected: align_of::<S>() }
}

fn file_crc(header: &[u8; HEADER_LEN], elements: &[u8]) -> u32 {
    Crc32::new().update(&header[..CRC]).update(elements).finish()
}

fn check_len(model: &Header, found: usize) -> Result<(), StateFileError> {
    let expected = model.shape.state_len();
    if found == expected { Ok(()) } else { Err(StateFileError::Elements { found, expected }) }
}

fn check_next(model: &Header, next: Option<u32>) -> Result<(), StateFileError> {
    let vocab = model.shape.vocab;
    match next {
        Some(found) if found as usize >= vocab => Err(StateFileError::Token { found, vocab }),
        _ => Ok(()),
    }
}

fn check_finite<S: StateElement>(
    mut values: impl Iterator<Item = S>,
) -> Result<(), StateFileError> {
    match values.position(|value| !value.finite()) {
        Some(index) => Err(StateFileError::NonFinite { index }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::format::model::{Section, SectionEntry};
    use crate::format::shape::{Architecture, Ranks};

    fn model() -> Header {
        let shape = Shape {
            architecture: Architecture::Rwkv7,
            layers: 2,
            width: 8,
            head_size: 4,
            ffn: 8,
            vocab: 100,
            ranks: Ranks { decay: 1, iclr: 1, value: 1, gate: 1, ..Ranks::NONE },
        };
        Header {
            minor: 0,
            shape,
            content_hash: [0x5A; 32],
            sections: [SectionEntry::default(); Section::ALL.len()],
        }
    }

    fn state() -> impl Strategy<Value = Vec<f32>> {
        let value = any::<f32>().prop_filter("finite", |value| value.is_finite());
        prop::collection::vec(value, model().shape.state_len())
    }

    fn file(state: &[f32], next: Option<u32>) -> Vec<u8> {
        let model = model();
        let mut file = vec![0; StateFile::<f32>::len(&model.shape)];
        assert_eq!(StateFile::write(&model, state, next, &mut file), Ok(file.len()));
        file
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn read(bytes: &[u8]) -> Result<(Vec<f32>, Option<u32>), StateFileError> {
        let mut state = vec![7.0; model().shape.state_len()];
        match StateFile::read(&model(), bytes, &mut state) {
            Ok(next) => Ok((state, next)),
            Err(error) => {
                assert!(state.iter().all(|&x| x == 7.0), "an error changed the state");
                Err(error)
            }
        }
    }

    /// The file with `change` made to it and its CRC set right.
    fn forged(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut file = file(&vec![0.25; model().shape.state_len()], None);
        change(&mut file);
        let (header, elements) = file.split_first_chunk_mut().unwrap();
        let crc = file_crc(header, elements);
        header[CRC..].copy_from_slice(&crc.to_le_bytes());
        file
    }

    proptest! {
        #[test]
        fn an_f16_state_survives(state in state(), next in prop::option::of(0u32..100)) {
            let model = model();
            let state: Vec<f16> = state.iter().map(|x| f16::narrow(*x)).collect();
            let mut words = vec![0u32; StateFile::<f16>::len(&model.shape) / 4];
            let file: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
            prop_assert_eq!(file.len(), HEADER_LEN + 2 * state.len());
            prop_assert_eq!(StateFile::write(&model, &state, next, file), Ok(file.len()));
            let mut restored = vec![f16::MAX; state.len()];
            prop_assert_eq!(StateFile::read(&model, file, &mut restored), Ok(next));
            prop_assert_eq!(&restored, &state);
            prop_assert_eq!(StateFile::parse(&model, file).unwrap().values(), Ok(&state[..]));
            let element = [file[HEADER_LEN + 2], file[HEADER_LEN + 3]];
            prop_assert_eq!(f16::from_le_bytes(element), state[1]);

            let written = file.to_vec();
            let len = StateFile::write_with(&model, next, file, |values| {
                values.copy_from_slice(&state);
                Ok::<_, StateFileError>(())
            });
            prop_assert_eq!(len, Ok(written.len()));
            prop_assert_eq!(&*file, &written[..]);
        }

        #[test]
        fn a_state_of_another_type_is_refused(state in state()) {
            let model = model();
            let narrow: Vec<f16> = state.iter().map(|x| f16::narrow(*x)).collect();
            let mut short = vec![0; StateFile::<f16>::len(&model.shape)];
            StateFile::write(&model, &narrow, None, &mut short).unwrap();
            prop_assert_eq!(
                read(&short), Err(StateFileError::Element { found: 2, expected: 1 })
            );
            let error = StateFile::<f16>::parse(&model, &file(&state, None)).unwrap_err();
            prop_assert_eq!(error, StateFileError::Element { found: 1, expected: 2 });
        }

        #[test]
        fn a_flipped_byte_of_an_f16_file_is_refused(state in state(), mask in 1u8..) {
            let model = model();
            let state: Vec<f16> = state.iter().map(|x| f16::narrow(*x)).collect();
            let mut file = vec![0; StateFile::<f16>::len(&model.shape)];
            StateFile::write(&model, &state, Some(3), &mut file).unwrap();
            for at in 0..file.len() {
                file[at] ^= mask;
                prop_assert!(StateFile::<f16>::parse(&model, &file).is_err(), "byte {}", at);
                file[at] ^= mask;
            }
        }

        #[test]
        fn a_state_survives(state in state(), next in prop::option::of(0u32..100)) {
            let file = file(&state, next);
            let (restored, found) = read(&file).unwrap();
            prop_assert_eq!(bits(&restored), bits(&state));
            prop_assert_eq!(found, next);
        }

        #[test]
        fn both_writers_agree(state in state(), next in prop::option::of(0u32..100)) {
            let model = model();
            let mut words = vec![0u32; StateFile::<f32>::len(&model.shape) / 4];
            let out: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
            let len = StateFile::write_with(&model, next, out, |values: &mut [f32]| {
                values.copy_from_slice(&state);
                Ok::<_, StateFileError>(())
            });
            prop_assert_eq!(len, Ok(out.len()));
            prop_assert_eq!(&*out, &file(&state, next)[..]);
            let values = StateFile::<f32>::parse(&model, out).unwrap().values().unwrap();
            prop_assert_eq!(bits(values), bits(&state));
        }

        #[test]
        fn every_flipped_byte_is_refused(state in state(), mask in 1u8..) {
            let mut file = file(&state, Some(3));
            for at in 0..file.len() {
                file[at] ^= mask;
                prop_assert!(read(&file).is_err(), "byte {}", at);
                file[at] ^= mask;
            }
        }

        #[test]
        fn every_other_length_is_refused(state in state()) {
            let mut file = file(&state, None);
            for len in 0..file.len() {
                prop_assert!(read(&file[..len]).is_err(), "length {}", len);
            }
            file.push(0);
            prop_assert!(read(&file).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..256),
            header in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if header {
                let whole = file(&vec![0.0; model().shape.state_len()], None);
                bytes.splice(..0, whole[..52].iter().copied());
            }
            prop_assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn refusals_name_their_reason() {
        let put = |at: usize, value: u32| {
            read(&forged(|file| file[at..at + 4].copy_from_slice(&value.to_le_bytes())))
        };
        let len = model().shape.state_len();
        assert_eq!(put(48, 2), Err(StateFileError::Element { found: 2, expected: 1 }));
        assert_eq!(put(56, 100), Err(StateFileError::Token { found: 100, vocab: 100 }));
        assert_eq!(put(16, 0), Err(StateFileError::Model { found: 0, expected: 0x5A5A_5A5A }));
        assert_eq!(
            put(HEADER_LEN + 8, f32::NAN.to_bits()),
            Err(StateFileError::NonFinite { index: 2 })
        );
        assert_eq!(put(8, 2), Err(StateFileError::Version { major: 2, minor: 0 }));
        assert!(put(8, 1 | 7 << 16).is_ok(), "a newer minor version is readable");
        let shorter = forged(|file| file[52..56].copy_from_slice(&1u32.to_le_bytes()));
        assert_eq!(
            read(&shorter),
            Err(StateFileError::Length { found: 64 + 4 * len as u64, expected: 68 })
        );
    }

    #[test]
    fn what_cannot_be_read_again_is_not_written() {
        let model = model();
        let len = model.shape.state_len();
        let mut out = vec![0xEE; StateFile::<f32>::len(&model.shape)];
        let mut write = |state: &[f32], next, room: usize| {
            let result = StateFile::write(&model, state, next, &mut out[..room]);
            assert!(out.iter().all(|&byte| byte == 0xEE), "an error wrote something");
            result
        };
        let room = StateFile::<f32>::len(&model.shape);
        let good = vec![0.0; len];
        let mut bad = good.clone();
        bad[5] = f32::INFINITY;
        assert_eq!(write(&bad, None, room), Err(StateFileError::NonFinite { index: 5 }));
        assert_eq!(
            write(&good, Some(100), room),
            Err(StateFileError::Token { found: 100, vocab: 100 })
        );
        assert_eq!(
            write(&good[1..], None, room),
            Err(StateFileError::Elements { found: len - 1, expected: len })
        );
        assert_eq!(
            write(&good, None, room - 1),
            Err(StateFileError::Buffer { found: room - 1, needed: room })
        );
    }

    #[test]
    fn use_in_place_needs_alignment() {
        let model = model();
        let file = file(&vec![0.5; model.shape.state_len()], None);
        let mut words = vec![0u32; file.len() / 4 + 1];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let shifted = &mut bytes[1..][..file.len()];
        shifted.copy_from_slice(&file);
        let parsed = StateFile::<f32>::parse(&model, shifted).unwrap();
        assert_eq!(parsed.values(), Err(StateFileError::Misaligned { expected: 4 }));
        let written = StateFile::<f32>::write_with(&model, None, shifted, |_| Ok(()));
        assert_eq!(written, Err(StateFileError::Misaligned { expected: 4 }));
    }

    fn with_sections(sections: Sections<'_>) -> Result<Vec<u8>, StateFileError> {
        let model = model();
        let state = vec![0.25; model.shape.state_len()];
        let extra = StateFile::<f32>::sections_len(sections);
        let mut file = vec![0; StateFile::<f32>::len(&model.shape) + extra];
        let len = StateFile::write_sections(&model, &state, Some(3), sections, &mut file)?;
        assert_eq!(len, file.len());
        Ok(file)
    }

    #[test]
    fn sections_come_back_and_the_state_with_them() {
        let sections = [
            (StateSection::UnfinishedBytes, &b"\xE2\x82"[..]),
            (StateSection::Sampler, &[7; 24]),
            (StateSection::Text, &[]),
        ];
        let file = with_sections(&sections).unwrap();
        let parsed = StateFile::<f32>::parse(&model(), &file).unwrap();
        for (section, bytes) in sections {
            assert_eq!(parsed.section(section), Some(bytes), "{section:?}");
        }
        assert_eq!(parsed.section(StateSection::StartState), None);
        assert_eq!(read(&file), Ok((vec![0.25; model().shape.state_len()], Some(3))));
    }

    #[test]
    fn a_file_without_sections_is_one_of_version_1_0() {
        let written = with_sections(&[]).unwrap();
        assert_eq!(written[10..12], 0u16.to_le_bytes());
        assert_eq!(written, file(&vec![0.25; model().shape.state_len()], Some(3)));
    }

    #[test]
    fn sections_out_of_order_or_cut_are_refused() {
        let twice = [(StateSection::Sampler, &[1u8][..]), (StateSection::Sampler, &[1])];
        assert!(matches!(with_sections(&twice), Err(StateFileError::Sections { .. })));
        let good = with_sections(&[(StateSection::Sampler, &[1, 2, 3, 4])]).unwrap();
        let start = good.len() - 12;
        let damaged: [fn(&mut [u8]); 3] = [
            |section| section[0] = 0,
            |section| section[4] = 5,
            |section| section[4..8].copy_from_slice(&u32::MAX.to_le_bytes()),
        ];
        for damage in damaged {
            let mut file = good.clone();
            damage(&mut file[start..]);
            let (header, rest) = file.split_first_chunk_mut().unwrap();
            let crc = file_crc(header, rest);
            header[CRC..].copy_from_slice(&crc.to_le_bytes());
            let offset = start as u64;
            assert_eq!(read(&file), Err(StateFileError::Sections { offset }));
        }
    }

    #[test]
    fn sections_of_unknown_kinds_are_skipped() {
        let sections = [(StateSection::UnfinishedBytes, &[1u8][..]), (StateSection::Sampler, &[2])];
        let mut file = with_sections(&sections).unwrap();
        let start = file.len() - 9;
        file[start..start + 4].copy_from_slice(&1000u32.to_le_bytes());
        let (header, rest) = file.split_first_chunk_mut().unwrap();
        let crc = file_crc(header, rest);
        header[CRC..].copy_from_slice(&crc.to_le_bytes());
        let parsed = StateFile::<f32>::parse(&model(), &file).unwrap();
        assert_eq!(parsed.section(StateSection::UnfinishedBytes), Some(&[1][..]));
        assert_eq!(parsed.section(StateSection::Sampler), None);
    }
}
