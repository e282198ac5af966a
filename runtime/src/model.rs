//! The model file, `.kinglet`, read in place.
//!
//! # The format, version 1.0
//!
//! All numbers are little-endian. The file starts with a header of 512 bytes;
//! then come the sections, each at a multiple of 64 bytes, in the order of
//! [`Section`], without overlap. Bytes between sections are zero.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 8]` | magic, `KINGLET\0` |
//! | 8 | u16 | major version, 1: a reader refuses a newer one |
//! | 10 | u16 | minor version, 0: a reader accepts a newer one |
//! | 12 | u32 | length of the header, 512 |
//! | 16 | u32 | architecture: 4, 6, 7 are RWKV-4, 6, 7; 0x50, 0x51, 0x52 are 5.0, 5.1, 5.2; 0x7A is 7a |
//! | 20 | u32 | layers |
//! | 24 | u32 | width |
//! | 28 | u32 | head size; 1 in RWKV-4 |
//! | 32 | u32 | ffn |
//! | 36 | u32 | vocab |
//! | 40 | `[u32; 8]` | ranks: decay, iclr, value, gate, shift, DeepEmbed, two reserved (0) |
//! | 72 | `[u8; 32]` | content hash |
//! | 104 | u32 | number of sections: 8, or 9 where DeepEmbed is not absent |
//! | 108 | u32 | reserved, 0 |
//! | 112 | `[section; 16]` | section table, 24 bytes an entry |
//! | 496 | `[u8; 12]` | reserved, 0 |
//! | 508 | u32 | CRC-32 of bytes 0 to 507 |
//!
//! A section entry is offset u64, length u64, CRC-32 of the section's bytes u32,
//! reserved u32. An absent section has length 0 and an offset within the file. Entries past the number of
//! sections are zero; a reader ignores entries that it does not know.
//!
//! **Directory.** One record of 32 bytes for each tensor, first those of
//! [`GLOBAL`](crate::tensors::GLOBAL), then those of each layer, in the order of
//! the architecture's table in [`tensors`]: rows u32, cols u32,
//! storage u32 (0 absent, 1 vector, 2 matrix, 3 sparse, 4 rows), group u32
//! (inputs per scale; 0 for a vector), multiplier f32 (a power of two; 1 where
//! the storage has none), reserved u32, offset u64 from the start of the file,
//! a multiple of 64. A tensor that its layer does not have is a record of zeros.
//!
//! **Vectors, Embedding, Layers, Head** hold the tensors: f32 vectors of the
//! whole model, `emb.weight` (LayerNorm ln0 folded in), the matrices of the
//! layers, `head.weight`. Vectors are as the checkpoint has them: the core
//! computes `exp(-exp(time_decay))` and its like, with its own `exp`. The five
//! matrices that RWKV-6 stacks in `time_maa_w2` are five tensors here. How a tensor's bytes lie is told by
//! [`Matrix`], [`SparseMatrix`] and [`RowTable`]: values, then at the next
//! multiple of 64 the f16 scales. int8 values lie in [-127, 127]; scales are +0
//! or positive normal numbers.
//!
//! **Start state** is empty or one state, `[f32]` of
//! [`Shape::state_len`](crate::shape::Shape::state_len), that a sequence starts
//! from instead of zeros.
//!
//! **Tokenizer** is described in [`tokenizer`](crate::tokenizer), **Provenance**
//! is UTF-8 text, lines of `key: value`.
//!
//! **DeepEmbed** holds `ffn.s_emb.weight` of every layer of an RWKV-7a, with the
//! share of the embedding, `LN0(emb) s_emb_x^T`, added to it. A token reads one
//! row per layer, so the section may lie in slower memory than the rest.
//!
//! The content hash is the SHA-256 of bytes 16 to 71 of the header, of the
//! directory with every offset zeroed, and of the sections Vectors, Embedding,
//! Layers, Head and, where the architecture has it, DeepEmbed. Models that compute the same numbers have the same hash;
//! provenance, tokenizer and start state are outside it.

use core::fmt;

use half::f16;

use crate::crc32::crc32;
use crate::matrix::{ALIGN, GROUPS, Matrix, RowTable, SparseMatrix, TensorLayout};
use crate::shape::{Architecture, Ranks, Shape, ShapeError};
use crate::tensors::{self, Storage, TensorName, TensorSpec};

#[cfg(target_endian = "big")]
compile_error!("a model file is read in place, which needs a little-endian target");

