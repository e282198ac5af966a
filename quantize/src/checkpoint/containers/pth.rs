//! `.pth`: the zip archive of `torch.save`, read in place.
//!
//! The archive holds one pickle (`<root>/data.pkl`) and one stored member per storage
//! (`<root>/data/<key>`), little-endian. Tensors are views of storages, with strides. Files of
//! before PyTorch 1.6 have the pickle and the storages one after another instead.
//!
//! `torch.save` stores its members. Archives that were packed again have deflated ones, which are
//! inflated when the file is opened: see [`inflate`](super::inflate).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::bytes::Bytes;
use super::inflate::{Deflated, Inflated, inflate};
use super::pickle::{self, PickledTensor, Scalar};
use super::{Checksum, Listing};
use crate::checkpoint::Container;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::error::{Problem, clip};
use crate::checkpoint::layout::Layout;
use crate::checkpoint::tensor::TensorEntry;

/// Longest accepted pickle: three times that of the largest official checkpoint, and short enough
/// that what a hostile instruction can cost (about a hundred bytes) adds up to 100 MB.
const PICKLE_LIMIT: u64 = 1 << 20;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Lists the tensors of a `torch.save` archive in the order of its state dict.
pub(super) fn read(file: &[u8]) -> Result<Listing, Problem> {
    let mut archive = Archive::new(Cursor::new(file)).map_err(zip_problem)?;
    let root = root_folder(&archive)?;
    check_byte_order(&mut archive, file, &root)?;
    let name = format!("{root}data.pkl");
    let pickle = member(&mut archive, file, &name)?.ok_or(Problem::PickleCount { found: 0 })?;
    let found = pickle.len();
    if found > PICKLE_LIMIT {
        return Err(Problem::PickleTooLong { found, limit: PICKLE_LIMIT });
    }
    let pickle = pickle.read(file, &name)?;
    let tensors = pickle::read_state_dict(&pickle)?;
    let mut storages = Storages {
        archive,
        file,
        root,
        known: HashMap::new(),
        inflated: Inflated::new(file.len()),
        checksums: Vec::new(),
    };
    let entries = tensors.iter().map(|tensor| storages.entry(tensor));
    let entries = entries.collect::<Result<_, _>>()?;
    let (checksums, inflated) = (storages.checksums, storages.inflated.finish()?);
    Ok(Listing { checksums, inflated, ..Listing::new(Container::Pth, entries) })
}

/// First bytes of a pickle of protocol 2 whose one object is torch's magic number.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether a file begins as `torch.save` of before version 1.6 does.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    file.starts_with(LEGACY_MAGIC)
}

/// Lists the tensors of a file that [`is_legacy`]. Each storage is its length in elements, eight
/// bytes, and its values.
pub(super) fn read_legacy(file: &[u8]) -> Result<Listing, Problem> {
    let limit = PICKLE_LIMIT as usize;
    let legacy = pickle::read_legacy(file, LEGACY_MAGIC.len(), limit)?;
    let mut bytes = Bytes::at(file, legacy.data);
    let mut storages = HashMap::new();
    for (key, scalar) in legacy.storages {
        let len = bytes.u64("storage length")?;
        let Some(scalar) = scalar else {
            return Err(bytes.fault(format!("found storage {key:?}, which no tensor has")));
        };
        let start = bytes.position();
        bytes.take(len.saturating_mul(scalar.size()), "storage")?;
        storages.insert(key, start..bytes.position());
    }
    let entries = legacy.tensors.iter().map(|tensor| {
        let missing =
            || Problem::MissingStorage { tensor: clip(tensor.name), member: clip(tensor.key) };
        let storage = storages.get(tensor.key).cloned().ok_or_else(missing)?;
        view(tensor, storage, tensor.key)
    });
    Ok(Listing::new(Container::Pth, entries.collect::<Result<_, _>>()?))
}

fn zip_problem(error: zip::result::ZipError) -> Problem {
    Problem::Zip { cause: clip(&error.to_string()) }
}

/// The folder that the pickle lies in, with its trailing slash; it has the file's first name.
fn root_folder(archive: &Archive<'_>) -> Result<String, Problem> {
    let mut roots = archive.file_names().filter_map(|name| {
        let root = name.ok()?.strip_suffix("data.pkl")?.to_owned();
        (root.is_empty() || root.ends_with('/')).then_some(root)
    });
    match (roots.next(), roots.count()) {
        (Some(root), 0) => Ok(root),
        (None, _) => Err(Problem::PickleCount { found: 0 }),
        (Some(_), others) => Err(Problem::PickleCount { found: others + 1 }),
    }
}

/// Refuses archives that say they were written by a big-endian machine.
fn check_byte_order(archive: &mut Archive<'_>, file: &[u8], root: &str) -> Result<(), Problem> {
    let name = format!("{root}byteorder");
    let Some(member) = member(archive, file, &name)?.filter(|member| member.len() < 64) else {
        return Ok(());
    };
    match member.read(file, &name)?.trim_ascii() {
        b"little" => Ok(()),
        found => Err(Problem::ByteOrder { found: clip(&String::from_utf8_lossy(found)) }),
    }
}

/// Where a member lies in the file.
enum Member {
    Stored(Range<usize>),
    Deflated(Deflated),
}

