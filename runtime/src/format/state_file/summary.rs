//! A state file without its model.

use super::error::StateFileError;
#[cfg(doc)]
use super::file::StateFile;
use super::header::{Fields, HEADER_LEN};
use super::sections::{StateSection, check_sections, find_section};
use crate::num::state_dtype::{self, StateElement, f16};

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
