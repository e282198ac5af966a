//! Which RWKV a checkpoint is, judged by its tensors.

use std::collections::HashSet;

use kinglet::shape::{Architecture, Ranks, Shape};
use kinglet::tensors::{self, Storage, TensorName, TensorSpec};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::ConvertError;

/// LayerNorm of the embedding, folded into it: weight and bias.
pub(crate) const LN0: [&str; 2] = ["blocks.0.ln0.weight", "blocks.0.ln0.bias"];

/// The shape of the model that the checkpoint's tensors make up, after checking
/// that all of them are there, with fitting shapes, and no others.
///
/// # Errors
/// When the checkpoint is of another architecture (which is then named), or a
/// tensor is missing, of another shape, or not known.
pub fn shape(checkpoint: &Checkpoint) -> Result<Shape, ConvertError> {
    refuse_others(checkpoint)?;
    let shape = rwkv7(checkpoint)?;
    shape.check().map_err(ConvertError::Shape)?;
    check_tensors(checkpoint, &shape)?;
    Ok(shape)
}

/// Refuses what is not supported, by name.
fn refuse_others(checkpoint: &Checkpoint) -> Result<(), ConvertError> {
    let any = |part: &str| checkpoint.tensors().any(|t| t.name().contains(part));
    let unsupported = |found: &'static str| Err(ConvertError::Architecture { found });
    if any("_strategy") || any("_rescale_layer") {
        return unsupported(
            "a file that the Python package `rwkv` has already converted for one strategy; \
             use the original checkpoint",
        );
    }
    if any(".qkv.") {
        return unsupported("RWKV-7b, which keeps a growing cache");
    }
    if any(".ffn.enn.") {
        return unsupported("RWKV-8, which is not released");
    }
    if any(".ffn.s_emb.") {
        return unsupported("RWKV-7a (DeepEmbed)");
    }
    let official = any("blocks.") && any(".att.") && any("emb.weight");
    if official && !any(".att.r_k") && !any(".att.k_k") {
        let version = match () {
            () if any(".att.time_maa") => "RWKV-6",
            () if any(".att.ln_x.") => "RWKV-5",
            () => "RWKV-4 or older",
        };
        return unsupported(version);
    }
    if any(".att.time_state") && !official {
        return unsupported("a tuned state alone; quantize its base checkpoint");
    }
    if any("lora_A") {
        return unsupported("a LoRA adapter; merge it into its base checkpoint first");
    }
    if any("self_attn.q_proj") {
        return unsupported("a transformer of the Llama family, not RWKV");
    }
    if !official {
        return unsupported("not an RWKV checkpoint with the official tensor names");
    }
    Ok(())
}

fn require<'a>(checkpoint: &'a Checkpoint, name: &str) -> Result<Tensor<'a>, ConvertError> {
    checkpoint.tensor(name).ok_or_else(|| ConvertError::Missing { tensor: name.to_owned() })
}

/// Dimensions of an RWKV-7 from the tensors that define them.
fn rwkv7(checkpoint: &Checkpoint) -> Result<Shape, ConvertError> {
    let layers = checkpoint.tensors().filter_map(|t| layer_of(t.name())).max().unwrap_or(0) + 1;
    let emb = require(checkpoint, "emb.weight")?;
    let r_k = require(checkpoint, "blocks.0.att.r_k")?;
    let columns = |name| require(checkpoint, name).map(|tensor| tensor.columns());
    let rows = |name| require(checkpoint, name).map(|tensor| tensor.rows());
    Ok(Shape {
        architecture: Architecture::Rwkv7,
        layers,
        width: emb.columns(),
        head_size: r_k.columns(),
        ffn: rows("blocks.0.ffn.key.weight")?,
        vocab: rows("head.weight")?,
        ranks: Ranks {
            decay: columns("blocks.0.att.w1")?,
            iclr: columns("blocks.0.att.a1")?,
            // Layer 0 may lack it, or carry one that is not used.
            value: if layers > 1 { columns("blocks.1.att.v1")? } else { 0 },
            gate: columns("blocks.0.att.g1")?,
        },
    })
}

/// The N of `blocks.N.`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split_once('.')?.0.parse().ok()
}

/// Rows and columns of a tensor as the checkpoint stores it.
pub(crate) fn stored_dims(spec: &TensorSpec, shape: &Shape) -> (usize, usize) {
    let (rows, cols) = (spec.rows.of(shape), spec.cols.of(shape));
    if spec.transposed { (cols, rows) } else { (rows, cols) }
}

fn check_tensors(checkpoint: &Checkpoint, shape: &Shape) -> Result<(), ConvertError> {
    let mut known = HashSet::new();
    for index in 0..tensors::tensor_count(shape) {
        let (layer, spec) = tensors::tensor(shape, index);
        let name = TensorName { layer, name: spec.name }.to_string();
        if layer.is_none_or(|layer| layer >= spec.first_layer) {
            check_dims(&require(checkpoint, &name)?, spec, shape)?;
        }
        known.insert(name);
    }
    for name in LN0 {
        let tensor = require(checkpoint, name)?;
        if tensor.elements() != shape.width {
            return Err(ConvertError::dims(&tensor, &[shape.width]));
        }
        known.insert(name.to_owned());
    }
    match checkpoint.tensors().find(|tensor| !known.contains(tensor.name())) {
        None => Ok(()),
        Some(tensor) => Err(ConvertError::Unknown {
            tensor: tensor.name().to_owned(),
            architecture: shape.architecture,
        }),
    }
}

/// Checks a tensor's shape: a matrix exactly, a vector by its length, for
/// vectors come as `[width]`, `[1, 1, width]` and `[heads, head size]`.
fn check_dims(tensor: &Tensor<'_>, spec: &TensorSpec, shape: &Shape) -> Result<(), ConvertError> {
    let (rows, cols) = stored_dims(spec, shape);
    if spec.storage == Storage::Vector {
        if tensor.elements() != rows * cols {
            return Err(ConvertError::dims(tensor, &[rows * cols]));
        }
    } else if tensor.shape() != [rows, cols] {
        return Err(ConvertError::dims(tensor, &[rows, cols]));
    }
    Ok(())
}
