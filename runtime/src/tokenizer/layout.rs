//! The numbers of the packed section, for those who write one. The [parent](super) specifies it.

use super::TokenizerError;

/// Length of the header, bytes.
pub const HEADER_LEN: usize = 32;
/// Length of a trie cell, bytes.
pub const CELL_LEN: usize = 6;
/// Ids per block of the string table.
pub const BLOCK_IDS: usize = 16;
/// The longest token, bytes. A block's strings stay below 64 KiB by it.
pub const MAX_TOKEN_LEN: usize = 4095;
/// The most ids of a greedy vocabulary.
pub const MAX_GREEDY_VOCAB_LEN: u32 = 1 << 16;
/// The longest tail of a leaf, bytes.
pub const MAX_TAIL_LEN: usize = 127;
/// The bit of a link that says that it holds a tail. Links to children are smaller.
pub const TAIL_FLAG: u32 = 1 << 23;
/// Where a link holds its tail's length.
pub const TAIL_LEN_SHIFT: u32 = 16;

/// How text becomes tokens, and what a section of that kind says of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One token per byte.
    Bytes {
        /// The id of the byte 0.
        offset: u32,
    },
    /// Greedy longest match over bytes.
    Greedy {
        /// The number of trie cells.
        cells: u32,
        /// The length of the string table, bytes.
        strings: u32,
    },
}

/// The header of a packed section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of section.
    pub kind: Kind,
    /// Length of the longest token, bytes.
    pub max_token_len: u16,
    /// The largest id plus one.
    pub vocab_len: u32,
}

impl Header {
    /// The header as it stands in the section.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let (kind, extents) = match self.kind {
            Kind::Bytes { offset } => (0, [offset, 0]),
            Kind::Greedy { cells, strings } => (1, [cells, strings]),
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = kind;
        bytes[2..4].copy_from_slice(&self.max_token_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.vocab_len.to_le_bytes());
        bytes[8..16].copy_from_slice(extents.map(u32::to_le_bytes).as_flattened());
        bytes
    }

    /// The length of a section with this header, bytes.
    #[must_use]
    pub fn section_len(&self) -> u64 {
        self.table_lens().iter().fold(HEADER_LEN as u64, |sum, len| sum + len)
    }

    /// Lengths in bytes of the cells, the blocks' starts, the strings' starts and the strings.
    pub(super) fn table_lens(&self) -> [u64; 4] {
        let ids = u64::from(self.vocab_len);
        match self.kind {
            Kind::Bytes { .. } => [0; 4],
            Kind::Greedy { cells, strings } => [
                CELL_LEN as u64 * u64::from(cells),
                4 * (ids / BLOCK_IDS as u64 + 1),
                2 * (ids + 1),
                strings.into(),
            ],
        }
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Self, TokenizerError> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let (kind, reserved) = match bytes[0] {
            0 => (Kind::Bytes { offset: word(8) }, &bytes[12..]),
            1 => (Kind::Greedy { cells: word(8), strings: word(12) }, &bytes[16..]),
            found => return Err(TokenizerError::Kind { found }),
        };
        if bytes[1] != 0 {
            return Err(TokenizerError::Layout { found: bytes[1] });
        }
        if reserved.iter().any(|&byte| byte != 0) {
            return Err(TokenizerError::Reserved);
        }
        let max_token_len = u16::from_le_bytes([bytes[2], bytes[3]]);
        let header = Self { kind, max_token_len, vocab_len: word(4) };
        header.check_lens()?;
        Ok(header)
    }

    /// Checks that the vocabulary's and the longest token's length suit the kind.
    fn check_lens(&self) -> Result<(), TokenizerError> {
        let (vocab_fits, longest) = match self.kind {
            Kind::Bytes { offset } => (offset.checked_add(256) == Some(self.vocab_len), 1),
            Kind::Greedy { .. } => {
                ((1..=MAX_GREEDY_VOCAB_LEN).contains(&self.vocab_len), MAX_TOKEN_LEN)
            }
        };
        if !vocab_fits {
            return Err(TokenizerError::VocabLen { found: self.vocab_len });
        }
        if !(1..=longest).contains(&usize::from(self.max_token_len)) {
            return Err(TokenizerError::MaxTokenLen { found: self.max_token_len });
        }
        Ok(())
    }
}
