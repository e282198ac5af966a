//! The tensors of each architecture: names, shapes and how they are stored.
//!
//! One table per architecture, in canonical order. The model file's directory,
//! the forward pass, the quantizer's checks and its export all read these
//! tables, so a tensor is described once.

pub use super::spec::{Dim, SHIFTS, StackedTensor, Storage, TensorSpec, position};
pub use super::weights::v4::RWKV4;
pub use super::weights::v5::{RWKV5_0, RWKV5_1, RWKV5_2};
pub use super::weights::v6::RWKV6;
pub use super::weights::v7::RWKV7;
pub use super::weights::v7a::RWKV7A;
use crate::format::shape::{Architecture, Shape};

/// Tensors that belong to no layer, in canonical order.
pub const GLOBAL: &[TensorSpec] = &[
    // LayerNorm ln0 is folded into it by the quantizer.
    TensorSpec::table("emb.weight", Dim::Vocab, Dim::Width),
    TensorSpec::vector("ln_out.weight", Dim::Width),
    TensorSpec::vector("ln_out.bias", Dim::Width),
    TensorSpec::matrix("head.weight", Dim::Vocab, Dim::Width),
];

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
///
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