/// The first bytes of a model file.
pub const MAGIC: [u8; 8] = *b"KINGLET\0";
/// Major version that this crate reads and writes.
pub const MAJOR: u16 = 1;
/// Minor version that this crate writes.
pub const MINOR: u16 = 0;
/// Bytes of the header.
pub const HEADER_LEN: usize = 512;
/// Bytes of a directory record.
pub const RECORD_LEN: usize = 32;

const SECTION_TABLE: usize = 112;
const SECTION_ENTRY: usize = 24;
const SECTION_SLOTS: usize = 16;
const HEADER_CRC: usize = HEADER_LEN - 4;

/// A part of a model file, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(usize)]
pub enum Section {
    /// Records that say where the tensors lie.
    Directory,
    /// All f32 vectors.
    Vectors,
    /// The embedding table.
    Embedding,
    /// The layers' matrices.
    Layers,
    /// The output matrix.
    Head,
    /// The state that sequences start from, where it is not zero.
    StartState,
    /// The vocabulary.
    Tokenizer,
    /// Where the model came from, as text.
    Provenance,
    /// The DeepEmbed tables of RWKV-7a.
    DeepEmbed,
}

impl Section {
    /// All sections, in file order.
    pub const ALL: [Self; 9] = [
        Self::Directory,
        Self::Vectors,
        Self::Embedding,
        Self::Layers,
        Self::Head,
        Self::StartState,
        Self::Tokenizer,
        Self::Provenance,
        Self::DeepEmbed,
    ];

    /// Sections that every file counts, absent ones included.
    const COUNTED: usize = Self::DeepEmbed as usize;

    /// The name shown to users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Vectors => "vectors",
            Self::Embedding => "embedding",
            Self::Layers => "layers",
            Self::Head => "head",
            Self::StartState => "start state",
            Self::Tokenizer => "tokenizer",
            Self::Provenance => "provenance",
            Self::DeepEmbed => "DeepEmbed",
        }
    }

    /// The section that holds a tensor.
    pub const fn of(layer: Option<usize>, spec: &TensorSpec) -> Self {
        match (spec.storage, layer) {
            (Storage::Vector, _) => Self::Vectors,
            (Storage::Rows, None) => Self::Embedding,
            (Storage::Rows, Some(_)) => Self::DeepEmbed,
            (Storage::Matrix, None) => Self::Head,
            (_, _) => Self::Layers,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a section lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionEntry {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// CRC-32 of its bytes.
    pub crc: u32,
}

/// Why bytes are not a model that can be run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes end before the header does.
    TooShort {
        /// Bytes given.
        found: usize,
    },
    /// The bytes are something else than a model file.
    Magic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// The file is of a newer format.
    Version {
        /// Major version of the file.
        major: u16,
        /// Minor version of the file.
        minor: u16,
    },
    /// The header's own CRC-32 is wrong.
    HeaderCrc {
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },
    /// The architecture is not one that this crate runs.
    Architecture {
        /// Its number in the file.
        code: u32,
    },
    /// The architecture's feature is not on: [`Architecture::feature`].
    Disabled {
        /// The file's.
        architecture: Architecture,
    },
    /// A dimension is outside what this crate accepts.
    Shape(ShapeError),
    /// A section does not lie inside the file, or not at a multiple of 64 after the one before.
    SectionBounds {
        /// The section.
        section: Section,
        /// Where it starts.
        offset: u64,
        /// Its length.
        len: u64,
        /// Bytes in the file.
        file: u64,
    },
    /// The bytes do not start at a multiple of 64 in memory.
    Misaligned {
        /// The address modulo 64.
        remainder: usize,
    },
    /// A directory record does not fit the shape, or points outside its section.
    Tensor {
        /// The tensor.
        tensor: TensorName,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A section's bytes are damaged.
    SectionCrc {
        /// The section.
        section: Section,
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { found } => {
                write!(f, "{found} bytes are too few for the header of a model ({HEADER_LEN})")
            }
            Self::Magic { found } => write!(
                f,
                "not a Kinglet model: starts with \"{}\", expected \"{}\"",
                found.escape_ascii(),
                MAGIC.escape_ascii()
            ),
            Self::Version { major, minor } => write!(
                f,
                "model format {major}.{minor} is newer than this program reads ({MAJOR}.x)"
            ),
            Self::HeaderCrc { found, expected } => write!(
                f,
                "the header is damaged: CRC-32 is {found:08x}, the header says {expected:08x}"
            ),
            Self::Architecture { code } => write!(f, "architecture {code} is not known"),
            Self::Disabled { architecture } => write!(
                f,
                "the model is of {architecture}, which was left out of this build; build with the feature `{}`",
                architecture.feature()
            ),
            Self::Shape(error) => write!(f, "the header's shape is impossible: {error}"),
            Self::SectionBounds { section, offset, len, file } => write!(
                f,
                "section {section} ({len} bytes at {offset}) does not lie in the file of {file} bytes; the file may be cut short"
            ),
            Self::Misaligned { remainder } => write!(
                f,
                "the model lies {remainder} bytes past a multiple of {ALIGN} in memory; align it to {ALIGN}"
            ),
            Self::Tensor { tensor, problem } => write!(f, "tensor {tensor}: {problem}"),
            Self::SectionCrc { section, found, expected } => write!(
                f,
                "section {section} is damaged: CRC-32 is {found:08x}, the header says {expected:08x}"
            ),
        }
    }
}

impl core::error::Error for ModelError {}

/// `?`, for `const fn`.
macro_rules! check {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

const fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = bytes[at + i];
        i += 1;
    }
    out
}

