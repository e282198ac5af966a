//! A state file that is written in pieces.
//!
//! The checksum of the header is that of what follows, so the bytes are gone through twice:
//!
//! ```text
//! check, piece by piece     values are finite, the checksum takes them in; nothing is copied
//! read(offset, out)         any bytes of the finished file, in any order
//! ```
//!
//! In one pass the header would be known last. Twice costs hardly more, because the check copies
//! nothing and the copy checks nothing, and it gives three things: a state that cannot be saved is
//! found before the flash is erased; the pages may be written in ascending order, as a serial line
//! wants them, or the first one last, so that a file that is torn has no magic; and a page whose
//! write failed is read again.

use super::elements::ElementType;
use super::error::StateFileError;
use super::file::StateFile;
use super::header::{CRC, HEADER_LEN, check_next, put_header};
use super::sections::{
    MAX_SECTIONS, SECTION_HEADER_LEN, StateSection, check_order, section_header,
};
use crate::format::Progress;
use crate::format::crc32::Crc32;
use crate::format::model::Header;
use crate::num::state_dtype::StateElement;

/// A state file on its way out of an engine, piece by piece.
///
/// It knows the file's header and sections; the engine that has the state goes through it:
/// [`check_state`](crate::engine::Cpu::check_state), then
/// [`read_state`](crate::engine::Cpu::read_state). Where the engine can be borrowed in between,
/// [`StateWriter`](crate::engine::StateWriter) does both, and the state cannot change.
#[derive(Clone, Debug)]
pub struct StateEncoder<'s> {
    header: [u8; HEADER_LEN],
    sections: heapless::Vec<(StateSection, &'s [u8]), MAX_SECTIONS>,
    element: ElementType,
    /// Where the state ends in the file.
    state_end: usize,
    len: usize,
    /// Bytes that the checksum has taken in: at first the header's.
    checked: usize,
    crc: Crc32,
}

impl<'s> StateEncoder<'s> {
    /// The file of an engine of `model` that keeps states in `S`, with the next token and sections
    /// as in [`StateFile::write_sections`].
    ///
    /// # Errors
    ///
    /// When `next` is outside the vocabulary, or the sections' kinds do not ascend or are too many.
    pub fn new<S: StateElement>(
        model: &Header,
        next: Option<u32>,
        sections: &[(StateSection, &'s [u8])],
    ) -> Result<Self, StateFileError> {
        check_next(model, next)?;
        let state_end = StateFile::<S>::len(&model.shape);
        check_order(sections, state_end)?;
        let mut header = [0; HEADER_LEN];
        put_header(&mut header, model, S::CODE, next, !sections.is_empty());
        Ok(Self {
            header,
            sections: sections.iter().copied().collect(),
            element: ElementType::of::<S>(),
            state_end,
            len: state_end + StateFile::<S>::sections_len(sections),
            checked: HEADER_LEN,
            crc: Crc32::new().update(&header[..CRC]),
        })
    }

    /// Bytes of the file.
    #[expect(clippy::len_without_is_empty, reason = "a file has a header")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Where the state ends in the file.
    pub(crate) const fn state_end(&self) -> usize {
        self.state_end
    }

    /// How far the check has come.
    pub const fn progress(&self) -> Progress {
        Progress { done: self.checked, total: self.len }
    }

    /// Checks about `bytes` more bytes, at least one element. `state` gives the bytes of the state
    /// from an offset on that lie together: whole elements.
    pub(crate) fn check<'e, S: StateElement>(
        &mut self,
        state: &dyn Fn(usize) -> &'e [u8],
        bytes: usize,
    ) -> Result<Progress, StateFileError> {
        self.element.check_type::<S>()?;
        self.check_bytes(state, bytes)
    }

    fn check_bytes<'e>(
        &mut self,
        state: &dyn Fn(usize) -> &'e [u8],
        bytes: usize,
    ) -> Result<Progress, StateFileError> {
        // Whole elements of either type.
        let mut left = bytes.max(1).checked_next_multiple_of(8).unwrap_or(usize::MAX - 7);
        while left > 0 && self.checked < self.len {
            let mut scratch = [0; SECTION_HEADER_LEN];
            let part = self.part(state, self.checked, &mut scratch);
            let part = part.get(..left).unwrap_or(part);
            if self.checked < self.state_end {
                self.element.check((self.checked - HEADER_LEN) / self.element.size(), part)?;
            }
            let (crc, len) = (self.crc.update(part), part.len());
            (self.crc, self.checked, left) = (crc, self.checked + len, left - len);
        }
        if self.checked == self.len {
            self.header[CRC..].copy_from_slice(&self.crc.finish().to_le_bytes());
        }
        Ok(self.progress())
    }

    /// Copies the file's bytes from `offset` on to `out`, as many as there are; returns their
    /// number.
    pub(crate) fn read<'e, S: StateElement>(
        &self,
        state: &dyn Fn(usize) -> &'e [u8],
        offset: usize,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        self.element.check_type::<S>()?;
        self.read_bytes(state, offset, out)
    }

    fn read_bytes<'e>(
        &self,
        state: &dyn Fn(usize) -> &'e [u8],
        offset: usize,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        let Progress { done, total } = self.progress();
        if done < total {
            return Err(StateFileError::Incomplete { done, total });
        }
        let mut copied = 0;
        while copied < out.len() && offset < self.len - copied {
            let mut scratch = [0; SECTION_HEADER_LEN];
            let part = self.part(state, offset + copied, &mut scratch);
            let out = &mut out[copied..];
            let len = part.len().min(out.len());
            out[..len].copy_from_slice(&part[..len]);
            copied += len;
        }
        Ok(copied)
    }

    /// The bytes of the file from `offset`, which is inside it, that lie together: at least one.
    fn part<'p, 'e: 'p>(
        &'p self,
        state: &dyn Fn(usize) -> &'e [u8],
        offset: usize,
        scratch: &'p mut [u8; SECTION_HEADER_LEN],
    ) -> &'p [u8] {
        if let Some(header @ [_, ..]) = self.header.get(offset..) {
            return header;
        }
        if offset < self.state_end {
            return state(offset - HEADER_LEN);
        }
        let mut at = offset - self.state_end;
        for (section, bytes) in &self.sections {
            if at < SECTION_HEADER_LEN {
                *scratch = section_header(section.code(), bytes.len());
                return &scratch[at..];
            }
            at -= SECTION_HEADER_LEN;
            if at < bytes.len() {
                return &bytes[at..];
            }
            at -= bytes.len();
        }
        unreachable!("the offset is inside the file")
    }
}
