//! Hugging Face directories: one file, or several and an index that says which tensor is where.
//! A file that lies in one is treated as the directory is.
//!
//! The index is only believed where the files agree with it. `config.json` gives what tensors
//! cannot (the head size, whether head and embedding are one, whether the embedding is
//! normalized); what both give is compared after the model is recognised. A key that would change
//! the model's numbers and is not implemented is refused by its name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::parts;
use crate::checkpoint::declared::{self, Declared, declare};
use crate::checkpoint::error::{CheckpointError, Problem, clip};
use crate::checkpoint::names::{FLA_V7, HF_V4_TO_V6, Rule};
use crate::checkpoint::tensor::TensorEntry;

const INDEXES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];
const SINGLES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// What PEFT saves.
const ADAPTERS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// What transformers and PEFT save beside the weights.
const COMPANIONS: [&str; 10] = [
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
];

/// Longest accepted index: it repeats every tensor's name once.
const INDEX_LIMIT: u64 = 16 << 20;

/// Longest accepted `config.json`.
const CONFIG_LIMIT: u64 = 1 << 20;

/// What a `config.json` states of the model.
#[derive(Default)]
pub(in crate::checkpoint) struct Config {
    /// Channels of a head.
    pub(in crate::checkpoint) head_size: Option<usize>,
    /// Whether the embedding, before ln0, is the head as well.
    pub(in crate::checkpoint) is_tied: bool,
    /// Whether it says that the embedding is not normalized.
    pub(in crate::checkpoint) is_without_ln0: bool,
    /// Whether it says that LayerNorms have no bias.
    pub(in crate::checkpoint) is_without_biases: bool,
    pub(in crate::checkpoint) declared: Vec<Declared>,
}

#[derive(Deserialize)]
pub(in crate::checkpoint) struct Index {
    #[serde(skip)]
    pub(in crate::checkpoint) path: PathBuf,
    /// Tensor -> file, both by the names that they have on disk.
    weight_map: BTreeMap<String, String>,
}

/// The files of a checkpoint in a directory, in the order in which to list them, and the index if
/// there is one.
pub(in crate::checkpoint) fn files(
    directory: &Path,
) -> Result<(Vec<PathBuf>, Option<Index>), CheckpointError> {
    if let Some(path) = existing(directory, INDEXES) {
        let index = read_index(&path).map_err(|problem| CheckpointError::new(&path, problem))?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        let files = names.iter().map(|name| directory.join(name)).collect();
        return Ok((files, Some(index)));
    }
    if let Some(path) = existing(directory, SINGLES).or_else(|| existing(directory, ADAPTERS)) {
        return Ok((vec![path], None));
    }
    match parts::first_in(directory) {
        Some(part) => Ok((parts_of(&part)?.unwrap_or_else(|| vec![part]), None)),
        None => Err(CheckpointError::new(directory, Problem::Directory)),
    }
}

/// The files that a file is one of, and the index that says so, if one does.
pub(in crate::checkpoint) fn files_with(
    path: &Path,
) -> Result<(Vec<PathBuf>, Option<Index>), CheckpointError> {
    let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name());
    for index in INDEXES.map(|name| folder.join(name)).iter().filter(|path| path.is_file()) {
        // What lies in the same folder may be damaged and have nothing to do with the file.
        let Ok(found) = read_index(index) else { continue };
        if found.weight_map.values().any(|file| Some(OsStr::new(file)) == name) {
            return files(folder);
        }
    }
    Ok((parts_of(path)?.unwrap_or_else(|| vec![path.to_owned()]), None))
}

fn parts_of(path: &Path) -> Result<Option<Vec<PathBuf>>, CheckpointError> {
    parts::of(path).map_err(|problem| CheckpointError::new(path, problem))
}

/// Whether a file is named as PEFT names adapters.
pub(in crate::checkpoint) fn is_adapter(name: &OsStr) -> bool {
    ADAPTERS.iter().any(|adapter| name == *adapter)
}

/// What the `config.json` of a directory states; nothing where there is none.
pub(in crate::checkpoint) fn config(directory: &Path) -> Result<Config, Problem> {
    let path = directory.join("config.json");
    if !path.is_file() {
        return Ok(Config::default());
    }
    let values = read_json(&path, CONFIG_LIMIT, |cause| Problem::Config { cause })?;
    let mut config = Config::default();
    for (key, value) in &values {
        declared::check_part(key, value)?;
        let Some(number) = value.as_f64() else { continue };
        let full_key = || format!("{key} in config.json");
        declare(&mut config.declared, declared::CONFIG, key, full_key, number)?;
    }
    let size = ["head_dim", "head_size"].into_iter().find_map(|key| values.get(key)?.as_u64());
    config.head_size = size.and_then(|size| size.try_into().ok());
    config.is_without_ln0 = values.get("norm_first") == Some(&Value::Bool(false));
    config.is_without_biases = values.get("norm_bias") == Some(&Value::Bool(false));
    config.is_tied = values.get("tie_word_embeddings") == Some(&Value::Bool(true));
    Ok(config)
}

