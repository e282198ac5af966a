//! Tensors over a memory map: checked when they are listed, decoded when their rows are read.
//!
//! ```text
//! row -> element offset (layout: shape, strides) -> stored values (dtype) -> f32 -> recover
//!     -> update of an adapter
//! ```
//!
//! [`TensorEntry::new`] proves that every element that a layout reaches lies in its storage, so reading
//! needs no check and cannot fail. Contiguous rows are decoded in one go; a transposed tensor is
//! read along the file's rows in blocks of 64, because single values of a bf16 row would be
//! fetched a cache line each.

use std::fmt;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::FileMap;
use super::containers::ggml_blocks;
use super::dtype::{BLOCK, Dtype, SUPER_BLOCK};
use super::error::{Problem, clip};
use super::layout::Layout;
use super::recover::Recover;
use super::update::Update;
use crate::multiversion::vectorized;

/// Most elements of a tensor that has more than its storage; no vector of a model is longer.
const MAX_EXPANDED: usize = 1 << 16;

/// Where a tensor lies: checked against the file when the checkpoint is opened.
#[derive(Debug, Clone)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    /// Which file of a checkpoint in several.
    pub(super) file: usize,
    pub(super) dtype: Dtype,
    /// Byte range of the storage in the file; a whole number of values.
    pub(super) storage: Range<usize>,
    /// First element, counted from the start of the storage.
    pub(super) offset: usize,
    pub(super) layout: Layout,
    pub(super) recover: Recover,
    /// What an adapter adds to a tensor of two dimensions.
    pub(super) update: Option<Box<Update>>,
}

impl TensorEntry {
    /// An entry whose every element is proved to lie in `storage`.
    ///
    /// A view may have more elements than its storage where a stride is 0, as `expand` leaves it,
    /// up to [`MAX_EXPANDED`]: beyond that a file's size would not bound what a reader allocates.
    pub(super) fn new(
        name: &str,
        dtype: Dtype,
        storage: Range<usize>,
        offset: usize,
        layout: Layout,
    ) -> Result<Self, Problem> {
        let (values, bytes) = dtype.block();
        let available = storage.len() / bytes * values;
        let reached = layout.end(offset).unwrap_or(usize::MAX);
        let elements = layout.elements();
        let needed = if elements <= MAX_EXPANDED { reached } else { reached.max(elements) };
        if needed > available {
            return Err(Problem::BeyondStorage {
                tensor: clip(name),
                shape: layout.shape().to_vec(),
                needed: needed as u64,
                available: available as u64,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            file: 0,
            dtype,
            storage,
            offset,
            layout,
            recover: Recover::Stored,
            update: None,
        })
    }
}

/// A tensor of a [`Checkpoint`](super::Checkpoint): a name, a shape, and values that are decoded
/// when they are asked for.
///
/// A row is the last dimension: a tensor of shape `[a, b, c]` has `a * b` rows of `c` columns, and
/// a vector, whether stored as `[d]` or `[1, 1, d]`, is one row.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    name: &'a str,
    dtype: Dtype,
    /// The storage; every element that `layout` reaches from `offset` lies in it.
    storage: &'a [u8],
    offset: usize,
    layout: Layout,
    recover: Recover,
    /// What an adapter adds, and the files that hold it.
    update: Option<(&'a Update, &'a [FileMap])>,
    /// Whether the last two dimensions were exchanged since the update was given.
    transposed: bool,
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {:?}", self.name, self.dtype, self.shape())
    }
}

impl<'a> Tensor<'a> {
    pub(super) fn new(entry: &'a TensorEntry, files: &'a [FileMap]) -> Self {
        Self {
            name: &entry.name,
            dtype: entry.dtype,
            storage: &files[entry.file][entry.storage.clone()],
            offset: entry.offset,
            layout: entry.layout,
            recover: entry.recover,
            update: entry.update.as_deref().map(|update| (update, files)),
            transposed: false,
        }
    }

