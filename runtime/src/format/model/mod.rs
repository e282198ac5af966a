//! The model file, `.kinglet`, read in place.
//!
//! # The format, version 1.1
//!
//! All numbers are little-endian. The file starts with a header of 512 bytes;
//! then come the sections, each at a multiple of 64 bytes, in the order of
//! [`Section`], without overlap. Bytes between sections are zero.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 8]` | magic, `KINGLET\0` |
//! | 8 | u16 | major version, 1: a reader refuses a newer one |
//! | 10 | u16 | minor version: 1 where a matrix has weights of four bits, 0 otherwise; a reader accepts a newer one |
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
//! [`GLOBAL`](crate::format::tensors::GLOBAL), then those of each layer, in the order of
//! the architecture's table in [`tensors`]: rows u32, cols u32,
//! storage u32 (0 absent, 1 vector, 2 matrix, 3 sparse, 4 rows; with weights of four bits
//! 5 matrix, 6 sparse, 7 rows, which a reader of 1.0 refuses as unknown), group u32
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
//! multiple of 64 the f16 scales. int8 values lie in [-127, 127], int4 values are
//! [nibbles](crate::kernels::weights); scales are +0
//! or positive normal numbers.
//!
//! **Start state** is empty or one state, `[f32]` of
//! [`Shape::state_len`](crate::format::shape::Shape::state_len), that a sequence starts
//! from instead of zeros.
//!
//! **Tokenizer** is described in [`tokenizer`](crate::tokenizer), **Provenance**
//! is UTF-8 text, lines of `key: value`. A line `sampling:` states the options of the sampler that
//! the model is best used with ([`SamplerOptions::for_model`](crate::SamplerOptions::for_model)).
//!
//! **DeepEmbed** holds `ffn.s_emb.weight` of every layer of an RWKV-7a, with the
//! share of the embedding, `LN0(emb) s_emb_x^T`, added to it. A token reads one
//! row per layer, so the section may lie in slower memory than the rest.
//!
//! The content hash is the SHA-256 of bytes 16 to 71 of the header, of the
//! directory with every offset zeroed, and of the sections Vectors, Embedding,
//! Layers, Head and, where the architecture has it, DeepEmbed. Models that compute the same numbers have the same hash;
//! provenance, tokenizer and start state are outside it.

mod directory;
mod error;
mod header;
mod sampling;
mod section;
mod verify;

use half::f16;

pub use self::directory::{RECORD_LEN, Record};
pub use self::error::{ModelError, TensorProblem};
pub use self::header::{HEADER_LEN, Header, MAGIC, MAJOR, MINOR};
pub use self::section::{Section, SectionEntry};
pub use self::verify::Verifier;
use crate::format::shape::Shape;
use crate::format::tensors::{self, Storage, TensorName};
pub use crate::format::weights::LayerNorm;
use crate::format::weights::LayerTensors;
use crate::kernels::matrix::{ALIGN, Matrix, RowTable, SparseMatrix};
use crate::kernels::weights::{WeightType, Weights};
use crate::tokenizer::layout;

#[cfg(target_endian = "big")]
compile_error!("a model file is read in place, which needs a little-endian target");

/// A model file in memory: in flash, in a `static`, or in a memory map. Nothing
/// is copied out of it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    header: Header,
    bytes: &'a [u8],
    directory: &'a [[u8; RECORD_LEN]],
}

impl<'a> Model<'a> {
    /// Opens a model file: checks header, directory, start state and the tokenizer's size, and
    /// reads no weights.
    ///
    /// # Errors
    ///
    /// When the bytes are not a whole model file, or not aligned to 64.
    /// Damaged weights are found by [`verify`](Self::verify).
    pub fn open(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let header = Header::parse(bytes)?;
        Self::with_directory(bytes, header, section_bytes(bytes, &header, Section::Directory))
    }

