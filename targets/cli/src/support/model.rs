//! Opening the model that a command works on.

use std::path::Path;

use anyhow::{Context, Result};
use kinglet::format::model::{Model, ModelError};
use kinglet::tokenizer::Tokenizer;
use kinglet_host::ModelFile;

use crate::args::{ModelArgs, ResidenceArgs};
use crate::support::terminal;

/// The model that the program brings along.
#[cfg(feature = "built-in-model")]
const BUILT_IN: Option<&[u8]> = Some(kinglet_stories::MODEL);
#[cfg(not(feature = "built-in-model"))]
const BUILT_IN: Option<&[u8]> = None;

/// Files below this length are verified whole: it takes a few milliseconds.
const VERIFY_BELOW: usize = 64 << 20;

/// A model's bytes, and the name by which to speak of it.
pub(crate) struct LoadedModel {
    name: String,
    bytes: Bytes,
    verify: bool,
}

enum Bytes {
    BuiltIn(&'static [u8]),
    Mapped(ModelFile),
}

impl LoadedModel {
    /// Maps the model file, or takes the built-in model.
    pub(crate) fn new(args: &ModelArgs) -> Result<Self> {
        let (name, bytes) = match &args.model {
            None => {
                let bytes = BUILT_IN.context(
                    "this build brings no model along; give one with `-m MODEL.kinglet`",
                )?;
                ("the built-in model".to_owned(), Bytes::BuiltIn(bytes))
            }
            Some(path) => {
                let map = ModelFile::open(path);
                let map = map.with_context(|| format!("cannot read {}", path.display()))?;
                (path.display().to_string(), Bytes::Mapped(map))
            }
        };
        Ok(Self { name, bytes, verify: args.verify })
    }

    /// [`new`](Self::new), with the model's file in memory where that is asked for.
    pub(crate) fn resident(args: &ModelArgs, residence: &ResidenceArgs) -> Result<Self> {
        let opened = Self::new(args)?;
        // The program's own memory holds the built-in model.
        if let Bytes::Mapped(map) = &opened.bytes {
            // What is not a model is refused before a large file is read.
            Model::open(map.bytes()).map_err(|error| opened.explain(error))?;
            // Locking reads the file too, and refuses at once what it cannot lock.
            if residence.lock {
                map.lock().with_context(|| opened.name.clone())?;
            } else if residence.preload {
                preload(map);
            }
        }
        Ok(opened)
    }

    /// What to call the model.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Opens and, if small or asked for, verifies the model.
    pub(crate) fn model(&self) -> Result<Model<'_>> {
        let bytes = match &self.bytes {
            Bytes::BuiltIn(bytes) => bytes,
            Bytes::Mapped(map) => map.bytes(),
        };
        let model = Model::open(bytes).map_err(|error| self.explain(error))?;
        if self.verify || bytes.len() < VERIFY_BELOW {
            model.verify_with(crc32fast::hash).map_err(|error| self.explain(error))?;
        }
        Ok(model)
    }

    /// The error with what to do about it.
    fn explain(&self, error: ModelError) -> anyhow::Error {
        let name = &self.name;
        let next = match error {
            ModelError::Magic { .. } | ModelError::TooShort { .. } => {
                "a checkpoint becomes a model file by `kinglet quantize CHECKPOINT -o MODEL`"
            }
            ModelError::Version { .. } | ModelError::Architecture { .. } => {
                "get a newer kinglet, or quantize the checkpoint again with this one"
            }
            _ => "copy the file again, or quantize the checkpoint again",
        };
        anyhow::anyhow!("{name}: {error}; {next}")
    }
}

/// Reads the model's file into memory.
fn preload(map: &ModelFile) {
    let bar = terminal::progress(
        map.bytes().len() as u64,
        "{bar:30} {percent}% · {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left",
    );
    map.preload(|done| bar.set_position(done as u64));
    bar.finish_and_clear();
}

/// The model's tokenizer.
pub(crate) fn tokenizer<'a>(model: &Model<'a>, name: &str) -> Result<Tokenizer<'a>> {
    let section = model.section(kinglet::format::model::Section::Tokenizer);
    if section.is_empty() {
        anyhow::bail!(
            "{name} has no vocabulary; quantize its checkpoint with `--vocab FILE` to give it one"
        );
    }
    Tokenizer::parse(section).with_context(|| format!("the tokenizer of {name}"))
}

/// Reads a whole file, naming it when that fails.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
