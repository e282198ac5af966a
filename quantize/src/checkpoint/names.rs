//! How each ecosystem names and lays out the tensors of the official checkpoints, as tables.
//!
//! A row says which official tensor a foreign one is, and what was done to it. In a pattern `{}`
//! stands for a layer number and a final `*` for any rest. The first pattern that matches counts,
//! together with the other rows of the same pattern (one fused tensor becomes several).

use super::error::{Problem, clip};
use super::recover::Recover;
use super::tensor::TensorEntry;

/// What turns a foreign tensor back into the official one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    Same,
    /// A vector of another shape; official `[1, 1, d]`.
    Vector,
    /// Last two dimensions exchanged.
    Transpose,
    /// The same, in those files in which `Facts::transposed` says so.
    TransposeSome,
    /// Part `i` of a fused tensor `[parts, ..]`; official `[1, 1, d]`.
    Part(usize),
    /// A vector `[heads * head_size]`, or `[heads, head_size]` as it is officially.
    Heads,
    /// Trailing dimensions of size one were added, and the values are a function of the official
    /// ones.
    Trim(Recover),
    /// Divided by `2^(layer / rescale_every)`.
    Rescaled,
    /// A filler that no official checkpoint has.
    Drop,
}

use Change::{Drop, Heads, Part, Rescaled, Same, Transpose, TransposeSome, Trim, Vector};

/// Foreign pattern, official pattern, change.
pub(super) type Rule = (&'static str, &'static str, Change);

/// Facts about the model that a change may need.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// Channels of a head.
    pub(super) head_size: Option<usize>,
    /// Layers between two halvings of the residual stream; 0 for none.
    pub(super) rescale_every: usize,
    /// Whether this file has its low-rank matrices transposed.
    pub(super) transposed: bool,
}

/// Hugging Face, flash-linear-attention: `RWKV7ForCausalLM`.
pub(super) const FLA_V7: &[Rule] = &[
    ("model.embeddings.weight", "emb.weight", Same),
    ("model.layers.{}.pre_norm.*", "blocks.{}.ln0.*", Same),
    ("model.layers.{}.attn_norm.*", "blocks.{}.ln1.*", Same),
    ("model.layers.{}.ffn_norm.*", "blocks.{}.ln2.*", Same),
    ("model.layers.{}.attn.r_proj.weight", "blocks.{}.att.receptance.weight", Same),
    ("model.layers.{}.attn.k_proj.weight", "blocks.{}.att.key.weight", Same),
    ("model.layers.{}.attn.v_proj.weight", "blocks.{}.att.value.weight", Same),
    ("model.layers.{}.attn.o_proj.weight", "blocks.{}.att.output.weight", Same),
    ("model.layers.{}.attn.g_norm.*", "blocks.{}.att.ln_x.*", Same),
    ("model.layers.{}.attn.r_k", "blocks.{}.att.r_k", Heads),
    ("model.layers.{}.attn.k_*", "blocks.{}.att.k_*", Vector),
    // The six in one, as the first versions of the library saved them.
    ("model.layers.{}.attn.x_x", "blocks.{}.att.x_r", Part(0)),
    ("model.layers.{}.attn.x_x", "blocks.{}.att.x_w", Part(1)),
    ("model.layers.{}.attn.x_x", "blocks.{}.att.x_k", Part(2)),
    ("model.layers.{}.attn.x_x", "blocks.{}.att.x_v", Part(3)),
    ("model.layers.{}.attn.x_x", "blocks.{}.att.x_a", Part(4)),
    ("model.layers.{}.attn.x_x", "blocks.{}.att.x_g", Part(5)),
    ("model.layers.{}.attn.x_*", "blocks.{}.att.x_*", Vector),
    ("model.layers.{}.attn.w_lora.lora.2.bias", "blocks.{}.att.w0", Vector),
    ("model.layers.{}.attn.w_lora.lora.0.weight", "blocks.{}.att.w1", Transpose),
    ("model.layers.{}.attn.w_lora.lora.2.weight", "blocks.{}.att.w2", Transpose),
    ("model.layers.{}.attn.a_lora.lora.2.bias", "blocks.{}.att.a0", Vector),
    ("model.layers.{}.attn.a_lora.lora.0.weight", "blocks.{}.att.a1", Transpose),
    ("model.layers.{}.attn.a_lora.lora.2.weight", "blocks.{}.att.a2", Transpose),
    ("model.layers.{}.attn.v_lora.lora.2.bias", "blocks.{}.att.v0", Vector),
    ("model.layers.{}.attn.v_lora.lora.0.weight", "blocks.{}.att.v1", Transpose),
    ("model.layers.{}.attn.v_lora.lora.2.weight", "blocks.{}.att.v2", Transpose),
    ("model.layers.{}.attn.g_lora.lora.0.weight", "blocks.{}.att.g1", Transpose),
    ("model.layers.{}.attn.g_lora.lora.2.weight", "blocks.{}.att.g2", Transpose),
    ("model.layers.{}.ffn.x_k", "blocks.{}.ffn.x_k", Vector),
    ("model.layers.{}.ffn.key.weight", "blocks.{}.ffn.key.weight", Same),
    ("model.layers.{}.ffn.value.weight", "blocks.{}.ffn.value.weight", Same),
    ("model.norm.*", "ln_out.*", Same),
    ("lm_head.weight", "head.weight", Same),
];

