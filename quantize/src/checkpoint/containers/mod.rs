//! The files that checkpoints come in, a module for each, and how they are told apart.
//!
//! A container gives one [`Listing`], whatever it is; what follows from it, names, layouts and
//! metadata, is worked out by [`Checkpoint::open`](super::Checkpoint::open) alone.

mod bytes;
pub(super) mod ggml_blocks;
pub(super) mod gguf;
pub(super) mod hugging_face;
mod pickle;
mod pth;
mod rwkv_cpp;
pub(super) mod safetensors;
pub(super) mod web_rwkv;

use super::Container;
use super::declared::Declared;
use super::error::Problem;
use super::names::{Facts, Rule};
use super::tensor::Entry;

/// The table that makes a container's names and layouts official, and facts for it.
pub(super) type Naming = (&'static [Rule], Facts);

/// What a file holds.
pub(super) struct Listing {
    pub(super) container: Container,
    /// The tensors under the names that they have in the file.
    pub(super) entries: Vec<Entry>,
    /// The naming where the container has one of its own.
    pub(super) naming: Option<Naming>,
    /// What its metadata state of the model.
    pub(super) declared: Vec<Declared>,
    /// Whether [`export`](crate::export()) wrote it.
    pub(super) is_export: bool,
}

impl Listing {
    /// Tensors without anything that is said of them.
    fn new(container: Container, entries: Vec<Entry>) -> Self {
        Self { container, entries, naming: None, declared: Vec::new(), is_export: false }
    }
}

/// Lists the tensors of a file.
pub(super) fn list(file: &[u8]) -> Result<Listing, Problem> {
    match detect(file)? {
        Container::Pth => pth::read(file),
        Container::Gguf => gguf::read(file),
        Container::RwkvCpp => rwkv_cpp::read(file),
        _ => safetensors::read(file),
    }
}

/// Tells the container by the first bytes.
fn detect(file: &[u8]) -> Result<Container, Problem> {
    /// First bytes of a pickle whose first object is torch's magic number, protocols 2 to 5.
    const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    if file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06") {
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
