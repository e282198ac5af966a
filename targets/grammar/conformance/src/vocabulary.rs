//! Vocabularies of real models.

use kinglet::{Model, Section, Tokenizer};
use kinglet_quantize::vocabulary::Vocabulary;
use std::sync::Arc;
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

/// The vocabulary of the model that tells stories: 1,023 tokens.
///
/// # Panics
///
/// When the model cannot be opened.
#[must_use]
pub fn stories() -> Tokenizer<'static> {
    let model = Model::open(kinglet_stories::MODEL).expect("the model that ships");
    Tokenizer::parse(model.section(Section::Tokenizer)).expect("its vocabulary")
}

/// The packed vocabulary of the World models: 65,529 tokens.
///
/// # Panics
///
/// When it cannot be packed.
#[must_use]
pub fn world() -> Vec<u8> {
    let tokens = kinglet_world::tokens().map(<[u8]>::to_vec);
    Vocabulary::from_tokens(std::iter::once(Vec::new()).chain(tokens).collect())
        .and_then(|vocabulary| vocabulary.pack())
        .expect("the World vocabulary")
}

/// A vocabulary as llguidance has it.
#[must_use]
pub fn environment(tokenizer: &Tokenizer<'_>) -> TokEnv {
    let len = u32::try_from(tokenizer.vocab_len()).unwrap_or(u32::MAX);
    let words: Vec<Vec<u8>> = (0..len)
        .map(|id| tokenizer.token(id).map_or_else(|| b"\xff<end>".to_vec(), <[u8]>::to_vec))
        .collect();
    let trie = TokTrie::from(&TokRxInfo::new(len, 0), &words);
    Arc::new(ApproximateTokEnv::new(trie))
}