/// Hugging Face: `RwkvForCausalLM` (v4), `Rwkv5ForCausalLM`, `Rwkv6ForCausalLM`.
pub(super) const HF_V4_TO_V6: &[Rule] = &[
    ("rwkv.embeddings.weight", "emb.weight", Same),
    ("rwkv.blocks.{}.pre_ln.*", "blocks.{}.ln0.*", Same),
    ("rwkv.blocks.{}.ln1.*", "blocks.{}.ln1.*", Same),
    ("rwkv.blocks.{}.ln2.*", "blocks.{}.ln2.*", Same),
    ("rwkv.blocks.{}.attention.time_mix_key", "blocks.{}.att.time_mix_k", Same),
    ("rwkv.blocks.{}.attention.time_mix_value", "blocks.{}.att.time_mix_v", Same),
    ("rwkv.blocks.{}.attention.time_mix_receptance", "blocks.{}.att.time_mix_r", Same),
    ("rwkv.blocks.{}.attention.time_mix_gate", "blocks.{}.att.time_mix_g", Same),
    ("rwkv.blocks.{}.attention.*", "blocks.{}.att.*", Same),
    ("rwkv.blocks.{}.feed_forward.time_mix_key", "blocks.{}.ffn.time_mix_k", Same),
    ("rwkv.blocks.{}.feed_forward.time_mix_receptance", "blocks.{}.ffn.time_mix_r", Same),
    ("rwkv.blocks.{}.feed_forward.*", "blocks.{}.ffn.*", Same),
    ("rwkv.ln_out.*", "ln_out.*", Same),
    ("head.weight", "head.weight", Same),
];

/// web-rwkv `.st`, RWKV-7: official names, low-rank matrices transposed.
pub(super) const WEB_RWKV_V7: &[Rule] = &[
    ("blocks.{}.att.w1", "blocks.{}.att.w1", Transpose),
    ("blocks.{}.att.w2", "blocks.{}.att.w2", Transpose),
    ("blocks.{}.att.a1", "blocks.{}.att.a1", Transpose),
    ("blocks.{}.att.a2", "blocks.{}.att.a2", Transpose),
    ("blocks.{}.att.v1", "blocks.{}.att.v1", Transpose),
    ("blocks.{}.att.v2", "blocks.{}.att.v2", Transpose),
    ("blocks.{}.att.g1", "blocks.{}.att.g1", Transpose),
    ("blocks.{}.att.g2", "blocks.{}.att.g2", Transpose),
    ("blocks.{}.att.time_state", "blocks.{}.att.time_state", Transpose),
    ("*", "*", Same),
];

/// web-rwkv `.st`, RWKV-6: lower-case, `maa` became `mix` and `faaaa` became `first`.
///
/// Some of its converters transpose the low-rank matrices and some transpose them twice.
pub(super) const WEB_RWKV_V6: &[Rule] = &[
    ("blocks.{}.att.time_mix_w1", "blocks.{}.att.time_maa_w1", TransposeSome),
    ("blocks.{}.att.time_mix_w2", "blocks.{}.att.time_maa_w2", TransposeSome),
    ("blocks.{}.att.time_mix_*", "blocks.{}.att.time_maa_*", Same),
    ("blocks.{}.ffn.time_mix_*", "blocks.{}.ffn.time_maa_*", Same),
    ("blocks.{}.att.time_decay_w1", "blocks.{}.att.time_decay_w1", TransposeSome),
    ("blocks.{}.att.time_decay_w2", "blocks.{}.att.time_decay_w2", TransposeSome),
    ("blocks.{}.att.time_first", "blocks.{}.att.time_faaaa", Same),
    ("blocks.{}.att.time_state", "blocks.{}.att.time_state", Transpose),
    ("*", "*", Same),
];

