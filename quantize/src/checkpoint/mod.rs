//! Checkpoints as they are downloaded: one interface to every container.
//!
//! A [`Checkpoint`] is a memory-mapped file whose tensors are listed under their official
//! (BlinkDL) names. Opening it checks every offset and length against the file and reads no matrix;
//! rows are decoded to f32 when they are asked for, so a conversion needs memory for the rows it
//! works on and not for the checkpoint. Nothing in a file is ever executed.
//!
//! Containers are told apart by their content, not by their file name. Which RWKV version the
//! tensors make up, and whether they are complete, is not decided here.
//!
//! # Examples
//!
//! ```no_run
//! use std::path::Path;
//! use kinglet_quantize::checkpoint::Checkpoint;
//!
//! let checkpoint = Checkpoint::open(Path::new("rwkv7-0.1b.pth"))?;
//! let key = checkpoint.tensor("blocks.0.att.key.weight").expect("an RWKV checkpoint");
//! let mut rows = vec![0.0; 16 * key.columns()]; // [16][columns]
//! key.read_rows(0..16, &mut rows);
//! # Ok::<(), kinglet_quantize::checkpoint::CheckpointError>(())
//! ```

mod adapter;
mod bonus;
mod containers;
mod declared;
mod dtype;
mod error;
mod layout;
mod names;
mod peft;
mod recover;
mod tensor;
mod update;
mod wrappings;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

pub use adapter::Merged;
pub use dtype::Dtype;
pub use error::{CheckpointError, Problem};
pub use tensor::Tensor;

pub(crate) use declared::Declared;

pub(crate) use containers::safetensors::EXPORT_MARK;

use containers::{Checksum, Listing, Naming, gguf, hugging_face, web_rwkv};
use error::clip;
use names::Facts;
use peft::PeftConfig;
use tensor::TensorEntry;

use crate::vocabulary::Vocabulary;

/// The kind of file that a checkpoint was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// The zip archive of `torch.save`, PyTorch 1.6 and later.
    Pth,
    /// A safetensors file with the official names.
    Safetensors,
    /// A safetensors file of web-rwkv (`.st`).
    WebRwkv,
    /// A file or directory with the names of Hugging Face transformers or flash-linear-attention.
    HuggingFace,
    /// A GGUF file of llama.cpp's converter.
    Gguf,
    /// A file of rwkv.cpp (`.bin`).
    RwkvCpp,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pth => "PyTorch .pth",
            Self::Safetensors => "safetensors",
            Self::WebRwkv => "web-rwkv .st",
            Self::HuggingFace => "Hugging Face",
            Self::Gguf => "GGUF",
            Self::RwkvCpp => "rwkv.cpp .bin",
        })
    }
}

/// A file or directory that tensors were read from.
#[derive(Debug, Clone)]
pub struct Source {
    role: Role,
    path: PathBuf,
    files: Vec<PathBuf>,
}

/// What a source is to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Role {
    /// The checkpoint itself.
    Base,
    /// An adapter that was merged into it.
    Adapter {
        /// LoRA's alpha, where the adapter was scaled by it.
        alpha: Option<f64>,
    },
}

impl Source {
    /// What it is to the checkpoint.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold its tensors: itself, or those of the directory that it is, in the
    /// order of their names.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// An opened checkpoint: named tensors over a memory map.
///
/// The file must not be changed while it is open: values would change with it, and a file cut
/// short ends the process with a bus error.
pub struct Checkpoint {
    path: PathBuf,
    container: Container,
    /// Whether a file says that [`export`](crate::export()) wrote it.
    exported: bool,
    /// The base, and what was merged into it.
    sources: Vec<Source>,
    /// Those of all sources.
    files: Vec<Mmap>,
    /// In the order of the files.
    entries: Vec<TensorEntry>,
    /// Name -> position in `entries`.
    index: HashMap<String, usize>,
    /// What the container states beside them.
    declared: Vec<Declared>,
    /// What containers say of their members' bytes, and the files that those lie in.
    checksums: Vec<(usize, Checksum)>,
    /// Whether its configuration says that the embedding is the head as well.
    is_tied: bool,
    /// Whether its configuration says that the embedding is not normalized.
    is_without_ln0: bool,
    /// How its tensors count, where it is an adapter of Hugging Face PEFT.
    peft: Option<PeftConfig>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("container", &self.container)
            .field("tensors", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens a checkpoint and lists its tensors.
    ///
    /// `path` is a file, or a directory as Hugging Face lays it out. No matrix is read. Memory and
    /// time are bounded by the container's directory (some hundred bytes a tensor), whatever the
    /// file claims.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is no known container, is damaged, or holds anything but
    /// float tensors; see [`Problem`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let fault = |problem| CheckpointError::new(path, problem);
        let (paths, index) =
            if path.is_dir() { hugging_face::files(path)? } else { (vec![path.to_owned()], None) };
        let mut checkpoint = Self::read(path, &paths)?;
        if let Some(index) = index {
            hugging_face::check(&index, &checkpoint.entries, &paths)
                .map_err(|problem| CheckpointError::new(&index.path, problem))?;
        }
        checkpoint.peft = checkpoint.adapter_config().map_err(fault)?;
        checkpoint.make_official().map_err(fault)?;
        Ok(checkpoint)
    }

