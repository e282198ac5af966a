//! Lengths, limits and the header of the tokenizer section, for tools that write one.
//!
//! The [parent](super) specifies the section. `Header::from_bytes` checks each field against the
//! limits here before any table is touched, so that the readers of tables may trust their lengths.

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
/// The longest token that merges make, bytes. Encoding keeps a place in the trie for each.
pub const MAX_MERGED_LEN: usize = 512;
/// The most ids of a byte-pair vocabulary: [`NO_ID`] is none.
pub const MAX_BYTE_PAIR_VOCAB_LEN: u32 = NO_ID as u32;
/// Stands for no token in the tables of a byte-pair vocabulary.
pub const NO_ID: u16 = u16::MAX;
/// The binary logarithm of the most slots for pairs.
pub const MAX_LOG2_SLOTS: u8 = 20;
/// How many slots of the table of pairs a search looks at.
pub const MAX_PROBES: u32 = 32;
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
    /// Words between white space, each of them one token.
    Words {
        /// The number of trie cells.
        cells: u32,
        /// The length of the string table, bytes.
        strings: u32,
        /// Whether the letters A to Z of a text count as a to z.
        is_lowered: bool,
    },
    /// Byte-level byte-pair encoding.
    BytePair {
        /// The number of cells of the trie of merged tokens.
        cells: u32,
        /// The length of the string table, bytes.
        strings: u32,
        /// The number of cells of the trie of tokens that are found before normalization.
        raw_cells: u16,
        /// The number of cells of the trie of tokens that are found after it.
        normalized_cells: u16,
        /// The number of ids that have no bytes when decoded.
        silent: u16,
        /// The id that ends a text, or [`NO_ID`].
        end_of_text: u16,
        /// The binary logarithm of the number of slots for pairs.
        log2_slots: u8,
        /// Whether text is normalized to NFC.
        nfc: bool,
    },
}

