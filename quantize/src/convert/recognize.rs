//! Which RWKV a checkpoint is, judged by its tensors.
//!
//! The version is told by tensors that it added, the dimensions by the shapes of a few, and then
//! every tensor of that shape must be there and no other: a wrong guess shows as a missing tensor,
//! never as a model that runs wrong. What a container states of itself is compared last and decides
//! nothing, as files are often named and described wrongly. Models that are close to RWKV are named
//! where they are known, for a message of a missing tensor would lead nowhere.

use std::collections::{BTreeSet, HashSet};

use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet::format::tensors::{self, Storage, TensorName, TensorSpec};

use super::error::{ConvertError, Foreign};
use super::tuned_state::{is_of_layer, is_time_state};
use crate::checkpoint::{Checkpoint, Tensor};

/// LayerNorm of the embedding, folded into it: weight and bias.
pub(crate) const LN0: [&str; 2] = ["blocks.0.ln0.weight", "blocks.0.ln0.bias"];

/// The matrix of a layer through which the embedding adds to its DeepEmbed table.
pub(crate) fn deep_embed_share(layer: usize) -> String {
    format!("blocks.{layer}.ffn.s_emb_x.weight")
}

/// The shape of the model that the checkpoint's tensors make up, after checking
/// that all of them are there, with fitting shapes, and no others, and that the
/// container states the same dimensions where it states any.
///
/// # Errors
/// When the checkpoint is of another architecture (which is then named), a
/// tensor is missing, of another shape, or not known, or what is stated beside
/// them is of another model.
pub fn shape(checkpoint: &Checkpoint) -> Result<Shape, ConvertError> {
    refuse_others(checkpoint)?;
    let shape = dimensions(checkpoint, architecture(checkpoint))?;
    shape.check().map_err(ConvertError::Shape)?;
    check_tensors(checkpoint, &shape)?;
    for declared in checkpoint.declared() {
        if let Some(found) = declared.contradicted_by(&shape) {
            let (key, value) = (declared.key.clone(), declared.value);
            return Err(ConvertError::Declared { key, value, found });
        }
    }
    Ok(shape)
}

/// Refuses what is not supported, by name.
fn refuse_others(checkpoint: &Checkpoint) -> Result<(), ConvertError> {
    match foreign(checkpoint) {
        Some(found) => Err(ConvertError::Architecture { found }),
        None => Ok(()),
    }
}

/// What a checkpoint is that is no whole model of a version that runs.
fn foreign(checkpoint: &Checkpoint) -> Option<Foreign> {
    let any = |part: &str| checkpoint.tensors().any(|t| t.name().contains(part));
    let official = any("blocks.") && any(".att.") && any("emb.weight");
    let is_adapter = [".lora_A", ".disha", ".bone", ".miss_block"].into_iter().any(any);
    if any("_strategy") || any("_rescale_layer") {
        Some(Foreign::ConvertedForStrategy)
    } else if any(".qkv.") {
        Some(Foreign::Rwkv7b)
    } else if any(".ffn.enn.") {
        Some(Foreign::Rwkv8)
    } else if any(".tiny_") {
        Some(Foreign::TinyAttention)
    } else if any(".att.time_state") && !official {
        Some(Foreign::TunedState)
    } else if checkpoint.is_base_and_adapter() {
        Some(Foreign::BaseAndAdapter)
    } else if is_adapter {
        Some(Foreign::Adapter)
    } else if any("self_attn.q_proj") {
        Some(Foreign::Llama)
    } else {
        (!official).then_some(Foreign::Unknown)
    }
}

fn require<'a>(checkpoint: &'a Checkpoint, name: &str) -> Result<Tensor<'a>, ConvertError> {
    checkpoint.tensor(name).ok_or_else(|| ConvertError::Missing { tensor: name.to_owned() })
}

