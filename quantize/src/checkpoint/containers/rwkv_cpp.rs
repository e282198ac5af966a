//! rwkv.cpp `.bin`: a header of six numbers, then tensors one after another, unaligned.
//!
//! Names are the official ones; decays and time_first of RWKV-4 and RWKV-5 are stored as the
//! values that the recurrence uses, and low-rank matrices are transposed.

use super::Listing;
use super::bytes::Bytes;
use super::gguf::ggml_entry;
use crate::checkpoint::Container;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::error::{Problem, clip};
use crate::checkpoint::layout::{Layout, MAX_RANK};
use crate::checkpoint::names::{Facts, RWKV_CPP_V4, RWKV_CPP_V5, RWKV_CPP_V6, RWKV_CPP_V7, Rule};
use crate::checkpoint::tensor::TensorEntry;

/// "ggmf" as a little-endian number.
pub(in crate::checkpoint) const MAGIC: u32 = 0x6767_6d66;

/// Lists the tensors under their rwkv.cpp names.
pub(super) fn read(file: &[u8]) -> Result<Listing, Problem> {
    let mut bytes = Bytes::new(file);
    bytes.u32("magic")?;
    let version = bytes.i32("version")?;
    if !(100..=101).contains(&version) {
        return Err(bytes.fault(format!("found rwkv.cpp version {version}; expected 100 or 101")));
    }
    for what in ["vocabulary size", "embedding size", "layer count"] {
        let found = bytes.i32(what)?;
        if found <= 0 {
            return Err(bytes.fault(format!("found {what} {found}; expected a positive number")));
        }
    }
    bytes.i32("type")?;
    let mut entries = Vec::new();
    while !bytes.is_at_end() {
        entries.push(entry(&mut bytes, file, version)?);
    }
    let naming = Some((table(&entries), Facts::default()));
    Ok(Listing { naming, ..Listing::new(Container::RwkvCpp, entries) })
}

fn entry(bytes: &mut Bytes<'_>, file: &[u8], version: i32) -> Result<TensorEntry, Problem> {
    let rank = bytes.i32("number of dimensions")?;
    if rank < 0 || rank as usize > MAX_RANK {
        return Err(bytes.fault(format!("found {rank} dimensions; expected at most {MAX_RANK}")));
    }
    let name_len = bytes.i32("length of a name")?;
    let kind = bytes.i32("type of a tensor")?;
    let mut dims = Vec::new();
    for _ in 0..rank {
        dims.push(bytes.i32("dimension")?);
    }
    let name = bytes.text(u64::try_from(name_len).unwrap_or(u64::MAX), "tensor name")?;
    let dtype = dtype(kind, version).ok_or_else(|| Problem::UnsupportedDtype {
        tensor: clip(name),
        found: format!("type {kind} of rwkv.cpp version {version}"),
    })?;
    let shape = shape(name, &dims)?;
    let layout = Layout::contiguous(name, &shape)?;
    let entry = ggml_entry(name, dtype, layout, bytes.position() as u64, file)?;
    bytes.take(entry.storage.len() as u64, "tensor data")?;
    Ok(entry)
}

/// Outermost first; the file lists them innermost first.
fn shape(name: &str, dims: &[i32]) -> Result<Vec<u64>, Problem> {
    let positive = |&dim: &i32| {
        u64::try_from(dim).ok().filter(|&dim| dim > 0).ok_or_else(|| Problem::Shape {
            tensor: clip(name),
            cause: format!("has a dimension of {dim}; expected a positive number"),
        })
    };
    dims.iter().rev().map(positive).collect()
}

/// Blocks changed their layout between the two versions; floats did not.
fn dtype(kind: i32, version: i32) -> Option<Dtype> {
    match kind {
        0 => Some(Dtype::F32),
        1 => Some(Dtype::F16),
        2 if version > 100 => Some(Dtype::Q4_0),
        3 if version > 100 => Some(Dtype::Q4_1),
        7 if version > 100 => Some(Dtype::Q5_0),
        8 if version > 100 => Some(Dtype::Q5_1),
        9 if version > 100 => Some(Dtype::Q8_0),
        _ => None,
    }
}

/// What was done to the values differs between RWKV versions.
fn table(entries: &[TensorEntry]) -> &'static [Rule] {
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    if has("blocks.0.att.r_k") {
        RWKV_CPP_V7
    } else if has("blocks.0.att.time_maa_x") {
        RWKV_CPP_V6
    } else if has("blocks.0.att.ln_x.weight") {
        RWKV_CPP_V5
    } else {
        RWKV_CPP_V4
    }
}
