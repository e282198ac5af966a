//! The header of a model file: version, architecture, shape and section table.
//!
//! It is read and checked in a `const fn`, so that a firmware's buffers are sized at compile time
//! and a damaged model does not compile. The checks run in this order, because each rests on the
//! one before: magic, length, major version, the header's CRC-32, architecture, shape, sections.

use super::error::ModelError;
use super::section::{Section, SectionEntry};
use crate::format::crc32::crc32;
use crate::format::shape::{Architecture, Ranks, Shape};
use crate::kernels::matrix::ALIGN;

/// The first bytes of a model file.
pub const MAGIC: [u8; 8] = *b"KINGLET\0";
/// Major version that this crate reads and writes.
pub const MAJOR: u16 = 1;
/// Minor version that this crate writes where a matrix has weights of four bits; 0 otherwise.
pub const MINOR: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 512;

const SECTION_TABLE: usize = 112;
const SECTION_ENTRY: usize = 24;
const SECTION_SLOTS: usize = 16;
const HEADER_CRC: usize = HEADER_LEN - 4;

/// `?`, for `const fn`.
macro_rules! check {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

const fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = bytes[at + i];
        i += 1;
    }
    out
}

pub(super) const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

pub(super) const fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

/// The header of a model file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Minor version of the format: 0, or [`MINOR`], or a newer one.
    pub minor: u16,
    /// The model's dimensions.
    pub shape: Shape,
    /// SHA-256 over architecture, shape and weights.
    pub content_hash: [u8; 32],
    /// Where the sections lie, indexed by [`Section`].
    pub sections: [SectionEntry; Section::ALL.len()],
}

impl Header {
    /// Reads and checks the header of a model file. Works at compile time, so
    /// that a firmware's buffers can be sized from the model it contains:
    ///
    /// ```
    /// use kinglet::format::model::Header;
    /// static MODEL: &[u8] = kinglet_stories::MODEL;
    /// const HEADER: Header = match Header::parse(MODEL) {
    ///     Ok(header) => header,
    ///     Err(_) => panic!("the model is damaged"),
    /// };
    /// static STATE: [f32; HEADER.shape.state_len()] = [0.0; HEADER.shape.state_len()];
    /// assert_eq!(STATE.len(), 6 * 128 * 66);
    /// ```
    ///
    /// # Errors
    ///
    /// When `bytes` are not a whole model file of a known version and an
    /// [enabled](Architecture::enabled) architecture, as far as the header tells.
    pub const fn parse(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::parse_front(bytes, bytes.len() as u64)
    }

    /// [`parse`](Self::parse) of the front of a file of `file` bytes, at least its header.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub const fn parse_front(bytes: &[u8], file: u64) -> Result<Self, ModelError> {
        if bytes.len() >= MAGIC.len() {
            let magic: [u8; 8] = bytes_at(bytes, 0);
            if u64::from_le_bytes(magic) != u64::from_le_bytes(MAGIC) {
                return Err(ModelError::Magic { found: magic });
            }
        }
        if bytes.len() < HEADER_LEN {
            return Err(ModelError::TooShort { found: bytes.len() });
        }
        let major = u16::from_le_bytes(bytes_at(bytes, 8));
        let minor = u16::from_le_bytes(bytes_at(bytes, 10));
        if major > MAJOR {
            return Err(ModelError::Version { major, minor });
        }
        let found = crc32(bytes.split_at(HEADER_CRC).0);
        let expected = u32_at(bytes, HEADER_CRC);
        if found != expected {
            return Err(ModelError::HeaderCrc { found, expected });
        }
        let shape = check!(Self::parse_shape(bytes));
        let sections = check!(Self::parse_sections(bytes, file));
        Ok(Self { minor, shape, content_hash: bytes_at(bytes, 72), sections })
    }

    const fn parse_shape(bytes: &[u8]) -> Result<Shape, ModelError> {
        let code = u32_at(bytes, 16);
        let Some(architecture) = Architecture::from_code(code) else {
            return Err(ModelError::Architecture { code });
        };
        if !architecture.enabled() {
            return Err(ModelError::Disabled { architecture });
        }
        let shape = Shape {
            architecture,
            layers: u32_at(bytes, 20) as usize,
            width: u32_at(bytes, 24) as usize,
            head_size: u32_at(bytes, 28) as usize,
            ffn: u32_at(bytes, 32) as usize,
            vocab: u32_at(bytes, 36) as usize,
            ranks: Ranks {
                decay: u32_at(bytes, 40) as usize,
                iclr: u32_at(bytes, 44) as usize,
                value: u32_at(bytes, 48) as usize,
                gate: u32_at(bytes, 52) as usize,
                shift: u32_at(bytes, 56) as usize,
                deep_embed: u32_at(bytes, 60) as usize,
            },
        };
        match shape.check() {
            Ok(()) => Ok(shape),
            Err(error) => Err(ModelError::Shape(error)),
        }
    }

    const fn parse_sections(
        bytes: &[u8],
        file: u64,
    ) -> Result<[SectionEntry; Section::ALL.len()], ModelError> {
        let mut sections = [SectionEntry { offset: 0, len: 0, crc: 0 }; Section::ALL.len()];
        let mut end = HEADER_LEN as u64;
        let mut i = 0;
        while i < sections.len() {
            let at = SECTION_TABLE + i * SECTION_ENTRY;
            let entry = SectionEntry {
                offset: u64_at(bytes, at),
                len: u64_at(bytes, at + 8),
                crc: u32_at(bytes, at + 16),
            };
            let inside = entry.offset <= file && entry.len <= file - entry.offset;
            let in_order = entry.offset >= end && entry.offset.is_multiple_of(ALIGN as u64);
            // An absent section has no place among the others; its offset is mostly 0.
            if !inside || (entry.len != 0 && !in_order) {
                let SectionEntry { offset, len, .. } = entry;
                let section = Section::ALL[i];
                return Err(ModelError::SectionBounds { section, offset, len, file });
            }
            if entry.len != 0 {
                end = entry.offset + entry.len;
            }
            sections[i] = entry;
            i += 1;
        }
        Ok(sections)
    }

    /// The header's bytes.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(8, &MAJOR.to_le_bytes());
        put(10, &self.minor.to_le_bytes());
        put(12, &(HEADER_LEN as u32).to_le_bytes());
        let Shape { architecture, layers, width, head_size, ffn, vocab, ranks } = self.shape;
        put(16, &architecture.code().to_le_bytes());
        let fields = [layers, width, head_size, ffn, vocab];
        let ranks = ranks.list().map(|(_, rank)| rank);
        for (i, field) in fields.into_iter().chain(ranks).enumerate() {
            put(20 + 4 * i, &(field as u32).to_le_bytes());
        }
        put(72, &self.content_hash);
        let extra = self.section(Section::DeepEmbed).len != 0;
        put(104, &(Section::COUNTED as u32 + u32::from(extra)).to_le_bytes());
        for (i, entry) in self.sections.iter().enumerate() {
            let at = SECTION_TABLE + i * SECTION_ENTRY;
            put(at, &entry.offset.to_le_bytes());
            put(at + 8, &entry.len.to_le_bytes());
            put(at + 16, &entry.crc.to_le_bytes());
        }
        let crc = crc32(&bytes[..HEADER_CRC]);
        bytes[HEADER_CRC..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The entry of one section.
    pub const fn section(&self, section: Section) -> SectionEntry {
        self.sections[section as usize]
    }
}

const _: () = assert!(SECTION_TABLE + SECTION_SLOTS * SECTION_ENTRY + 12 == HEADER_CRC);
