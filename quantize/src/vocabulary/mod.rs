//! Vocabularies: read from RWKV's text form, from the forms of its other programs, from Hugging
//! Face's `tokenizer.json` or from GGUF's metadata, and packed into the tokenizer section of a model file.
//!
//! RWKV's text form has a line per token, `id literal length`: the id in decimal, the token as a
//! Python string or bytes literal, and its length in bytes. The literal may contain spaces.

mod byte_pair;
mod gguf;
mod literal;
mod tokenizer_json;
mod trie;

use std::collections::{BTreeMap, HashMap};

use kinglet::tokenizer::layout::{BLOCK_IDS, Header, Kind, MAX_GREEDY_VOCAB_LEN, MAX_TOKEN_LEN};

use serde::Deserialize;

use self::byte_pair::{BytePair, Source};
use self::tokenizer_json::Parts;

pub(crate) use self::gguf::GgufTokenizer;
pub use self::literal::LiteralError;

/// The largest id of a text form, 65,535.
const MAX_ID: u32 = MAX_GREEDY_VOCAB_LEN - 1;

/// A map from token ids to bytes, and the rule by which text becomes tokens.
///
/// # Examples
///
/// ```
/// use kinglet::tokenizer::Tokenizer;
/// use kinglet_quantize::vocabulary::Vocabulary;
///
/// let vocabulary = Vocabulary::from_rwkv_text(b"1 'a' 1\n2 'b' 1\n3 'ab' 2\n")?;
/// let section = vocabulary.pack()?;
/// let tokenizer = Tokenizer::parse(&section)?;
/// assert!(tokenizer.encode(b"abba").eq([Ok(3), Ok(2), Ok(1)]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    rule: Rule,
    /// The bytes of every id, empty where it has none.
    tokens: Vec<Vec<u8>>,
}

/// How text becomes tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Bytes { offset: u16 },
    Greedy,
    Words { is_lowered: bool },
    BytePair(BytePair),
}

impl Vocabulary {
    /// Reads a vocabulary file, by how it begins:
    ///
    /// | begins with | form |
    /// |---|---|
    /// | `{` and a number as key | [`from_id_json`](Self::from_id_json) |
    /// | `{` | [`from_tokenizer_json`](Self::from_tokenizer_json) |
    /// | a digit | [`from_rwkv_text`](Self::from_rwkv_text) |
    /// | `<`, or a quote or `b` and a quote | [`from_token_lines`](Self::from_token_lines) |
    ///
    /// A byte order mark before it is skipped.
    ///
    /// # Errors
    ///
    /// Those of these functions.
    pub fn read(file: &[u8]) -> Result<Self, VocabularyError> {
        let file = without_mark(file);
        match file.trim_ascii_start() {
            [b'{', rest @ ..] => match rest.trim_ascii_start() {
                [b'"', b'0'..=b'9', ..] => Self::from_id_json(file),
                _ => Self::from_tokenizer_json(file),
            },
            [b'<' | b'\'' | b'"', ..] | [b'b', b'\'' | b'"', ..] => Self::from_token_lines(file),
            _ => Self::from_rwkv_text(file),
        }
    }

    /// Reads the JSON form that web-rwkv, Ai00 and RWKV Runner ship beside their models: an object
    /// from ids to text, or to an array of bytes where a token is no text. Ids without an entry
    /// have no bytes.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Json`] when it is no such object, and the errors of
    /// [`from_tokens`](Self::from_tokens).
    pub fn from_id_json(json: &[u8]) -> Result<Self, VocabularyError> {
        let json = without_mark(json);
        let fault = |error: serde_json::Error| VocabularyError::Json { cause: error.to_string() };
        let by_id: BTreeMap<u16, Text> = serde_json::from_slice(json).map_err(fault)?;
        let len = by_id.last_key_value().map_or(0, |(&id, _)| usize::from(id) + 1);
        let mut tokens = vec![Vec::new(); len];
        for (id, token) in by_id {
            tokens[usize::from(id)] = match token {
                Text::Utf8(text) => text.into_bytes(),
                Text::Bytes(bytes) => bytes,
            };
        }
        Self::from_tokens(tokens)
    }

