//! `.safetensors`: a JSON header and raw little-endian values, read in place.
//!
//! The layout is eight bytes of header length, the header (name -> dtype, shape, byte range), and
//! the data, which the ranges must tile without overlap or hole. The `safetensors` crate reads
//! this too, but its errors name no tensor (or, for overlaps, an arbitrary one), a name that
//! occurs twice silently wins, and its header may take 100 MB; the tests compare with it.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::Listing;
use crate::checkpoint::Container;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::error::{Problem, clip};
use crate::checkpoint::layout::Layout;
use crate::checkpoint::tensor::TensorEntry;

/// Longest accepted header: forty times that of the largest official checkpoint.
const HEADER_LIMIT: u64 = 16 << 20;

/// Bytes of the header length.
const PREFIX: usize = 8;

#[derive(Deserialize)]
struct Description {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Key of the metadata of what [`export`](crate::export()) writes.
pub(crate) const EXPORT_MARK: &str = "kinglet-export";

/// The metadata, as far as it says anything here.
#[derive(Deserialize)]
struct Metadata {
    /// [`EXPORT_MARK`]
    #[serde(rename = "kinglet-export")]
    export: Option<IgnoredAny>,
}

/// The header in the order of the file, names that occur twice included.
struct Header {
    tensors: Vec<(String, Description)>,
    /// Whether the metadata has the mark of an export.
    exported: bool,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object: tensor name -> dtype, shape, data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut tensors, mut exported) = (Vec::new(), false);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        let metadata = map.next_value::<Option<Metadata>>()?;
                        exported |= metadata.is_some_and(|metadata| metadata.export.is_some());
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Header { tensors, exported })
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

/// Whether a file begins as safetensors files do: a length, then a JSON object.
pub(in crate::checkpoint) fn recognises(file: &[u8]) -> bool {
    file.get(PREFIX) == Some(&b'{')
}

/// Lists the tensors of a safetensors file in the order of their data.
pub(super) fn read(file: &[u8]) -> Result<Listing, Problem> {
    let (Header { mut tensors, exported }, start) = header(file)?;
    tensors.sort_by(|a, b| {
        let key = |t: &(String, Description)| t.1.data_offsets;
        key(a).cmp(&key(b)).then_with(|| a.0.cmp(&b.0))
    });
    let available = (file.len() - start) as u64;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        entries.push(entry(name, tensor, start, available)?);
    }
    check_tiling(&tensors, available)?;
    Ok(Listing { is_export: exported, ..Listing::new(Container::Safetensors, entries) })
}

/// The parsed header, and where the data begins.
fn header(file: &[u8]) -> Result<(Header, usize), Problem> {
    let room = (file.len() as u64).saturating_sub(PREFIX as u64);
    let limit = room.min(HEADER_LIMIT);
    let found = file.first_chunk().map_or(u64::MAX, |&bytes| u64::from_le_bytes(bytes));
    if found > limit {
        return Err(Problem::HeaderLength { found, limit });
    }
    let start = PREFIX + found as usize;
    let header = serde_json::from_slice(&file[PREFIX..start])
        .map_err(|error| Problem::Header { cause: clip(&error.to_string()) })?;
    Ok((header, start))
}

fn entry(
    name: &str,
    tensor: &Description,
    start: usize,
    available: u64,
) -> Result<TensorEntry, Problem> {
    let dtype = dtype(name, &tensor.dtype)?;
    let (begin, end) = tensor.data_offsets;
    if begin > end || end > available {
        return Err(Problem::ByteRange { tensor: clip(name), begin, end, available });
    }
    let layout = Layout::contiguous(name, &tensor.shape)?;
    let (found, expected) = (end - begin, dtype.bytes_of(layout.elements()).map(|n| n as u64));
    if expected != Some(found) {
        return Err(Problem::ByteLength {
            tensor: clip(name),
            shape: layout.shape().to_vec(),
            found,
            expected: expected.unwrap_or(u64::MAX),
        });
    }
    TensorEntry::new(name, dtype, start + begin as usize..start + end as usize, 0, layout)
}

fn dtype(name: &str, found: &str) -> Result<Dtype, Problem> {
    match found {
        "F64" => Ok(Dtype::F64),
        "F32" => Ok(Dtype::F32),
        "F16" => Ok(Dtype::F16),
        "BF16" => Ok(Dtype::Bf16),
        _ => Err(Problem::UnsupportedDtype { tensor: clip(name), found: clip(found) }),
    }
}

/// Every byte of the data belongs to exactly one tensor; `tensors` are sorted by their ranges.
fn check_tiling(tensors: &[(String, Description)], available: u64) -> Result<(), Problem> {
    let mut expected = 0;
    for (name, tensor) in tensors {
        let (found, end) = tensor.data_offsets;
        if found != expected {
            return Err(Problem::NotContiguous { tensor: clip(name), found, expected });
        }
        expected = end;
    }
    match available - expected {
        0 => Ok(()),
        found => Err(Problem::TrailingBytes { found }),
    }
}