    /// The name, in the official (BlinkDL) naming.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The dimensions as the official checkpoint has them, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// How the values are stored; those of the base where an adapter is merged in.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.layout.elements()
    }

    /// Bytes that the values take in the file; whole blocks are counted for a part of one.
    pub fn byte_len(&self) -> usize {
        let (values, bytes) = self.dtype.block();
        self.elements().div_ceil(values) * bytes
    }

    /// Whether the values are those of the official checkpoint, up to the rounding to `dtype`.
    ///
    /// `false` where a container stores only a function of them, as rwkv.cpp does for the decay
    /// of RWKV-4 and RWKV-5: the values are then computed back from it in f64, so that the
    /// function gives the stored number again up to rounding, but may differ from the official
    /// ones in the last places.
    pub fn is_exact(&self) -> bool {
        self.recover.is_exact()
    }

    /// Number of rows: the product of all dimensions but the last; 1 for a vector or a scalar.
    pub fn rows(&self) -> usize {
        let shape = self.shape();
        shape[..shape.len().saturating_sub(1)].iter().product()
    }

    /// Length of a row: the last dimension; 1 for a scalar.
    pub fn columns(&self) -> usize {
        self.layout.dimension(0).0
    }

    /// The same values with the last two dimensions exchanged; nothing is read or copied.
    ///
    /// Rows of the result are columns of the tensor, which is how the low-rank matrices of
    /// RWKV-6 and RWKV-7, stored `[in, rank]`, become `[rank, in]`. Several rows at once are read
    /// in the order in which they are stored, so ask for a few tens at a time. A vector stored
    /// `[d]` is its own transpose. Where an adapter is merged in, a column is made of whole
    /// merged rows, so that this is slow.
    pub fn transposed(self) -> Self {
        Self { layout: self.layout.transposed(), transposed: !self.transposed, ..self }
    }

    /// How many rows it is best to read together, at most 64: some share what has to be read
    /// for one of them.
    pub(crate) fn rows_together(&self) -> usize {
        let contiguous = self.layout.dimension(0).1 == 1 && self.update.is_none();
        if contiguous { 16 } else { 64 }
    }

    /// Decodes rows `rows` into `out`, shape `[rows.len()][columns]`.
    ///
    /// bf16, f16 and f32 are exact; f64 is rounded to nearest. Allocates nothing, unless an
    /// adapter is merged in: then the factors of its update, and one row for each thread.
    ///
    /// # Panics
    ///
    /// When `rows` ends beyond [`rows`](Self::rows) or `out` has another length than
    /// `rows.len() * columns`.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let columns = self.columns();
        assert!(rows.end <= self.rows(), "rows {rows:?} of a tensor with {} rows", self.rows());
        assert_eq!(out.len(), rows.len() * columns, "length of the output");
        if out.is_empty() {
            return;
        }
        match self.update {
            Some(_) if self.transposed => self.read_merged_columns(rows, out),
            Some((update, files)) => {
                self.read_stored_rows(rows.clone(), out);
                update.apply(files, rows.start, columns, out);
            }
            None => self.read_stored_rows(rows, out),
        }
    }

    /// Rows of a transposed and merged matrix, which are columns of the merged one.
    fn read_merged_columns(&self, rows: Range<usize>, out: &mut [f32]) {
        let merged = self.transposed();
        let columns = self.columns();
        let mut row = vec![0.0; merged.columns()];
        for column in 0..columns {
            merged.read_rows(column..column + 1, &mut row);
            for (out, value) in out.chunks_exact_mut(columns).zip(&row[rows.clone()]) {
                out[column] = *value;
            }
        }
    }

    /// [`read_rows`](Self::read_rows) of what the file stores.
    fn read_stored_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let columns = self.columns();
        // Rows of one plane lie a constant stride apart.
        let plane = self.layout.dimension(1).0;
        let mut row = rows.start;
        let mut rest = out;
        while row < rows.end {
            let run = (plane - row % plane).min(rows.end - row);
            let (block, after) = rest.split_at_mut(run * columns);
            self.read_block(self.offset + self.layout.row_offset(row), run, block);
            row += run;
            rest = after;
        }
    }

    /// Decodes the whole tensor into `out`, replacing its contents; shape `[rows][columns]`.
    pub fn read_all(&self, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.elements(), 0.0);
        self.read_rows(0..self.rows(), out);
    }

    /// Decodes `rows` rows of one plane, the first of which starts at element `first`.
    fn read_block(&self, first: usize, rows: usize, out: &mut [f32]) {
        let (columns, column_stride) = self.layout.dimension(0);
        let (_, row_stride) = self.layout.dimension(1);
        if column_stride == 1 || columns == 1 {
            for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                self.decode(first + i * row_stride, row);
            }
        } else if row_stride == 1 {
            self.read_columns(first, rows, column_stride, out);
        } else {
            for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    let element = first + i * row_stride + j * column_stride;
                    self.decode(element, std::slice::from_mut(value));
                }
            }
        }
    }

    /// Decodes a block whose columns are what is contiguous in the file.
    fn read_columns(&self, first: usize, rows: usize, column_stride: usize, out: &mut [f32]) {
        let columns = out.len() / rows;
        let mut buffer = [0.0; 64];
        for start in (0..rows).step_by(buffer.len()) {
            let run = (rows - start).min(buffer.len());
            for column in 0..columns {
                self.decode(first + start + column * column_stride, &mut buffer[..run]);
                for (i, &value) in buffer[..run].iter().enumerate() {
                    out[(start + i) * columns + column] = value;
                }
            }
        }
    }

    /// Decodes the `out.len()` values from element `first` of the storage on.
    fn decode(&self, first: usize, out: &mut [f32]) {
        let plain = |size: usize| &self.storage[first * size..][..out.len() * size];
        match self.dtype {
            Dtype::F64 => decode_with(plain(8), out, |b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => decode_with(plain(4), out, f32::from_le_bytes),
            Dtype::Bf16 => decode_bf16(plain(2), out),
            Dtype::F16 => decode_f16(plain(2), out),
            _ => self.decode_blocks(first, out),
        }
        self.recover.apply(out);
    }

    fn decode_blocks(&self, mut first: usize, mut out: &mut [f32]) {
        let (len, bytes) = self.dtype.block();
        let mut values = [0.0; SUPER_BLOCK];
        while !out.is_empty() {
            let (block, skip) = (first / len, first % len);
            let run = (len - skip).min(out.len());
            decode_block(self.dtype, &self.storage[block * bytes..][..bytes], &mut values[..len]);
            let (now, later) = out.split_at_mut(run);
            now.copy_from_slice(&values[skip..skip + run]);
            out = later;
            first += run;
        }
    }
}