/// The version, by the tensors that each one added.
fn architecture(checkpoint: &Checkpoint) -> Architecture {
    let any = |part: &str| checkpoint.tensors().any(|t| t.name().contains(part));
    let per_channel = |decay: Tensor<'_>| matches!(decay.shape(), [_, n] if *n > 1);
    if any(".att.r_k") || any(".att.k_k") {
        if any(".ffn.s_emb.") { Architecture::Rwkv7a } else { Architecture::Rwkv7 }
    } else if any(".time_maa") {
        Architecture::Rwkv6
    } else if !any(".ln_x.") {
        Architecture::Rwkv4
    } else if checkpoint.tensor(TIME_DECAY).is_some_and(per_channel) {
        Architecture::Rwkv5_2
    } else if any(".att.gate.") {
        Architecture::Rwkv5_1
    } else {
        Architecture::Rwkv5_0
    }
}

const TIME_DECAY: &str = "blocks.0.att.time_decay";

/// The dimensions, from the tensors that define them.
fn dimensions(checkpoint: &Checkpoint, architecture: Architecture) -> Result<Shape, ConvertError> {
    let layers = layers(checkpoint)?;
    let width = require(checkpoint, "emb.weight")?.columns();
    let rows = |name| require(checkpoint, name).map(|tensor| tensor.rows());
    Ok(Shape {
        architecture,
        layers,
        width,
        head_size: match architecture {
            Architecture::Rwkv4 => 1,
            // One decay per head.
            Architecture::Rwkv5_0 | Architecture::Rwkv5_1 => {
                let heads = require(checkpoint, TIME_DECAY)?.elements();
                width.checked_div(heads).unwrap_or(0)
            }
            Architecture::Rwkv5_2 => head_size(checkpoint, TIME_DECAY)?,
            Architecture::Rwkv6 => head_size(checkpoint, "blocks.0.att.time_faaaa")?,
            _ => head_size(checkpoint, "blocks.0.att.r_k")?,
        },
        ffn: rows("blocks.0.ffn.key.weight")?,
        vocab: rows("head.weight")?,
        ranks: ranks(checkpoint, architecture, layers)?,
    })
}

/// N of a parameter `[heads, N]`.
fn head_size(checkpoint: &Checkpoint, name: &str) -> Result<usize, ConvertError> {
    let tensor = require(checkpoint, name)?;
    match *tensor.shape() {
        [_, size] => Ok(size),
        _ => Err(ConvertError::PerHead { tensor: name.to_owned(), found: tensor.shape().to_vec() }),
    }
}

fn ranks(
    checkpoint: &Checkpoint,
    architecture: Architecture,
    layers: usize,
) -> Result<Ranks, ConvertError> {
    let columns = |name| require(checkpoint, name).map(|tensor| tensor.columns());
    match architecture {
        Architecture::Rwkv6 => Ok(Ranks {
            decay: columns("blocks.0.att.time_decay_w1")?,
            // [5, rank, width]
            shift: require(checkpoint, "blocks.0.att.time_maa_w2")?.rows() / tensors::SHIFTS,
            ..Ranks::NONE
        }),
        Architecture::Rwkv7 | Architecture::Rwkv7a => Ok(Ranks {
            decay: columns("blocks.0.att.w1")?,
            iclr: columns("blocks.0.att.a1")?,
            // Layer 0 may lack it, or carry one that is not used.
            value: if layers > 1 { columns("blocks.1.att.v1")? } else { 0 },
            gate: columns("blocks.0.att.g1")?,
            deep_embed: match architecture {
                Architecture::Rwkv7a => columns("blocks.0.ffn.s1")?,
                _ => 0,
            },
            ..Ranks::NONE
        }),
        _ => Ok(Ranks::NONE),
    }
}

