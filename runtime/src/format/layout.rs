//! Where the parts of a tensor lie in a model file.

use crate::format::shape::Shape;
use crate::format::tensors::{Storage, TensorSpec};
use crate::kernels::matrix::{ALIGN, ROW_GROUP, padded_inputs, padded_rows};

/// Where the parts of one tensor lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorLayout {
    /// Length of the values: f32 of a vector, int8 of all else.
    pub values: u64,
    /// Number of f16 scales; they follow the values at the next multiple of [`ALIGN`].
    pub scales: u64,
}

impl TensorLayout {
    /// The layout of a tensor of `rows` by `cols` with scale groups of `group` inputs.
    pub const fn new(storage: Storage, rows: usize, cols: usize, group: usize) -> Self {
        let (out, inputs) = (padded_rows(rows) as u64, padded_inputs(cols) as u64);
        match storage {
            Storage::Vector => Self { values: 4 * rows as u64 * cols as u64, scales: 0 },
            Storage::Matrix | Storage::Sparse => {
                Self { values: out * inputs, scales: out * inputs.div_ceil(group as u64) }
            }
            Storage::Embedding => Self {
                values: rows as u64 * inputs,
                scales: rows as u64 * inputs / ROW_GROUP as u64,
            },
        }
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
pub const fn layout(spec: &TensorSpec, shape: &Shape, group: usize) -> TensorLayout {
    TensorLayout::new(spec.storage, spec.rows.of(shape), spec.cols.of(shape), group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_padded() {
        let matrix = TensorLayout::new(Storage::Matrix, 17, 33, 32);
        assert_eq!((matrix.values, matrix.scales), (32 * 64, 32 * 2));
        assert_eq!(matrix.len(), 32 * 64 + 128);
        let vector = TensorLayout::new(Storage::Vector, 1, 5, 0);
        assert_eq!((vector.values, vector.scales_offset(), vector.len()), (20, 64, 64));
    }
}
