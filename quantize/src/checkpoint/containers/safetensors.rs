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
use crate::grid;

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

/// Key of the metadata under which [`export`](crate::export()) keeps the grid of its weights.
pub(crate) const EXPORT_GRIDS: &str = "kinglet-grids";

/// The metadata, as far as it says anything here.
#[derive(Deserialize)]
struct Metadata {
    /// [`EXPORT_MARK`]
    #[serde(rename = "kinglet-export")]
    export: Option<IgnoredAny>,
    /// [`EXPORT_GRIDS`]
    #[serde(rename = "kinglet-grids")]
    grids: Option<String>,
    /// The version that Ai00's converter was told.
    rwkv_version: Option<String>,
}

/// The header in the order of the file, names that occur twice included.
struct Header {
    tensors: Vec<(String, Description)>,
    metadata: Option<Metadata>,
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
                let (mut tensors, mut metadata) = (Vec::new(), None);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        metadata = map.next_value::<Option<Metadata>>()?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Header { tensors, metadata })
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
    let (Header { mut tensors, metadata }, start) = header(file)?;
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
    let mut listing = Listing::new(Container::Safetensors, entries);
    if let Some(Metadata { export, grids, rwkv_version }) = metadata {
        listing.is_export = export.is_some();
        let grids = grids.map(|text| grid::from_text(&text)).transpose();
        let fault = |error: serde_json::Error| Problem::Header {
            cause: format!("{EXPORT_GRIDS}: {}", clip(&error.to_string())),
        };
        listing.grids = grids.map_err(fault)?.unwrap_or_default();
        listing.version = rwkv_version;
    }
    Ok(listing)
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