/// Lists the embedding as the head where a model says that they are one. A head of its own counts
/// for nothing then: transformers puts the embedding in its place.
pub(in crate::checkpoint) fn tie(entries: &mut Vec<TensorEntry>) {
    let embedding = entries.iter().find(|entry| entry.name == "emb.weight");
    if let Some(head) =
        embedding.map(|entry| TensorEntry { name: "head.weight".to_owned(), ..entry.clone() })
    {
        entries.retain(|entry| entry.name != head.name);
        entries.push(head);
    }
}

/// Whether a file is named as vocabularies in RWKV's own form are, as text or as JSON.
fn is_own_form(name: &str) -> bool {
    name.starts_with("rwkv_vocab") && (name.ends_with(".txt") || name.ends_with(".json"))
}

/// The files of a directory whose names `is_wanted`; none of what is no directory.
fn named(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(move |path| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_wanted))
}

/// The files that belong to the checkpoint in a directory, whether they are read or not.
pub(in crate::checkpoint) fn companions(directory: &Path) -> impl Iterator<Item = PathBuf> {
    named(directory, |name| {
        let listed = [&INDEXES[..], &SINGLES, &ADAPTERS, &COMPANIONS].concat().contains(&name);
        listed || is_own_form(name) || name.ends_with(".safetensors")
    })
}

/// The file of a directory's vocabulary: RWKV's own form, text before JSON, before a
/// `tokenizer.json`, and that before the `vocab.txt` of transformers' RWKV-5.
pub(in crate::checkpoint) fn vocabulary(directory: &Path) -> Option<PathBuf> {
    let mut own_forms: Vec<_> = named(directory, is_own_form).collect();
    // Names have dates; the newest is last.
    own_forms.sort_unstable();
    let others = ["tokenizer.json", "vocab.txt"].map(|name| directory.join(name));
    own_forms.pop().or_else(|| others.into_iter().find(|path| path.is_file()))
}

fn existing(directory: &Path, names: [&str; 2]) -> Option<PathBuf> {
    names.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

/// Reads a JSON object of at most `limit` bytes.
pub(in crate::checkpoint) fn read_json(
    path: &Path,
    limit: u64,
    problem: fn(String) -> Problem,
) -> Result<Map<String, Value>, Problem> {
    serde_json::from_slice(&read_text(path, limit)?)
        .map_err(|error| problem(clip(&error.to_string())))
}

fn read_text(path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(Problem::Io)?;
    file.take(limit).read_to_end(&mut text).map_err(Problem::Io)?;
    Ok(text)
}

fn read_index(path: &Path) -> Result<Index, Problem> {
    let index: Index = serde_json::from_slice(&read_text(path, INDEX_LIMIT)?)
        .map_err(|error| Problem::Index { cause: clip(&error.to_string()) })?;
    index.weight_map.values().try_for_each(|name| check_file_name(name))?;
    Ok(Index { path: path.to_owned(), ..index })
}

/// An index may name files of its own directory only.
fn check_file_name(name: &str) -> Result<(), Problem> {
    if Path::new(name).file_name().is_some_and(|file| file == name) {
        return Ok(());
    }
    let cause = format!("names {:?}; expected a file of its own directory", clip(name));
    Err(Problem::Index { cause })
}

/// Checks that every tensor of the index is in the file it names.
pub(in crate::checkpoint) fn check(
    index: &Index,
    entries: &[TensorEntry],
    files: &[PathBuf],
) -> Result<(), Problem> {
    let mut missing = index.weight_map.clone();
    for entry in entries {
        let file = files[entry.file].file_name().and_then(|name| name.to_str());
        if missing.get(&entry.name).map(String::as_str) == file {
            missing.remove(&entry.name);
        }
    }
    match missing.into_iter().next() {
        Some((tensor, file)) => {
            Err(Problem::NotInShard { tensor: clip(&tensor), file: clip(&file) })
        }
        None => Ok(()),
    }
}

/// The naming of a Hugging Face checkpoint, told by its embedding; `None` for any other.
pub(in crate::checkpoint) fn naming(entries: &[TensorEntry]) -> Option<&'static [Rule]> {
    entries.iter().find_map(|entry| match entry.name.as_str() {
        "model.embeddings.weight" => Some(FLA_V7),
        "rwkv.embeddings.weight" => Some(HF_V4_TO_V6),
        _ => None,
    })
}