    /// Reads `vocab.txt` of transformers' RWKV-5 tokenizer: a line per token, its id the line's
    /// number from 0, the token as a Python literal. A line without quotes, such as `<s>` for id
    /// 0, is a special token without bytes.
    ///
    /// # Errors
    ///
    /// [`VocabularyError`] with the number of the offending line, and the errors of
    /// [`from_tokens`](Self::from_tokens).
    pub fn from_token_lines(text: &[u8]) -> Result<Self, VocabularyError> {
        let text = without_mark(text);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut tokens = Vec::new();
        for (line, token) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let token = token.strip_suffix(b"\r").unwrap_or(token);
            let token = std::str::from_utf8(token)
                .map_err(|_| VocabularyError::Line { line, error: LineError::NotUtf8 })?;
            if token.starts_with('<') && token.ends_with('>') {
                tokens.push(Vec::new());
                continue;
            }
            let bytes = literal::parse(token).map_err(|error| {
                let error = LineError::Literal { found: token.to_owned(), error };
                VocabularyError::Line { line, error }
            })?;
            let is_end_of_text = line == 1 && bytes.starts_with(b"<") && bytes.ends_with(b">");
            tokens.push(if is_end_of_text { Vec::new() } else { bytes });
        }
        Self::from_tokens(tokens)
    }

    /// Reads Hugging Face's `tokenizer.json` of one of two kinds. Byte-level BPE, such as
    /// `20B_tokenizer.json`, with GPT-2's word pattern, with or without NFC, and added tokens; ids
    /// of merged tokens ascend with their merges. Or words that stand between white space, as the
    /// music models have them, with or without lowered letters: id 0 ends a text, and a word
    /// outside the vocabulary is an error, where its other readers take id 0 for it. The
    /// `post_processor` is not used: texts are encoded without special tokens around them.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Unsupported`] names the first part that is of another kind;
    /// [`VocabularyError::Merge`] the first merge that is out of order.
    pub fn from_tokenizer_json(json: &[u8]) -> Result<Self, VocabularyError> {
        match tokenizer_json::read(without_mark(json))? {
            Parts::BytePair(source) => Self::from_source(source),
            Parts::Words { tokens, is_lowered } => {
                let checked = Self::from_tokens(tokens)?;
                Ok(Self { rule: Rule::Words { is_lowered }, ..checked })
            }
        }
    }

    fn from_source(source: Source) -> Result<Self, VocabularyError> {
        let rule = Rule::BytePair(BytePair::new(&source)?);
        Ok(Self { rule, tokens: source.tokens })
    }

    /// Reads the text form of a greedy vocabulary. Lines may end in LF or CRLF and stand in any
    /// order; together they have the ids from 1 to their number.
    ///
    /// # Errors
    ///
    /// [`VocabularyError`] with the number of the offending line, or the missing id.
    pub fn from_rwkv_text(text: &[u8]) -> Result<Self, VocabularyError> {
        let text = without_mark(text);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text.is_empty() {
            return Err(VocabularyError::NoTokens);
        }
        let mut lines = Lines::default();
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            parse_line(line)
                .and_then(|(id, token)| lines.insert(number, id, token))
                .map_err(|error| VocabularyError::Line { line: number, error })?;
        }
        Ok(Self { rule: Rule::Greedy, tokens: lines.into_tokens()? })
    }

    /// A greedy vocabulary from the bytes of every id, with an empty string for ids that have
    /// none. Id 0 ends a text and has none.
    ///
    /// # Errors
    ///
    /// [`VocabularyError`] with the id of a token that is too long, stands twice or ends a text,
    /// or when there are no tokens or more than 65,536 ids.
    pub fn from_tokens(tokens: Vec<Vec<u8>>) -> Result<Self, VocabularyError> {
        if tokens.len() > MAX_GREEDY_VOCAB_LEN as usize {
            let most = MAX_GREEDY_VOCAB_LEN;
            return Err(VocabularyError::TooMany { found: tokens.len(), most });
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(&tokens) {
            if token.is_empty() {
                continue;
            }
            if id == 0 {
                return Err(VocabularyError::EndOfTextHasBytes { found: token.clone() });
            }
            if token.len() > MAX_TOKEN_LEN {
                return Err(VocabularyError::TooLong {
                    id,
                    found: token.len(),
                    most: MAX_TOKEN_LEN,
                });
            }
            if let Some(first) = ids.insert(token, id) {
                return Err(VocabularyError::Duplicate { first, second: id });
            }
        }
        if ids.is_empty() {
            return Err(VocabularyError::NoTokens);
        }
        Ok(Self { rule: Rule::Greedy, tokens })
    }

    /// One token per byte, its id the byte's value plus `offset`. With offset 0 there is no id
    /// that ends a text.
    #[must_use]
    pub fn bytes(offset: u16) -> Self {
        let unused = std::iter::repeat_n(Vec::new(), usize::from(offset));
        let tokens = unused.chain((0..=u8::MAX).map(|byte| vec![byte])).collect();
        Self { rule: Rule::Bytes { offset }, tokens }
    }

    /// The number of ids: the largest id plus one.
    #[must_use]
    pub fn vocab_len(&self) -> usize {
        self.tokens.len()
    }

    /// The bytes of `id`, or `None` when it has none.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        let token = self.tokens.get(usize::try_from(id).ok()?)?;
        let is_silent = matches!(&self.rule, Rule::BytePair(pairs) if pairs.is_silent(id));
        (!token.is_empty() && !is_silent).then_some(token)
    }

    /// The tokenizer section of a model file, as [`kinglet::tokenizer`] specifies it. The same
    /// vocabulary always gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::TrieTooLarge`] for vocabularies of many megabytes.
    pub fn pack(&self) -> Result<Vec<u8>, VocabularyError> {
        match &self.rule {
            Rule::Bytes { offset } => {
                let kind = Kind::Bytes { offset: (*offset).into() };
                Ok(self.header(kind).to_bytes().to_vec())
            }
            Rule::Greedy => self.pack_strings(|cells, strings| Kind::Greedy { cells, strings }),
            &Rule::Words { is_lowered } => {
                self.pack_strings(|cells, strings| Kind::Words { cells, strings, is_lowered })
            }
            Rule::BytePair(pairs) => pairs.pack(self),
        }
    }

    fn header(&self, kind: Kind) -> Header {
        let longest = self.tokens.iter().map(Vec::len).max().unwrap_or(0);
        Header { kind, max_token_len: longest as u16, vocab_len: self.tokens.len() as u32 }
    }

    /// The section of a kind that has the trie and the strings alone.
    fn pack_strings(&self, kind: impl Fn(u32, u32) -> Kind) -> Result<Vec<u8>, VocabularyError> {
        let cells = trie::cells(&self.tokens)?;
        let strings = Strings::new(&self.tokens);
        let kind = kind(cells.len() as u32, strings.bytes.len() as u32);
        let header = self.header(kind).to_bytes();
        Ok([&header, cells.as_flattened(), &strings.starts, &strings.bytes].concat())
    }
}

