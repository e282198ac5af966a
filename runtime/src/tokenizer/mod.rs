//! Text to token ids and back, read in place from the packed tokenizer section of a model file.
//!
//! Three properties hold for every input, damaged sections included: nothing is copied or
//! allocated, nothing panics, and greedy encoding takes time proportional to
//! `text.len() * max_token_len` at worst. Byte-pair encoding reads a word's next bytes until its
//! next token is certain, which in text is a few bytes and at worst the rest of the word; it takes
//! about 8 KB of stack. [`Tokenizer::parse`] checks the header and that all
//! tables lie inside the section, in constant time; what the tables say is checked where it is
//! used, so a damaged table gives wrong tokens or an error. Whether a section is damaged is for
//! the model file's checksum to say.
//!
//! Token 0 ends a text in RWKV models and has no bytes, so no text encodes to it. The one exception
//! is a byte vocabulary with offset 0, where it is the byte 0; see [`Tokenizer::end_of_text`].
//!
//! # Section layout
//!
//! Everything is little-endian and byte-packed; no alignment is required. The section starts with
//! a header of 32 bytes:
//!
//! | offset | type | field |
//! |-------:|------|-------|
//! |  0 | u8  | kind: 0 = bytes, 1 = greedy longest match, 2 = byte pairs, 3 = words; others are refused |
//! |  1 | u8  | layout version of that kind, 0; others are refused |
//! |  2 | u16 | length of the longest token in bytes, 1 to 4095 |
//! |  4 | u32 | `V`, the vocabulary's length: the largest id plus one |
//! |  8 | u32 | bytes: the offset; others: `C`, the number of trie cells |
//! | 12 | u32 | bytes: 0; others: `S`, the length of the string table |
//! | 16 |     | 16 bytes, zeros but for byte pairs and words |
//!
//! **Bytes** has nothing after the header: the id of a byte is its value plus the offset, and `V`
//! is the offset plus 256.
//!
//! **Greedy** has four tables after the header, in this order and without gaps. `V` is at most
//! 65,536.
//!
//! | bytes | table |
//! |------:|-------|
//! | `6 C` | trie cells |
//! | `4 (V / 16 + 1)` | u32 per block of 16 ids: where its strings start in the string table |
//! | `2 (V + 1)` | u16 per id: where its string starts, relative to its block |
//! | `S` | string table: the tokens' bytes in order of id |
//!
//! A token's string ends where that of the next id starts; the entry at `V` ends the last. An id
//! without bytes has an empty string.
//!
//! The trie is a double array. Its cells are numbered from 0 and hold
//!
//! | offset | type | field |
//! |-------:|------|-------|
//! | 0 | u8  | label: the byte that leads to this node |
//! | 1 | u24 | link |
//! | 4 | u16 | token that ends at this node (for a leaf with a tail: after the tail), 0 for none |
//!
//! The child of a node for byte `c` is the cell `link + c`, and is there if that cell's label is
//! `c`. For this to prove that the cell is a child of just this node, no two nodes share a link.
//! The root has no cell and its link is 0, so the first 256 cells are its fan-out; a node whose
//! link is 0 has no children. An unoccupied cell is all zeros, which is a node without token and
//! without children: to reach one changes nothing.
//!
//! A node below which there is only one token is a leaf with a tail, unless the tail would be
//! longer than 127 bytes. Bit 23 of its link is set, bits 16 to 22 are the tail's length, which is
//! not 0, and bits 0 to 7 and 8 to 15 are its first and second byte (0 when there is no second).
//! So most leaves are accepted or rejected without reading the string table; a tail longer than
//! two bytes is compared with the end of the token's string.
//!
//! **Words** has the tables of a greedy vocabulary. Text is split at white space, and each word is
//! one token: the music models' vocabularies are of this kind. A token's string is its word with a
//! space before it, so that tokens become text with spaces between. Byte 16 of the header is 1 if
//! the letters A to Z of a text count as a to z, otherwise 0, and 15 zeros follow.
//!
//! **Byte pairs** is byte-level byte-pair encoding with GPT-2's word pattern and, at will, NFC
//! before it, as the NeoX tokenizer of the Pile models has it. `V` is at most 65,535. The rest of
//! the header is
//!
//! | offset | type | field |
//! |-------:|------|-------|
//! | 16 | u16 | `R`, cells of the trie of added tokens that are found in the text as it is |
//! | 18 | u16 | `N`, cells of the trie of added tokens that are found in the normalized text |
//! | 20 | u16 | `Q`, the number of ids that decode to nothing |
//! | 22 | u16 | the id that ends a text, 65,535 for none |
//! | 24 | u8  | `L`, the binary logarithm of the number of slots for pairs, at most 20 |
//! | 25 | u8  | 1 if text is normalized to NFC, otherwise 0 |
//! | 26 |     | 6 bytes of zeros |
//!
//! and the four tables of a greedy vocabulary are followed by
//!
//! | bytes | table |
//! |------:|-------|
//! | `6 R` | trie of added tokens, raw |
//! | `6 N` | trie of added tokens, normalized |
//! | `2 Q` | u16 per silent id, ascending |
//! | `4 V` | two u16 per id: the pair that it is merged from, or its own id twice |
//! | `2 << L` | u16 per slot: the id that a pair is merged into, 65,535 in an empty slot |
//!
//! The tries are like the greedy one, but hold ids plus one, so that id 0 may be a token; the first
//! has every single byte's token and every token that merges make. A merge's rank is the order of
//! the id it makes, so that ranks need no table: an id is higher than those of its pair, and a
//! single byte, which has no merge, comes before all. A pair is found at the first of the slots
//! [`layout::slot`] names, probe after probe, whose id has these parts; an empty slot ends the
//! search.