    /// [`open`](Self::open) with a header and a directory that the caller has copied out of
    /// `bytes`, where the file may change while it is mapped: weights that change give other
    /// numbers, but a directory that changes would move them.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        bytes: &'a [u8],
        header: &[u8; HEADER_LEN],
        directory: &'a [u8],
    ) -> Result<Self, ModelError> {
        let header = Header::parse_front(header, bytes.len() as u64)?;
        Self::with_directory(bytes, header, directory)
    }

    fn with_directory(
        bytes: &'a [u8],
        header: Header,
        directory: &'a [u8],
    ) -> Result<Self, ModelError> {
        let remainder = bytes.as_ptr().addr() % ALIGN;
        if remainder != 0 {
            return Err(ModelError::Misaligned { remainder });
        }
        let directory = directory.as_chunks().0;
        // Records beyond the last tensor's are checked by nobody, so nobody may find them.
        let count = tensors::tensor_count(&header.shape);
        let directory = directory.get(..count).unwrap_or(directory);
        let model = Self { header, bytes, directory };
        model.check_directory()?;
        Ok(model)
    }

    fn check_directory(&self) -> Result<(), ModelError> {
        let shape = &self.header.shape;
        let count = tensors::tensor_count(shape);
        // Where the tensors so far end, in each section: the writer lays them down in order, so
        // that no two can share bytes.
        let mut ends = [0; Section::ALL.len()];
        for index in 0..count {
            let (layer, spec) = tensors::tensor(shape, index);
            let fail = |problem| {
                let tensor = TensorName { layer, name: spec.name };
                Err(ModelError::Tensor { tensor, problem })
            };
            let Some(bytes) = self.directory.get(index) else {
                return fail(TensorProblem::NoRecord);
            };
            let Some(record) = Record::parse(bytes) else {
                return fail(TensorProblem::UnknownStorage);
            };
            if let Some(problem) = record.check(shape, layer, spec) {
                return fail(problem);
            }
            let Some(storage) = record.storage else { continue };
            let section = Section::of(layer, spec);
            if !record.lies_in(storage, self.header.section(section)) {
                return fail(TensorProblem::Outside);
            }
            let end = &mut ends[section as usize];
            if record.offset < *end {
                return fail(TensorProblem::Overlap);
            }
            *end = record.offset + record.layout(storage).len();
        }
        let start = self.section(Section::StartState).len() as u64;
        if start != 0 && start != 4 * shape.state_len() as u64 {
            let SectionEntry { offset, len, .. } = self.header.section(Section::StartState);
            let section = Section::StartState;
            let file = self.bytes.len() as u64;
            return Err(ModelError::SectionBounds { section, offset, len, file });
        }
        self.check_start_state()?;
        self.check_tokenizer()
    }

    /// Refuses a start state that [`Engine::load_state`](crate::engine::Engine::load_state)
    /// would refuse.
    fn check_start_state(&self) -> Result<(), ModelError> {
        match self.start_state() {
            Some(state) if !state.iter().all(|x| x.is_finite()) => Err(ModelError::Tensor {
                tensor: TensorName { layer: None, name: "start state" },
                problem: TensorProblem::NonFinite,
            }),
            _ => Ok(()),
        }
    }

    /// Refuses a tokenizer with more ids than there are logits. Whether it is a tokenizer at all
    /// is for [`Tokenizer::parse`](crate::tokenizer::Tokenizer::parse) to say.
    fn check_tokenizer(&self) -> Result<(), ModelError> {
        let section = self.section(Section::Tokenizer);
        let vocab = self.shape().vocab;
        match section.first_chunk().map(layout::vocab_len) {
            Some(found) if found as usize > vocab => Err(ModelError::Tokenizer { found, vocab }),
            _ => Ok(()),
        }
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

    /// The token that ends a turn of a conversation, where the checkpoint's file named one: the
    /// line `end-of-turn` of its [`provenance`](Self::provenance). It ends a turn as the token that
    /// ends a text ends that.
    pub fn end_of_turn(&self) -> Option<u32> {
        // Bytes, because firmware that asks for nothing else here has no use for what checks UTF-8.
        let mut lines = self.section(Section::Provenance).split(|byte| *byte == b'\n');
        let digits = lines.find_map(|line| line.strip_prefix(b"end-of-turn: "))?;
        let id = digits.iter().try_fold(0_u32, |id, digit| {
            id.checked_mul(10)?.checked_add(char::from(*digit).to_digit(10)?)
        })?;
        (!digits.is_empty() && (id as usize) < self.shape().vocab).then_some(id)
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

    fn quantized(&self, record: &Record, storage: Storage) -> (Weights<'a>, &'a [f16]) {
        let start = record.offset as usize;
        let layout = record.layout(storage);
        let scales = start + layout.scales_offset() as usize;
        let values = &self.bytes[start..start + layout.values as usize];
        let values = match record.weights.read() {
            WeightType::Int8 => Weights::Int8(bytemuck::cast_slice(values)),
            WeightType::Int4 => Weights::Int4(values),
        };
        (values, bytemuck::cast_slice(&self.bytes[scales..scales + 2 * layout.scales as usize]))
    }

    /// Tensor `index` of the directory, whatever its storage; `None` where the
    /// layer does not have it, and beyond the last.
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
            Storage::Sparse => {
                Tensor::Sparse(SparseMatrix::new(rows, cols, group, multiplier, weights, scales)?)
            }
            Storage::Embedding => Tensor::Embedding(RowTable::new(rows, cols, weights, scales)?),
            _ => Tensor::Matrix(Matrix::new(rows, cols, group, multiplier, weights, scales)?),
        })
    }

    /// The tensor at a position of `layer`'s table, whatever its storage; `None` where the layer
    /// does not have it.
    pub fn layer_tensor(&self, layer: usize, position: usize) -> Option<Tensor<'a>> {
        let table = tensors::layer_tensors(self.shape().architecture);
        self.tensor(tensors::GLOBAL.len() + layer * table.len() + position)
    }

    /// The tensors of layer `layer`.
    pub(crate) const fn layer(&self, layer: usize) -> Layer<'_, 'a> {
        Layer { model: self, layer }
    }

    /// The embedding, `[vocab][width]`, ln0 folded in.
    pub fn embedding(&self) -> RowTable<'a> {
        const POSITION: usize = tensors::position(tensors::GLOBAL, "emb.weight");
        match self.tensor(POSITION) {
            Some(Tensor::Embedding(table)) => table,
            _ => panic!("not a row table"),
        }
    }

    /// The last LayerNorm: `[width]`.
    pub fn ln_out(&self) -> LayerNorm<'a> {
        const WEIGHT: usize = tensors::position(tensors::GLOBAL, "ln_out.weight");
        const BIAS: usize = tensors::position(tensors::GLOBAL, "ln_out.bias");
        LayerNorm {
            weight: self.floats(&self.record(WEIGHT)),
            bias: self.floats(&self.record(BIAS)),
        }
    }

    /// The output matrix, `[vocab][width]`.
    pub fn lm_head(&self) -> Matrix<'a> {
        const POSITION: usize = tensors::position(tensors::GLOBAL, "head.weight");
        match self.tensor(POSITION) {
            Some(Tensor::Matrix(matrix)) => matrix,
            _ => panic!("not a matrix"),
        }
    }
}