const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

const fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

/// The header of a model file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// The model's dimensions.
    pub shape: Shape,
    /// SHA-256 over architecture, shape and weights.
    pub content_hash: [u8; 32],
    /// Where the sections lie, indexed by [`Section`].
    pub sections: [SectionEntry; Section::ALL.len()],
}

impl Header {
    /// Reads and checks the header of a model file. Works at compile time, so
    /// that a firmware's buffers can be sized from the model it contains:
    ///
    /// ```
    /// use kinglet::model::Header;
    /// static MODEL: &[u8] = kinglet_stories::MODEL;
    /// const HEADER: Header = match Header::parse(MODEL) {
    ///     Ok(header) => header,
    ///     Err(_) => panic!("the model is damaged"),
    /// };
    /// static STATE: [f32; HEADER.shape.state_len()] = [0.0; HEADER.shape.state_len()];
    /// assert_eq!(STATE.len(), 6 * 128 * 66);
    /// ```
    ///
    /// # Errors
    /// When `bytes` are not a whole model file of a known version and an
    /// [enabled](Architecture::enabled) architecture, as far as the header tells.
    pub const fn parse(bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() >= MAGIC.len() {
            let magic: [u8; 8] = bytes_at(bytes, 0);
            if u64::from_le_bytes(magic) != u64::from_le_bytes(MAGIC) {
                return Err(ModelError::Magic { found: magic });
            }
        }
        if bytes.len() < HEADER_LEN {
            return Err(ModelError::TooShort { found: bytes.len() });
        }
        let major = u16::from_le_bytes(bytes_at(bytes, 8));
        if major > MAJOR {
            let minor = u16::from_le_bytes(bytes_at(bytes, 10));
            return Err(ModelError::Version { major, minor });
        }
        let found = crc32(bytes.split_at(HEADER_CRC).0);
        let expected = u32_at(bytes, HEADER_CRC);
        if found != expected {
            return Err(ModelError::HeaderCrc { found, expected });
        }
        let shape = check!(Self::parse_shape(bytes));
        let sections = check!(Self::parse_sections(bytes));
        Ok(Self { shape, content_hash: bytes_at(bytes, 72), sections })
    }

    const fn parse_shape(bytes: &[u8]) -> Result<Shape, ModelError> {
        let code = u32_at(bytes, 16);
        let Some(architecture) = Architecture::from_code(code) else {
            return Err(ModelError::Architecture { code });
        };
        if !architecture.enabled() {
            return Err(ModelError::Disabled { architecture });
        }
        let shape = Shape {
            architecture,
            layers: u32_at(bytes, 20) as usize,
            width: u32_at(bytes, 24) as usize,
            head_size: u32_at(bytes, 28) as usize,
            ffn: u32_at(bytes, 32) as usize,
            vocab: u32_at(bytes, 36) as usize,
            ranks: Ranks {
                decay: u32_at(bytes, 40) as usize,
                iclr: u32_at(bytes, 44) as usize,
                value: u32_at(bytes, 48) as usize,
                gate: u32_at(bytes, 52) as usize,
                shift: u32_at(bytes, 56) as usize,
                deep_embed: u32_at(bytes, 60) as usize,
            },
        };
        match shape.check() {
            Ok(()) => Ok(shape),
            Err(error) => Err(ModelError::Shape(error)),
        }
    }

