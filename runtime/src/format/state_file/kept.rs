//! The sections of a file that comes in pieces.

use super::decoder::StatePiece;
use super::error::StateFileError;
use super::sections::{SECTION_HEADER_LEN, StateSection, find_section, section_header};

/// Sections that are kept while a file comes in pieces: those that are wanted, in a buffer of the
/// caller. It has room for 8 bytes more than the bytes of each.
#[derive(Debug, Default)]
pub struct KeptSections<'b> {
    wanted: &'b [StateSection],
    buffer: &'b mut [u8],
    used: usize,
    /// Whether the section that is coming is wanted.
    keeping: bool,
}

impl<'b> KeptSections<'b> {
    /// Keeps `wanted` in `buffer`.
    pub fn new(wanted: &'b [StateSection], buffer: &'b mut [u8]) -> Self {
        Self { wanted, buffer, used: 0, keeping: false }
    }

    /// The bytes of a section, where it was wanted and the file has it.
    pub fn section(&self, section: StateSection) -> Option<&[u8]> {
        find_section(self.buffer.get(..self.used)?, section)
    }

    pub(crate) fn take(&mut self, piece: StatePiece<'_>) -> Result<(), StateFileError> {
        match piece {
            StatePiece::Section { kind, len } => {
                self.keeping = self.wanted.iter().any(|section| section.code() == kind);
                let (found, room) = (self.buffer.len(), self.buffer.len() - self.used);
                let needed = SECTION_HEADER_LEN.saturating_add(len);
                if self.keeping && room < needed {
                    let needed = self.used.saturating_add(needed);
                    return Err(StateFileError::Buffer { found, needed });
                }
                self.put(&section_header(kind, len))
            }
            StatePiece::SectionBytes(bytes) => self.put(bytes),
            StatePiece::Elements { .. } => Ok(()),
        }
    }

    /// Appends bytes of a wanted section, for which there is room.
    fn put(&mut self, bytes: &[u8]) -> Result<(), StateFileError> {
        if self.keeping {
            self.buffer[self.used..self.used + bytes.len()].copy_from_slice(bytes);
            self.used += bytes.len();
        }
        Ok(())
    }
}
