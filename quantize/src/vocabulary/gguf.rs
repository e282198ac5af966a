//! The tokenizer that a GGUF file's metadata describe.

use super::byte_pair::{Added, Source, from_alphabet};
use super::{Vocabulary, VocabularyError, literal};

/// GGUF's numbers of the sorts of tokens.
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;
const UNUSED: u32 = 5;

/// Names, by `tokenizer.ggml.pre`, of pre-tokenizers that are GPT-2's word pattern.
const GPT2_PATTERNS: [&str; 4] = ["gpt-2", "olmo", "mpt", "jais"];

/// The metadata under `tokenizer.ggml.`, as they stand in the file.
#[derive(Default)]
pub(crate) struct GgufTokenizer<'a> {
    /// The kind: `rwkv` or `gpt2`.
    pub(crate) model: Option<&'a str>,
    /// The name of the pre-tokenizer.
    pub(crate) pre: Option<&'a str>,
    /// Text by id.
    pub(crate) tokens: Vec<&'a [u8]>,
    /// The sort of each id; empty where the file does not say.
    pub(crate) types: Vec<u32>,
    /// Pairs of tokens with a space between.
    pub(crate) merges: Vec<&'a [u8]>,
}

impl GgufTokenizer<'_> {
    /// The vocabulary, or `None` where there is none.
    pub(crate) fn vocabulary(&self) -> Result<Option<Vocabulary>, VocabularyError> {
        match self.model {
            None | Some("none" | "no_vocab") => Ok(None),
            Some("rwkv") => self.rwkv().map(Some),
            Some("gpt2") => Vocabulary::from_source(self.gpt2()?).map(Some),
            Some(other) => Err(VocabularyError::Unsupported { part: format!("model {other:?}") }),
        }
    }

    fn kind(&self, id: usize) -> Option<u32> {
        self.types.get(id).copied()
    }

    fn text(&self, id: usize) -> Result<&str, VocabularyError> {
        std::str::from_utf8(self.tokens[id]).map_err(|_| VocabularyError::Metadata {
            cause: format!("token {id} is not UTF-8, expected text with escapes"),
        })
    }

    /// World's and other greedy vocabularies: tokens as Python escapes their bytes.
    fn rwkv(&self) -> Result<Vocabulary, VocabularyError> {
        let mut tokens = vec![Vec::new(); self.tokens.len()];
        for (id, token) in tokens.iter_mut().enumerate().skip(1) {
            if !matches!(self.kind(id), Some(CONTROL | UNUSED)) {
                *token = unescape(id, self.text(id)?)?;
            }
        }
        let len = tokens.iter().rposition(|token| !token.is_empty()).map_or(0, |last| last + 1);
        tokens.truncate(len);
        Vocabulary::from_tokens(tokens)
    }

    /// Byte-level BPE. GGUF does not say whether text is normalized; its other readers do not.
    fn gpt2(&self) -> Result<Source, VocabularyError> {
        if let Some(pre) = self.pre.filter(|pre| !GPT2_PATTERNS.contains(pre)) {
            return Err(VocabularyError::Unsupported { part: format!("pre-tokenizer {pre:?}") });
        }
        let mut source = Source::default();
        for id in 0..self.tokens.len() {
            let kind = self.kind(id);
            let text = self.text(id)?;
            let is_added = matches!(kind, Some(CONTROL | USER_DEFINED)) && !text.is_empty();
            source.tokens.push(match kind {
                Some(UNUSED) => Vec::new(),
                _ if is_added => text.into(),
                _ => from_alphabet(text).unwrap_or_else(|| text.into()),
            });
            if let (true, Ok(id)) = (is_added, u16::try_from(id)) {
                let silent = kind == Some(CONTROL);
                source.added.push(Added { id, silent, normalized: false });
            }
        }
        for (number, merge) in (1..).zip(&self.merges) {
            let text = std::str::from_utf8(merge).unwrap_or_default();
            let (left, right) = text.split_once(' ').unwrap_or_default();
            source.merges.push(super::merge(number, left, right)?);
        }
        Ok(source)
    }
}

/// The bytes of what stands between the quotes of a Python bytes literal.
fn unescape(id: usize, text: &str) -> Result<Vec<u8>, VocabularyError> {
    // Python quotes with the sort of quote that needs no escape.
    literal::parse(&format!("b'{text}'"))
        .or_else(|_| literal::parse(&format!("b\"{text}\"")))
        .map_err(|error| VocabularyError::Metadata {
            cause: format!("token {id} is {text:?}, expected bytes with Python's escapes: {error}"),
        })
}