impl Member {
    /// Length of what was packed.
    fn len(&self) -> u64 {
        match self {
            Self::Stored(bytes) => bytes.len() as u64,
            Self::Deflated(deflated) => deflated.len,
        }
    }

    /// What was packed; inflated in memory, so only what is known to be short.
    fn read<'a>(&self, file: &'a [u8], name: &str) -> Result<Cow<'a, [u8]>, Problem> {
        match self {
            Self::Stored(bytes) => Ok(Cow::Borrowed(&file[bytes.clone()])),
            Self::Deflated(deflated) => {
                let mut bytes = Vec::new();
                inflate(file, deflated, name, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// The member of this name; `None` when the archive has none.
fn member(archive: &mut Archive<'_>, file: &[u8], name: &str) -> Result<Option<Member>, Problem> {
    let Some(index) = archive.index_for_name(name) else { return Ok(None) };
    let member = archive.by_index_raw(index).map_err(zip_problem)?;
    let packed = |found: String| Problem::PackedMember { member: clip(name), found };
    if member.encrypted() {
        return Err(packed("encrypted".to_owned()));
    }
    let file_len = file.len() as u64;
    let start = member.data_start().unwrap_or(file_len);
    let found = member.compressed_size();
    let bytes = match start.checked_add(found) {
        Some(end) if end <= file_len => start as usize..end as usize,
        _ => return Err(Problem::MemberBeyondFile { member: clip(name), start, found, file_len }),
    };
    match member.compression() {
        CompressionMethod::Stored => Ok(Some(Member::Stored(bytes))),
        CompressionMethod::DEFLATE => {
            let (len, crc) = (member.size(), member.crc32());
            Ok(Some(Member::Deflated(Deflated { bytes, len, crc })))
        }
        method => Err(packed(format!("compressed ({method})"))),
    }
}

/// The bytes of a storage.
#[derive(Clone)]
struct Place {
    /// 0 for the archive, 1 for what was inflated of it.
    file: usize,
    bytes: Range<usize>,
}

struct Storages<'a> {
    archive: Archive<'a>,
    file: &'a [u8],
    root: String,
    /// Places of the storages met so far, by key; several tensors may share one.
    known: HashMap<&'a str, Place>,
    inflated: Inflated,
    checksums: Vec<Checksum>,
}

impl<'a> Storages<'a> {
    fn entry(&mut self, tensor: &PickledTensor<'a>) -> Result<TensorEntry, Problem> {
        // A type that is not read is refused before its storage is looked for.
        dtype(tensor)?;
        let Place { file, bytes } = self.storage(tensor)?;
        let entry = view(tensor, bytes, &self.member_name(tensor.key))?;
        Ok(TensorEntry { file, ..entry })
    }

    fn storage(&mut self, tensor: &PickledTensor<'a>) -> Result<Place, Problem> {
        if let Some(place) = self.known.get(tensor.key) {
            return Ok(place.clone());
        }
        let name = self.member_name(tensor.key);
        let missing = || Problem::MissingStorage { tensor: clip(tensor.name), member: clip(&name) };
        let place = match member(&mut self.archive, self.file, &name)?.ok_or_else(missing)? {
            Member::Stored(bytes) => {
                self.note_checksum(&name, &bytes);
                Place { file: 0, bytes }
            }
            Member::Deflated(deflated) => {
                Place { file: 1, bytes: self.inflated.add(self.file, &deflated, &name)? }
            }
        };
        self.known.insert(tensor.key, place.clone());
        Ok(place)
    }

    fn note_checksum(&mut self, name: &str, bytes: &Range<usize>) {
        let index = self.archive.index_for_name(name);
        let expected = index.and_then(|index| Some(self.archive.by_index_raw(index).ok()?.crc32()));
        // Writers that leave the checksum out write 0.
        if let Some(expected @ 1..) = expected {
            self.checksums.push(Checksum { member: clip(name), bytes: bytes.clone(), expected });
        }
    }

    fn member_name(&self, key: &str) -> String {
        format!("{}data/{key}", self.root)
    }
}

/// A tensor over the bytes of its storage, which messages call `member`.
fn view(
    tensor: &PickledTensor<'_>,
    bytes: Range<usize>,
    member: &str,
) -> Result<TensorEntry, Problem> {
    let name = tensor.name;
    let dtype = dtype(tensor)?;
    let expected = tensor.storage_len.saturating_mul(dtype.block().1 as u64);
    let found = bytes.len() as u64;
    if expected > found {
        let (tensor, member) = (clip(name), clip(member));
        return Err(Problem::StorageLength { tensor, member, found, expected });
    }
    let layout = Layout::strided(name, &tensor.shape, &tensor.strides)?;
    let offset = usize::try_from(tensor.offset).unwrap_or(usize::MAX);
    TensorEntry::new(name, dtype, bytes.start..bytes.start + expected as usize, offset, layout)
}

fn dtype(tensor: &PickledTensor<'_>) -> Result<Dtype, Problem> {
    match tensor.scalar {
        Scalar::F64 => Ok(Dtype::F64),
        Scalar::F32 => Ok(Dtype::F32),
        Scalar::F16 => Ok(Dtype::F16),
        Scalar::Bf16 => Ok(Dtype::Bf16),
        Scalar::Other(found) => {
            Err(Problem::UnsupportedDtype { tensor: clip(tensor.name), found: found.to_owned() })
        }
    }
}
