//! From a model file back to f32 tensors under the official names.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use kinglet::model::{Model, Tensor};
use kinglet::shape::{Architecture, Shape};
use kinglet::tensors::{self, Storage, TensorName, TensorSpec};
use safetensors::{Dtype, View};

use crate::architecture::{is_per_head, stored_dims};
use crate::error::ConvertError;
use crate::output::write_beside;

/// Writes the dequantized weights as a safetensors file of f32, with the names
/// and shapes of official checkpoints. LayerNorm ln0 is folded into
/// `emb.weight` and `ffn.s_emb_x` of RWKV-7a into `ffn.s_emb`, so their keys are
/// absent. One tensor is in memory at a time.
/// Returns the number of tensors.
///
/// # Errors
/// When the file cannot be written.
pub fn export(model: &Model<'_>, out: &Path) -> Result<usize, ConvertError> {
    let mut views: Vec<(String, Exported<'_>)> = Vec::new();
    for index in 0..tensors::tensor_count(model.shape()) {
        let Some(tensor) = model.tensor(index) else { continue };
        let (layer, spec) = tensors::tensor(model.shape(), index);
        match views.last_mut() {
            Some((_, stack)) if spec.part.is_some_and(|part| part.index > 0) => {
                stack.parts.push(tensor);
            }
            _ => {
                let name = TensorName { layer, name: spec.stored_name() }.to_string();
                let dims = official_dims(spec, model.shape());
                views.push((name, Exported { parts: vec![tensor], spec, dims }));
            }
        }
    }
    let count = views.len();
    write_beside(out, |path| {
        safetensors::serialize_to_file(views, None, path).map_err(io::Error::other)
    })
    .map_err(ConvertError::output(out))?;
    Ok(count)
}

/// A tensor that is dequantized when it is written.
struct Exported<'a> {
    /// One tensor, or those that the checkpoint stacks in one.
    parts: Vec<Tensor<'a>>,
    spec: &'static TensorSpec,
    dims: Vec<usize>,
}

/// The shape that official checkpoints give a tensor.
fn official_dims(spec: &TensorSpec, shape: &Shape) -> Vec<usize> {
    if spec.storage != Storage::Vector {
        return stored_dims(spec, shape);
    }
    let len = spec.cols.of(shape);
    let name = spec.name.trim_start_matches("att.");
    match (shape.architecture, name) {
        _ if is_per_head(shape.architecture, spec) => vec![shape.heads(), shape.head_size],
        (Architecture::Rwkv6, "time_decay") => vec![1, 1, len],
        (_, "time_decay" | "time_first") => vec![len],
        _ if name.contains("ln") => vec![len],
        _ => vec![1, 1, len],
    }
}

impl Exported<'_> {
    fn values(&self, tensor: &Tensor<'_>) -> Vec<f32> {
        match tensor {
            Tensor::Vector(values) => values.to_vec(),
            Tensor::Matrix(matrix) => {
                self.matrix(matrix.rows, matrix.inputs, |row, input| matrix.weight(row, input))
            }
            Tensor::Sparse(matrix) => {
                self.matrix(matrix.rows, matrix.inputs, |row, input| matrix.weight(row, input))
            }
            Tensor::Rows(table) => {
                let mut values = vec![0.0; table.rows * table.width];
                for (row, values) in values.chunks_mut(table.width).enumerate() {
                    table.read(row, values);
                }
                values
            }
            _ => unreachable!("every storage of the format"),
        }
    }

    fn matrix(&self, rows: usize, cols: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let (outer, inner) = if self.spec.transposed { (cols, rows) } else { (rows, cols) };
        let mut values = Vec::with_capacity(rows * cols);
        for i in 0..outer {
            values.extend(
                (0..inner).map(|j| if self.spec.transposed { weight(j, i) } else { weight(i, j) }),
            );
        }
        values
    }
}

impl View for Exported<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.parts.iter().flat_map(|part| self.values(part));
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * self.dims.iter().product::<usize>()
    }
}
