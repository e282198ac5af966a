//! What training puts around the names of a model's tensors.
//!
//! | wrapping | who adds it |
//! |---|---|
//! | `_orig_mod.` | `torch.compile`, of the model or of any module in it |
//! | `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.` | FSDP and activation checkpointing |
//! | `module.` | `DataParallel`, `DistributedDataParallel`, DeepSpeed |
//! | `_forward_module.`, `model.` | Lightning, and modules that hold the model |
//! | `base_model.` | Hugging Face PEFT |
//!
//! PEFT also puts `base_layer.` and `modules_to_save.` into names, and `.weight` or the adapter's
//! name after its factors.
//!
//! The first two rows may stand between any two parts of a name, the others before it, in any
//! order and number. `model.` begins the names of flash-linear-attention as well, so a name is
//! unwrapped until it begins as some naming does; one that never does stays as it is.

use super::tensor::TensorEntry;

/// Parts that no module of a model is named.
const ANYWHERE: [&str; 6] = [
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
    "base_layer.",
    "modules_to_save.default.",
    "modules_to_save.",
];

/// Parts before a name.
const BEFORE: [&str; 4] = ["module.", "_forward_module.", "model.", "base_model."];

/// Ends of PEFT's names, with and without the adapter's own name, and without either.
const ENDS: [(&str, &str); 9] = [
    (".lora_A.default.weight", ".lora_A"),
    (".lora_B.default.weight", ".lora_B"),
    (".lora_A.default", ".lora_A"),
    (".lora_B.default", ".lora_B"),
    (".lora_E.default", ".lora_E"),
    (".lora_A.weight", ".lora_A"),
    (".lora_B.weight", ".lora_B"),
    (".miss_block.default", ".miss_block"),
    (".bone_block.default", ".bone_block"),
];

/// How names begin, officially and at Hugging Face.
const BEGINNINGS: [&str; 10] = [
    "blocks.",
    "emb.",
    "ln_out.",
    "head.",
    "model.embeddings.",
    "model.layers.",
    "model.norm.",
    "lm_head.",
    "rwkv.blocks.",
    "rwkv.embeddings.",
];

/// AdaLoRA's rank as a number, which the shapes of its factors say as well.
const RANKS: [&str; 2] = [".ranknum", ".ranknum.default"];

/// Takes the wrappings off all names.
pub(super) fn take_off(entries: &mut Vec<TensorEntry>) {
    entries.retain(|entry| !RANKS.iter().any(|end| entry.name.ends_with(end)));
    for entry in entries {
        if let Some(name) = unwrapped(&entry.name) {
            entry.name = name;
        }
    }
}

/// The name without its wrappings; `None` where it has none, or is no name of a model in them.
fn unwrapped(name: &str) -> Option<String> {
    let mut inner = name.to_owned();
    for part in ANYWHERE {
        inner = inner.replace(part, "");
    }
    for (end, plain) in ENDS {
        if let Some(rest) = inner.strip_suffix(end) {
            inner = format!("{rest}{plain}");
        }
    }
    let mut rest = &*inner;
    while !BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning)) {
        rest = BEFORE.iter().find_map(|part| rest.strip_prefix(part))?;
    }
    (rest != name).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn wrappings_are_taken_off_in_any_order() {
        let key = "blocks.0.att.key.weight";
        for wrapped in [
            format!("_orig_mod.{key}"),
            format!("module._orig_mod.{key}"),
            format!("_orig_mod.module.model.{key}"),
            format!("_forward_module.model.{key}"),
            format!("base_model.model.{key}"),
            "base_model.model.blocks.0.att.key.base_layer.weight".to_owned(),
            "model.blocks.0._orig_mod.att._checkpoint_wrapped_module.key.weight".to_owned(),
        ] {
            assert_eq!(unwrapped(&wrapped).as_deref(), Some(key), "{wrapped}");
        }
        let foreign = "model.layers.0.attn.r_proj.weight";
        assert_eq!(unwrapped(&format!("base_model.model.{foreign}")).as_deref(), Some(foreign));
        for untouched in [key, foreign, "model.layers", "tok.weight", "module.x", ""] {
            assert_eq!(unwrapped(untouched), None, "{untouched}");
        }
    }
}