    const fn parse_sections(
        bytes: &[u8],
    ) -> Result<[SectionEntry; Section::ALL.len()], ModelError> {
        let file = bytes.len() as u64;
        let mut sections = [SectionEntry { offset: 0, len: 0, crc: 0 }; Section::ALL.len()];
        let mut end = HEADER_LEN as u64;
        let mut i = 0;
        while i < sections.len() {
            let at = SECTION_TABLE + i * SECTION_ENTRY;
            let entry = SectionEntry {
                offset: u64_at(bytes, at),
                len: u64_at(bytes, at + 8),
                crc: u32_at(bytes, at + 16),
            };
            let inside = entry.offset <= file && entry.len <= file - entry.offset;
            let in_order = entry.offset >= end && entry.offset.is_multiple_of(ALIGN as u64);
            // An absent section has no place among the others; its offset is mostly 0.
            if !inside || (entry.len != 0 && !in_order) {
                let SectionEntry { offset, len, .. } = entry;
                let section = Section::ALL[i];
                return Err(ModelError::SectionBounds { section, offset, len, file });
            }
            if entry.len != 0 {
                end = entry.offset + entry.len;
            }
            sections[i] = entry;
            i += 1;
        }
        Ok(sections)
    }

    /// The header's bytes.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(8, &MAJOR.to_le_bytes());
        put(10, &MINOR.to_le_bytes());
        put(12, &(HEADER_LEN as u32).to_le_bytes());
        let Shape { architecture, layers, width, head_size, ffn, vocab, ranks } = self.shape;
        put(16, &architecture.code().to_le_bytes());
        let fields = [layers, width, head_size, ffn, vocab];
        let ranks = ranks.list().map(|(_, rank)| rank);
        for (i, field) in fields.into_iter().chain(ranks).enumerate() {
            put(20 + 4 * i, &(field as u32).to_le_bytes());
        }
        put(72, &self.content_hash);
        let extra = self.section(Section::DeepEmbed).len != 0;
        put(104, &(Section::COUNTED as u32 + u32::from(extra)).to_le_bytes());
        for (i, entry) in self.sections.iter().enumerate() {
            let at = SECTION_TABLE + i * SECTION_ENTRY;
            put(at, &entry.offset.to_le_bytes());
            put(at + 8, &entry.len.to_le_bytes());
            put(at + 16, &entry.crc.to_le_bytes());
        }
        let crc = crc32(&bytes[..HEADER_CRC]);
        bytes[HEADER_CRC..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The entry of one section.
    pub const fn section(&self, section: Section) -> SectionEntry {
        self.sections[section as usize]
    }
}

const _: () = assert!(SECTION_TABLE + SECTION_SLOTS * SECTION_ENTRY + 12 == HEADER_CRC);

/// A directory record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// How the tensor is stored; `None` where the layer does not have it.
    pub storage: Option<Storage>,
    /// Outputs of a matrix, rows of a row table, 1 for a vector.
    pub rows: u32,
    /// Inputs of a matrix, length of a row or a vector.
    pub cols: u32,
    /// Inputs per scale; 0 for a vector.
    pub group: u32,
    /// Power of two that all scales are multiplied with.
    pub multiplier: f32,
    /// Bytes from the start of the file.
    pub offset: u64,
}

impl Record {
    /// The record of a tensor that its layer does not have.
    pub const ABSENT: Self =
        Self { storage: None, rows: 0, cols: 0, group: 0, multiplier: 0.0, offset: 0 };

    /// Reads a record; `None` when its storage is not known.
    pub const fn parse(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let storage = match u32_at(bytes, 8) {
            0 => None,
            1 => Some(Storage::Vector),
            2 => Some(Storage::Matrix),
            3 => Some(Storage::Sparse),
            4 => Some(Storage::Rows),
            _ => return None,
        };
        Some(Self {
            storage,
            rows: u32_at(bytes, 0),
            cols: u32_at(bytes, 4),
            group: u32_at(bytes, 12),
            multiplier: f32::from_bits(u32_at(bytes, 16)),
            offset: u64_at(bytes, 24),
        })
    }