    /// Lists the tensors of all files under the names that they have there.
    fn read(path: &Path, paths: &[PathBuf]) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self {
            path: path.to_owned(),
            container: Container::Pth,
            exported: false,
            sources: vec![Source {
                role: Role::Base,
                path: path.to_owned(),
                files: paths.to_vec(),
            }],
            files: Vec::with_capacity(paths.len()),
            entries: Vec::new(),
            index: HashMap::new(),
            declared: Vec::new(),
            checksums: Vec::new(),
            is_tied: false,
            is_without_ln0: false,
            peft: None,
        };
        for path in paths {
            checkpoint.add_file(path).map_err(|problem| CheckpointError::new(path, problem))?;
        }
        Ok(checkpoint)
    }

    /// Takes in the tensors of a file, under official names where its container has a naming.
    fn add_file(&mut self, path: &Path) -> Result<(), Problem> {
        let file = map(path)?;
        let listing = containers::list(&file)?;
        let Listing { container, entries, naming, declared, is_export, checksums } = listing;
        let mut entries = match naming {
            Some((table, facts)) => names::translate(entries, table, facts)?,
            None => entries,
        };
        entries.iter_mut().for_each(|entry| entry.file = self.files.len());
        self.container = container;
        self.exported |= is_export;
        self.declared.extend(declared);
        self.checksums.extend(checksums.into_iter().map(|checksum| (self.files.len(), checksum)));
        self.entries.append(&mut entries);
        self.files.push(file);
        Ok(())
    }

    /// Maps names and layouts to the official ones.
    fn make_official(&mut self) -> Result<(), Problem> {
        wrappings::take_off(&mut self.entries);
        web_rwkv::unify_lora(&mut self.entries);
        let entries = std::mem::take(&mut self.entries);
        self.entries = match self.naming(&entries)? {
            Some((table, facts)) => names::translate(entries, table, facts)?,
            None => entries,
        };
        if self.is_tied {
            hugging_face::tie(&mut self.entries);
        }
        names::unify_shapes(&mut self.entries);
        bonus::unify_bonus(&mut self.entries, &self.files)?;
        self.index = index(&self.entries)?;
        Ok(())
    }

    /// The naming of files whose container has none of its own, told by their names.
    fn naming(&mut self, entries: &[TensorEntry]) -> Result<Option<Naming>, Problem> {
        if let Some(table) = hugging_face::naming(entries) {
            self.container = Container::HuggingFace;
            let config = hugging_face::config(self.folder())?;
            self.declared = config.declared;
            self.is_tied = config.is_tied;
            self.is_without_ln0 = config.is_without_ln0;
            return Ok(Some((table, Facts { head_size: config.head_size, ..Facts::default() })));
        }
        if self.container != Container::Safetensors {
            return Ok(None);
        }
        let naming = web_rwkv::naming(entries, &self.path);
        if naming.is_some() {
            self.container = Container::WebRwkv;
        }
        Ok(naming)
    }

    /// The configuration beside an adapter of Hugging Face PEFT, opened as a directory or by its
    /// file.
    fn adapter_config(&self) -> Result<Option<PeftConfig>, Problem> {
        let file = self.sources.first().and_then(|source| source.files.first()?.file_name());
        let is_adapter = file.is_some_and(hugging_face::is_adapter);
        if is_adapter { peft::read(self.folder()) } else { Ok(None) }
    }

    /// The directory that was opened, or that the file lies in.
    fn folder(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { self.path.parent().unwrap_or(Path::new("")) }
    }

    fn view<'a>(&'a self, entry: &'a TensorEntry) -> Tensor<'a> {
        Tensor::new(entry, &self.files)
    }

