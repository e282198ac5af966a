//! The files that checkpoints come in, a module for each, and how they are told apart.
//!
//! A container gives one [`Listing`], whatever it is; what follows from it, names, layouts and
//! metadata, is worked out by [`Checkpoint::open`](super::Checkpoint::open) alone.

mod bytes;
pub(super) mod ggml_blocks;
pub(super) mod gguf;
pub(super) mod hugging_face;
mod inflate;
pub(super) mod parts;
mod pickle;
mod pth;
mod rwkv_cpp;
pub(super) mod safetensors;
pub(super) mod web_rwkv;

use std::ops::Range;

use kinglet::format::{model, state_file};
use memmap2::Mmap;

use super::Container;
use super::declared::Declared;
use super::error::Problem;
use super::names::{Facts, Rule};
use super::tensor::TensorEntry;
use crate::grid::Grids;

/// The table that makes a container's names and layouts official, and facts for it.
pub(super) type Naming = (&'static [Rule], Facts);

/// What a file holds.
pub(super) struct Listing {
    pub(super) container: Container,
    /// The tensors under the names that they have in the file.
    pub(super) entries: Vec<TensorEntry>,
    /// The naming where the container has one of its own.
    pub(super) naming: Option<Naming>,
    /// What its metadata state of the model.
    pub(super) declared: Vec<Declared>,
    /// Whether [`export`](crate::export()) wrote it.
    pub(super) is_export: bool,
    /// The grids that an export keeps.
    pub(super) grids: Grids,
    /// The version of RWKV that it states, such as `x060`.
    pub(super) version: Option<String>,
    /// The token that ends a turn of a conversation, where it states one.
    pub(super) end_of_turn: Option<u32>,
    /// What the container says of the bytes of its members.
    pub(super) checksums: Vec<Checksum>,
    /// What was inflated of it: file 1 of the entries, where 0 is the file itself.
    pub(super) inflated: Option<Mmap>,
}

/// The CRC-32 that an archive states of a member.
#[derive(Debug, Clone)]
pub(super) struct Checksum {
    pub(super) member: String,
    pub(super) bytes: Range<usize>,
    pub(super) expected: u32,
}

impl Checksum {
    /// Compares the member's bytes, all of which are read, with it.
    pub(super) fn check(&self, file: &[u8]) -> Result<(), Problem> {
        let found = crc32fast::hash(&file[self.bytes.clone()]);
        if found == self.expected {
            return Ok(());
        }
        let (member, expected) = (self.member.clone(), self.expected);
        Err(Problem::Checksum { member, found, expected })
    }
}

impl Listing {
    /// Tensors without anything that is said of them.
    fn new(container: Container, entries: Vec<TensorEntry>) -> Self {
        let (naming, declared, checksums) = (None, Vec::new(), Vec::new());
        Self {
            container,
            entries,
            naming,
            declared,
            is_export: false,
            grids: Grids::new(),
            version: None,
            end_of_turn: None,
            checksums,
            inflated: None,
        }
    }
}

/// Lists the tensors of a file.
pub(super) fn list(file: &[u8]) -> Result<Listing, Problem> {
    match detect(file)? {
        Container::Pth if pth::is_legacy(file) => pth::read_legacy(file),
        Container::Pth => pth::read(file),
        Container::Gguf => gguf::read(file),
        Container::RwkvCpp => rwkv_cpp::read(file),
        _ => safetensors::read(file),
    }
}

/// First bytes of files that are often given in place of a checkpoint, what they are, and what to
/// do.
const OTHERS: [(&[u8], &str, &str); 7] = [
    (
        &model::MAGIC,
        "a model file of kinglet already",
        "run it as it is, or give the checkpoint that it was made from",
    ),
    (&state_file::MAGIC, "a state of kinglet", "`kinglet run --state` goes on from it"),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
];

const UNPACK: &str = "unpack it first";

/// Tells the container by the first bytes.
fn detect(file: &[u8]) -> Result<Container, Problem> {
    let is_zip = file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06");
    if is_zip || pth::is_legacy(file) {
        return Ok(Container::Pth);
    }
    if file.starts_with(b"version https://git-lfs") {
        return Err(Problem::LfsPointer);
    }
    if file.starts_with(gguf::MAGIC) {
        return Ok(Container::Gguf);
    }
    if file.starts_with(&rwkv_cpp::MAGIC.to_le_bytes()) {
        return Ok(Container::RwkvCpp);
    }
    // "ggml" and "ggjt", as little-endian numbers like rwkv.cpp's.
    if file.starts_with(b"lmgg") || file.starts_with(b"tjgg") {
        return Err(Problem::UnsupportedContainer { found: "a ggml file from before GGUF" });
    }
    if let Some(&(_, found, next)) = OTHERS.iter().find(|(magic, ..)| file.starts_with(magic)) {
        return Err(Problem::OtherFile { found, next });
    }
    let start = &file[..file.len().min(512)];
    if start.get(257..262) == Some(b"ustar") {
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