/// web-rwkv `.st`, RWKV-5.2.
pub(super) const WEB_RWKV_V5: &[Rule] = &[
    ("blocks.{}.att.time_first", "blocks.{}.att.time_faaaa", Same),
    ("blocks.{}.att.time_state", "blocks.{}.att.time_state", Transpose),
    ("*", "*", Same),
];

/// A tuned state alone, as web-rwkv's and Ai00's converters write it.
pub(super) const WEB_RWKV_STATE: &[Rule] =
    &[("blocks.{}.att.time_state", "blocks.{}.att.time_state", Transpose), ("*", "*", Same)];

/// llama.cpp's converter, architecture `rwkv7`; matrices are listed outermost dimension first.
pub(super) const GGUF_V7: &[Rule] = &[
    ("token_embd.weight", "emb.weight", Same),
    ("token_embd_norm.*", "blocks.0.ln0.*", Same),
    ("blk.{}.attn_norm.*", "blocks.{}.ln1.*", Same),
    ("blk.{}.attn_norm_2.*", "blocks.{}.ln2.*", Same),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.x_r", Part(0)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.x_w", Part(1)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.x_k", Part(2)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.x_v", Part(3)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.x_a", Part(4)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.x_g", Part(5)),
    ("blk.{}.time_mix_w0.weight", "blocks.{}.att.w0", Vector),
    ("blk.{}.time_mix_w1.weight", "blocks.{}.att.w1", Transpose),
    ("blk.{}.time_mix_w2.weight", "blocks.{}.att.w2", Transpose),
    ("blk.{}.time_mix_a0.weight", "blocks.{}.att.a0", Vector),
    ("blk.{}.time_mix_a1.weight", "blocks.{}.att.a1", Transpose),
    ("blk.{}.time_mix_a2.weight", "blocks.{}.att.a2", Transpose),
    // Layer 0 mixes no values; the converter fills its place with copies of a0, a1 and a2.
    ("blk.0.time_mix_v0.weight", "", Drop),
    ("blk.0.time_mix_v1.weight", "", Drop),
    ("blk.0.time_mix_v2.weight", "", Drop),
    ("blk.{}.time_mix_v0.weight", "blocks.{}.att.v0", Vector),
    ("blk.{}.time_mix_v1.weight", "blocks.{}.att.v1", Transpose),
    ("blk.{}.time_mix_v2.weight", "blocks.{}.att.v2", Transpose),
    ("blk.{}.time_mix_g1.weight", "blocks.{}.att.g1", Transpose),
    ("blk.{}.time_mix_g2.weight", "blocks.{}.att.g2", Transpose),
    ("blk.{}.time_mix_k_k.weight", "blocks.{}.att.k_k", Vector),
    ("blk.{}.time_mix_k_a.weight", "blocks.{}.att.k_a", Vector),
    ("blk.{}.time_mix_r_k.weight", "blocks.{}.att.r_k", Heads),
    ("blk.{}.time_mix_ln.*", "blocks.{}.att.ln_x.*", Same),
    ("blk.{}.time_mix_receptance.weight", "blocks.{}.att.receptance.weight", Same),
    ("blk.{}.time_mix_key.weight", "blocks.{}.att.key.weight", Same),
    ("blk.{}.time_mix_value.weight", "blocks.{}.att.value.weight", Same),
    ("blk.{}.time_mix_output.weight", "blocks.{}.att.output.weight", Same),
    ("blk.{}.channel_mix_lerp_k.weight", "blocks.{}.ffn.x_k", Vector),
    ("blk.{}.channel_mix_key.weight", "blocks.{}.ffn.key.weight", Same),
    ("blk.{}.channel_mix_value.weight", "blocks.{}.ffn.value.weight", Same),
    ("output_norm.*", "ln_out.*", Same),
    ("output.weight", "head.weight", Same),
];

