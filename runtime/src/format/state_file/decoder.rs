//! A state file that comes in pieces.
//!
//! ```text
//! new(header, len)    refuses what is no state of the model, before a byte of it is taken in
//! feed(piece)         elements are finite, sections in form; the checksum takes all in
//! feed(last piece)    the checksum is the header's
//! ```
//!
//! Pieces may end anywhere, inside an element or the header of a section too.

use super::elements::ElementType;
use super::error::StateFileError;
use super::header::{CRC, Fields, HEADER_LEN};
use super::sections::{MAX_SECTIONS, SECTION_HEADER_LEN, section_fields};
use crate::format::Progress;
use crate::format::crc32::Crc32;
use crate::format::model::Header;
use crate::num::state_dtype::StateElement;

/// A part of a state file, in the order of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StatePiece<'p> {
    /// Whole, finite elements of the state, from a byte on.
    Elements { at: usize, bytes: &'p [u8] },
    /// The header of a section.
    Section { kind: u32, len: usize },
    /// Some of the bytes of that section.
    SectionBytes(&'p [u8]),
}

/// Where the parts go.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(StatePiece<'_>) -> Result<(), StateFileError>;

/// A state file that is checked piece by piece as its bytes come, without an engine.
///
/// A file in memory or flash is gone through before it is loaded, so that the sequence stands where
/// it stood when the file is damaged; an engine then takes the pieces in with
/// [`StateLoader`](crate::engine::StateLoader), or
/// [`feed_state`](crate::engine::Cpu::feed_state) where it cannot be borrowed in between.
///
/// ```
/// # use kinglet::format::state_file::{StateDecoder, StateFile};
/// # let model = kinglet::Model::open(kinglet_stories::MODEL)?;
/// # let state = vec![0.5; model.shape().state_len()];
/// # let mut file = vec![0; StateFile::<f32>::len(model.shape())];
/// # StateFile::write(model.header(), &state, Some(17), &mut file)?;
/// let (header, rest) = file.split_first_chunk().ok_or("no header")?;
/// let mut decoder = StateDecoder::new::<f32>(model.header(), header, file.len())?;
/// for piece in rest.chunks(4096) {
///     let _ = decoder.check(piece)?;
/// }
/// assert!(decoder.progress().is_complete());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StateDecoder {
    element: ElementType,
    next: Option<u32>,
    /// The checksum that the header states.
    expected: u32,
    crc: Crc32,
    /// Where the state ends in the file.
    state_end: usize,
    len: usize,
    /// Bytes taken in: at first the header's.
    at: usize,
    /// The front of an element or of a section's header whose rest has not come.
    held: [u8; SECTION_HEADER_LEN],
    /// Where the section ends that `at` is in, and the header of the next one begins.
    section_end: usize,
    /// Kind of the last section, and how many there were.
    last: u32,
    sections: usize,
    /// Why the file was refused.
    refused: Option<StateFileError>,
}

impl StateDecoder {
    /// For a file of `len` bytes that begins with `header`, for an engine of `model` that keeps
    /// states in `S`.
    ///
    /// # Errors
    ///
    /// When the header is not one of such a file: see [`StateFile::parse`](super::StateFile::parse).
    pub fn new<S: StateElement>(
        model: &Header,
        header: &[u8; HEADER_LEN],
        len: usize,
    ) -> Result<Self, StateFileError> {
        let fields = Fields::parse(header)?;
        if fields.element != S::CODE {
            return Err(StateFileError::Element { found: fields.element, expected: S::CODE });
        }
        let state_end = fields.state_end(len, size_of::<S>())?;
        fields.check(model)?;
        Ok(Self {
            element: ElementType::of::<S>(),
            next: fields.next_token(),
            expected: fields.crc,
            crc: Crc32::new().update(&header[..CRC]),
            state_end,
            len,
            at: HEADER_LEN,
            held: [0; SECTION_HEADER_LEN],
            section_end: state_end,
            last: 0,
            sections: 0,
            refused: None,
        })
    }

    /// Where the state ends in the file.
    pub(crate) const fn state_end(&self) -> usize {
        self.state_end
    }

    /// How far it has come.
    pub const fn progress(&self) -> Progress {
        Progress { done: self.at, total: self.len }
    }

