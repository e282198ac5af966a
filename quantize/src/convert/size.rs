//! How long a model file becomes, before it is written.

use kinglet::format::layout::layout;
use kinglet::format::model::{HEADER_LEN, RECORD_LEN, Section};
use kinglet::format::shape::Shape;
use kinglet::format::tensors::{self, Storage};
use kinglet::kernels::matrix::ALIGN;
use kinglet::kernels::weights::WeightType;

use crate::int4;

/// Bytes of what a model file holds besides matrices and tables.
pub(super) struct Rest {
    pub(super) shape: Shape,
    /// Of the start state, where there is one.
    pub(super) start_state: u64,
    /// Of the vocabulary, where there is one.
    pub(super) tokenizer: u64,
    /// Of the provenance, at most.
    pub(super) provenance: u64,
}

impl Rest {
    /// Bytes of the file, in which each matrix and table has as many as `weights` says.
    pub(super) fn file_len(&self, weights: impl Fn(usize) -> u64) -> u64 {
        let align = |at: u64| at.next_multiple_of(ALIGN as u64);
        let section = |section| match section {
            Section::Directory => (tensors::tensor_count(&self.shape) * RECORD_LEN) as u64,
            Section::StartState => self.start_state,
            Section::Tokenizer => self.tokenizer,
            Section::Provenance => self.provenance,
            _ => self.tensors(section, &weights),
        };
        let sections = Section::ALL.into_iter().map(section).filter(|&len| len > 0);
        sections.fold(HEADER_LEN as u64, |end, len| align(end) + len)
    }

    /// Bytes of the file with everything in int4: none is smaller.
    pub(super) fn least(&self) -> u64 {
        self.file_len(|index| {
            let (_, spec) = tensors::tensor(&self.shape, index);
            layout(spec, &self.shape, WeightType::Int4, int4::GROUP).len()
        })
    }

    fn tensors(&self, section: Section, weights: &impl Fn(usize) -> u64) -> u64 {
        let of = |index| {
            let (layer, spec) = tensors::tensor(&self.shape, index);
            let is_there = layer.is_none_or(|layer| layer >= spec.first_layer);
            match (is_there && Section::of(layer, spec) == section, spec.storage) {
                (false, _) => 0,
                (true, Storage::Vector) => layout(spec, &self.shape, WeightType::Int8, 0).len(),
                (true, _) => weights(index),
            }
        };
        (0..tensors::tensor_count(&self.shape)).map(of).sum()
    }
}