/// llama.cpp's converter, architecture `rwkv6`.
pub(super) const GGUF_V6: &[Rule] = &[
    ("token_embd.weight", "emb.weight", Same),
    ("token_embd_norm.*", "blocks.0.ln0.*", Same),
    ("blk.{}.attn_norm.*", "blocks.{}.ln1.*", Same),
    ("blk.{}.attn_norm_2.*", "blocks.{}.ln2.*", Same),
    ("blk.{}.time_mix_lerp_x.weight", "blocks.{}.att.time_maa_x", Vector),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.time_maa_w", Part(0)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.time_maa_k", Part(1)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.time_maa_v", Part(2)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.time_maa_r", Part(3)),
    ("blk.{}.time_mix_lerp_fused.weight", "blocks.{}.att.time_maa_g", Part(4)),
    // The same five in files of the converter's first versions.
    ("blk.{}.time_mix_lerp_w.weight", "blocks.{}.att.time_maa_w", Vector),
    ("blk.{}.time_mix_lerp_k.weight", "blocks.{}.att.time_maa_k", Vector),
    ("blk.{}.time_mix_lerp_v.weight", "blocks.{}.att.time_maa_v", Vector),
    ("blk.{}.time_mix_lerp_r.weight", "blocks.{}.att.time_maa_r", Vector),
    ("blk.{}.time_mix_lerp_g.weight", "blocks.{}.att.time_maa_g", Vector),
    ("blk.{}.time_mix_w1.weight", "blocks.{}.att.time_maa_w1", Transpose),
    ("blk.{}.time_mix_w2.weight", "blocks.{}.att.time_maa_w2", Transpose),
    ("blk.{}.time_mix_decay.weight", "blocks.{}.att.time_decay", Vector),
    ("blk.{}.time_mix_decay_w1.weight", "blocks.{}.att.time_decay_w1", Transpose),
    ("blk.{}.time_mix_decay_w2.weight", "blocks.{}.att.time_decay_w2", Transpose),
    ("blk.{}.time_mix_first.weight", "blocks.{}.att.time_faaaa", Same),
    ("blk.{}.time_mix_ln.*", "blocks.{}.att.ln_x.*", Same),
    ("blk.{}.time_mix_receptance.weight", "blocks.{}.att.receptance.weight", Same),
    ("blk.{}.time_mix_key.weight", "blocks.{}.att.key.weight", Same),
    ("blk.{}.time_mix_value.weight", "blocks.{}.att.value.weight", Same),
    ("blk.{}.time_mix_gate.weight", "blocks.{}.att.gate.weight", Same),
    ("blk.{}.time_mix_output.weight", "blocks.{}.att.output.weight", Rescaled),
    ("blk.{}.channel_mix_lerp_k.weight", "blocks.{}.ffn.time_maa_k", Vector),
    ("blk.{}.channel_mix_lerp_r.weight", "blocks.{}.ffn.time_maa_r", Vector),
    ("blk.{}.channel_mix_key.weight", "blocks.{}.ffn.key.weight", Same),
    ("blk.{}.channel_mix_receptance.weight", "blocks.{}.ffn.receptance.weight", Same),
    ("blk.{}.channel_mix_value.weight", "blocks.{}.ffn.value.weight", Rescaled),
    ("output_norm.*", "ln_out.*", Same),
    ("output.weight", "head.weight", Same),
];

/// rwkv.cpp, RWKV-4.
pub(super) const RWKV_CPP_V4: &[Rule] = &[
    ("blocks.{}.att.time_decay", "blocks.{}.att.time_decay", Trim(Recover::MinusExp)),
    ("blocks.{}.att.time_mix_*", "blocks.{}.att.time_mix_*", Vector),
    ("blocks.{}.ffn.time_mix_*", "blocks.{}.ffn.time_mix_*", Vector),
    ("*", "*", Same),
];

/// rwkv.cpp, RWKV-5.0 to 5.2.
pub(super) const RWKV_CPP_V5: &[Rule] = &[
    ("blocks.{}.att.time_decay", "blocks.{}.att.time_decay", Trim(Recover::ExpMinusExp)),
    ("blocks.{}.att.time_first", "blocks.{}.att.time_first", Trim(Recover::Exp)),
    ("blocks.{}.att.time_faaaa", "blocks.{}.att.time_faaaa", Trim(Recover::Stored)),
    ("blocks.{}.att.time_mix_*", "blocks.{}.att.time_mix_*", Vector),
    ("blocks.{}.ffn.time_mix_*", "blocks.{}.ffn.time_mix_*", Vector),
    ("*", "*", Same),
];

