//! Opening the model that a command works on.
//!
//! A file is mapped, not read, so that a command begins at once and processes share its pages. A
//! damaged one gives other text without a word, so that it is verified: a small one each time, a
//! large one once, and again where it has changed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use kinglet::format::model::{HEADER_LEN, Header, Model, ModelError, Section, SectionEntry};
use kinglet::tokenizer::Tokenizer;
use kinglet_host::ModelFile;
use kinglet_quantize::{Hex, content_hash};

use crate::args::{ModelArgs, ResidenceArgs};
use crate::support::{input, models, terminal, verified};

/// The model that the program brings along.
#[cfg(feature = "built-in-model")]
const BUILT_IN: Option<&[u8]> = Some(kinglet_stories::MODEL);
#[cfg(not(feature = "built-in-model"))]
const BUILT_IN: Option<&[u8]> = None;

/// Whether the program brings a model along.
pub(crate) const HAS_BUILT_IN: bool = BUILT_IN.is_some();

/// Files below this length are verified whole each time: it takes a few milliseconds. Longer ones
/// are verified once, and again where they have changed.
const VERIFY_BELOW: usize = 64 << 20;

/// A model's bytes, and the name by which to speak of it.
pub(crate) struct LoadedModel {
    name: String,
    bytes: Bytes,
    verify: bool,
    /// Whether the whole file is to stay in memory.
    resident: bool,
}

enum Bytes {
    BuiltIn(&'static [u8]),
    Mapped {
        file: ModelFile,
        path: PathBuf,
        /// Header and directory, copied out of the map: a file that changes meanwhile gives other
        /// numbers, but cannot move a tensor.
        front: Option<Box<([u8; HEADER_LEN], Vec<u8>)>>,
    },
}

impl LoadedModel {
    /// Maps the model file, by its path or its name in the models folder, or takes the built-in
    /// model.
    pub(crate) fn new(args: &ModelArgs) -> Result<Self> {
        let (name, bytes) = match &args.model {
            None => {
                let bytes = BUILT_IN.context(
                    "this build brings no model along; give one with `-m MODEL.kinglet` (`bench` \
                     and `fit` take `--shape SHAPE` instead)",
                )?;
                ("the built-in model".to_owned(), Bytes::BuiltIn(bytes))
            }
            Some(given) => {
                input::refuse_standard_input(given, "a model")?;
                let path = models::resolve(given)?;
                let map = ModelFile::open(&path);
                let map = map.with_context(|| format!("cannot read {}", path.display()))?;
                let front = front(map.bytes());
                let bytes = Bytes::Mapped { file: map, path, front };
                (given.display().to_string(), bytes)
            }
        };
        Ok(Self { name, bytes, verify: args.verify, resident: false })
    }

    /// [`new`](Self::new), with the model's file in memory where that is asked for.
    pub(crate) fn resident(args: &ModelArgs, residence: &ResidenceArgs) -> Result<Self> {
        let asked = [("--preload", residence.preload), ("--lock", residence.lock)];
        if let (None, Some((option, _))) = (&args.model, asked.into_iter().find(|(_, on)| *on)) {
            bail!("{option} is for a model file; give one with -m MODEL");
        }
        let mut opened = Self::new(args)?;
        opened.resident = residence.lock || residence.preload;
        // The program's own memory holds the built-in model.
        if let Bytes::Mapped { file: map, .. } = &opened.bytes {
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

    /// Opens the model and verifies it: a small file or the one that --verify is for whole, a
    /// large one once.
    pub(crate) fn model(&self) -> Result<Model<'_>> {
        let explain = |error| self.explain(error);
        let (model, path) = match &self.bytes {
            Bytes::BuiltIn(bytes) => (Model::open(bytes).map_err(explain)?, None),
            Bytes::Mapped { file, path, front } => {
                let model = match front.as_deref() {
                    Some((header, directory)) => Model::open_with(file.bytes(), header, directory),
                    None => Model::open(file.bytes()),
                };
                (model.map_err(explain)?, Some(path))
            }
        };
        let large = path.filter(|_| model.bytes().len() >= VERIFY_BELOW);
        match large {
            Some(path) if !self.verify => {
                if !verified::is_known(path) {
                    self.verify_large(&model)?;
                    self.release();
                    verified::remember(path);
                }
            }
            _ => model.verify_with(crc32fast::hash).map_err(explain)?,
        }
        if self.verify {
            self.verify_content_hash(&model)?;
        }
        Ok(model)
    }

    /// Gives back the memory of the embedding's rows, of which a run uses a few, and of all else
    /// until it is used, unless the file is to stay in memory.
    fn release(&self) {
        if let Bytes::Mapped { file, .. } = &self.bytes
            && !self.resident
        {
            file.release();
        }
    }

    /// Verifies a large model, and shows that it does.
    fn verify_large(&self, model: &Model<'_>) -> Result<()> {
        let len = model.bytes().len() as u64;
        let bar = terminal::progress(
            len,
            "{bar:30} {percent}% · checking the model, once · {decimal_bytes_per_sec}{left}",
        );
        let verified = model.verify_with(|section: &[u8]| {
            let mut crc = crc32fast::Hasher::new();
            for piece in section.chunks(8 << 20) {
                crc.update(piece);
                bar.inc(piece.len() as u64);
            }
            crc.finalize()
        });
        bar.finish_and_clear();
        verified.map_err(|error| self.explain(error))
    }

    fn verify_content_hash(&self, model: &Model<'_>) -> Result<()> {
        let (found, stated) = (content_hash(model), model.header().content_hash);
        if found != stated {
            bail!(
                "{}: the weights have the content hash {}, the header says {}; the file was not \
                 written by kinglet, or was changed: quantize the checkpoint again",
                self.name,
                Hex(&found),
                Hex(&stated)
            );
        }
        Ok(())
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

/// Copies of a file's header and directory, where it is long enough to have them.
fn front(bytes: &[u8]) -> Option<Box<([u8; HEADER_LEN], Vec<u8>)>> {
    let header = *bytes.first_chunk()?;
    let parsed = Header::parse_front(&header, bytes.len() as u64).ok()?;
    let SectionEntry { offset, len, .. } = parsed.section(Section::Directory);
    let directory = bytes.get(offset as usize..)?.get(..len as usize)?;
    Some(Box::new((header, directory.to_vec())))
}

/// Reads the model's file into memory.
fn preload(map: &ModelFile) {
    let bar = terminal::progress(
        map.bytes().len() as u64,
        "{bar:30} {percent}% · {decimal_bytes} of {decimal_total_bytes} · {decimal_bytes_per_sec}{left}",
    );
    map.preload(|done| bar.set_position(done as u64));
    bar.finish_and_clear();
}

/// The model's tokenizer.
pub(crate) fn tokenizer<'a>(model: &Model<'a>, name: &str) -> Result<Tokenizer<'a>> {
    let section = model.section(Section::Tokenizer);
    if section.is_empty() {
        bail!(
            "{name} has no vocabulary; quantize its checkpoint with `--vocab FILE` to give it one"
        );
    }
    Tokenizer::parse(section).with_context(|| format!("the tokenizer of {name}"))
}
