//! From a model file back to f32 tensors under the official names.
//!
//! An int8 value times its scale and multiplier is exact in f32, so nothing is lost; what was
//! folded stays folded, as it cannot be taken apart again. Choosing a grid for such weights anew
//! would choose another one than theirs, so the file keeps theirs. Each tensor is computed when the
//! file's writer asks for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use kinglet::format::model::{Model, Tensor};
use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors::{self, Storage, TensorName, TensorSpec};
use safetensors::{Dtype, View};

use crate::checkpoint::{EXPORT_GRIDS, EXPORT_MARK};
use crate::convert::error::ConvertError;
use crate::convert::recognize::{is_per_head, stored_dims};
use crate::convert::tuned_state::TIME_STATE;
use crate::files::write_beside;
use crate::grid::{self, Grid, Grids};

/// Writes the dequantized weights as a safetensors file of f32, with the names
/// and shapes of official checkpoints, and the state that the model starts from
/// where it is tuned. LayerNorm ln0 is folded into `emb.weight` and
/// `ffn.s_emb_x` of RWKV-7a into `ffn.s_emb`, so their keys are absent: the
/// file's metadata says so, and on which grid the weights lie, so that a conversion
/// gives a model of the same content hash. One tensor is in memory
/// at a time.
/// Returns the number of tensors.
///
/// # Errors
/// When the file cannot be written.
pub fn export(model: &Model<'_>, out: &Path) -> Result<usize, ConvertError> {
    let mut views = weights(model);
    views.extend(start_state(model));
    let count = views.len();
    write_beside(out, |path| {
        let mark = (EXPORT_MARK.to_owned(), "ln0 is folded into emb.weight".to_owned());
        let grids = grid::to_text(&grids(model)).map(|text| (EXPORT_GRIDS.to_owned(), text));
        let metadata: HashMap<_, _> = [mark].into_iter().chain(grids).collect();
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(io::Error::other)
    })
    .map_err(ConvertError::output(out))?;
    Ok(count)
}

/// The grids of all tensors that have one.
fn grids(model: &Model<'_>) -> Grids {
    let tensors = (0..tensors::tensor_count(model.shape())).filter_map(|index| {
        let grid = Grid::of(&model.tensor(index)?)?;
        let (layer, spec) = tensors::tensor(model.shape(), index);
        Some((TensorName { layer, name: spec.name }.to_string(), grid))
    });
    tensors.collect()
}

fn weights<'a>(model: &Model<'a>) -> Vec<(String, Exported<'a>)> {
    let mut views: Vec<(String, Exported<'_>)> = Vec::new();
    for index in 0..tensors::tensor_count(model.shape()) {
        let Some(tensor) = model.tensor(index) else { continue };
        let (layer, spec) = tensors::tensor(model.shape(), index);
        match views.last_mut() {
            Some((_, Exported { values: Values::Weights { parts, .. }, .. }))
                if spec.part.is_some_and(|part| part.index > 0) =>
            {
                parts.push(tensor);
            }
            _ => {
                let name = TensorName { layer, name: spec.stored_name() }.to_string();
                let dims = official_dims(spec, model.shape());
                let values = Values::Weights { parts: vec![tensor], spec };
                views.push((name, Exported { values, dims }));
            }
        }
    }
    views
}

/// `blocks.N.att.time_state` of every layer, `[head][value][key]`. RWKV-4 has none.
fn start_state<'a>(model: &Model<'a>) -> Vec<(String, Exported<'a>)> {
    let shape = model.shape();
    let size = shape.head_size;
    let layers = model.start_state().unwrap_or_default().chunks_exact(shape.layer_state_len());
    let heads = layers.map(|state| &state[2 * shape.width..]).enumerate();
    heads
        .filter(|_| shape.architecture != Architecture::Rwkv4)
        .map(|(layer, state)| {
            let name = TensorName { layer: Some(layer), name: TIME_STATE }.to_string();
            let dims = vec![shape.heads(), size, size];
            (name, Exported { values: Values::State { state, size }, dims })
        })
        .collect()
}

/// A tensor that is dequantized when it is written.
struct Exported<'a> {
    values: Values<'a>,
    dims: Vec<usize>,
}

enum Values<'a> {
    /// One tensor, or those that the checkpoint stacks in one.
    Weights { parts: Vec<Tensor<'a>>, spec: &'static TensorSpec },
    /// `[head][key][value]`, with heads of `size` channels.
    State { state: &'a [f32], size: usize },
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

/// Dequantized values as the checkpoint has them.
fn values(tensor: &Tensor<'_>, spec: &TensorSpec) -> Vec<f32> {
    match tensor {
        Tensor::Vector(values) => values.to_vec(),
        Tensor::Matrix(matrix) => {
            self::matrix(spec, matrix.rows(), matrix.inputs(), |row, input| {
                matrix.weight(row, input)
            })
        }
        Tensor::Sparse(matrix) => {
            self::matrix(spec, matrix.rows(), matrix.inputs(), |row, input| {
                matrix.weight(row, input)
            })
        }
        Tensor::Embedding(table) => {
            let mut values = vec![0.0; table.rows() * table.width()];
            for (row, values) in values.chunks_mut(table.width()).enumerate() {
                table.read(row, values);
            }
            values
        }
        _ => unreachable!("every storage of the format"),
    }
}

fn matrix(
    spec: &TensorSpec,
    rows: usize,
    cols: usize,
    weight: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let (outer, inner) = if spec.transposed { (cols, rows) } else { (rows, cols) };
    let mut values = Vec::with_capacity(rows * cols);
    for i in 0..outer {
        values
            .extend((0..inner).map(|j| if spec.transposed { weight(j, i) } else { weight(i, j) }));
    }
    values
}

/// `[head][key][value]` to `[head][value][key]`.
fn time_state(state: &[f32], size: usize) -> Vec<f32> {
    let heads = state.chunks_exact(size * size);
    heads.flat_map(|head| (0..size * size).map(|i| head[i % size * size + i / size])).collect()
}

impl View for Exported<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values: Vec<f32> = match &self.values {
            Values::Weights { parts, spec } => {
                parts.iter().flat_map(|part| values(part, spec)).collect()
            }
            Values::State { state, size } => time_state(state, *size),
        };
        Cow::Owned(values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    fn data_len(&self) -> usize {
        4 * self.dims.iter().product::<usize>()
    }
}
