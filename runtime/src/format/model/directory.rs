//! The directory of a model file: a record for each tensor.

use super::error::TensorProblem;
use super::header::{u32_at, u64_at};
use super::section::SectionEntry;
use crate::format::layout::TensorLayout;
use crate::format::shape::Shape;
use crate::format::tensors::{Storage, TensorSpec};
use crate::kernels::matrix::{ALIGN, ROW_GROUP};
use crate::kernels::weights::WeightType;

/// Bytes of a directory record.
pub const RECORD_LEN: usize = 32;

/// A directory record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// How the tensor is stored; `None` where the layer does not have it.
    pub storage: Option<Storage>,
    /// Type of the weights; int8 where there are none.
    pub weights: WeightType,
    /// Outputs of a matrix, rows of a row table, 1 for a vector.
    pub rows: u32,
    /// Inputs of a matrix, length of a row or a vector.
    pub cols: u32,
    /// Inputs per scale; 0 for a vector.
    pub group: u32,
    /// Power of two that all scales are multiplied with.
    pub multiplier: f32,
    /// Bytes from the start of the file.
    pub offset: u64,
}

impl Record {
    /// The record of a tensor that its layer does not have.
    pub const ABSENT: Self = Self {
        storage: None,
        weights: WeightType::Int8,
        rows: 0,
        cols: 0,
        group: 0,
        multiplier: 0.0,
        offset: 0,
    };

    /// Reads a record; `None` when its storage is not known.
    pub const fn parse(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let code = u32_at(bytes, 8);
        // The codes of int4 follow those of int8, 2 to 4, in the same order.
        let (weights, code) = match code > 4 {
            true => (WeightType::Int4, code - 3),
            false => (WeightType::Int8, code),
        };
        let storage = match code {
            0 => None,
            1 => Some(Storage::Vector),
            2 => Some(Storage::Matrix),
            3 => Some(Storage::Sparse),
            4 => Some(Storage::Embedding),
            _ => return None,
        };
        Some(Self {
            storage,
            weights,
            rows: u32_at(bytes, 0),
            cols: u32_at(bytes, 4),
            group: u32_at(bytes, 12),
            multiplier: f32::from_bits(u32_at(bytes, 16)),
            offset: u64_at(bytes, 24),
        })
    }

    /// The record's bytes.
    pub fn emit(&self) -> [u8; RECORD_LEN] {
        let storage: u32 = match (self.storage, self.weights) {
            (None, _) => 0,
            (Some(Storage::Vector), _) => 1,
            (Some(Storage::Matrix), WeightType::Int8) => 2,
            (Some(Storage::Sparse), WeightType::Int8) => 3,
            (Some(Storage::Embedding), WeightType::Int8) => 4,
            (Some(Storage::Matrix), WeightType::Int4) => 5,
            (Some(Storage::Sparse), WeightType::Int4) => 6,
            (Some(Storage::Embedding), WeightType::Int4) => 7,
        };
        let mut bytes = [0; RECORD_LEN];
        bytes[0..4].copy_from_slice(&self.rows.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.cols.to_le_bytes());
        bytes[8..12].copy_from_slice(&storage.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.group.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.multiplier.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Where the parts of a tensor lie whose record was checked.
    pub(super) const fn layout(&self, storage: Storage) -> TensorLayout {
        let (rows, cols) = (self.rows as usize, self.cols as usize);
        TensorLayout::new(storage, self.weights.read(), rows, cols, self.group as usize)
    }

    pub(super) fn check(
        &self,
        shape: &Shape,
        layer: Option<usize>,
        spec: &TensorSpec,
    ) -> Option<TensorProblem> {
        let wanted = layer.is_none_or(|layer| layer >= spec.first_layer);
        let storage = match (self.storage, wanted) {
            (Some(storage), true) => storage,
            (None, false) => return None,
            (None, true) => return Some(TensorProblem::Absent),
            (Some(_), false) => return Some(TensorProblem::Unused),
        };
        if storage != spec.storage {
            return Some(TensorProblem::Storage);
        }
        if !self.weights.enabled() {
            return Some(TensorProblem::WeightsDisabled);
        }
        let expected = (spec.rows.of(shape), spec.cols.of(shape));
        if (self.rows as usize, self.cols as usize) != expected {
            return Some(TensorProblem::Shape);
        }
        let group_known = match storage {
            Storage::Vector => self.group == 0,
            Storage::Matrix | Storage::Sparse => {
                self.weights.groups().contains(&(self.group as usize))
            }
            Storage::Embedding => self.group as usize == ROW_GROUP,
        };
        if !group_known {
            return Some(TensorProblem::Group);
        }
        let bits = self.multiplier.to_bits();
        let power_of_two = bits & 0x807F_FFFF == 0 && (1..=254).contains(&(bits >> 23));
        if !power_of_two {
            return Some(TensorProblem::Multiplier);
        }
        None
    }

    pub(super) fn lies_in(&self, storage: Storage, section: SectionEntry) -> bool {
        let len = self.layout(storage).len();
        let start = self.offset.checked_sub(section.offset);
        self.offset.is_multiple_of(ALIGN as u64)
            && start.is_some_and(|start| start <= section.len && len <= section.len - start)
    }
}
