//! What containers state of a model beside its tensors, which must not contradict them.
//!
//! Tensors decide what a model is. A statement that differs from them shows that a configuration
//! belongs to another model, or that the tensors count otherwise than they look, and either is
//! refused with the key's name. Keys that say nothing of how the model computes are not read.

use kinglet::format::shape::{Architecture, Shape};
use serde_json::Value;

use super::error::{Problem, clip};

/// A dimension of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dimension {
    Width,
    Layers,
    HeadSize,
    Ffn,
    Vocab,
    DecayRank,
    IclrRank,
    ValueRank,
    GateRank,
}

/// What a key states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fact {
    Size(Dimension),
    /// Epsilon of LayerNorm.
    Epsilon,
    /// What the epsilon of the norm over heads is divided by, as a square root.
    Divisor,
}

use Dimension::{DecayRank, Ffn, GateRank, HeadSize, IclrRank, Layers, ValueRank, Vocab, Width};
use Fact::{Divisor, Epsilon, Size};

/// Key and what it states.
pub(super) type Keys = &'static [(&'static str, Fact)];

/// Hugging Face's `config.json`: `RWKV7ForCausalLM` of flash-linear-attention, and
/// `RwkvForCausalLM`, `Rwkv5ForCausalLM` and `Rwkv6ForCausalLM`, which call the same by other names.
///
/// `num_heads` and `num_attention_heads` are left out: the first yields to `head_dim`, and the
/// second is the size of a head in some files and their number in others.
pub(super) const CONFIG: Keys = &[
    ("hidden_size", Size(Width)),
    ("attention_hidden_size", Size(Width)),
    ("num_hidden_layers", Size(Layers)),
    ("head_dim", Size(HeadSize)),
    ("head_size", Size(HeadSize)),
    ("intermediate_size", Size(Ffn)),
    ("vocab_size", Size(Vocab)),
    ("decay_low_rank_dim", Size(DecayRank)),
    ("a_low_rank_dim", Size(IclrRank)),
    ("v_low_rank_dim", Size(ValueRank)),
    ("gate_low_rank_dim", Size(GateRank)),
    ("norm_eps", Epsilon),
    ("layer_norm_epsilon", Epsilon),
    ("head_size_divisor", Divisor),
];

/// What `config.json` states in words, and the one value that models are run with.
const WORDS: [(&str, &[&str]); 1] = [("hidden_act", &["sqrelu", "relu2", "relu_squared"])];

/// Keys of `config.json` that are `null` or absent in what is run, and what they are otherwise.
const ABSENT: [(&str, &str); 2] = [
    ("attn", "layers of attention among those of RWKV"),
    ("quantization_config", "weights that are quantized in another way"),
];

/// Checks what a key of `config.json` states that is no number.
///
/// # Errors
///
/// When it is another function than the model runs with, or a part that it does not have.
pub(super) fn check_part(key: &str, value: &Value) -> Result<(), Problem> {
    if let Some((_, part)) = ABSENT.iter().find(|entry| entry.0 == key && !value.is_null()) {
        return Err(Problem::Config { cause: format!("{key} states {part}; expected null") });
    }
    let (word, expected) = (value.as_str(), WORDS.iter().find(|entry| entry.0 == key));
    match (word, expected) {
        (Some(word), Some((_, expected))) if !expected.contains(&word) => {
            let (word, expected) = (clip(word), expected[0]);
            Err(Problem::Config { cause: format!("{key} is {word:?}; expected {expected:?}") })
        }
        _ => Ok(()),
    }
}

/// GGUF's metadata, after the name of the architecture.
pub(super) const GGUF: Keys = &[
    (".embedding_length", Size(Width)),
    (".block_count", Size(Layers)),
    (".wkv.head_size", Size(HeadSize)),
    (".feed_forward_length", Size(Ffn)),
    (".vocab_size", Size(Vocab)),
    (".attention.layer_norm_epsilon", Epsilon),
];

/// The divisor of the norm over heads in RWKV-5 and 6.
const HEAD_SIZE_DIVISOR: f64 = 8.0;

/// LayerNorm's epsilon in all that is trained, quantized and run.
const LN_EPS: f32 = 1e-5;

/// A dimension that a container states.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Declared {
    /// The key, as messages name it.
    pub(crate) key: String,
    /// What it states.
    pub(crate) value: f64,
    dimension: Dimension,
}

impl Declared {
    /// What the tensors say instead, where that is something else.
    pub(crate) fn contradicted_by(&self, shape: &Shape) -> Option<usize> {
        let found = match self.dimension {
            Width => shape.width,
            Layers => shape.layers,
            // RWKV-4 has no heads.
            HeadSize if shape.architecture == Architecture::Rwkv4 => return None,
            HeadSize => shape.head_size,
            Ffn => shape.ffn,
            Vocab => shape.vocab,
            DecayRank => shape.ranks.decay,
            IclrRank => shape.ranks.iclr,
            // Layer 0 mixes no values.
            ValueRank if shape.layers < 2 => return None,
            ValueRank => shape.ranks.value,
            GateRank => shape.ranks.gate,
        };
        (self.value != found as f64).then_some(found)
    }
}

/// Takes what `key` states into `declared`; messages call it `full_key`.
///
/// # Errors
///
/// When it is another epsilon or divisor than the runtime's.
pub(super) fn declare(
    declared: &mut Vec<Declared>,
    keys: Keys,
    key: &str,
    full_key: impl FnOnce() -> String,
    value: f64,
) -> Result<(), Problem> {
    match keys.iter().find(|entry| entry.0 == key) {
        Some(&(_, Size(dimension))) => {
            declared.push(Declared { key: full_key(), value, dimension });
        }
        Some((_, Epsilon)) if value as f32 != LN_EPS => {
            return Err(Problem::Epsilon { key: full_key(), found: value as f32 });
        }
        Some((_, Divisor)) if value != HEAD_SIZE_DIVISOR => {
            let cause = format!("{key} is {value}; expected {HEAD_SIZE_DIVISOR}");
            return Err(Problem::Config { cause });
        }
        _ => {}
    }
    Ok(())
}