/// The slot of the table of `1 << log2_slots` pairs at which the `probe`th look-up of a pair is.
#[inline]
#[must_use]
pub const fn slot(left: u16, right: u16, log2_slots: u8, probe: u32) -> usize {
    let pair = (left as u32) << 16 | right as u32;
    // Multiplicative hashing; xor with the shifted pair lets both ids reach the upper bits.
    let hash = (pair ^ pair >> 15).wrapping_mul(0x9E37_79B1);
    let hash = (hash ^ hash >> 13).wrapping_mul(0x85EB_CA6B);
    // Of a single slot the mask below leaves nothing, whatever a shift by 32 gives.
    let hash = hash.wrapping_shr(32 - log2_slots as u32);
    // Triangular numbers visit every slot once.
    (hash.wrapping_add(probe * (probe + 1) / 2) & ((1 << log2_slots) - 1)) as usize
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

/// The number of ids that a section's header states.
pub(crate) fn vocab_len(header: &[u8; HEADER_LEN]) -> u32 {
    u32::from_le_bytes([header[4], header[5], header[6], header[7]])
}

impl Header {
    /// The header as it stands in the section.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let (kind, extents) = match self.kind {
            Kind::Bytes { offset } => (0, [offset, 0]),
            Kind::Greedy { cells, strings } => (1, [cells, strings]),
            Kind::BytePair { cells, strings, .. } => (2, [cells, strings]),
            Kind::Words { cells, strings, .. } => (3, [cells, strings]),
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = kind;
        bytes[2..4].copy_from_slice(&self.max_token_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.vocab_len.to_le_bytes());
        bytes[8..16].copy_from_slice(extents.map(u32::to_le_bytes).as_flattened());
        if let Kind::Words { is_lowered, .. } = self.kind {
            bytes[16] = u8::from(is_lowered);
        }
        if let Kind::BytePair {
            raw_cells,
            normalized_cells,
            silent,
            end_of_text,
            log2_slots,
            nfc,
            ..
        } = self.kind
        {
            let counts = [raw_cells, normalized_cells, silent, end_of_text];
            bytes[16..24].copy_from_slice(counts.map(u16::to_le_bytes).as_flattened());
            bytes[24..26].copy_from_slice(&[log2_slots, u8::from(nfc)]);
        }
        bytes
    }

    /// The length of a section with this header, bytes.
    #[must_use]
    pub fn section_len(&self) -> u64 {
        let strings = match self.kind {
            Kind::Bytes { .. } => 0,
            _ => self.string_lens().iter().sum(),
        };
        let pairs: u64 = self.pair_lens().iter().sum();
        HEADER_LEN as u64 + self.cells_len() + strings + pairs
    }

    /// Length of the trie of tokens, bytes.
    pub(super) fn cells_len(&self) -> u64 {
        match self.kind {
            Kind::Bytes { .. } => 0,
            Kind::Greedy { cells, .. }
            | Kind::BytePair { cells, .. }
            | Kind::Words { cells, .. } => CELL_LEN as u64 * u64::from(cells),
        }
    }

    /// Lengths in bytes of the blocks' starts, the strings' starts and the strings.
    pub(super) fn string_lens(&self) -> [u64; 3] {
        let ids = u64::from(self.vocab_len);
        match self.kind {
            Kind::Bytes { .. } => [0; 3],
            Kind::Greedy { strings, .. }
            | Kind::BytePair { strings, .. }
            | Kind::Words { strings, .. } => {
                [4 * (ids / BLOCK_IDS as u64 + 1), 2 * (ids + 1), strings.into()]
            }
        }
    }

    /// Lengths in bytes of the tables that only a byte-pair vocabulary has: the tries of the
    /// tokens found before and after normalization, the silent ids, the parts and the pairs.
    pub(super) fn pair_lens(&self) -> [u64; 5] {
        let Kind::BytePair { raw_cells, normalized_cells, silent, log2_slots, .. } = self.kind
        else {
            return [0; 5];
        };
        let cell = CELL_LEN as u64;
        [
            cell * u64::from(raw_cells),
            cell * u64::from(normalized_cells),
            2 * u64::from(silent),
            4 * u64::from(self.vocab_len),
            2 << log2_slots,
        ]
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Self, TokenizerError> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (kind, reserved) = match bytes[0] {
            0 => (Kind::Bytes { offset: word(8) }, &bytes[12..]),
            1 => (Kind::Greedy { cells: word(8), strings: word(12) }, &bytes[16..]),
            2 => {
                let kind = Kind::BytePair {
                    cells: word(8),
                    strings: word(12),
                    raw_cells: half(16),
                    normalized_cells: half(18),
                    silent: half(20),
                    end_of_text: half(22),
                    log2_slots: bytes[24],
                    nfc: bytes[25] & 1 != 0,
                };
                if bytes[24] > MAX_LOG2_SLOTS || bytes[25] > 1 {
                    return Err(TokenizerError::Reserved);
                }
                (kind, &bytes[26..])
            }
            3 if bytes[16] > 1 => return Err(TokenizerError::Reserved),
            3 => {
                let is_lowered = bytes[16] != 0;
                (Kind::Words { cells: word(8), strings: word(12), is_lowered }, &bytes[17..])
            }
            found => return Err(TokenizerError::Kind { found }),
        };
        if bytes[1] != 0 {
            return Err(TokenizerError::Layout { found: bytes[1] });
        }
        if reserved.iter().any(|&byte| byte != 0) {
            return Err(TokenizerError::Reserved);
        }
        let max_token_len = u16::from_le_bytes([bytes[2], bytes[3]]);
        let header = Self { kind, max_token_len, vocab_len: vocab_len(bytes) };
        header.check_lens()?;
        Ok(header)
    }

    /// Checks that the vocabulary's and the longest token's length suit the kind.
    fn check_lens(&self) -> Result<(), TokenizerError> {
        let (vocab_fits, longest) = match self.kind {
            Kind::Bytes { offset } => (offset.checked_add(256) == Some(self.vocab_len), 1),
            Kind::Greedy { .. } | Kind::Words { .. } => {
                ((1..=MAX_GREEDY_VOCAB_LEN).contains(&self.vocab_len), MAX_TOKEN_LEN)
            }
            Kind::BytePair { .. } => {
                ((1..=MAX_BYTE_PAIR_VOCAB_LEN).contains(&self.vocab_len), MAX_TOKEN_LEN)
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