/// The number of layers, from 0 without a gap.
fn layers(checkpoint: &Checkpoint) -> Result<usize, ConvertError> {
    let weights = checkpoint.tensors().filter(|tensor| !is_time_state(tensor));
    let found: BTreeSet<usize> = weights.filter_map(|t| layer_of(t.name())).collect();
    let Some(&last) = found.last() else {
        return Err(ConvertError::Missing { tensor: "blocks.0.ln1.weight".to_owned() });
    };
    match found.iter().zip(0..).find(|&(&layer, expected)| layer != expected) {
        Some((_, layer)) => Err(ConvertError::MissingLayer { layer, last }),
        None => Ok(last + 1),
    }
}

/// The N of `blocks.N.`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split_once('.')?.0.parse().ok()
}

/// Shape of a matrix as the checkpoint stores it.
pub(crate) fn stored_dims(spec: &TensorSpec, shape: &Shape) -> Vec<usize> {
    let (rows, cols) = (spec.rows.of(shape), spec.cols.of(shape));
    let count = spec.part.map(|part| part.count);
    let matrix = if spec.transposed { [cols, rows] } else { [rows, cols] };
    count.into_iter().chain(matrix).collect()
}

fn check_tensors(checkpoint: &Checkpoint, shape: &Shape) -> Result<(), ConvertError> {
    let mut known = HashSet::new();
    for index in 0..tensors::tensor_count(shape) {
        let (layer, spec) = tensors::tensor(shape, index);
        let name = TensorName { layer, name: spec.stored_name() }.to_string();
        if layer.is_none_or(|layer| layer >= spec.first_layer) {
            check_dims(&require(checkpoint, &name)?, spec, shape)?;
        }
        known.insert(name);
    }
    for name in LN0.into_iter().filter(|_| !checkpoint.is_without_ln0()) {
        check_vector(&require(checkpoint, name)?, shape.width)?;
        known.insert(name.to_owned());
    }
    if shape.architecture == Architecture::Rwkv7a {
        let dims = [shape.ranks.deep_embed.pow(2), shape.width];
        for name in (0..shape.layers).map(deep_embed_share) {
            if checkpoint.is_export() && checkpoint.tensor(&name).is_none() {
                continue;
            }
            let tensor = require(checkpoint, &name)?;
            if tensor.shape() != dims {
                return Err(ConvertError::dims(&tensor, &dims));
            }
            known.insert(name);
        }
    }
    let known = |name: &str| known.contains(name) || is_of_layer(name, shape);
    match checkpoint.tensors().find(|tensor| !known(tensor.name())) {
        None => Ok(()),
        Some(tensor) => Err(ConvertError::Unknown {
            tensor: tensor.name().to_owned(),
            architecture: shape.architecture,
        }),
    }
}

/// Whether a vector of the model is `[heads, head size]` in checkpoints.
pub(crate) fn is_per_head(architecture: Architecture, spec: &TensorSpec) -> bool {
    match spec.name {
        "att.r_k" | "att.time_faaaa" => true,
        "att.time_decay" => architecture == Architecture::Rwkv5_2,
        _ => false,
    }
}

/// Checks a tensor's shape: exactly, or that of a vector by its length.
fn check_dims(tensor: &Tensor<'_>, spec: &TensorSpec, shape: &Shape) -> Result<(), ConvertError> {
    let dims = match spec.storage {
        Storage::Vector if is_per_head(shape.architecture, spec) => {
            vec![shape.heads(), shape.head_size]
        }
        Storage::Vector => return check_vector(tensor, spec.cols.of(shape)),
        _ => stored_dims(spec, shape),
    };
    if tensor.shape() == dims { Ok(()) } else { Err(ConvertError::dims(tensor, &dims)) }
}

/// Checks a vector, which comes as `[len]` or with ones around, as in `[1, 1, len]`.
fn check_vector(tensor: &Tensor<'_>, len: usize) -> Result<(), ConvertError> {
    let dimensions = tensor.shape().iter().filter(|&&n| n != 1).count();
    if tensor.elements() == len && dimensions <= 1 {
        return Ok(());
    }
    Err(ConvertError::dims(tensor, &[len]))
}