fn decode_block(dtype: Dtype, block: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q8_0 => {
            decode_plain_block(dtype, block, out);
        }
        _ => ggml_blocks::decode(dtype, block, out),
    }
}

/// Decodes one block as ggml lays it out: scale, then minimum, then high bits, then low bits.
///
/// Four low bits of value `i` and of value `i + 16` share a byte. A scale times a value is exact
/// in f32; adding a minimum rounds once.
fn decode_plain_block(dtype: Dtype, block: &[u8], out: &mut [f32]) {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let scale = half(0);
    if dtype == Dtype::Q8_0 {
        for (value, &q) in out.iter_mut().zip(&block[2..]) {
            *value = scale * f32::from(q as i8);
        }
        return;
    }
    let has_minimum = matches!(dtype, Dtype::Q4_1 | Dtype::Q5_1);
    let has_high_bits = matches!(dtype, Dtype::Q5_0 | Dtype::Q5_1);
    // Without a minimum, values are centred on zero.
    let (minimum, centre) = match (has_minimum, has_high_bits) {
        (true, _) => (half(2), 0),
        (false, false) => (0.0, 8),
        (false, true) => (0.0, 16),
    };
    let (head, low) = block.split_at(block.len() - BLOCK / 2);
    let high = match head.last_chunk() {
        Some(&bits) if has_high_bits => u32::from_le_bytes(bits),
        _ => 0,
    };
    for (i, value) in out.iter_mut().enumerate() {
        let byte = low[i % (BLOCK / 2)];
        let nibble = if i < BLOCK / 2 { byte & 15 } else { byte >> 4 };
        let bit = (high >> i & 1) as i16;
        *value = scale * f32::from(i16::from(nibble) + 16 * bit - centre) + minimum;
    }
}

#[inline(always)]
fn decode_with<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (values, _) = bytes.as_chunks::<N>();
    for (value, &stored) in out.iter_mut().zip(values) {
        *value = decode(stored);
    }
}

vectorized! {
    fn decode_bf16(bytes: &[u8], out: &mut [f32]) {
        let upper = |stored| f32::from_bits(u32::from(u16::from_le_bytes(stored)) << 16);
        decode_with(bytes, out, upper);
    }
}

/// Converts in blocks, so that the processor's own conversion is looked up once a block.
fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    let mut block = [f16::ZERO; 64];
    let (values, _) = bytes.as_chunks::<2>();
    for (out, values) in out.chunks_mut(block.len()).zip(values.chunks(block.len())) {
        let block = &mut block[..values.len()];
        for (value, &stored) in block.iter_mut().zip(values) {
            *value = f16::from_le_bytes(stored);
        }
        block.convert_to_f32_slice(out);
    }
}
