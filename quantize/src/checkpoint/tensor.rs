use std::fmt;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;

use super::containers::ggml_blocks;
use super::error::{Problem, clip};
use super::update::Update;
use crate::multiversion::vectorized;

/// Largest number of dimensions of a tensor.
pub(super) const MAX_RANK: usize = 4;

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE binary64; read with one rounding to f32.
    F64,
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// ggml blocks of 32 4-bit values and an f16 scale.
    Q4_0,
    /// ggml blocks of 32 4-bit values, an f16 scale and an f16 minimum.
    Q4_1,
    /// ggml blocks of 32 5-bit values and an f16 scale.
    Q5_0,
    /// ggml blocks of 32 5-bit values, an f16 scale and an f16 minimum.
    Q5_1,
    /// ggml blocks of 32 8-bit values and an f16 scale.
    Q8_0,
    /// ggml blocks of 256 2-bit values, with a scale and a minimum for every 16.
    Q2K,
    /// ggml blocks of 256 3-bit values, with a scale for every 16.
    Q3K,
    /// ggml blocks of 256 4-bit values, with a scale and a minimum for every 32.
    Q4K,
    /// ggml blocks of 256 5-bit values, with a scale and a minimum for every 32.
    Q5K,
    /// ggml blocks of 256 6-bit values, with a scale for every 16.
    Q6K,
    /// ggml blocks of 32 numbers of 16 unevenly spaced values, and an f16 scale.
    Iq4Nl,
    /// ggml blocks of 256 such numbers, with a scale for every 32.
    Iq4Xs,
}

impl Dtype {
    /// Values that are stored together, and the bytes that they take.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q2K => (SUPER_BLOCK, 84),
            Self::Q3K => (SUPER_BLOCK, 110),
            Self::Q4K => (SUPER_BLOCK, 144),
            Self::Q5K => (SUPER_BLOCK, 176),
            Self::Q6K => (SUPER_BLOCK, 210),
            Self::Iq4Nl => (BLOCK, 18),
            Self::Iq4Xs => (SUPER_BLOCK, 136),
        }
    }

    /// Bytes of `elements` values; `None` when they are no whole number of blocks, or too many.
    pub(super) fn bytes_of(self, elements: usize) -> Option<usize> {
        let (values, bytes) = self.block();
        elements.is_multiple_of(values).then(|| (elements / values).checked_mul(bytes))?
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2_k",
            Self::Q3K => "q3_k",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
            Self::Iq4Nl => "iq4_nl",
            Self::Iq4Xs => "iq4_xs",
        })
    }
}

/// Values of a ggml block.
const BLOCK: usize = 32;
/// Values of a ggml block with scales for its parts.
const SUPER_BLOCK: usize = 256;

/// How official values follow from stored ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Recover {
    /// They are the stored values.
    Stored,
    /// Multiplied by a power of two, which is exact.
    Times(f32),
    /// The file stores `ln(x)`.
    Ln,
    /// The file stores `exp(x)`.
    Exp,
    /// The file stores `-exp(x)`.
    MinusExp,
    /// The file stores `exp(-exp(x))`.
    ExpMinusExp,
}

impl Recover {
    fn is_exact(self) -> bool {
        matches!(self, Self::Stored | Self::Times(_))
    }

    fn apply(self, values: &mut [f32]) {
        let each = |values: &mut [f32], f: fn(f64) -> f64| {
            for value in values {
                *value = f(f64::from(*value)) as f32;
            }
        };
        match self {
            Self::Stored => {}
            Self::Times(factor) => values.iter_mut().for_each(|value| *value *= factor),
            Self::Ln => each(values, f64::exp),
            Self::Exp => each(values, f64::ln),
            Self::MinusExp => each(values, |y| (-y).ln()),
            // A decay that rounded to 0 or 1 comes back as one that rounds there again.
            Self::ExpMinusExp => {
                each(values, |y| (-y.clamp(2f64.powi(-150), 1.0 - 2f64.powi(-25)).ln()).ln());
            }
        }
    }
}