/// A token in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

/// A file without the byte order mark that some editors put before text.
fn without_mark(file: &[u8]) -> &[u8] {
    file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file)
}

/// The packed string table.
struct Strings {
    /// Where blocks start, then where strings start in their blocks.
    starts: Vec<u8>,
    bytes: Vec<u8>,
}

impl Strings {
    fn new(tokens: &[Vec<u8>]) -> Self {
        let mut blocks = Vec::new();
        let mut starts = Vec::new();
        let (mut start, mut block) = (0, 0);
        for id in 0..=tokens.len() {
            if id % BLOCK_IDS == 0 {
                block = start;
                blocks.extend((block as u32).to_le_bytes());
            }
            // At most 15 tokens of at most `MAX_TOKEN_LEN` bytes stand before it in its block.
            starts.extend(((start - block) as u16).to_le_bytes());
            start += tokens.get(id).map_or(0, Vec::len);
        }
        Self { starts: [blocks, starts].concat(), bytes: tokens.concat() }
    }
}

/// A merge whose two tokens are in GPT-2's alphabet.
fn merge(number: usize, left: &str, right: &str) -> Result<[Vec<u8>; 2], VocabularyError> {
    match [left, right].map(byte_pair::from_alphabet) {
        [Some(left), Some(right)] if !left.is_empty() && !right.is_empty() => Ok([left, right]),
        _ => {
            let cause = "is not two tokens of the byte alphabet with a space between";
            Err(VocabularyError::Merge { number, cause })
        }
    }
}

/// The lines of a text form, by id.
#[derive(Default)]
struct Lines {
    /// The line and the bytes of every id from 0, `None` where no line has come.
    tokens: Vec<Option<(usize, Vec<u8>)>>,
    /// The line of every token.
    lines: HashMap<Vec<u8>, usize>,
}

impl Lines {
    fn insert(&mut self, line: usize, id: u32, token: Vec<u8>) -> Result<(), LineError> {
        let index = id as usize;
        if index >= self.tokens.len() {
            self.tokens.resize(index + 1, None);
        }
        if let Some((first, _)) = self.tokens[index] {
            return Err(LineError::DuplicateId { id, first });
        }
        if let Some(first) = self.lines.insert(token.clone(), line) {
            return Err(LineError::DuplicateToken { first });
        }
        self.tokens[index] = Some((line, token));
        Ok(())
    }

    fn into_tokens(self) -> Result<Vec<Vec<u8>>, VocabularyError> {
        let last = self.tokens.len().saturating_sub(1) as u32;
        let listed = (1..).zip(self.tokens.into_iter().skip(1)).map(|(missing, token)| {
            token.map(|(_, bytes)| bytes).ok_or(VocabularyError::Gap { missing, last })
        });
        std::iter::once(Ok(Vec::new())).chain(listed).collect()
    }
}

