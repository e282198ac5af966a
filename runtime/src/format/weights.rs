//! The weights of a layer, by architecture: which tensors there are, in which order and how they
//! are stored, and the struct through which a forward pass reads them.
//!
//! The macro `layer_weights!` declares each part of a layer once. The table of tensors that
//! the model file's directory, the quantizer and its export go by, the struct and its loading all
//! follow from that declaration. A field is named like its tensor in the papers and in official
//! checkpoints, and a declaration gives its kind and dimensions, outputs before inputs:
//!
//! | kind | field | stored as |
//! |---|---|---|
//! | `norm` | [`LayerNorm`] | two vectors, `.weight` and `.bias` |
//! | `vector` | `&[f32]` | f32 |
//! | `matrix` | [`Matrix`] | int8 tiles |
//! | `low_rank` | [`Matrix`] | the same; checkpoints hold it transposed, as training applies `x @ w1 @ w2` |
//! | `stacked` | [`Matrix`] | the same; checkpoints stack several in one tensor |
//! | `sparse` | [`SparseMatrix`] | int8, a row for each input |
//! | `table` | [`RowTable`] | int8, read one row at a time |
//! | `later_...` | `Option` | as without `later_`; layer 0 does not have it |

use super::spec::{Dim, SHIFTS, StackedTensor, TensorSpec, position};
use crate::kernels::matrix::{Matrix, RowTable, SparseMatrix};

/// Parameters of a LayerNorm: `y = ((x - mean) * rstd) * weight + bias`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[channel]`
    pub weight: &'a [f32],
    /// `[channel]`
    pub bias: &'a [f32],
}

impl<'a> LayerNorm<'a> {
    /// The parameters of the `n` channels from `channel` on.
    #[inline(always)]
    pub(crate) fn channels(&self, channel: usize, n: usize) -> LayerNorm<'a> {
        LayerNorm { weight: &self.weight[channel..][..n], bias: &self.bias[channel..][..n] }
    }
}

/// The tensors of one layer, by their position in its architecture's table.
pub(crate) trait LayerTensors<'a> {
    /// The vector at `position`.
    fn vector(&self, position: usize) -> &'a [f32];
    /// The matrix at `position`.
    fn matrix(&self, position: usize) -> Matrix<'a>;
    /// The sparse matrix at `position`.
    fn sparse(&self, position: usize) -> SparseMatrix<'a>;
    /// The row table at `position`.
    fn table(&self, position: usize) -> RowTable<'a>;
    /// Whether it is the first layer.
    fn is_first(&self) -> bool;
}

