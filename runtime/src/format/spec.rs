//! The description of a tensor: its name, its dimensions as names that a shape gives values, and
//! how it is stored.
//!
//! [`weights`](super::weights) declares the tensors of each architecture with it, and
//! [`tensors`](super::tensors) collects them in tables.

use crate::format::shape::Shape;

/// Token shifts of RWKV-6 that depend on the data: w, k, v, r, g.
pub const SHIFTS: usize = 5;

/// A dimension of a tensor, as a name that a [`Shape`] gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Dim {
    /// 1.
    One,
    /// Width of the residual stream.
    Width,
    /// Hidden width of the channel mix.
    Ffn,
    /// Number of token ids.
    Vocab,
    /// Rank of the decay pair.
    DecayRank,
    /// Rank of the in-context learning rate pair.
    IclrRank,
    /// Rank of the value residual pair.
    ValueRank,
    /// Rank of the gate pair.
    GateRank,
    /// Number of heads.
    Heads,
    /// Rank of the token shift's pairs.
    ShiftRank,
    /// Five times that: the first matrices for w, k, v, r and g in one.
    ShiftRanks,
    /// Rank of DeepEmbed.
    DeepEmbedRank,
    /// Its square: a token's matrix.
    DeepEmbedMatrix,
}

impl Dim {
    /// The value in `shape`.
    pub const fn of(self, shape: &Shape) -> usize {
        match self {
            Self::One => 1,
            Self::Width => shape.width,
            Self::Ffn => shape.ffn,
            Self::Vocab => shape.vocab,
            Self::DecayRank => shape.ranks.decay,
            Self::IclrRank => shape.ranks.iclr,
            Self::ValueRank => shape.ranks.value,
            Self::GateRank => shape.ranks.gate,
            Self::Heads => shape.heads(),
            Self::ShiftRank => shape.ranks.shift,
            Self::ShiftRanks => SHIFTS * shape.ranks.shift,
            Self::DeepEmbedRank => shape.ranks.deep_embed,
            Self::DeepEmbedMatrix => shape.ranks.deep_embed * shape.ranks.deep_embed,
        }
    }
}

/// How a tensor is stored in a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Storage {
    /// f32, never quantized.
    Vector,
    /// [`Matrix`](crate::kernels::matrix::Matrix): int8 tiles for products with dense inputs.
    Matrix,
    /// [`SparseMatrix`](crate::kernels::matrix::SparseMatrix): int8, one row per input,
    /// for inputs that are mostly zero.
    Sparse,
    /// [`RowTable`](crate::kernels::matrix::RowTable): int8, read one row at a time: the
    /// embedding, and the tables of DeepEmbed.
    Embedding,
}

/// One tensor of an architecture.
#[derive(Clone, Copy, Debug)]
pub struct TensorSpec {
    /// Name in official checkpoints, or one of its own for a part of a tensor;
    /// `blocks.N.` goes before it when the tensor belongs to a layer.
    pub name: &'static str,
    /// How it is stored.
    pub storage: Storage,
    /// Outputs of a matrix, rows of a row table, 1 for a vector.
    pub rows: Dim,
    /// Inputs of a matrix, length of a row or a vector.
    pub cols: Dim,
    /// The checkpoint stores `[cols][rows]`: the low-rank matrices, which
    /// training code applies as `x @ w1 @ w2`.
    pub transposed: bool,
    /// First layer that has it: 1 for the value residual of RWKV-7.
    pub first_layer: usize,
    /// The checkpoint's tensor that it is a part of, where it is one.
    pub part: Option<StackedTensor>,
}

/// One of several matrices that a checkpoint stacks in one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackedTensor {
    /// The tensor's name, after `blocks.N.`.
    pub name: &'static str,
    /// Index in the first dimension.
    pub index: usize,
    /// Length of the first dimension.
    pub count: usize,
}

impl StackedTensor {
    /// Another matrix of the same tensor.
    pub(crate) const fn part(mut self, index: usize) -> Self {
        self.index = index;
        self
    }
}

impl TensorSpec {
    pub(super) const fn new(name: &'static str, storage: Storage, rows: Dim, cols: Dim) -> Self {
        Self { name, storage, rows, cols, transposed: false, first_layer: 0, part: None }
    }

    pub(super) const fn vector(name: &'static str, len: Dim) -> Self {
        Self::new(name, Storage::Vector, Dim::One, len)
    }

    pub(super) const fn matrix(name: &'static str, rows: Dim, cols: Dim) -> Self {
        Self::new(name, Storage::Matrix, rows, cols)
    }

    pub(super) const fn sparse(name: &'static str, rows: Dim, cols: Dim) -> Self {
        Self::new(name, Storage::Sparse, rows, cols)
    }

    pub(super) const fn table(name: &'static str, rows: Dim, cols: Dim) -> Self {
        Self::new(name, Storage::Embedding, rows, cols)
    }

    pub(super) const fn low_rank(name: &'static str, rows: Dim, cols: Dim) -> Self {
        Self { transposed: true, ..Self::matrix(name, rows, cols) }
    }

    pub(super) const fn stacked(name: &'static str, rank: Dim, part: StackedTensor) -> Self {
        Self { part: Some(part), ..Self::low_rank(name, Dim::Width, rank) }
    }

    pub(super) const fn later_vector(name: &'static str, len: Dim) -> Self {
        Self { first_layer: 1, ..Self::vector(name, len) }
    }

    pub(super) const fn later_low_rank(name: &'static str, rows: Dim, cols: Dim) -> Self {
        Self { first_layer: 1, ..Self::low_rank(name, rows, cols) }
    }

    /// Name of the tensor that holds it in official checkpoints, after `blocks.N.`.
    pub const fn stored_name(&self) -> &'static str {
        match self.part {
            Some(part) => part.name,
            None => self.name,
        }
    }
}

/// Position of the tensor `name` in `table`.
///
/// # Panics
///
/// When the table has no such tensor; meant for constants, where that is a
/// compile error.
pub const fn position(table: &[TensorSpec], name: &str) -> usize {
    let mut i = 0;
    while i < table.len() {
        if same(table[i].name.as_bytes(), name.as_bytes()) {
            return i;
        }
        i += 1;
    }
    panic!("no tensor of that name in the table")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
