//! Checkpoints as they are downloaded: one interface to every container.
//!
//! A [`Checkpoint`] is a memory-mapped file whose tensors are listed under their official
//! (BlinkDL) names. Opening it checks every offset and length against the file and reads no value;
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

mod error;
mod pickle;
mod pth;
mod safetensors;
mod tensor;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

pub use error::{CheckpointError, Problem};
pub use tensor::{Dtype, Tensor};

use error::clip;
use tensor::Entry;

/// The kind of file that a checkpoint was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// The zip archive of `torch.save`, PyTorch 1.6 and later.
    Pth,
    /// A safetensors file with the official names.
    Safetensors,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pth => "PyTorch .pth",
            Self::Safetensors => "safetensors",
        })
    }
}

/// An opened checkpoint: named tensors over a memory map.
///
/// The file must not be changed while it is open: values would change with it, and a file cut
/// short ends the process with a bus error.
pub struct Checkpoint {
    path: PathBuf,
    container: Container,
    file: Mmap,
    /// In the order of the file.
    entries: Vec<Entry>,
    /// Name -> position in `entries`.
    index: HashMap<String, usize>,
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
    /// No value is read. Memory and time are bounded by the container's directory (some hundred
    /// bytes a tensor), whatever the file claims.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no known container, is damaged, or holds anything but
    /// float tensors; see [`Problem`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::read(path).map_err(|problem| CheckpointError::new(path, problem))
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let file = map(path)?;
        let container = detect(&file)?;
        let entries = match container {
            Container::Pth => pth::read(&file)?,
            Container::Safetensors => safetensors::read(&file)?,
        };
        let index = index(&entries)?;
        Ok(Self { path: path.to_owned(), container, file, entries, index })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of file.
    pub fn container(&self) -> Container {
        self.container
    }

    /// The tensor of an official name, such as `blocks.0.att.key.weight`.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.index.get(name).map(|&i| Tensor::new(&self.entries[i], &self.file))
    }

    /// All tensors, in the order of the file, which is the fastest order to read them in.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.entries.iter().map(|entry| Tensor::new(entry, &self.file))
    }
}

fn index(entries: &[Entry]) -> Result<HashMap<String, usize>, Problem> {
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

/// Tells the container by the first bytes.
fn detect(file: &[u8]) -> Result<Container, Problem> {
    /// First bytes of a pickle whose first object is torch's magic number, protocols 2 to 5.
    const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let unsupported = |found| Err(Problem::UnsupportedContainer { found });
    if file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06") {
        return Ok(Container::Pth);
    }
    if file.starts_with(b"version https://git-lfs") {
        return Err(Problem::LfsPointer);
    }
    if file.starts_with(b"GGUF") {
        return unsupported("a GGUF file");
    }
    if file.starts_with(&0x6767_6d66_u32.to_le_bytes()) {
        return unsupported("an rwkv.cpp file");
    }
    let start = &file[..file.len().min(512)];
    let pickle = start.first() == Some(&0x80);
    if pickle && start.get(2..).is_some_and(|rest| rest.starts_with(LEGACY_MAGIC))
        || start.get(257..262) == Some(b"ustar")
    {
        return Err(Problem::LegacyTorch);
    }
    if is_html(start) {
        return Err(Problem::Html);
    }
    if safetensors::recognises(file) {
        return Ok(Container::Safetensors);
    }
    let found: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Err(Problem::UnknownContainer { found: found.join(" ") })
}

fn is_html(start: &[u8]) -> bool {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag)))
}