    /// The record's bytes.
    pub fn emit(&self) -> [u8; RECORD_LEN] {
        let storage: u32 = match self.storage {
            None => 0,
            Some(Storage::Vector) => 1,
            Some(Storage::Matrix) => 2,
            Some(Storage::Sparse) => 3,
            Some(Storage::Rows) => 4,
        };
        let mut bytes = [0; RECORD_LEN];
        bytes[0..4].copy_from_slice(&self.rows.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.cols.to_le_bytes());
        bytes[8..12].copy_from_slice(&storage.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.group.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.multiplier.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Where the parts of the tensor lie.
    const fn layout(&self, storage: Storage) -> TensorLayout {
        TensorLayout::new(storage, self.rows as usize, self.cols as usize, self.group as usize)
    }

    fn check(
        &self,
        shape: &Shape,
        layer: Option<usize>,
        spec: &TensorSpec,
    ) -> Option<&'static str> {
        let wanted = layer.is_none_or(|layer| layer >= spec.first_layer);
        let storage = match (self.storage, wanted) {
            (Some(storage), true) => storage,
            (None, false) => return None,
            (None, true) => return Some("is absent"),
            (Some(_), false) => return Some("is not used by its layer"),
        };
        if storage != spec.storage {
            return Some("is stored in another way than its architecture has it");
        }
        let expected = (spec.rows.of(shape), spec.cols.of(shape));
        if (self.rows as usize, self.cols as usize) != expected {
            return Some("has another shape than the header says");
        }
        let group_known = match storage {
            Storage::Vector => self.group == 0,
            Storage::Matrix | Storage::Sparse => GROUPS.contains(&(self.group as usize)),
            Storage::Rows => self.group as usize == crate::matrix::ROW_GROUP,
        };
        if !group_known {
            return Some("has a group size that the format does not have");
        }
        let bits = self.multiplier.to_bits();
        let power_of_two = bits & 0x807F_FFFF == 0 && (1..=254).contains(&(bits >> 23));
        if !power_of_two {
            return Some("has a multiplier that is not a power of two");
        }
        None
    }

    fn lies_in(&self, storage: Storage, section: SectionEntry) -> bool {
        let len = self.layout(storage).len();
        let start = self.offset.checked_sub(section.offset);
        self.offset.is_multiple_of(ALIGN as u64)
            && start.is_some_and(|start| start <= section.len && len <= section.len - start)
    }
}

/// A model file in memory: in flash, in a `static`, or in a memory map. Nothing
/// is copied out of it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    header: Header,
    bytes: &'a [u8],
    directory: &'a [[u8; RECORD_LEN]],
}

impl<'a> Model<'a> {
    /// Opens a model file: checks header and directory, reads no weights.
    ///
    /// # Errors
    /// When the bytes are not a whole model file, or not aligned to 64.
    /// Damaged weights are found by [`verify`](Self::verify).
    pub fn open(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let header = Header::parse(bytes)?;
        let remainder = bytes.as_ptr().addr() % ALIGN;
        if remainder != 0 {
            return Err(ModelError::Misaligned { remainder });
        }
        let directory = section_bytes(bytes, &header, Section::Directory).as_chunks().0;
        let model = Self { header, bytes, directory };
        model.check_directory()?;
        Ok(model)
    }

    fn check_directory(&self) -> Result<(), ModelError> {
        let shape = &self.header.shape;
        let count = tensors::tensor_count(shape);
        for index in 0..count {
            let (layer, spec) = tensors::tensor(shape, index);
            let fail = |problem| {
                let tensor = TensorName { layer, name: spec.name };
                Err(ModelError::Tensor { tensor, problem })
            };
            let Some(bytes) = self.directory.get(index) else {
                return fail("has no directory record");
            };
            let Some(record) = Record::parse(bytes) else {
                return fail("has a storage that the format does not have");
            };
            if let Some(problem) = record.check(shape, layer, spec) {
                return fail(problem);
            }
            let section = self.header.section(Section::of(layer, spec));
            if record.storage.is_some_and(|storage| !record.lies_in(storage, section)) {
                return fail("lies outside its section");
            }
        }
        let start = self.section(Section::StartState).len() as u64;
        if start != 0 && start != 4 * shape.state_len() as u64 {
            let SectionEntry { offset, len, .. } = self.header.section(Section::StartState);
            let section = Section::StartState;
            let file = self.bytes.len() as u64;
            return Err(ModelError::SectionBounds { section, offset, len, file });
        }
        Ok(())
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The model's dimensions.
    pub const fn shape(&self) -> &Shape {
        &self.header.shape
    }

    /// The bytes of the whole file.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of one section; empty where the file does not have it.
    pub fn section(&self, section: Section) -> &'a [u8] {
        section_bytes(self.bytes, &self.header, section)
    }