mod bpe;
mod greedy;
pub mod layout;
pub mod stop;
mod strings;
pub mod text_stream;

use core::fmt;

use self::bpe::BytePair;
use self::greedy::Greedy;
use self::layout::{HEADER_LEN, Header, Kind};
use self::strings::{StringsFrom, Tables};

/// Whether byte-pair vocabularies are read: the feature `bpe`. Where it is a constant
/// false, nothing reaches their encoder, and it is not linked.
const BYTE_PAIRS: bool = cfg!(feature = "bpe");

/// A vocabulary with its encoder and decoder: a view of the packed section, cheap to copy.
///
/// # Examples
///
/// ```
/// use kinglet::tokenizer::{Tokenizer, layout::{Header, Kind}};
///
/// // One token per byte, with ids from 1.
/// let kind = Kind::Bytes { offset: 1 };
/// let header = Header { kind, max_token_len: 1, vocab_len: 257 };
/// let section = header.to_bytes();
/// let tokenizer = Tokenizer::parse(&section).unwrap();
/// assert!(tokenizer.encode(b"AB").eq([Ok(66), Ok(67)]));
/// assert_eq!(tokenizer.token(66), Some(&b"A"[..]));
/// assert_eq!(tokenizer.end_of_text(), Some(0));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer<'a> {
    vocab_len: u32,
    max_token_len: usize,
    scheme: Scheme<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Scheme<'a> {
    Bytes { offset: u32 },
    Greedy(Greedy<'a>),
    Words { words: Greedy<'a>, is_lowered: bool },
    BytePair(BytePair<'a>),
}

impl<'a> Tokenizer<'a> {
    /// Reads a packed tokenizer section, whose layout the [module](self) specifies.
    ///
    /// Takes constant time: tables are located, not walked.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the header is not one that this version writes, when the section
    /// is shorter or longer than its header says, or for byte pairs without the feature `bpe`.
    pub fn parse(section: &'a [u8]) -> Result<Self, TokenizerError> {
        let (bytes, tables) =
            section.split_first_chunk::<HEADER_LEN>().ok_or(TokenizerError::Length {
                found: section.len() as u64,
                expected: HEADER_LEN as u64,
            })?;
        let header = Header::from_bytes(bytes)?;
        let length =
            TokenizerError::Length { found: section.len() as u64, expected: header.section_len() };
        if section.len() as u64 != header.section_len() {
            return Err(length);
        }
        let scheme = match header.kind {
            Kind::Bytes { offset } => Scheme::Bytes { offset },
            Kind::Greedy { .. } | Kind::Words { .. } => {
                let greedy = Greedy::new(&header, Tables(tables)).ok_or(length)?;
                match header.kind {
                    Kind::Words { is_lowered, .. } => Scheme::Words { words: greedy, is_lowered },
                    _ => Scheme::Greedy(greedy),
                }
            }
            Kind::BytePair { .. } if !BYTE_PAIRS => return Err(TokenizerError::BytePairs),
            Kind::BytePair { .. } => {
                Scheme::BytePair(BytePair::new(&header, Tables(tables)).ok_or(length)?)
            }
        };
        Ok(Self {
            vocab_len: header.vocab_len,
            max_token_len: usize::from(header.max_token_len),
            scheme,
        })
    }

    /// The number of ids: the largest id plus one. A model's vocabulary may be padded beyond it.
    #[must_use]
    pub const fn vocab_len(&self) -> usize {
        self.vocab_len as usize
    }

    /// The length in bytes of the longest token.
    #[must_use]
    pub const fn max_token_len(&self) -> usize {
        self.max_token_len
    }

    /// The id that ends a text and starts one: 0, or `None` for bytes with offset 0, where every
    /// id is a byte.
    #[must_use]
    pub const fn end_of_text(&self) -> Option<u32> {
        match self.scheme {
            Scheme::Bytes { offset: 0 } => None,
            Scheme::BytePair(pairs) => pairs.end_of_text(),
            _ => Some(0),
        }
    }

    /// The bytes that `id` stands for, or `None` when it has none: the end of text, an unused id,
    /// or an id beyond the vocabulary.
    ///
    /// The bytes of a token are not always UTF-8; [`TextStream`](crate::tokenizer::text_stream::TextStream) joins
    /// them to text. Takes constant time.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&'a [u8]> {
        match &self.scheme {
            Scheme::Bytes { offset } => {
                let byte = usize::try_from(id.checked_sub(*offset)?).ok()?;
                BYTES.get(byte).map(core::slice::from_ref)
            }
            Scheme::Greedy(greedy) | Scheme::Words { words: greedy, .. } => greedy.token(id),
            Scheme::BytePair(pairs) => pairs.token(id),
        }
    }

    /// The bytes of every id from `id` on, empty for one that has none: [`token`](Self::token) of one
    /// after another, in half the time.
    pub(crate) fn tokens(&self, id: usize) -> Tokens<'_, 'a> {
        let table = match &self.scheme {
            Scheme::Greedy(greedy) | Scheme::Words { words: greedy, .. } => {
                Some(greedy.strings().from(id))
            }
            _ => None,
        };
        Tokens { table, tokenizer: self, id }
    }

    /// The tokens of `text`, which need not be UTF-8, from left to right.
    ///
    /// In a greedy vocabulary each token is the longest that the rest of the text starts with, as
    /// RWKV's World tokenizer has it: there are no merges and there is no splitting into words.
    /// A vocabulary of words has a token for each word between white space.
    /// A byte-pair vocabulary gives the tokens that Hugging Face's `tokenizers` gives; bytes
    /// outside UTF-8 are to it characters that are neither letters, numbers nor spaces.
    /// The iterator ends after its first error.
    pub fn encode<'t>(&self, text: &'t [u8]) -> Encode<'t>
    where
        'a: 't,
    {
        let (pairs, text) = match self.scheme {
            Scheme::BytePair(vocabulary) if BYTE_PAIRS => {
                (Some(bpe::Text::new(vocabulary, text)), &[][..])
            }
            // What follows the last word is no part of any.
            Scheme::Words { .. } => (None, text.trim_ascii_end()),
            _ => (None, text),
        };
        Encode { tokenizer: *self, text, position: 0, pairs }
    }

    /// The longest token that `text` starts with, and its length, which is not 0.
    #[inline]
    fn longest_match(&self, text: &[u8]) -> Option<(u32, usize)> {
        match &self.scheme {
            Scheme::Bytes { offset } => {
                text.first().and_then(|&byte| Some((offset.checked_add(u32::from(byte))?, 1)))
            }
            Scheme::Greedy(greedy) => {
                let window = text.get(..self.max_token_len).unwrap_or(text);
                greedy.longest_match(window)
            }
            Scheme::Words { words, is_lowered } => {
                let len = text.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
                let lowered =
                    |&byte: &u8| if *is_lowered { byte.to_ascii_lowercase() } else { byte };
                let bytes = core::iter::once(b' ').chain(text[..len].iter().map(lowered));
                Some((words.exact(bytes)?, len))
            }
            // Its tokens depend on more than the text ahead; see `Encode::next_pair`.
            Scheme::BytePair(_) => None,
        }
    }
}

