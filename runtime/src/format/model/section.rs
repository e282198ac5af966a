//! The sections of a model file.

use core::fmt;

use crate::format::tensors::{Storage, TensorSpec};

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
    pub(super) const COUNTED: usize = Self::DeepEmbed as usize;

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
            (Storage::Embedding, None) => Self::Embedding,
            (Storage::Embedding, Some(_)) => Self::DeepEmbed,
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
