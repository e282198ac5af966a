//! The sections after the state.

use super::error::StateFileError;
use super::header::array;

/// Bytes before a section's own: kind and length.
pub(super) const SECTION_HEADER_LEN: usize = 8;
/// Most sections of a file.
pub const MAX_SECTIONS: usize = 8;

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

/// Refuses sections that no file has, to be written `offset` bytes into one.
pub(super) fn check_order(sections: Sections<'_>, offset: usize) -> Result<(), StateFileError> {
    let ascending = sections.is_sorted_by(|(a, _), (b, _)| a < b);
    let short = sections.iter().all(|(_, bytes)| u32::try_from(bytes.len()).is_ok());
    if !ascending || !short || sections.len() > MAX_SECTIONS {
        return Err(StateFileError::Sections { offset: offset as u64 });
    }
    Ok(())
}

/// The kind and the length of a section of `len` bytes.
pub(super) fn section_header(kind: u32, len: usize) -> [u8; SECTION_HEADER_LEN] {
    let mut header = [0; SECTION_HEADER_LEN];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[4..].copy_from_slice(&(len as u32).to_le_bytes());
    header
}

/// The kind and the length that a section's header states.
pub(super) fn section_fields(header: &[u8; SECTION_HEADER_LEN]) -> (u32, u32) {
    (u32::from_le_bytes(array(header, 0)), u32::from_le_bytes(array(header, 4)))
}

/// The bytes of a section.
pub(super) fn find_section(sections: &[u8], section: StateSection) -> Option<&[u8]> {
    let mut rest = sections;
    while let Some((code, bytes, after)) = split_section(rest) {
        if code == section.code() {
            return Some(bytes);
        }
        rest = after;
    }
    None
}

/// The first section of `bytes`: its kind, its bytes, and the sections after it. `None` at the
/// end, and where there is no whole section.
pub(super) fn split_section(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<SECTION_HEADER_LEN>()?;
    let (kind, len) = section_fields(header);
    let (bytes, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((kind, bytes, rest))
}

/// Checks the form of the sections, which begin `offset` bytes into the file.
pub(super) fn check_sections(mut sections: &[u8], mut offset: u64) -> Result<(), StateFileError> {
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