/// rwkv.cpp, RWKV-6.
pub(super) const RWKV_CPP_V6: &[Rule] = &[
    ("blocks.{}.att.time_maa_w1", "blocks.{}.att.time_maa_w1", Transpose),
    ("blocks.{}.att.time_maa_w2", "blocks.{}.att.time_maa_w2", Transpose),
    ("blocks.{}.att.time_maa_*", "blocks.{}.att.time_maa_*", Vector),
    ("blocks.{}.ffn.time_maa_*", "blocks.{}.ffn.time_maa_*", Vector),
    ("blocks.{}.att.time_decay_w1", "blocks.{}.att.time_decay_w1", Transpose),
    ("blocks.{}.att.time_decay_w2", "blocks.{}.att.time_decay_w2", Transpose),
    ("blocks.{}.att.time_decay", "blocks.{}.att.time_decay", Vector),
    ("blocks.{}.att.time_faaaa", "blocks.{}.att.time_faaaa", Trim(Recover::Stored)),
    ("*", "*", Same),
];

/// rwkv.cpp, RWKV-7.
pub(super) const RWKV_CPP_V7: &[Rule] = &[
    ("blocks.{}.att.x_rwkvag", "blocks.{}.att.x_r", Part(0)),
    ("blocks.{}.att.x_rwkvag", "blocks.{}.att.x_w", Part(1)),
    ("blocks.{}.att.x_rwkvag", "blocks.{}.att.x_k", Part(2)),
    ("blocks.{}.att.x_rwkvag", "blocks.{}.att.x_v", Part(3)),
    ("blocks.{}.att.x_rwkvag", "blocks.{}.att.x_a", Part(4)),
    ("blocks.{}.att.x_rwkvag", "blocks.{}.att.x_g", Part(5)),
    ("blocks.{}.att.w1", "blocks.{}.att.w1", Transpose),
    ("blocks.{}.att.w2", "blocks.{}.att.w2", Transpose),
    ("blocks.{}.att.a1", "blocks.{}.att.a1", Transpose),
    ("blocks.{}.att.a2", "blocks.{}.att.a2", Transpose),
    ("blocks.{}.att.v1", "blocks.{}.att.v1", Transpose),
    ("blocks.{}.att.v2", "blocks.{}.att.v2", Transpose),
    ("blocks.{}.att.g1", "blocks.{}.att.g1", Transpose),
    ("blocks.{}.att.g2", "blocks.{}.att.g2", Transpose),
    ("*", "*", Same),
];

/// Renames `entries` by a table and undoes what the ecosystem did to them.
pub(super) fn translate(
    entries: Vec<TensorEntry>,
    table: &[Rule],
    facts: Facts,
) -> Result<Vec<TensorEntry>, Problem> {
    let mut official = Vec::with_capacity(entries.len());
    for entry in &entries {
        let unknown = || Problem::UnknownTensor { tensor: clip(&entry.name) };
        let first = table
            .iter()
            .position(|rule| Captures::of(rule.0, &entry.name).is_some())
            .ok_or_else(unknown)?;
        let pattern = table[first].0;
        for &(_, name, change) in table[first..].iter().take_while(|rule| rule.0 == pattern) {
            let captures = Captures::of(pattern, &entry.name).ok_or_else(unknown)?;
            official.extend(apply(entry, &captures, name, change, facts)?);
        }
    }
    Ok(official)
}

/// Parameters `[heads, head_size]`, of those versions that have them per channel.
const PER_HEAD: [&str; 3] = [".att.r_k", ".att.time_faaaa", ".att.time_decay"];

/// Gives parameters their official dimensions where ones stand around them, or a vector is laid
/// out per head.
///
/// A parameter per head of which only one dimension is not one, such as `[1, 1, width]`, stays,
/// for it does not say what a head is. RWKV-6's decay is a vector, which rwkv.cpp stores
/// `[heads, head_size, 1]`.
pub(super) fn unify_shapes(entries: &mut [TensorEntry]) {
    let is_v6 = entries.iter().any(|entry| entry.name.contains(".time_maa"));
    let is_per_head =
        |entry: &&mut TensorEntry| PER_HEAD.iter().any(|end| entry.name.ends_with(end));
    for entry in entries.iter_mut().filter(is_per_head) {
        let layout = entry.layout;
        entry.layout = if is_v6 && entry.name.ends_with(".att.time_decay") {
            layout.flattened().unwrap_or(layout)
        } else {
            layout.without_ones().unwrap_or(layout)
        };
    }
}