/// Every byte once, so that a byte's token can be lent.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = i as u8;
        i += 1;
    }
    bytes
};

/// The bytes of one id after another, from [`Tokenizer::tokens`]; it does not end.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'t, 'a> {
    /// Where all strings are in one table.
    table: Option<StringsFrom<'a>>,
    tokenizer: &'t Tokenizer<'a>,
    id: usize,
}

impl<'a> Iterator for Tokens<'_, 'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(table) = &mut self.table {
            return Some(table.next_string());
        }
        let id = u32::try_from(self.id).ok();
        self.id += 1;
        Some(id.and_then(|id| self.tokenizer.token(id)).unwrap_or_default())
    }
}

/// The tokens of a text, from [`Tokenizer::encode`].
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing until they are run"]
pub struct Encode<'t> {
    tokenizer: Tokenizer<'t>,
    /// What is not yet encoded; empty after an error.
    text: &'t [u8],
    /// Where `text` starts in the text that was given.
    position: usize,
    /// What is not yet encoded by a byte-pair vocabulary; `None` after an error.
    pairs: Option<bpe::Text<'t>>,
}

impl Encode<'_> {
    /// How many bytes of the text the tokens so far stand for. In a word that normalization
    /// changed this is the position of the word's end.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    fn next_pair(&mut self) -> Option<Result<u32, EncodeError>> {
        let pairs = self.pairs.as_mut().filter(|_| BYTE_PAIRS)?;
        let token = pairs.next()?;
        self.position = pairs.position();
        Some(token.map_err(|(position, byte)| {
            self.pairs = None;
            EncodeError { byte, position }
        }))
    }
}