/// The tensors of one layer of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'m, 'a> {
    model: &'m Model<'a>,
    layer: usize,
}

impl<'a> Layer<'_, 'a> {
    fn tensor(&self, position: usize) -> Option<Tensor<'a>> {
        self.model.layer_tensor(self.layer, position)
    }
}

/// [`Model::open`] has checked that each tensor is stored as its table says, and the positions
/// are constants of that table: a panic here is an error of this crate.
impl<'a> LayerTensors<'a> for Layer<'_, 'a> {
    fn vector(&self, position: usize) -> &'a [f32] {
        match self.tensor(position) {
            Some(Tensor::Vector(vector)) => vector,
            _ => panic!("not a vector"),
        }
    }

    fn matrix(&self, position: usize) -> Matrix<'a> {
        match self.tensor(position) {
            Some(Tensor::Matrix(matrix)) => matrix,
            _ => panic!("not a matrix"),
        }
    }

    fn sparse(&self, position: usize) -> SparseMatrix<'a> {
        match self.tensor(position) {
            Some(Tensor::Sparse(matrix)) => matrix,
            _ => panic!("not a sparse matrix"),
        }
    }

    fn table(&self, position: usize) -> RowTable<'a> {
        match self.tensor(position) {
            Some(Tensor::Embedding(table)) => table,
            _ => panic!("not a row table"),
        }
    }

    fn is_first(&self) -> bool {
        self.layer == 0
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
    Embedding(RowTable<'a>),
}

impl Tensor<'_> {
    /// The type of its weights; `None` for a vector.
    pub fn weight_type(&self) -> Option<WeightType> {
        match self {
            Self::Vector(_) => None,
            Self::Matrix(matrix) => Some(matrix.weights().weight_type()),
            Self::Sparse(matrix) => Some(matrix.weights().weight_type()),
            Self::Embedding(table) => Some(table.weights().weight_type()),
        }
    }
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
        static MODEL: &$crate::format::model::Aligned<[u8]> =
            &$crate::format::model::Aligned(*include_bytes!($path));
        &MODEL.0
    }};
}
