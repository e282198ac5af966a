//! The tensors of each architecture: names, shapes and how they are stored.
//!
//! One table per architecture, in canonical order. The model file's directory,
//! the forward pass, the quantizer's checks and its export all read these
//! tables, so a tensor is described once.

use crate::shape::{Architecture, Shape};

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
    /// [`Matrix`](crate::matrix::Matrix): int8 tiles for products with dense inputs.
    Matrix,
    /// [`SparseMatrix`](crate::matrix::SparseMatrix): int8, one row per input,
    /// for inputs that are mostly zero.
    Sparse,
    /// [`RowTable`](crate::matrix::RowTable): int8, read one row at a time.
    Rows,
}

/// One tensor of an architecture.
#[derive(Clone, Copy, Debug)]
pub struct TensorSpec {
    /// Name in official checkpoints; `blocks.N.` goes before it when the
    /// tensor belongs to a layer.
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
}

impl TensorSpec {
    const fn new(name: &'static str, storage: Storage, rows: Dim, cols: Dim) -> Self {
        Self { name, storage, rows, cols, transposed: false, first_layer: 0 }
    }

    const fn vector(name: &'static str) -> Self {
        Self::new(name, Storage::Vector, Dim::One, Dim::Width)
    }

    const fn matrix(name: &'static str, rows: Dim, cols: Dim) -> Self {
        Self::new(name, Storage::Matrix, rows, cols)
    }

    const fn transposed(mut self) -> Self {
        self.transposed = true;
        self
    }

    const fn since_layer(mut self, layer: usize) -> Self {
        self.first_layer = layer;
        self
    }
}

/// Tensors that belong to no layer, in canonical order.
pub const GLOBAL: &[TensorSpec] = &[
    // LayerNorm ln0 is folded into it by the quantizer.
    TensorSpec::new("emb.weight", Storage::Rows, Dim::Vocab, Dim::Width),
    TensorSpec::vector("ln_out.weight"),
    TensorSpec::vector("ln_out.bias"),
    TensorSpec::matrix("head.weight", Dim::Vocab, Dim::Width),
];

/// Tensors of an RWKV-7 layer, in canonical order.
pub const RWKV7: &[TensorSpec] = &[
    TensorSpec::vector("ln1.weight"),
    TensorSpec::vector("ln1.bias"),
    TensorSpec::vector("att.x_r"),
    TensorSpec::vector("att.x_w"),
    TensorSpec::vector("att.x_k"),
    TensorSpec::vector("att.x_v"),
    TensorSpec::vector("att.x_a"),
    TensorSpec::vector("att.x_g"),
    TensorSpec::vector("att.w0"),
    TensorSpec::vector("att.a0"),
    TensorSpec::vector("att.v0").since_layer(1),
    TensorSpec::vector("att.k_k"),
    TensorSpec::vector("att.k_a"),
    TensorSpec::vector("att.r_k"),
    TensorSpec::vector("att.ln_x.weight"),
    TensorSpec::vector("att.ln_x.bias"),
    TensorSpec::matrix("att.receptance.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.key.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.value.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.w1", Dim::DecayRank, Dim::Width).transposed(),
    TensorSpec::matrix("att.a1", Dim::IclrRank, Dim::Width).transposed(),
    TensorSpec::matrix("att.v1", Dim::ValueRank, Dim::Width).transposed().since_layer(1),
    TensorSpec::matrix("att.g1", Dim::GateRank, Dim::Width).transposed(),
    TensorSpec::matrix("att.w2", Dim::Width, Dim::DecayRank).transposed(),
    TensorSpec::matrix("att.a2", Dim::Width, Dim::IclrRank).transposed(),
    TensorSpec::matrix("att.v2", Dim::Width, Dim::ValueRank).transposed().since_layer(1),
    TensorSpec::matrix("att.g2", Dim::Width, Dim::GateRank).transposed(),
    TensorSpec::matrix("att.output.weight", Dim::Width, Dim::Width),
    TensorSpec::vector("ln2.weight"),
    TensorSpec::vector("ln2.bias"),
    TensorSpec::vector("ffn.x_k"),
    TensorSpec::matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
    TensorSpec::new("ffn.value.weight", Storage::Sparse, Dim::Width, Dim::Ffn),
];

/// Layer tensors of `architecture`, in canonical order.
pub const fn layer_tensors(architecture: Architecture) -> &'static [TensorSpec] {
    match architecture {
        Architecture::Rwkv7 => RWKV7,
    }
}

/// Position of the tensor `name` in `table`.
///
/// # Panics
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

/// Which tensor of a model: a row of [`GLOBAL`], or a layer and a row of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TensorName {
    /// The layer, or `None` for a tensor of the whole model.
    pub layer: Option<usize>,
    /// Name without the `blocks.N.` prefix.
    pub name: &'static str,
}

impl core::fmt::Display for TensorName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "blocks.{layer}.{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Number of directory entries of a model of this shape.
pub const fn tensor_count(shape: &Shape) -> usize {
    GLOBAL.len() + shape.layers * layer_tensors(shape.architecture).len()
}

/// Layer and description of directory entry `index` of a model of this shape.
///
/// # Panics
/// When `index` is not below [`tensor_count`].
pub const fn tensor(shape: &Shape, index: usize) -> (Option<usize>, &'static TensorSpec) {
    if index < GLOBAL.len() {
        return (None, &GLOBAL[index]);
    }
    let table = layer_tensors(shape.architecture);
    let index = index - GLOBAL.len();
    assert!(index < shape.layers * table.len(), "no such directory entry");
    (Some(index / table.len()), &table[index % table.len()])
}
