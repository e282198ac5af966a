//! Tuned states: what a sequence starts from instead of zeros.

use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors::TensorName;

use super::error::ConvertError;
use super::finite::finite_values;
use crate::checkpoint::{Checkpoint, Source, Tensor};
use crate::note::Note;

/// Name of a layer's tuned state, after `blocks.N.`.
pub(crate) const TIME_STATE: &str = "att.time_state";

/// A state that training has tuned, in the layout of the model's state.
///
/// Training leaves `blocks.N.att.time_state` `[head][value][key]`, whatever the version; the
/// runtime's state is `[head][key][value]`. The remembered inputs of the two token shifts are
/// zero.
#[derive(Clone, Debug)]
pub struct TunedState {
    /// `[layer]` of the architecture's layer state.
    values: Vec<f32>,
    sources: Vec<Source>,
    notes: Vec<Note>,
}

impl TunedState {
    /// Reads the tuned state of a model of this shape. `checkpoint` is a file of nothing else,
    /// or a whole checkpoint that has one.
    ///
    /// # Errors
    /// When it has none or not that of every layer, a shape does not fit, a value is not finite,
    /// or it holds tensors besides and is no whole checkpoint.
    pub fn read(checkpoint: &Checkpoint, shape: &Shape) -> Result<Self, ConvertError> {
        if !is_tuned(checkpoint) {
            return Err(ConvertError::NoState);
        }
        check_layers(checkpoint, shape)?;
        let whole = checkpoint.tensor("emb.weight").is_some();
        for tensor in checkpoint.tensors() {
            let name = tensor.name();
            let unknown = if is_time_state(&tensor) { !is_of_layer(name, shape) } else { !whole };
            if unknown {
                return Err(ConvertError::NotState { tensor: name.to_owned() });
            }
        }
        let fits = Note::on_state(checkpoint.stated_version(), shape.architecture);
        // What is in a whole checkpoint was tuned on it.
        let notes = checkpoint.guess().into_iter().chain((!whole).then_some(fits)).collect();
        Ok(Self {
            values: values(checkpoint, shape)?,
            sources: checkpoint.sources().to_vec(),
            notes,
        })
    }

    /// The state, [`Shape::state_len`] elements: `[layer]` of the architecture's layer state.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// What is worth saying of it: a state fits many models, and is of use with one.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Where it comes from.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }
}

pub(crate) fn is_time_state(tensor: &Tensor<'_>) -> bool {
    tensor.name().starts_with("blocks.") && tensor.name().ends_with(".att.time_state")
}

/// Whether any layer of a checkpoint has a tuned state.
pub(crate) fn is_tuned(checkpoint: &Checkpoint) -> bool {
    checkpoint.tensors().any(|tensor| is_time_state(&tensor))
}

/// Refuses the whole tuned state of more or fewer layers; what has gaps lacks a tensor.
fn check_layers(checkpoint: &Checkpoint, shape: &Shape) -> Result<(), ConvertError> {
    let found = checkpoint.tensors().filter(is_time_state).count();
    let whole = (0..found).all(|layer| checkpoint.tensor(&name_of(layer)).is_some());
    let expected = shape.layers;
    if whole && found != expected && shape.architecture != Architecture::Rwkv4 {
        return Err(ConvertError::StateLayers { found, expected });
    }
    Ok(())
}

/// Whether a tuned state of this name belongs to a model of this shape.
pub(crate) fn is_of_layer(name: &str, shape: &Shape) -> bool {
    shape.architecture != Architecture::Rwkv4
        && (0..shape.layers).any(|layer| name == name_of(layer))
}

fn name_of(layer: usize) -> String {
    TensorName { layer: Some(layer), name: TIME_STATE }.to_string()
}

/// The tuned state of a checkpoint, in the layout of the model's state.
pub(crate) fn values(checkpoint: &Checkpoint, shape: &Shape) -> Result<Vec<f32>, ConvertError> {
    let (heads, size) = (shape.heads(), shape.head_size);
    let mut state = vec![0.0; shape.state_len()];
    for (layer, state) in state.chunks_exact_mut(shape.layer_state_len()).enumerate() {
        let name = name_of(layer);
        let missing = || ConvertError::Missing { tensor: name.clone() };
        let tensor = checkpoint.tensor(&name).ok_or_else(missing)?;
        if tensor.shape() != [heads, size, size] {
            return Err(ConvertError::dims(&tensor, &[heads, size, size]));
        }
        // `[head][value][key]` to `[head][key][value]`.
        state[2 * shape.width..].copy_from_slice(&finite_values(&tensor.transposed())?);
    }
    Ok(state)
}