/// Shape and strides, in elements, outermost dimension first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Layout {
    /// The layout of a row-major tensor.
    pub(super) fn contiguous(tensor: &str, shape: &[u64]) -> Result<Self, Problem> {
        check_rank(tensor, shape.len())?;
        let mut strides = [0; MAX_RANK];
        let mut step = 1u64;
        for (stride, &dim) in strides.iter_mut().rev().zip(shape.iter().rev()) {
            *stride = step;
            step = step.checked_mul(dim.max(1)).ok_or_else(|| overflow(tensor, shape))?;
        }
        Self::strided(tensor, shape, &strides[MAX_RANK - shape.len()..])
    }

    /// A layout as a file declares it.
    pub(super) fn strided(tensor: &str, shape: &[u64], strides: &[u64]) -> Result<Self, Problem> {
        let rank = shape.len();
        check_rank(tensor, rank)?;
        if strides.len() != rank {
            let cause = format!("has {} strides for {rank} dimensions", strides.len());
            return Err(Problem::Shape { tensor: clip(tensor), cause });
        }
        let mut layout = Self { rank, shape: [1; MAX_RANK], strides: [0; MAX_RANK] };
        for i in 0..rank {
            let to_usize = |n: u64| usize::try_from(n).map_err(|_| overflow(tensor, shape));
            layout.shape[i] = to_usize(shape[i])?;
            layout.strides[i] = to_usize(strides[i])?;
        }
        // Counting an empty dimension as one keeps every partial product from overflowing too.
        match layout.shape().iter().try_fold(1usize, |n, &dim| n.checked_mul(dim.max(1))) {
            Some(_) => Ok(layout),
            None => Err(overflow(tensor, shape)),
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    /// Number of elements; `strided` proved that the product fits.
    pub(super) fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// One past the highest element that is reached from `offset`; `None` when that overflows.
    pub(super) fn end(&self, offset: usize) -> Option<usize> {
        if self.elements() == 0 {
            return Some(offset);
        }
        let mut last = offset;
        for (&dim, &stride) in self.shape().iter().zip(&self.strides) {
            last = last.checked_add((dim - 1).checked_mul(stride)?)?;
        }
        last.checked_add(1)
    }

    /// The vector `[1, 1, d]`; `None` when more than one dimension is larger than one.
    pub(super) fn vector(&self) -> Option<Self> {
        let mut dims = (0..self.rank).filter(|&i| self.shape[i] != 1);
        let (len, stride) = dims.next().map_or((1, 0), |i| (self.shape[i], self.strides[i]));
        let vector = Self { rank: 3, shape: [1, 1, len, 1], strides: [0, 0, stride, 0] };
        dims.next().is_none().then_some(vector)
    }

    /// Index `part` of the outermost dimension, and the elements that it lies behind.
    pub(super) fn part(&self, part: usize) -> Option<(Self, usize)> {
        let mut rest = *self;
        rest.shape.rotate_left(1);
        rest.strides.rotate_left(1);
        rest.rank = self.rank.checked_sub(1)?;
        (part < self.shape[0]).then(|| (rest, part * self.strides[0]))
    }

    /// A vector as `[heads, head_size]`.
    pub(super) fn heads(&self, head_size: usize) -> Option<Self> {
        let Self { shape: [.., len, _], strides: [.., stride, _], .. } = self.vector()?;
        let heads = len.checked_div(head_size)?;
        let strides = [head_size.checked_mul(stride)?, stride, 0, 0];
        let split = Self { rank: 2, shape: [heads, head_size, 1, 1], strides };
        (heads * head_size == len).then_some(split)
    }

    /// Two dimensions and ones before them, as those two; `None` for any other shape.
    pub(super) fn matrix(&self) -> Option<Self> {
        let mut layout = *self;
        while layout.rank > 1 && layout.shape[0] == 1 {
            (layout, _) = layout.part(0)?;
        }
        (layout.rank == 2).then_some(layout)
    }

    /// A vector `[heads]` as `[heads, channels / heads]`, each value repeated.
    pub(super) fn per_head(&self, channels: usize) -> Option<Self> {
        let Self { shape: [.., heads, _], strides: [.., stride, _], .. } = self.vector()?;
        let size = channels.checked_div(heads)?;
        let repeated = Self { rank: 2, shape: [heads, size, 1, 1], strides: [stride, 0, 0, 0] };
        (size * heads == channels && size > 0).then_some(repeated)
    }

    /// Without trailing dimensions of size one.
    pub(super) fn trimmed(mut self) -> Self {
        while self.rank > 1 && self.shape[self.rank - 1] == 1 {
            self.rank -= 1;
        }
        self
    }

    pub(super) fn transposed(mut self) -> Self {
        if self.rank >= 2 {
            self.shape.swap(self.rank - 1, self.rank - 2);
            self.strides.swap(self.rank - 1, self.rank - 2);
        }
        self
    }

    /// Size and stride of the dimension `from_last` places before the last one.
    fn dimension(&self, from_last: usize) -> (usize, usize) {
        match self.rank.checked_sub(from_last + 1) {
            Some(i) => (self.shape[i], self.strides[i]),
            None => (1, 0),
        }
    }

    /// Element offset of row `row`, counted over all dimensions but the last.
    fn row_offset(&self, mut row: usize) -> usize {
        let mut offset = 0;
        for i in (0..self.rank.saturating_sub(1)).rev() {
            offset += row % self.shape[i] * self.strides[i];
            row /= self.shape[i];
        }
        offset
    }
}

pub(super) fn check_rank(tensor: &str, rank: usize) -> Result<(), Problem> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    let cause = format!("has {rank} dimensions; expected at most {MAX_RANK}");
    Err(Problem::Shape { tensor: clip(tensor), cause })
}

fn overflow(tensor: &str, shape: &[u64]) -> Problem {
    Problem::Shape {
        tensor: clip(tensor),
        cause: format!("the product of {shape:?} overflows; no file holds that many values"),
    }
}

/// Where a tensor lies: checked against the file when the checkpoint is opened.
#[derive(Debug, Clone)]
pub(super) struct Entry {
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

impl Entry {
    /// An entry whose every element is proved to lie in `storage`.
    ///
    /// A view that has more elements than its storage (an expanded dimension) is refused too:
    /// no weight is stored so, and it bounds what a reader has to allocate by the file's size.
    pub(super) fn new(
        name: &str,
        dtype: Dtype,
        storage: Range<usize>,
        offset: usize,
        layout: Layout,
    ) -> Result<Self, Problem> {
        let (values, bytes) = dtype.block();
        let available = storage.len() / bytes * values;
        let needed = layout.end(offset).unwrap_or(usize::MAX).max(layout.elements());
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
    update: Option<(&'a Update, &'a [Mmap])>,
    /// Whether the last two dimensions were exchanged since the update was given.
    transposed: bool,
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {:?}", self.name, self.dtype, self.shape())
    }
}

impl<'a> Tensor<'a> {
    pub(super) fn new(entry: &'a Entry, files: &'a [Mmap]) -> Self {
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