fn apply(
    entry: &TensorEntry,
    captures: &Captures<'_>,
    name: &str,
    change: Change,
    facts: Facts,
) -> Result<Option<TensorEntry>, Problem> {
    let mut entry = TensorEntry { name: captures.fill(name), ..entry.clone() };
    let foreign_shape = entry.layout.shape().to_vec();
    let wrong = |cause: String| Problem::Shape { tensor: clip(&captures.fill(name)), cause };
    let not_a_vector = || wrong(format!("has shape {foreign_shape:?}; expected a vector"));
    match change {
        Same => {}
        Drop => return Ok(None),
        Vector => entry.layout = entry.layout.flattened().ok_or_else(not_a_vector)?,
        TransposeSome if !facts.transposed => {}
        Transpose | TransposeSome => entry.layout = entry.layout.transposed(),
        Part(part) => {
            let (layout, skipped) = entry.layout.part(part).ok_or_else(|| {
                wrong(format!("has shape {foreign_shape:?}; expected more than {part} parts"))
            })?;
            entry.offset += skipped;
            entry.layout = layout.flattened().ok_or_else(not_a_vector)?;
        }
        // Without either, the shape itself says what a head is, or does not.
        Heads => {
            if let (Some(size), Some(_)) = (facts.head_size, entry.layout.vector()) {
                entry.layout = entry.layout.heads(size).ok_or_else(|| {
                    wrong(format!("has shape {foreign_shape:?}; expected heads of {size} channels"))
                })?;
            }
        }
        Trim(recover) => {
            entry.layout = entry.layout.trimmed();
            entry.recover = recover;
        }
        Rescaled => {
            let halvings = captures.layer().checked_div(facts.rescale_every).unwrap_or(0);
            // 2^64 is beyond what any stack of layers needs and far from overflow.
            entry.recover = Recover::Times(2f32.powi(halvings.min(64) as i32));
        }
    }
    Ok(Some(entry))
}

/// What the placeholders of a pattern stand for in a name.
struct Captures<'a> {
    layer: &'a str,
    rest: &'a str,
}

impl<'a> Captures<'a> {
    fn of(pattern: &str, name: &'a str) -> Option<Self> {
        let (mut layer, mut rest, mut tail) = ("", name, pattern);
        if let Some((head, after)) = pattern.split_once("{}") {
            let number = name.strip_prefix(head)?;
            let digits = number.bytes().take_while(u8::is_ascii_digit).count();
            (layer, rest) = number.split_at(digits);
            tail = after;
            if layer.is_empty() {
                return None;
            }
        }
        match tail.strip_suffix('*') {
            Some(head) => Some(Self { layer, rest: rest.strip_prefix(head)? }),
            None => (rest == tail).then_some(Self { layer, rest: "" }),
        }
    }

    fn fill(&self, pattern: &str) -> String {
        pattern.replacen("{}", self.layer, 1).replacen('*', self.rest, 1)
    }

    fn layer(&self) -> usize {
        self.layer.parse().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_capture_layers_and_rests() {
        let fill = |pattern, name, official: &str| {
            Captures::of(pattern, name).map(|captures| captures.fill(official))
        };
        assert_eq!(fill("a.{}.b.*", "a.12.b.weight", "x.{}.*"), Some("x.12.weight".to_owned()));
        assert_eq!(fill("a.{}.b", "a.0.b", "x.{}"), Some("x.0".to_owned()));
        assert_eq!(fill("*", "anything.at.all", "*"), Some("anything.at.all".to_owned()));
        assert_eq!(fill("a.{}.b", "a..b", "x"), None);
        assert_eq!(fill("a.{}.b", "a.1.bc", "x"), None);
        assert_eq!(fill("a.b", "a.b.c", "x"), None);
    }

    #[test]
    fn rows_of_one_pattern_stand_together() {
        let tables = [
            FLA_V7,
            HF_V4_TO_V6,
            WEB_RWKV_V7,
            WEB_RWKV_V6,
            WEB_RWKV_V5,
            GGUF_V7,
            GGUF_V6,
            RWKV_CPP_V4,
            RWKV_CPP_V5,
            RWKV_CPP_V6,
            RWKV_CPP_V7,
        ];
        for table in tables {
            let mut patterns: Vec<_> = table.iter().map(|rule| rule.0).collect();
            patterns.dedup();
            let blocks = patterns.len();
            patterns.sort_unstable();
            patterns.dedup();
            assert_eq!(patterns.len(), blocks);
        }
    }
}
