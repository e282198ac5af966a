//! Where the parts of a tensor lie in a model file.

use crate::format::shape::Shape;
use crate::format::tensors::{Storage, TensorSpec};
use crate::kernels::matrix::{ALIGN, ROW_GROUP, padded_inputs, padded_rows, padded_sparse_rows};
use crate::kernels::weights::WeightType;

/// Where the parts of one tensor lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorLayout {
    /// Length of the values: f32 of a vector, integers of all else.
    pub values: u64,
    /// Number of f16 scales; they follow the values at the next multiple of [`ALIGN`].
    pub scales: u64,
}

impl TensorLayout {
    /// The layout of a tensor of `rows` by `cols` with scale groups of `group` inputs. The type of
    /// the weights is that of a quantized tensor.
    pub const fn new(
        storage: Storage,
        weights: WeightType,
        rows: usize,
        cols: usize,
        group: usize,
    ) -> Self {
        let inputs = padded_inputs(cols) as u64;
        let (out, group) = match storage {
            Storage::Vector => return Self { values: 4 * rows as u64 * cols as u64, scales: 0 },
            Storage::Matrix => (padded_rows(rows) as u64, group as u64),
            Storage::Sparse => (padded_sparse_rows(weights, rows) as u64, group as u64),
            Storage::Embedding => (rows as u64, ROW_GROUP as u64),
        };
        Self { values: weights.bytes(out * inputs), scales: out * inputs.div_ceil(group) }
    }

    /// Offset of the scales.
    pub const fn scales_offset(&self) -> u64 {
        self.values.next_multiple_of(ALIGN as u64)
    }

    /// Bytes of the whole tensor, padding included.
    pub const fn len(&self) -> u64 {
        (self.scales_offset() + 2 * self.scales).next_multiple_of(ALIGN as u64)
    }

    /// Whether the tensor has no values.
    pub const fn is_empty(&self) -> bool {
        self.values == 0
    }
}

/// The layout of the tensor that `spec` describes, in a model of this shape.
pub const fn layout(
    spec: &TensorSpec,
    shape: &Shape,
    weights: WeightType,
    group: usize,
) -> TensorLayout {
    TensorLayout::new(spec.storage, weights, spec.rows.of(shape), spec.cols.of(shape), group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_padded() {
        let layout = |storage, weights, rows, cols, group| {
            let layout = TensorLayout::new(storage, weights, rows, cols, group);
            (layout.values, layout.scales, layout.len())
        };
        let (int8, int4) = (WeightType::Int8, WeightType::Int4);
        let padded = (32 * 64, 32 * 2, 32 * 64 + 128);
        assert_eq!(layout(Storage::Matrix, int8, 17, 33, 32), padded);
        assert_eq!(layout(Storage::Matrix, int4, 17, 33, 32), (32 * 32, 32 * 2, 32 * 32 + 128));
        assert_eq!(layout(Storage::Sparse, int8, 33, 33, 64), (48 * 64, 48, 48 * 64 + 128));
        assert_eq!(layout(Storage::Sparse, int4, 33, 33, 64), (32 * 64, 64, 32 * 64 + 128));
        assert_eq!(layout(Storage::Embedding, int8, 3, 33, 32), (3 * 64, 6, 3 * 64 + 64));
        assert_eq!(layout(Storage::Embedding, int4, 3, 33, 32), (3 * 32, 6, 128 + 64));
        let vector = TensorLayout::new(Storage::Vector, int8, 1, 5, 0);
        assert_eq!((vector.values, vector.scales_offset(), vector.len()), (20, 64, 64));
    }
}
