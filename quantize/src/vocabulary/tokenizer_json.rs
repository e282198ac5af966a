//! Hugging Face's `tokenizer.json`, as far as it is byte-level BPE with GPT-2's word pattern, or
//! words that stand between white space.
//!
//! Such a file is a program: normalizer, splitter, model, decoder, each with options. Whatever
//! would give other tokens than the runtime's encoder does is refused by its name, and nothing is
//! ignored, because a tokenizer that is nearly right gives text that is nearly right.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::VocabularyError;
use super::byte_pair::{Added, Source, from_alphabet};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: Value,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u16,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u16>,
    merges: Vec<Merge>,
}

/// Newer files have pairs where older ones have text with a space between.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair([String; 2]),
    Text(String),
}

#[derive(Deserialize)]
struct Words {
    vocab: HashMap<String, u16>,
}

/// What a file describes.
pub(super) enum Parts {
    BytePair(Source),
    /// Words between white space, with a space before each.
    Words {
        tokens: Vec<Vec<u8>>,
        is_lowered: bool,
    },
}

/// Reads a file.
pub(super) fn read(json: &[u8]) -> Result<Parts, VocabularyError> {
    let file: File = serde_json::from_slice(json).map_err(fault)?;
    if kind(&file.model) == "WordLevel" {
        words(file)
    } else {
        byte_pairs(file).map(Parts::BytePair)
    }
}

fn fault(error: serde_json::Error) -> VocabularyError {
    VocabularyError::Json { cause: error.to_string() }
}

/// The music models' vocabularies, such as `tokenizer-midipiano.json`.
fn words(file: File) -> Result<Parts, VocabularyError> {
    let split = kind(&file.pre_tokenizer);
    if split != "WhitespaceSplit" {
        return Err(unsupported(format!("pre_tokenizer {split} of words")));
    }
    if !file.decoder.is_null() {
        return Err(unsupported(format!("decoder {} of words", kind(&file.decoder))));
    }
    let is_lowered = match kind(&file.normalizer) {
        _ if file.normalizer.is_null() => false,
        "Lowercase" => true,
        other => return Err(unsupported(format!("normalizer {other} of words"))),
    };
    let Words { vocab } = serde_json::from_value(file.model).map_err(fault)?;
    let mut tokens = Vec::new();
    let added = file.added_tokens.iter().map(|token| (&token.content, token.id));
    for (word, id) in vocab.iter().map(|(word, &id)| (word, id)).chain(added) {
        // Id 0 ends a text.
        let bytes = if id == 0 { Vec::new() } else { format!(" {word}").into_bytes() };
        if word.contains(char::is_whitespace) {
            return Err(unsupported(format!(
                "word {word:?} (id {id}), which has white space in it"
            )));
        }
        set(&mut tokens, id, bytes);
    }
    Ok(Parts::Words { tokens, is_lowered })
}

/// Byte-level BPE.
fn byte_pairs(file: File) -> Result<Source, VocabularyError> {
    check_model(&file.model)?;
    check_pattern(&file.pre_tokenizer)?;
    check_decoder(&file.decoder)?;
    let nfc = is_nfc(&file.normalizer)?;
    let model: Model = serde_json::from_value(file.model).map_err(fault)?;
    let mut source = Source { nfc, ..Source::default() };
    source.merges = merges(&model.merges)?;
    for (text, &id) in &model.vocab {
        // What is outside the alphabet can only be an added token.
        set(&mut source.tokens, id, from_alphabet(text).unwrap_or_else(|| text.clone().into()));
    }
    for token in &file.added_tokens {
        source.added.push(added(token, nfc)?);
        set(&mut source.tokens, token.id, token.content.clone().into_bytes());
    }
    Ok(source)
}

fn set(tokens: &mut Vec<Vec<u8>>, id: u16, bytes: Vec<u8>) {
    let id = usize::from(id);
    tokens.resize(tokens.len().max(id + 1), Vec::new());
    tokens[id] = bytes;
}

fn unsupported(part: impl Into<String>) -> VocabularyError {
    VocabularyError::Unsupported { part: part.into() }
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or("without a type")
}

fn is_set(value: &Value, key: &str) -> bool {
    !matches!(value.get(key), None | Some(Value::Null | Value::Bool(false)),)
        && value[key] != ""
        && value[key] != 0.0
}

/// Refuses what changes how bytes are merged.
fn check_model(model: &Value) -> Result<(), VocabularyError> {
    // Files from before the type was written have BPE's members.
    let is_old = model.get("type").is_none() && model.get("merges").is_some();
    if kind(model) != "BPE" && !is_old {
        return Err(unsupported(format!("model {}", kind(model))));
    }
    const OPTIONS: [&str; 6] = [
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    ];
    match OPTIONS.into_iter().find(|option| is_set(model, option)) {
        Some(option) => Err(unsupported(format!("model option {option}"))),
        None => Ok(()),
    }
}

/// Refuses another way to split text than GPT-2's.
fn check_pattern(pre_tokenizer: &Value) -> Result<(), VocabularyError> {
    if kind(pre_tokenizer) != "ByteLevel" {
        return Err(unsupported(format!("pre_tokenizer {}", kind(pre_tokenizer))));
    }
    if pre_tokenizer.get("add_prefix_space") != Some(&Value::Bool(false)) {
        return Err(unsupported("pre_tokenizer option add_prefix_space"));
    }
    if pre_tokenizer.get("use_regex") == Some(&Value::Bool(false)) {
        return Err(unsupported("pre_tokenizer without use_regex"));
    }
    Ok(())
}

fn check_decoder(decoder: &Value) -> Result<(), VocabularyError> {
    if decoder.is_null() || kind(decoder) == "ByteLevel" {
        return Ok(());
    }
    Err(unsupported(format!("decoder {}", kind(decoder))))
}

fn is_nfc(normalizer: &Value) -> Result<bool, VocabularyError> {
    if normalizer.is_null() {
        return Ok(false);
    }
    match (kind(normalizer), normalizer.get("normalizers").and_then(Value::as_array)) {
        ("NFC", _) => Ok(true),
        ("Sequence", Some(normalizers)) => {
            // Normalizing twice is normalizing once.
            normalizers.iter().try_fold(false, |nfc, one| Ok(is_nfc(one)? || nfc))
        }
        (other, _) => Err(unsupported(format!("normalizer {other}"))),
    }
}

fn merges(merges: &[Merge]) -> Result<Vec<[Vec<u8>; 2]>, VocabularyError> {
    (1..)
        .zip(merges)
        .map(|(number, merge)| {
            let (left, right) = match merge {
                Merge::Pair([left, right]) => (left.as_str(), right.as_str()),
                Merge::Text(text) => text.split_once(' ').unwrap_or((text, "")),
            };
            super::merge(number, left, right)
        })
        .collect()
}

fn added(token: &AddedToken, nfc: bool) -> Result<Added, VocabularyError> {
    let options =
        [("single_word", token.single_word), ("lstrip", token.lstrip), ("rstrip", token.rstrip)];
    if let Some((option, _)) = options.into_iter().find(|(_, is_set)| *is_set) {
        return Err(unsupported(format!("added token option {option} (id {})", token.id)));
    }
    if token.content.is_empty() {
        return Err(unsupported(format!("empty added token (id {})", token.id)));
    }
    let normalized = token.normalized.unwrap_or(!token.special);
    if normalized && nfc && !token.content.is_ascii() {
        return Err(unsupported(format!(
            "added token {:?} (id {}), which is normalized and not ASCII",
            token.content, token.id
        )));
    }
    Ok(Added { id: token.id, silent: token.special, normalized })
}