impl Iterator for Encode<'_> {
    type Item = Result<u32, EncodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Scheme::Words { .. } = self.tokenizer.scheme {
            let word = self.text.trim_ascii_start();
            self.position += self.text.len() - word.len();
            self.text = word;
        }
        let Some(&byte) = self.text.first() else { return self.next_pair() };
        let matched = self.tokenizer.longest_match(self.text);
        let Some((id, rest)) = matched.and_then(|(id, len)| Some((id, self.text.get(len..)?)))
        else {
            self.text = &[];
            return Some(Err(EncodeError { byte, position: self.position }));
        };
        self.position += self.text.len() - rest.len();
        self.text = rest;
        Some(Ok(id))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.pairs {
            None => (usize::from(!self.text.is_empty()), Some(self.text.len())),
            // A normalized text may be longer, but no more than a token for each of its bytes.
            Some(_) => (0, None),
        }
    }
}

impl core::iter::FusedIterator for Encode<'_> {}

/// Why a packed tokenizer section cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TokenizerError {
    /// The section is not as long as its header says, or too short for a header.
    Length {
        /// Length of the section, bytes.
        found: u64,
        /// Length that the header asks for, bytes.
        expected: u64,
    },
    /// The section's kind is not one that this version reads.
    Kind {
        /// The header's kind.
        found: u8,
    },
    /// The vocabulary is of byte pairs and the feature `bpe` is not on.
    BytePairs,
    /// The layout version of the section's kind is not one that this version reads.
    Layout {
        /// The header's layout version.
        found: u8,
    },
    /// The vocabulary's length does not suit the section's kind.
    VocabLen {
        /// The header's vocabulary length.
        found: u32,
    },
    /// The length of the longest token does not suit the section's kind.
    MaxTokenLen {
        /// The header's length of the longest token, bytes.
        found: u16,
    },
    /// A byte of the header that must be zero is not.
    Reserved,
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, expected } => {
                write!(f, "the tokenizer section has {found} bytes, expected {expected}")
            }
            Self::Kind { found } => {
                write!(f, "the tokenizer is of kind {found}, expected 0 to 3")
            }
            Self::BytePairs => f.write_str(
                "the tokenizer is of byte pairs, which were left out of this build; build with \
                 the feature `bpe`",
            ),
            Self::Layout { found } => {
                write!(f, "the tokenizer has layout version {found}, expected 0")
            }
            Self::VocabLen { found } => write!(
                f,
                "the tokenizer has {found} ids, expected 1 to 65536, or 256 more than the offset \
                 of a byte vocabulary"
            ),
            Self::MaxTokenLen { found } => write!(
                f,
                "the tokenizer's longest token has {found} bytes, expected 1 to 4095, or 1 in a \
                 byte vocabulary"
            ),
            Self::Reserved => {
                f.write_str("the tokenizer's header has a reserved byte that is not 0")
            }
        }
    }
}

impl core::error::Error for TokenizerError {}

/// A place in a text at which no token of the vocabulary fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EncodeError {
    /// The byte there.
    pub byte: u8,
    /// Its position in the text, bytes.
    pub position: usize,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the vocabulary has no token for the byte 0x{:02x} at position {}",
            self.byte, self.position
        )
    }
}

impl core::error::Error for EncodeError {}

#[cfg(test)]
mod tests;