/// Declares a part of a layer; see the [module](self).
macro_rules! layer_weights {
    (
        $(#[$meta:meta])*
        struct $name:ident in $table:ident {
            $($(#[$field_meta:meta])* $field:ident: $kind:ident($tensor:literal $(, $argument:expr)*),)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $name<'a> {
            $($(#[$field_meta])* pub(crate) $field: layer_weights!(@type $kind),)+
        }

        impl<'a> $name<'a> {
            /// The tensors, in canonical order: those of a field together.
            pub(super) const SPECS: &'static [&'static [TensorSpec]] =
                &[$(layer_weights!(@specs $kind($tensor $(, $argument)*))),+];

            /// Reads where the weights of a layer lie.
            // Not inlined, so that its temporaries do not lie on the stack of a
            // microcontroller during the products.
            #[inline(never)]
            pub(crate) fn load(layer: &impl LayerTensors<'a>) -> Self {
                Self { $($field: layer_weights!(@load layer $table $kind $tensor)),+ }
            }
        }
    };

    (@type norm) => { LayerNorm<'a> };
    (@type vector) => { &'a [f32] };
    (@type matrix) => { Matrix<'a> };
    (@type low_rank) => { Matrix<'a> };
    (@type stacked) => { Matrix<'a> };
    (@type sparse) => { SparseMatrix<'a> };
    (@type table) => { RowTable<'a> };
    (@type later_vector) => { Option<&'a [f32]> };
    (@type later_low_rank) => { Option<Matrix<'a>> };

    (@specs norm($name:literal)) => {
        &[
            TensorSpec::vector(concat!($name, ".weight"), Dim::Width),
            TensorSpec::vector(concat!($name, ".bias"), Dim::Width),
        ]
    };
    (@specs $kind:ident($($argument:expr),+)) => { &[TensorSpec::$kind($($argument),+)] };

    (@at $table:ident $name:expr) => { const { position($table, $name) } };
    (@load $layer:ident $table:ident norm $name:literal) => {
        LayerNorm {
            weight: $layer.vector(layer_weights!(@at $table concat!($name, ".weight"))),
            bias: $layer.vector(layer_weights!(@at $table concat!($name, ".bias"))),
        }
    };
    (@load $layer:ident $table:ident later_vector $name:literal) => {
        (!$layer.is_first()).then(|| $layer.vector(layer_weights!(@at $table $name)))
    };
    (@load $layer:ident $table:ident later_low_rank $name:literal) => {
        (!$layer.is_first()).then(|| $layer.matrix(layer_weights!(@at $table $name)))
    };
    (@load $layer:ident $table:ident low_rank $name:literal) => {
        $layer.matrix(layer_weights!(@at $table $name))
    };
    (@load $layer:ident $table:ident stacked $name:literal) => {
        $layer.matrix(layer_weights!(@at $table $name))
    };
    (@load $layer:ident $table:ident $kind:ident $name:literal) => {
        $layer.$kind(layer_weights!(@at $table $name))
    };
}

/// The tensors of several parts in one table.
macro_rules! table {
    ($($part:expr),+) => {{
        const PARTS: &[&[&[TensorSpec]]] = &[$($part),+];
        const TABLE: [TensorSpec; count(PARTS)] = flatten(PARTS);
        &TABLE
    }};
}

const fn count(parts: &[&[&[TensorSpec]]]) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < parts.len() {
        let mut j = 0;
        while j < parts[i].len() {
            count += parts[i][j].len();
            j += 1;
        }
        i += 1;
    }
    count
}

const fn flatten<const N: usize>(parts: &[&[&[TensorSpec]]]) -> [TensorSpec; N] {
    let mut table = [parts[0][0][0]; N];
    let (mut at, mut i) = (0, 0);
    while i < parts.len() {
        let mut j = 0;
        while j < parts[i].len() {
            let mut k = 0;
            while k < parts[i][j].len() {
                table[at] = parts[i][j][k];
                at += 1;
                k += 1;
            }
            j += 1;
        }
        i += 1;
    }
    table
}

/// RWKV-4.
pub(crate) mod v4 {
    use super::*;

    layer_weights! {
        /// Weights of a layer's time mix.
        struct TimeMix in RWKV4 {
            ln1: norm("ln1"),
            /// Token shift: `[width]` each.
            time_mix_k: vector("att.time_mix_k", Dim::Width),
            time_mix_v: vector("att.time_mix_v", Dim::Width),
            time_mix_r: vector("att.time_mix_r", Dim::Width),
            /// Logarithm of the decay's rate: `[width]`
            time_decay: vector("att.time_decay", Dim::Width),
            /// What the current token's exponent is raised by: `[width]`
            time_first: vector("att.time_first", Dim::Width),
            /// `[width][width]` each.
            receptance: matrix("att.receptance.weight", Dim::Width, Dim::Width),
            key: matrix("att.key.weight", Dim::Width, Dim::Width),
            value: matrix("att.value.weight", Dim::Width, Dim::Width),
            output: matrix("att.output.weight", Dim::Width, Dim::Width),
        }
    }

    layer_weights! {
        /// Weights of a layer's channel mix.
        struct ChannelMix in RWKV4 {
            ln2: norm("ln2"),
            /// Token shift: `[width]` each.
            time_mix_k: vector("ffn.time_mix_k", Dim::Width),
            time_mix_r: vector("ffn.time_mix_r", Dim::Width),
            /// `[width][width]`
            receptance: matrix("ffn.receptance.weight", Dim::Width, Dim::Width),
            /// `[ffn][width]`
            key: matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
            /// `[width][ffn]`
            value: sparse("ffn.value.weight", Dim::Width, Dim::Ffn),
        }
    }

    /// Tensors of an RWKV-4 layer, in canonical order.
    pub const RWKV4: &[TensorSpec] = table!(TimeMix::SPECS, ChannelMix::SPECS);
}

/// RWKV-5.0 to 5.2, whose tables have the same tensor at the same position.
pub(crate) mod v5 {
    use super::*;

    layer_weights! {
        /// Weights of a layer's time mix.
        struct TimeMix in RWKV5_1 {
            ln1: norm("ln1"),
            /// Token shift: `[width]` each.
            time_mix_k: vector("att.time_mix_k", Dim::Width),
            time_mix_v: vector("att.time_mix_v", Dim::Width),
            time_mix_r: vector("att.time_mix_r", Dim::Width),
            /// Logarithm of the decay's rate: `[head]`; in 5.2 `[head][channel]`.
            time_decay: vector("att.time_decay", Dim::Heads),
            /// The current token's bonus, in 5.0 and 5.1 its logarithm: `[head]`; in 5.2
            /// `time_faaaa`, itself: `[head][channel]`.
            time_first: vector("att.time_first", Dim::Heads),
            /// The norm of each head: `[head][channel]`.
            ln_x: norm("att.ln_x"),
            /// `[width][width]` each.
            receptance: matrix("att.receptance.weight", Dim::Width, Dim::Width),
            key: matrix("att.key.weight", Dim::Width, Dim::Width),
            value: matrix("att.value.weight", Dim::Width, Dim::Width),
            output: matrix("att.output.weight", Dim::Width, Dim::Width),
        }
    }

    layer_weights! {
        /// Weights of a layer's channel mix.
        struct ChannelMix in RWKV5_1 {
            ln2: norm("ln2"),
            /// Token shift: `[width]` each.
            time_mix_k: vector("ffn.time_mix_k", Dim::Width),
            time_mix_r: vector("ffn.time_mix_r", Dim::Width),
            /// `[width][width]`
            receptance: matrix("ffn.receptance.weight", Dim::Width, Dim::Width),
            /// `[ffn][width]`
            key: matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
            /// `[width][ffn]`
            value: sparse("ffn.value.weight", Dim::Width, Dim::Ffn),
        }
    }

    layer_weights! {
        /// Weights of the gate, which 5.0 does not have.
        struct Gate in RWKV5_1 {
            /// Token shift: `[width]`
            time_mix_g: vector("att.time_mix_g", Dim::Width),
            /// `[width][width]`
            gate: matrix("att.gate.weight", Dim::Width, Dim::Width),
        }
    }

    /// Tensors of an RWKV-5.0 layer, in canonical order. The bonus is stored as its logarithm.
    pub const RWKV5_0: &[TensorSpec] = table!(TimeMix::SPECS, ChannelMix::SPECS);

    /// Tensors of an RWKV-5.1 layer: those of 5.0 at the same positions, then the gate.
    pub const RWKV5_1: &[TensorSpec] = table!(TimeMix::SPECS, ChannelMix::SPECS, Gate::SPECS);

    /// Tensors of an RWKV-5.2 layer: as 5.1, but decay and bonus are per channel, and the bonus is
    /// stored itself, at the position of its logarithm.
    pub const RWKV5_2: &[TensorSpec] = &{
        let mut table = *table!(TimeMix::SPECS, ChannelMix::SPECS, Gate::SPECS);
        table[position(RWKV5_1, "att.time_decay")] =
            TensorSpec::vector("att.time_decay", Dim::Width);
        table[position(RWKV5_1, "att.time_first")] =
            TensorSpec::vector("att.time_faaaa", Dim::Width);
        table
    };
}

/// RWKV-6.
pub(crate) mod v6 {
    use super::*;

    layer_weights! {
        /// Weights of a layer's time mix.
        struct TimeMix in RWKV6 {
            ln1: norm("ln1"),
            /// Token shift of the token shift's own input: `[width]`
            time_maa_x: vector("att.time_maa_x", Dim::Width),
            /// Token shift before the data's correction: `[width]` each.
            time_maa_w: vector("att.time_maa_w", Dim::Width),
            time_maa_k: vector("att.time_maa_k", Dim::Width),
            time_maa_v: vector("att.time_maa_v", Dim::Width),
            time_maa_r: vector("att.time_maa_r", Dim::Width),
            time_maa_g: vector("att.time_maa_g", Dim::Width),
            /// Logarithm of the decay's rate before the data's correction: `[width]`
            time_decay: vector("att.time_decay", Dim::Width),
            /// The current token's bonus: `[head][channel]`
            time_faaaa: vector("att.time_faaaa", Dim::Width),
            /// The norm of each head: `[head][channel]`.
            ln_x: norm("att.ln_x"),
            /// `[5 rank][width]`
            time_maa_w1: low_rank("att.time_maa_w1", Dim::ShiftRanks, Dim::Width),
            /// `[width][rank]` each.
            time_maa_w2_w: stacked("att.time_maa_w2.w", Dim::ShiftRank, SHIFT_PAIRS.part(0)),
            time_maa_w2_k: stacked("att.time_maa_w2.k", Dim::ShiftRank, SHIFT_PAIRS.part(1)),
            time_maa_w2_v: stacked("att.time_maa_w2.v", Dim::ShiftRank, SHIFT_PAIRS.part(2)),
            time_maa_w2_r: stacked("att.time_maa_w2.r", Dim::ShiftRank, SHIFT_PAIRS.part(3)),
            time_maa_w2_g: stacked("att.time_maa_w2.g", Dim::ShiftRank, SHIFT_PAIRS.part(4)),
            /// `[width][width]` each.
            receptance: matrix("att.receptance.weight", Dim::Width, Dim::Width),
            key: matrix("att.key.weight", Dim::Width, Dim::Width),
            value: matrix("att.value.weight", Dim::Width, Dim::Width),
            gate: matrix("att.gate.weight", Dim::Width, Dim::Width),
            /// `[rank][width]`
            time_decay_w1: low_rank("att.time_decay_w1", Dim::DecayRank, Dim::Width),
            /// `[width][rank]`
            time_decay_w2: low_rank("att.time_decay_w2", Dim::Width, Dim::DecayRank),
            /// `[width][width]`
            output: matrix("att.output.weight", Dim::Width, Dim::Width),
        }
    }

    const SHIFT_PAIRS: StackedTensor =
        StackedTensor { name: "att.time_maa_w2", index: 0, count: SHIFTS };

    layer_weights! {
        /// Weights of a layer's channel mix.
        struct ChannelMix in RWKV6 {
            ln2: norm("ln2"),
            /// Token shift: `[width]` each.
            time_maa_k: vector("ffn.time_maa_k", Dim::Width),
            time_maa_r: vector("ffn.time_maa_r", Dim::Width),
            /// `[width][width]`
            receptance: matrix("ffn.receptance.weight", Dim::Width, Dim::Width),
            /// `[ffn][width]`
            key: matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
            /// `[width][ffn]`
            value: sparse("ffn.value.weight", Dim::Width, Dim::Ffn),
        }
    }

    /// Tensors of an RWKV-6 layer, in canonical order.
    pub const RWKV6: &[TensorSpec] = table!(TimeMix::SPECS, ChannelMix::SPECS);
}

/// RWKV-7.
pub(crate) mod v7 {
    use super::*;

    layer_weights! {
        /// Weights of a layer's time mix.
        struct TimeMix in RWKV7 {
            ln1: norm("ln1"),
            /// Token shift: `[width]` each.
            x_r: vector("att.x_r", Dim::Width),
            x_w: vector("att.x_w", Dim::Width),
            x_k: vector("att.x_k", Dim::Width),
            x_v: vector("att.x_v", Dim::Width),
            x_a: vector("att.x_a", Dim::Width),
            x_g: vector("att.x_g", Dim::Width),
            /// Decay: `[width]`
            w0: vector("att.w0", Dim::Width),
            /// In-context learning rate: `[width]`
            a0: vector("att.a0", Dim::Width),
            /// Value residual: `[width]`
            v0: later_vector("att.v0", Dim::Width),
            /// What the removal key is made with: `[width]`
            k_k: vector("att.k_k", Dim::Width),
            /// What the replacement key is made with: `[width]`
            k_a: vector("att.k_a", Dim::Width),
            /// The current token's bonus: `[head][channel]`
            r_k: vector("att.r_k", Dim::Width),
            /// The norm of each head: `[head][channel]`.
            ln_x: norm("att.ln_x"),
            /// `[width][width]` each.
            receptance: matrix("att.receptance.weight", Dim::Width, Dim::Width),
            key: matrix("att.key.weight", Dim::Width, Dim::Width),
            value: matrix("att.value.weight", Dim::Width, Dim::Width),
            /// `[rank][width]` each.
            w1: low_rank("att.w1", Dim::DecayRank, Dim::Width),
            a1: low_rank("att.a1", Dim::IclrRank, Dim::Width),
            v1: later_low_rank("att.v1", Dim::ValueRank, Dim::Width),
            g1: low_rank("att.g1", Dim::GateRank, Dim::Width),
            /// `[width][rank]` each.
            w2: low_rank("att.w2", Dim::Width, Dim::DecayRank),
            a2: low_rank("att.a2", Dim::Width, Dim::IclrRank),
            v2: later_low_rank("att.v2", Dim::Width, Dim::ValueRank),
            g2: low_rank("att.g2", Dim::Width, Dim::GateRank),
            /// `[width][width]`
            output: matrix("att.output.weight", Dim::Width, Dim::Width),
        }
    }

    layer_weights! {
        /// Weights of a layer's channel mix.
        struct ChannelMix in RWKV7 {
            ln2: norm("ln2"),
            /// Token shift: `[width]`
            x_k: vector("ffn.x_k", Dim::Width),
            /// `[ffn][width]`
            key: matrix("ffn.key.weight", Dim::Ffn, Dim::Width),
            /// `[width][ffn]`
            value: sparse("ffn.value.weight", Dim::Width, Dim::Ffn),
        }
    }

    /// Tensors of an RWKV-7 layer, in canonical order.
    pub const RWKV7: &[TensorSpec] = table!(TimeMix::SPECS, ChannelMix::SPECS);
}

/// RWKV-7a: RWKV-7 and DeepEmbed.
pub(crate) mod v7a {
    use super::*;

    layer_weights! {
        /// What DeepEmbed adds to an RWKV-7 layer.
        struct DeepEmbed in RWKV7A {
            /// `[ffn]`
            s0: vector("ffn.s0", Dim::Ffn),
            /// `[rank][width]`
            s1: low_rank("ffn.s1", Dim::DeepEmbedRank, Dim::Width),
            /// `[ffn][rank]`
            s2: low_rank("ffn.s2", Dim::Ffn, Dim::DeepEmbedRank),
            /// A matrix for each token id: `[vocab][rank rank]`. The embedding's share, through
            /// `ffn.s_emb_x.weight`, is added by the quantizer.
            s_emb: table("ffn.s_emb.weight", Dim::Vocab, Dim::DeepEmbedMatrix),
        }
    }

    /// Tensors of an RWKV-7a layer: those of RWKV-7 at the same positions, then DeepEmbed.
    pub const RWKV7A: &[TensorSpec] =
        table!(v7::TimeMix::SPECS, v7::ChannelMix::SPECS, DeepEmbed::SPECS);
}
