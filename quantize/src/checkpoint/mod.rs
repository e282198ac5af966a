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
mod biases;
mod bonus;
mod containers;
mod declared;
mod demo;
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
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

pub use adapter::Merged;
pub use dtype::Dtype;
pub use error::{CheckpointError, Problem};
pub use tensor::Tensor;

pub(crate) use declared::Declared;

pub(crate) use containers::safetensors::{EXPORT_GRIDS, EXPORT_MARK};

use containers::{Checksum, Naming, gguf, hugging_face, web_rwkv};
use error::clip;
use names::Facts;
use peft::PeftConfig;
use tensor::TensorEntry;

use crate::grid::{Grid, Grids};
use crate::note::Note;
use crate::vocabulary::Vocabulary;

/// A file's bytes, which parts of a checkpoint may share.
type FileMap = Arc<Mmap>;

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
    /// What it is called where its path does not say so.
    name: Option<String>,
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

    /// The name that it was given, where its path has another.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
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
    /// The grids that an export keeps.
    grids: Grids,
    /// The version of RWKV that a file states, such as `x060`.
    version: Option<String>,
    /// The base, and what was merged into it.
    sources: Vec<Source>,
    /// Those of all sources.
    files: Vec<FileMap>,
    /// In the order of the files.
    entries: Vec<TensorEntry>,
    /// Name -> position in `entries`.
    index: HashMap<String, usize>,
    /// The naming of the container, where it has one of its own.
    naming: Option<Naming>,
    /// What the container states beside them.
    declared: Vec<Declared>,
    /// What containers say of their members' bytes, and the files that those lie in.
    checksums: Vec<(usize, Checksum)>,
    /// The token that ends a turn of a conversation, where a file states one.
    end_of_turn: Option<u32>,
    /// What was told of its layout by a guess.
    guess: Option<Note>,
    /// Whether its configuration says that the embedding is the head as well.
    is_tied: bool,
    /// Whether its configuration says that the embedding is not normalized.
    is_without_ln0: bool,
    /// Whether its configuration says that LayerNorms have no bias.
    is_without_biases: bool,
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
        let (paths, index) = if path.is_dir() {
            hugging_face::files(path)?
        } else {
            hugging_face::files_with(path)?
        };
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
            grids: Grids::new(),
            version: None,
            sources: vec![Source {
                name: None,
                role: Role::Base,
                path: path.to_owned(),
                files: paths.to_vec(),
            }],
            files: Vec::with_capacity(paths.len()),
            entries: Vec::new(),
            index: HashMap::new(),
            naming: None,
            declared: Vec::new(),
            checksums: Vec::new(),
            end_of_turn: None,
            guess: None,
            is_tied: false,
            is_without_ln0: false,
            is_without_biases: false,
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
        // Parts of a GGUF file after the first say nothing of their own.
        self.naming = listing.naming.or(self.naming.take());
        let mut entries = match self.naming {
            Some((table, facts)) => names::translate(listing.entries, table, facts)?,
            None if listing.container == Container::Gguf => return Err(Problem::PartAlone),
            None => listing.entries,
        };
        entries.iter_mut().for_each(|entry| entry.file += self.files.len());
        self.container = listing.container;
        self.exported |= listing.is_export;
        self.grids.extend(listing.grids);
        self.version = listing.version.or(self.version.take());
        self.end_of_turn = self.end_of_turn.or(listing.end_of_turn);
        self.declared.extend(listing.declared);
        let checksums = listing.checksums.into_iter();
        self.checksums.extend(checksums.map(|checksum| (self.files.len(), checksum)));
        self.entries.append(&mut entries);
        self.files.push(file.into());
        self.files.extend(listing.inflated.map(Arc::new));
        Ok(())
    }

    /// Maps names and layouts to the official ones.
    fn make_official(&mut self) -> Result<(), Problem> {
        wrappings::take_off(&mut self.entries);
        web_rwkv::unify_lora(&mut self.entries);
        if demo::is_one(&self.entries) {
            demo::rename(&mut self.entries, &self.files)?;
            self.is_without_ln0 = true;
        }
        let entries = std::mem::take(&mut self.entries);
        self.entries = match self.naming_by(&entries)? {
            Some((table, facts)) => names::translate(entries, table, facts)?,
            None => entries,
        };
        if self.is_tied {
            hugging_face::tie(&mut self.entries);
        }
        if self.is_without_biases {
            biases::add_to_norms(&mut self.entries, &mut self.files)?;
        }
        biases::fold(&mut self.entries, &mut self.files)?;
        names::unify_shapes(&mut self.entries);
        bonus::unify_bonus(&mut self.entries, &self.files)?;
        self.index = index(&self.entries)?;
        Ok(())
    }

    /// The naming of files whose container has none of its own, told by their names.
    fn naming_by(&mut self, entries: &[TensorEntry]) -> Result<Option<Naming>, Problem> {
        if let Some(table) = hugging_face::naming(entries) {
            self.container = Container::HuggingFace;
            let config = hugging_face::config(self.folder())?;
            self.declared = config.declared;
            self.is_tied = config.is_tied;
            self.is_without_ln0 = config.is_without_ln0;
            self.is_without_biases = config.is_without_biases;
            return Ok(Some((table, Facts { head_size: config.head_size, ..Facts::default() })));
        }
        if self.container != Container::Safetensors {
            return Ok(None);
        }
        let told = web_rwkv::tell(entries, &self.path);
        self.guess = told.guess;
        if told.naming.is_some() {
            self.container = Container::WebRwkv;
        }
        Ok(told.naming)
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
        let folder =
            if self.path.is_dir() { &self.path } else { self.path.parent().unwrap_or(&self.path) };
        // The folder of a name alone is empty, which no system opens.
        if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
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

    /// Names the checkpoint itself for the provenance, where its path has another name than the
    /// published file.
    pub fn set_source_name(&mut self, name: impl Into<String>) {
        if let Some(base) = self.sources.iter_mut().find(|source| source.role == Role::Base) {
            base.name = Some(name.into());
        }
    }

    /// Where the tensors come from: the path that was opened, then what was merged into it.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The files that no output may replace: those that tensors come from, and what belongs to
    /// them in a Hugging Face directory, the configuration, the index and the vocabulary.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let files = self.sources.iter().flat_map(|source| source.files.iter().cloned());
        let folders = self.sources.iter().map(|source| match source.path.parent() {
            Some(folder) if self.is_in_folder() && !source.path.is_dir() => folder,
            _ => &source.path,
        });
        let beside = folders.flat_map(hugging_face::companions);
        files.chain(beside).collect()
    }

    /// Whether the embedding goes into layer 0 as it is: the configuration says so or an export
    /// has it folded in, and LayerNorm ln0 is absent.
    pub(crate) fn is_without_ln0(&self) -> bool {
        (self.is_without_ln0 || self.exported)
            && !self.index.keys().any(|name| name.starts_with("blocks.0.ln0."))
    }

    /// What was told of its layout by a guess.
    pub(crate) fn guess(&self) -> Option<Note> {
        self.guess
    }

    /// The version of RWKV, 4 to 7, that its metadata or else its name states as `x060` and the
    /// like, as files of the ecosystem do.
    pub(crate) fn stated_version(&self) -> Option<u8> {
        let name = self.path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
        let stated = self.version.iter().map(String::as_str).chain(name.as_deref());
        stated.into_iter().find_map(|text| {
            let numbers = text.match_indices("x0").map(|(at, _)| &text.as_bytes()[at + 2..]);
            let mut numbers = numbers.filter_map(|rest| match rest {
                [version @ b'4'..=b'7', b'0'..=b'9', ..] => Some(version - b'0'),
                _ => None,
            });
            numbers.next()
        })
    }

    /// The grid that an export keeps of a tensor.
    pub(crate) fn grid(&self, name: &str) -> Option<&Grid> {
        self.grids.get(name)
    }

    /// What the container states of the model's dimensions.
    pub(crate) fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// The token that ends a turn of a conversation, as a GGUF file's `eot_token_id` states it.
    pub fn end_of_turn(&self) -> Option<u32> {
        self.end_of_turn
    }

    /// The kind of file.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Whether it is what [`export`](crate::export()) wrote of a model file, in which LayerNorm
    /// ln0 is folded into the embedding.
    pub fn is_export(&self) -> bool {
        self.exported
    }

    /// Whether what it is lies in its folder: it is one, or a file of Hugging Face's.
    fn is_in_folder(&self) -> bool {
        self.path.is_dir() || self.container == Container::HuggingFace
    }

    /// The vocabulary that the container brings: a GGUF file's tokenizer metadata, or in a
    /// Hugging Face directory `rwkv_vocab*.txt`, the same as JSON, `tokenizer.json` or `vocab.txt`.
    /// `None` where there is none.
    ///
    /// # Errors
    ///
    /// When there is one that cannot be read or used; the weights may be usable all the same.
    pub fn vocabulary(&self) -> Result<Option<Vocabulary>, CheckpointError> {
        if self.is_in_folder() {
            let Some(path) = hugging_face::vocabulary(self.folder()) else { return Ok(None) };
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