    /// The start state, `[layer]` of the architecture's layer state, where the model has one.
    pub fn start_state(&self) -> Option<&'a [f32]> {
        let bytes = self.section(Section::StartState);
        if bytes.is_empty() { None } else { Some(bytemuck::cast_slice(bytes)) }
    }

    /// Where the model came from: lines of `key: value`. Empty if not UTF-8.
    pub fn provenance(&self) -> &'a str {
        core::str::from_utf8(self.section(Section::Provenance)).unwrap_or_default()
    }

    /// Checks the CRC-32 of every section, that vectors are finite, and that
    /// int8 values and scales keep the format's bounds. Reads the whole file.
    ///
    /// # Errors
    /// Names the first section or tensor that is damaged.
    pub fn verify(&self) -> Result<(), ModelError> {
        self.verify_with(crc32)
    }

    /// [`verify`](Self::verify) with another implementation of CRC-32, for
    /// machines that have instructions for it.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, crc32: impl Fn(&[u8]) -> u32) -> Result<(), ModelError> {
        for section in Section::ALL {
            let found = crc32(self.section(section));
            let expected = self.header.section(section).crc;
            if found != expected {
                return Err(ModelError::SectionCrc { section, found, expected });
            }
        }
        for index in 0..tensors::tensor_count(self.shape()) {
            if let Some(problem) = self.damage(index) {
                let (layer, spec) = tensors::tensor(self.shape(), index);
                let tensor = TensorName { layer, name: spec.name };
                return Err(ModelError::Tensor { tensor, problem });
            }
        }
        if self.start_state().is_some_and(|state| !state.iter().all(|x| x.is_finite())) {
            let tensor = TensorName { layer: None, name: "start state" };
            return Err(ModelError::Tensor { tensor, problem: "has a value that is not finite" });
        }
        Ok(())
    }

    /// What the values of tensor `index` violate, if anything.
    fn damage(&self, index: usize) -> Option<&'static str> {
        let record = self.record(index);
        let storage = record.storage?;
        if storage == Storage::Vector {
            let finite = self.floats(&record).iter().all(|x| x.is_finite());
            return (!finite).then_some("has a value that is not finite");
        }
        let (values, scales) = self.quantized(&record, storage);
        if values.contains(&i8::MIN) {
            return Some("has an int8 value of -128");
        }
        let bounded =
            scales.iter().all(|s| s.to_bits() == 0 || (0x0400..0x7C00).contains(&s.to_bits()));
        (!bounded).then_some("has a scale that is not a positive normal number or zero")
    }

    /// Directory record `index`, which [`open`](Self::open) has checked.
    fn record(&self, index: usize) -> Record {
        self.directory.get(index).and_then(Record::parse).unwrap_or(Record::ABSENT)
    }

    fn floats(&self, record: &Record) -> &'a [f32] {
        let start = record.offset as usize;
        let len = record.layout(Storage::Vector).values as usize;
        bytemuck::cast_slice(&self.bytes[start..start + len])
    }

    fn quantized(&self, record: &Record, storage: Storage) -> (&'a [i8], &'a [f16]) {
        let start = record.offset as usize;
        let layout = record.layout(storage);
        let scales = start + layout.scales_offset() as usize;
        (
            bytemuck::cast_slice(&self.bytes[start..start + layout.values as usize]),
            bytemuck::cast_slice(&self.bytes[scales..scales + 2 * layout.scales as usize]),
        )
    }

    /// Directory position of entry `position` of the layer table.
    fn index(&self, layer: usize, position: usize) -> usize {
        let table = tensors::layer_tensors(self.shape().architecture);
        tensors::GLOBAL.len() + layer * table.len() + position
    }

    /// Tensor `index` of the directory, whatever its storage; `None` where the
    /// layer does not have it.
    pub fn tensor(&self, index: usize) -> Option<Tensor<'a>> {
        let record = self.record(index);
        let (rows, cols) = (record.rows as usize, record.cols as usize);
        let group = record.group as usize;
        let multiplier = record.multiplier;
        let storage = record.storage?;
        if storage == Storage::Vector {
            return Some(Tensor::Vector(self.floats(&record)));
        }
        let (weights, scales) = self.quantized(&record, storage);
        Some(match storage {
            Storage::Sparse => Tensor::Sparse(SparseMatrix {
                rows,
                inputs: cols,
                group,
                multiplier,
                weights,
                scales,
            }),
            Storage::Rows => Tensor::Rows(RowTable { rows, width: cols, weights, scales }),
            _ => Tensor::Matrix(Matrix { rows, inputs: cols, group, multiplier, weights, scales }),
        })
    }

    /// Position `position` of `layer`'s table, a vector.
    ///
    /// # Panics
    /// When the table has something else there. Like [`matrix`](Self::matrix)
    /// and its siblings, meant for constants from [`tensors::position`].
    pub fn vector(&self, layer: usize, position: usize) -> &'a [f32] {
        match self.tensor(self.index(layer, position)) {
            Some(Tensor::Vector(vector)) => vector,
            _ => panic!("not a vector"),
        }
    }

    /// Position `position` of `layer`'s table, a matrix.
    ///
    /// # Panics
    /// When the table has something else there.
    pub fn matrix(&self, layer: usize, position: usize) -> Matrix<'a> {
        match self.tensor(self.index(layer, position)) {
            Some(Tensor::Matrix(matrix)) => matrix,
            _ => panic!("not a matrix"),
        }
    }

    /// Position `position` of `layer`'s table, a sparse matrix.
    ///
    /// # Panics
    /// When the table has something else there.
    pub fn sparse(&self, layer: usize, position: usize) -> SparseMatrix<'a> {
        match self.tensor(self.index(layer, position)) {
            Some(Tensor::Sparse(matrix)) => matrix,
            _ => panic!("not a sparse matrix"),
        }
    }

    /// Position `position` of `layer`'s table, a row table.
    ///
    /// # Panics
    /// When the table has something else there.
    pub fn rows(&self, layer: usize, position: usize) -> RowTable<'a> {
        match self.tensor(self.index(layer, position)) {
            Some(Tensor::Rows(table)) => table,
            _ => panic!("not a row table"),
        }
    }

    /// The embedding, `[vocab][width]`, ln0 folded in.
    pub fn embedding(&self) -> RowTable<'a> {
        const POSITION: usize = tensors::position(tensors::GLOBAL, "emb.weight");
        match self.tensor(POSITION) {
            Some(Tensor::Rows(table)) => table,
            _ => panic!("not a row table"),
        }
    }

    /// Weight and bias of the last LayerNorm: `[width]` each.
    pub fn ln_out(&self) -> (&'a [f32], &'a [f32]) {
        const WEIGHT: usize = tensors::position(tensors::GLOBAL, "ln_out.weight");
        const BIAS: usize = tensors::position(tensors::GLOBAL, "ln_out.bias");
        (self.floats(&self.record(WEIGHT)), self.floats(&self.record(BIAS)))
    }

    /// The output matrix, `[vocab][width]`.
    pub fn head(&self) -> Matrix<'a> {
        const POSITION: usize = tensors::position(tensors::GLOBAL, "head.weight");
        match self.tensor(POSITION) {
            Some(Tensor::Matrix(matrix)) => matrix,
            _ => panic!("not a matrix"),
        }
    }
}

/// A tensor of a model file.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Tensor<'a> {
    /// f32 values.
    Vector(&'a [f32]),
    /// For products with dense inputs.
    Matrix(Matrix<'a>),
    /// For products with inputs that are mostly zero.
    Sparse(SparseMatrix<'a>),
    /// Read one row at a time.
    Rows(RowTable<'a>),
}

/// The bytes of a section; [`Header::parse`] has checked that they are there.
fn section_bytes<'a>(bytes: &'a [u8], header: &Header, section: Section) -> &'a [u8] {
    let SectionEntry { offset, len, .. } = header.section(section);
    let (start, len) = (offset as usize, len as usize);
    bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}

/// Bytes at an address that is a multiple of 64, as a model must be.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(
    /// The bytes.
    pub T,
);

/// Puts a model file into the program, aligned as [`Model::open`] needs it:
/// a `&'static [u8]`.
///
/// ```ignore
/// static MODEL: &[u8] = kinglet::include_model!("world.kinglet");
/// ```
#[macro_export]
macro_rules! include_model {
    ($path:expr) => {{
        static MODEL: &$crate::model::Aligned<[u8]> =
            &$crate::model::Aligned(*include_bytes!($path));
        &MODEL.0
    }};
}