/// The id and the bytes of a line.
fn parse_line(line: &[u8]) -> Result<(u32, Vec<u8>), LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    let fields = line.split_once(' ').and_then(|(id, rest)| {
        let (literal, len) = rest.rsplit_once(' ')?;
        Some((id, literal, len))
    });
    let Some((id, literal, len)) = fields else {
        return Err(LineError::Fields { found: line.to_owned() });
    };
    let id = number(id)
        .filter(|id| (1..=MAX_ID).contains(id))
        .ok_or_else(|| LineError::Id { found: id.to_owned() })?;
    let token = literal::parse(literal)
        .map_err(|error| LineError::Literal { found: literal.to_owned(), error })?;
    if number(len).is_none_or(|len| len as usize != token.len()) {
        return Err(LineError::Length { found: len.to_owned(), expected: token.len() });
    }
    if !(1..=MAX_TOKEN_LEN).contains(&token.len()) {
        return Err(LineError::TokenLength { found: token.len() });
    }
    Ok((id, token))
}

/// A decimal number without a sign.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// A line of the text form is wrong.
    #[error("vocabulary line {line}: {error}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        error: LineError,
    },
    /// The text form lacks an id.
    #[error("the vocabulary has no line for id {missing}, expected every id from 1 to {last}")]
    Gap {
        /// The first id without a line.
        missing: u32,
        /// The largest id that has one.
        last: u32,
    },
    /// There is no token.
    #[error("the vocabulary is empty, expected at least one token")]
    NoTokens,
    /// There are more ids than a vocabulary of its kind can have.
    #[error("the vocabulary has {found} ids, expected at most {most}")]
    TooMany {
        /// The number of ids.
        found: usize,
        /// The most there may be.
        most: u32,
    },
    /// A token is too long.
    #[error("token {id} has {found} bytes, expected at most {most}")]
    TooLong {
        /// The token's id.
        id: u32,
        /// Its length in bytes.
        found: usize,
        /// The longest that it may be.
        most: usize,
    },
    /// Two ids have the same bytes.
    #[error("tokens {first} and {second} have the same bytes, expected every token once")]
    Duplicate {
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// Token 0, which ends a text, has bytes.
    #[error("token 0 has the bytes \"{}\", expected none: it ends a text", found.escape_ascii())]
    EndOfTextHasBytes {
        /// Its bytes.
        found: Vec<u8>,
    },
    /// A tokenizer file is not the JSON that it must be.
    #[error("not the JSON of a tokenizer: {cause}")]
    Json {
        /// What was found, and where.
        cause: String,
    },
    /// A tokenizer has a part that changes its tokens and that this version does not have.
    #[error(
        "tokenizer {part} is not supported; expected byte-level BPE with GPT-2's word pattern and \
         at most NFC, as 20B_tokenizer.json has it, or words between white space"
    )]
    Unsupported {
        /// The part, by its name in the file.
        part: String,
    },
    /// A byte-pair vocabulary has no merges.
    #[error("the vocabulary has no merges, expected those of a byte-pair vocabulary")]
    NoMerges,
    /// A merge is wrong or out of order.
    #[error("merge {number} {cause}")]
    Merge {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The metadata of a GGUF file describe no usable tokenizer.
    #[error("tokenizer metadata: {cause}")]
    Metadata {
        /// What was found and what was expected.
        cause: String,
    },
    /// The packed trie would need more cells than its links can address.
    #[error("the vocabulary's tokens do not fit a packed trie of 8,388,608 cells")]
    TrieTooLarge,
}

/// What is wrong with a line of the text form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is not UTF-8.
    #[error("not UTF-8, expected bytes outside UTF-8 as \\x escapes in a bytes literal")]
    NotUtf8,
    /// The line does not have three fields.
    #[error("found `{found}`, expected `id literal length`")]
    Fields {
        /// The line.
        found: String,
    },
    /// The id is not a number in range.
    #[error("found id `{found}`, expected a number from 1 to {MAX_ID}")]
    Id {
        /// The first field.
        found: String,
    },
    /// The literal is not one that Python would read.
    #[error("found `{found}`, expected a Python string or bytes literal: {error}")]
    Literal {
        /// The second field.
        found: String,
        /// What is wrong with it.
        error: LiteralError,
    },
    /// The third field is not the length of the token.
    #[error("found length `{found}`, expected {expected}, the number of the token's bytes")]
    Length {
        /// The third field.
        found: String,
        /// The token's length in bytes.
        expected: usize,
    },
    /// The token is empty or too long.
    #[error("found a token of {found} bytes, expected 1 to {MAX_TOKEN_LEN}")]
    TokenLength {
        /// The token's length in bytes.
        found: usize,
    },
    /// An earlier line has the same id.
    #[error("found id {id} again, expected an id other than that of line {first}")]
    DuplicateId {
        /// The id.
        id: u32,
        /// The number of the earlier line.
        first: usize,
    },
    /// An earlier line has the same token.
    #[error("found the token of line {first} again, expected every token once")]
    DuplicateToken {
        /// The number of the earlier line.
        first: usize,
    },
}