    /// The token to feed first, where the sequence stopped at one.
    ///
    /// # Errors
    ///
    /// [`StateFileError::Incomplete`] before the whole file has been checked; when it was refused,
    /// why.
    pub const fn next_token(&self) -> Result<Option<u32>, StateFileError> {
        let Progress { done, total } = self.progress();
        match self.refused {
            Some(error) => Err(error),
            None if done < total => Err(StateFileError::Incomplete { done, total }),
            None => Ok(self.next),
        }
    }

    /// Checks the bytes of the file that follow.
    ///
    /// # Errors
    ///
    /// When they are more than are left, a value is not finite, a section is not in the form of the
    /// format, or, with the last byte, the checksum is another one. The file is then refused: what
    /// follows has the same error.
    pub fn check(&mut self, bytes: &[u8]) -> Result<Progress, StateFileError> {
        self.feed(bytes, &mut |_| Ok(()))
    }

    /// Why the file was refused.
    pub(crate) const fn refused(&self) -> Option<StateFileError> {
        self.refused
    }

    /// Whether some of the file has been taken in, and not all.
    pub(crate) fn is_under_way(&self) -> bool {
        self.refused.is_none() && (HEADER_LEN + 1..self.len).contains(&self.at)
    }

    /// Refuses an engine that keeps states in another type.
    pub(crate) fn check_type<S: StateElement>(&self) -> Result<(), StateFileError> {
        self.element.check_type::<S>()
    }

    /// [`check`](Self::check), giving the parts to `sink`.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        sink: Sink<'_>,
    ) -> Result<Progress, StateFileError> {
        let taken = self.refused.map_or_else(|| self.take(bytes, sink), Err);
        self.refused = taken.err();
        taken.map(|()| self.progress())
    }

    fn take(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), StateFileError> {
        let left = self.len - self.at;
        if bytes.len() > left {
            let found = self.at as u64 + bytes.len() as u64;
            return Err(StateFileError::Length { found, expected: self.len as u64 });
        }
        self.crc = self.crc.update(bytes);
        let (found, expected) = (self.crc.finish(), self.expected);
        if bytes.len() == left && found != expected {
            return Err(StateFileError::Crc { found, expected });
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = if self.at < self.state_end {
                self.take_elements(rest, sink)?
            } else if self.at < self.section_end {
                let taken = rest.len().min(self.section_end - self.at);
                sink(StatePiece::SectionBytes(&rest[..taken]))?;
                taken
            } else {
                self.take_section_header(rest, sink)?
            };
            self.at += taken;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Takes in elements from the front of `bytes`; returns how many bytes.
    fn take_elements(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<usize, StateFileError> {
        let size = self.element.size();
        let at = self.at - HEADER_LEN;
        let (first, held) = (at / size, at % size);
        if held == 0 && bytes.len() >= size {
            let whole = bytes.len().min(self.state_end - self.at) / size * size;
            let bytes = &bytes[..whole];
            self.element.check(first, bytes)?;
            sink(StatePiece::Elements { at, bytes })?;
            return Ok(whole);
        }
        let taken = self.hold(held, size, bytes);
        if held + taken == size {
            let bytes = &self.held[..size];
            self.element.check(first, bytes)?;
            sink(StatePiece::Elements { at: first * size, bytes })?;
        }
        Ok(taken)
    }

    /// Takes in what has come of a section's header; returns how many bytes.
    fn take_section_header(
        &mut self,
        bytes: &[u8],
        sink: Sink<'_>,
    ) -> Result<usize, StateFileError> {
        let start = self.section_end;
        let wrong = StateFileError::Sections { offset: start as u64 };
        // The bytes of this section and of all after it.
        let Some(most) = (self.len - start).checked_sub(SECTION_HEADER_LEN) else {
            return Err(wrong);
        };
        let held = self.at - start;
        let taken = self.hold(held, SECTION_HEADER_LEN, bytes);
        if held + taken == SECTION_HEADER_LEN {
            let (kind, len) = section_fields(&self.held);
            let len = usize::try_from(len).ok().filter(|&len| len <= most);
            let Some(len) = len.filter(|_| kind > self.last && self.sections < MAX_SECTIONS) else {
                return Err(wrong);
            };
            (self.last, self.sections) = (kind, self.sections + 1);
            self.section_end = start + SECTION_HEADER_LEN + len;
            sink(StatePiece::Section { kind, len })?;
        }
        Ok(taken)
    }

    /// Holds bytes of something of `len` bytes, of which `held` are there; returns how many.
    fn hold(&mut self, held: usize, len: usize, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(len - held);
        self.held[held..held + taken].copy_from_slice(&bytes[..taken]);
        taken
    }
}
