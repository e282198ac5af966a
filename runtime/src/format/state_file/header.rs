//! The header of a state file.

use super::error::StateFileError;
use crate::format::crc32::Crc32;
use crate::format::model::Header;
use crate::num::state_dtype::StateElement;

/// The first bytes of a state file.
pub const MAGIC: [u8; 8] = *b"KGLSTATE";
/// Major version that this crate reads and writes.
pub const MAJOR: u16 = 1;
/// Minor version that this crate writes where a file has sections; without them it writes 0.
pub const MINOR: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;

const NO_TOKEN: u32 = u32::MAX;
/// Where the checksum stands.
pub(super) const CRC: usize = HEADER_LEN - 4;

/// The header's fields that decide whether the rest can be read.
pub(super) struct Fields {
    minor: u16,
    pub(super) hash: [u8; 32],
    /// The code of the elements' type.
    pub(super) element: u32,
    pub(super) elements: u32,
    next: u32,
    pub(super) crc: u32,
}

impl Fields {
    pub(super) fn parse(header: &[u8; HEADER_LEN]) -> Result<Self, StateFileError> {
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

    pub(super) fn next_token(&self) -> Option<u32> {
        (self.next != NO_TOKEN).then_some(self.next)
    }

    /// The elements, of `size` bytes each, and the sections after them: what follows the header,
    /// of the length and with the checksum that it states.
    pub(super) fn split<'a>(
        &self,
        header: &[u8; HEADER_LEN],
        rest: &'a [u8],
        size: usize,
    ) -> Result<(&'a [u8], &'a [u8]), StateFileError> {
        let end = self.state_end(HEADER_LEN + rest.len(), size)?;
        self.check_crc(file_crc(header, rest))?;
        Ok(rest.split_at(end - HEADER_LEN))
    }

    /// Where the elements, of `size` bytes each, end in a file of `len` bytes.
    pub(super) fn state_end(&self, len: usize, size: usize) -> Result<usize, StateFileError> {
        let found = len as u64;
        let expected = HEADER_LEN as u64 + size as u64 * u64::from(self.elements);
        // Version 1.0 has no sections.
        if found < expected || (self.minor == 0 && found != expected) {
            return Err(StateFileError::Length { found, expected });
        }
        Ok(expected as usize)
    }

    /// Refuses a file whose checksum is not `found`.
    pub(super) fn check_crc(&self, found: u32) -> Result<(), StateFileError> {
        let expected = self.crc;
        if found == expected { Ok(()) } else { Err(StateFileError::Crc { found, expected }) }
    }

    /// Refuses a state of another model.
    pub(super) fn check(&self, model: &Header) -> Result<(), StateFileError> {
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
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Writes the header of a file of elements of type `element`, with or without `sections`, but for
/// its checksum.
pub(super) fn put_header(
    header: &mut [u8; HEADER_LEN],
    model: &Header,
    element: u32,
    next: Option<u32>,
    sections: bool,
) {
    let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    put(0, &MAGIC);
    put(8, &MAJOR.to_le_bytes());
    put(10, &if sections { MINOR } else { 0 }.to_le_bytes());
    put(12, &(HEADER_LEN as u32).to_le_bytes());
    put(16, &model.content_hash);
    put(48, &element.to_le_bytes());
    put(52, &(model.shape.state_len() as u32).to_le_bytes());
    put(56, &next.unwrap_or(NO_TOKEN).to_le_bytes());
}

/// Writes the header for `elements` and `sections`; returns the length of the file.
pub(super) fn seal<S: StateElement>(
    model: &Header,
    next: Option<u32>,
    header: &mut [u8; HEADER_LEN],
    elements: &[u8],
    sections: &[u8],
) -> usize {
    put_header(header, model, S::CODE, next, !sections.is_empty());
    let crc = Crc32::new().update(&header[..CRC]).update(elements).update(sections).finish();
    header[CRC..].copy_from_slice(&crc.to_le_bytes());
    HEADER_LEN + elements.len() + sections.len()
}

pub(super) fn file_crc(header: &[u8; HEADER_LEN], elements: &[u8]) -> u32 {
    Crc32::new().update(&header[..CRC]).update(elements).finish()
}

pub(super) fn check_len(model: &Header, found: usize) -> Result<(), StateFileError> {
    let expected = model.shape.state_len();
    if found == expected { Ok(()) } else { Err(StateFileError::Elements { found, expected }) }
}

pub(super) fn check_next(model: &Header, next: Option<u32>) -> Result<(), StateFileError> {
    let vocab = model.shape.vocab;
    match next {
        Some(found) if found as usize >= vocab => Err(StateFileError::Token { found, vocab }),
        _ => Ok(()),
    }
}
