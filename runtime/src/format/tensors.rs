//! The tensors of each architecture: names, shapes and how they are stored.
//!
//! One table per architecture, in canonical order. The model file's directory,
//! the forward pass, the quantizer's checks and its export all read these
//! tables, so a tensor is described once.

use crate::format::shape::{Architecture, Shape};

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
    /// [`RowTable`](crate::kernels::matrix::RowTable): int8, read one row at a time.
    Rows,
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
    pub part: Option<Part>,
}

/// One of several matrices that a checkpoint stacks in one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The tensor's name, after `blocks.N.`.
    pub of: &'static str,
    /// Index in the first dimension.
    pub index: usize,
    /// Length of the first dimension.
    pub count: usize,
}

impl TensorSpec {
    const fn new(name: &'static str, storage: Storage, rows: Dim, cols: Dim) -> Self {
        Self { name, storage, rows, cols, transposed: false, first_layer: 0, part: None }
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

    /// Makes it part `index` of the five that `of` stacks.
    const fn part(mut self, of: &'static str, index: usize) -> Self {
        self.part = Some(Part { of, index, count: SHIFTS });
        self
    }

    /// Name of the tensor that holds it in official checkpoints, after `blocks.N.`.
    pub const fn stored_name(&self) -> &'static str {
        match self.part {
            Some(part) => part.of,
            None => self.name,
        }
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

/// Tensors of an RWKV-4 layer, in canonical order.
pub const RWKV4: &[TensorSpec] = &[
    TensorSpec::vector("ln1.weight"),
    TensorSpec::vector("ln1.bias"),
    TensorSpec::vector("att.time_mix_k"),
    TensorSpec::vector("att.time_mix_v"),
    TensorSpec::vector("att.time_mix_r"),
    TensorSpec::vector("att.time_decay"),
    TensorSpec::vector("att.time_first"),
    TensorSpec::matrix("att.receptance.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.key.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.value.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.output.weight", Dim::Width, Dim::Width),
    TensorSpec::vector("ln2.weight"),
    TensorSpec::vector("ln2.bias"),
    TensorSpec::vector("ffn.time_mix_k"),
    TensorSpec::vector("ffn.time_mix_r"),
    TensorSpec::matrix("ffn.receptance.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
    TensorSpec::new("ffn.value.weight", Storage::Sparse, Dim::Width, Dim::Ffn),
];

/// An RWKV-5 layer with one decay and one bonus per `$per`, and what `$gate` adds.
macro_rules! rwkv5 {
    ($per:expr, $bonus:literal $(, $gate:expr)*) => {
        &[
            TensorSpec::vector("ln1.weight"),
            TensorSpec::vector("ln1.bias"),
            TensorSpec::vector("att.time_mix_k"),
            TensorSpec::vector("att.time_mix_v"),
            TensorSpec::vector("att.time_mix_r"),
            TensorSpec::new("att.time_decay", Storage::Vector, Dim::One, $per),
            TensorSpec::new($bonus, Storage::Vector, Dim::One, $per),
            TensorSpec::vector("att.ln_x.weight"),
            TensorSpec::vector("att.ln_x.bias"),
            TensorSpec::matrix("att.receptance.weight", Dim::Width, Dim::Width),
            TensorSpec::matrix("att.key.weight", Dim::Width, Dim::Width),
            TensorSpec::matrix("att.value.weight", Dim::Width, Dim::Width),
            TensorSpec::matrix("att.output.weight", Dim::Width, Dim::Width),
            TensorSpec::vector("ln2.weight"),
            TensorSpec::vector("ln2.bias"),
            TensorSpec::vector("ffn.time_mix_k"),
            TensorSpec::vector("ffn.time_mix_r"),
            TensorSpec::matrix("ffn.receptance.weight", Dim::Width, Dim::Width),
            TensorSpec::matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
            TensorSpec::new("ffn.value.weight", Storage::Sparse, Dim::Width, Dim::Ffn),
            $($gate),*
        ]
    };
}

/// Tensors of an RWKV-5.0 layer, in canonical order. The bonus is stored as its logarithm.
pub const RWKV5_0: &[TensorSpec] = rwkv5!(Dim::Heads, "att.time_first");

/// Tensors of an RWKV-5.1 layer: those of 5.0 at the same positions, then the gate.
pub const RWKV5_1: &[TensorSpec] = rwkv5!(
    Dim::Heads,
    "att.time_first",
    TensorSpec::vector("att.time_mix_g"),
    TensorSpec::matrix("att.gate.weight", Dim::Width, Dim::Width)
);

/// Tensors of an RWKV-5.2 layer: as 5.1, but the bonus is stored itself, at the
/// position of its logarithm.
pub const RWKV5_2: &[TensorSpec] = rwkv5!(
    Dim::Width,
    "att.time_faaaa",
    TensorSpec::vector("att.time_mix_g"),
    TensorSpec::matrix("att.gate.weight", Dim::Width, Dim::Width)
);

const fn shift_pair(name: &'static str, index: usize) -> TensorSpec {
    TensorSpec::matrix(name, Dim::Width, Dim::ShiftRank).transposed().part("att.time_maa_w2", index)
}

/// Tensors of an RWKV-6 layer, in canonical order.
pub const RWKV6: &[TensorSpec] = &[
    TensorSpec::vector("ln1.weight"),
    TensorSpec::vector("ln1.bias"),
    TensorSpec::vector("att.time_maa_x"),
    TensorSpec::vector("att.time_maa_w"),
    TensorSpec::vector("att.time_maa_k"),
    TensorSpec::vector("att.time_maa_v"),
    TensorSpec::vector("att.time_maa_r"),
    TensorSpec::vector("att.time_maa_g"),
    TensorSpec::vector("att.time_decay"),
    TensorSpec::vector("att.time_faaaa"),
    TensorSpec::vector("att.ln_x.weight"),
    TensorSpec::vector("att.ln_x.bias"),
    TensorSpec::matrix("att.time_maa_w1", Dim::ShiftRanks, Dim::Width).transposed(),
    shift_pair("att.time_maa_w2.w", 0),
    shift_pair("att.time_maa_w2.k", 1),
    shift_pair("att.time_maa_w2.v", 2),
    shift_pair("att.time_maa_w2.r", 3),
    shift_pair("att.time_maa_w2.g", 4),
    TensorSpec::matrix("att.receptance.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.key.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.value.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.gate.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("att.time_decay_w1", Dim::DecayRank, Dim::Width).transposed(),
    TensorSpec::matrix("att.time_decay_w2", Dim::Width, Dim::DecayRank).transposed(),
    TensorSpec::matrix("att.output.weight", Dim::Width, Dim::Width),
    TensorSpec::vector("ln2.weight"),
    TensorSpec::vector("ln2.bias"),
    TensorSpec::vector("ffn.time_maa_k"),
    TensorSpec::vector("ffn.time_maa_r"),
    TensorSpec::matrix("ffn.receptance.weight", Dim::Width, Dim::Width),
    TensorSpec::matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
    TensorSpec::new("ffn.value.weight", Storage::Sparse, Dim::Width, Dim::Ffn),
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

/// What DeepEmbed adds to an RWKV-7 layer.
const DEEP_EMBED: [TensorSpec; 4] = [
    TensorSpec::new("ffn.s0", Storage::Vector, Dim::One, Dim::Ffn),
    TensorSpec::matrix("ffn.s1", Dim::DeepEmbedRank, Dim::Width).transposed(),
    TensorSpec::matrix("ffn.s2", Dim::Ffn, Dim::DeepEmbedRank).transposed(),
    // The embedding's share, through `ffn.s_emb_x.weight`, is added by the quantizer.
    TensorSpec::new("ffn.s_emb.weight", Storage::Rows, Dim::Vocab, Dim::DeepEmbedMatrix),
];

/// Tensors of an RWKV-7a layer: those of RWKV-7 at the same positions, then DeepEmbed.
pub const RWKV7A: &[TensorSpec] = &{
    let mut table = [RWKV7[0]; RWKV7.len() + DEEP_EMBED.len()];
    let (rwkv7, deep_embed) = table.split_at_mut(RWKV7.len());
    rwkv7.copy_from_slice(RWKV7);
    deep_embed.copy_from_slice(&DEEP_EMBED);
    table
};

/// Layer tensors of `architecture`, in canonical order.
pub const fn layer_tensors(architecture: Architecture) -> &'static [TensorSpec] {
    match architecture {
        Architecture::Rwkv4 => RWKV4,
        Architecture::Rwkv5_0 => RWKV5_0,
        Architecture::Rwkv5_1 => RWKV5_1,
        Architecture::Rwkv5_2 => RWKV5_2,
        Architecture::Rwkv6 => RWKV6,
        Architecture::Rwkv7 => RWKV7,
        Architecture::Rwkv7a => RWKV7A,
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