    /// Compares all bytes with the checksums that the containers state, which reads the files
    /// whole.
    ///
    /// # Errors
    ///
    /// When a member is damaged.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let check = |(file, checksum): &(usize, Checksum)| checksum.check(&self.files[*file]);
        let checked: Result<(), _> = self.checksums.par_iter().try_for_each(check);
        checked.map_err(|problem| CheckpointError::new(&self.path, problem))
    }

    /// Takes over the files of another checkpoint.
    fn adopt(&mut self, other: Self, role: Role) {
        let checksums = other.checksums.into_iter();
        self.checksums.extend(checksums.map(|(file, sum)| (self.files.len() + file, sum)));
        self.files.extend(other.files);
        self.sources.extend(other.sources.into_iter().map(|source| Source { role, ..source }));
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the tensors come from: the path that was opened, then what was merged into it.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The files that no output may replace: those that tensors come from, and what belongs to
    /// them in a Hugging Face directory, the configuration, the index and the vocabulary.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let files = self.sources.iter().flat_map(|source| source.files.iter().cloned());
        let beside = self.sources.iter().flat_map(|source| hugging_face::companions(&source.path));
        files.chain(beside).collect()
    }

    /// Whether the embedding goes into layer 0 as it is: the configuration says so, and LayerNorm
    /// ln0 is absent.
    pub(crate) fn is_without_ln0(&self) -> bool {
        self.is_without_ln0 && !self.index.keys().any(|name| name.starts_with("blocks.0.ln0."))
    }

    /// What the container states of the model's dimensions.
    pub(crate) fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// The kind of file.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Whether it is what [`export`](crate::export()) wrote of a model file, in which LayerNorm
    /// ln0 is folded into the embedding, and no checkpoint that could be converted again.
    pub fn is_export(&self) -> bool {
        self.exported
    }

    /// The vocabulary that the container brings: a GGUF file's tokenizer metadata, or in a
    /// Hugging Face directory `rwkv_vocab*.txt` or `tokenizer.json`. `None` where there is none.
    ///
    /// # Errors
    ///
    /// When there is one that cannot be read or used; the weights may be usable all the same.
    pub fn vocabulary(&self) -> Result<Option<Vocabulary>, CheckpointError> {
        if self.path.is_dir() {
            let Some(path) = hugging_face::vocabulary(&self.path) else { return Ok(None) };
            let fault = |problem| CheckpointError::new(&path, problem);
            let file = fs::read(&path).map_err(Problem::Io).map_err(fault)?;
            return Vocabulary::read(&file).map(Some).map_err(Problem::Vocabulary).map_err(fault);
        }
        let (Container::Gguf, Some(file)) = (self.container, self.files.first()) else {
            return Ok(None);
        };
        gguf::tokenizer(file)
            .and_then(|tokenizer| tokenizer.vocabulary().map_err(Problem::Vocabulary))
            .map_err(|problem| CheckpointError::new(&self.path, problem))
    }

    /// The tensor of an official name, such as `blocks.0.att.key.weight`.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.index.get(name).map(|&i| self.view(&self.entries[i]))
    }

    /// All tensors, in the order of the file, which is the fastest order to read them in.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.entries.iter().map(|entry| self.view(entry))
    }
}

fn index(entries: &[TensorEntry]) -> Result<HashMap<String, usize>, Problem> {
    if entries.is_empty() {
        return Err(Problem::NoTensors);
    }
    let mut index = HashMap::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        if index.insert(entry.name.clone(), i).is_some() {
            return Err(Problem::DuplicateTensor { tensor: clip(&entry.name) });
        }
    }
    Ok(index)
}

/// Maps a regular file of at least one byte.
fn map(path: &Path) -> Result<Mmap, Problem> {
    // Asked before opening: opening a pipe would wait for its writer.
    let kind = fs::metadata(path).map_err(Problem::Io)?;
    if kind.is_dir() {
        return Err(Problem::Directory);
    }
    if !kind.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = File::open(path).map_err(Problem::Io)?;
    if file.metadata().map_err(Problem::Io)?.len() == 0 {
        return Err(Problem::Empty);
    }
    map_file(&file).map_err(Problem::Io)
}

fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and seen only as plain bytes, for which every value is valid;
    // offsets and lengths read from it are checked against the map's own fixed length and kept, so
    // memory safety never rests on the bytes staying as they are. That no one writes to the
    // file meanwhile is asked of the caller in the documentation of `Checkpoint`.
    unsafe { Mmap::map(file) }
}
