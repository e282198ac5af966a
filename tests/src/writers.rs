//! What the ecosystem's programs write, each made of official tensors by the steps of that
//! program's own code: names, order, precision and layout.
//!
//! Precision is part of a form, so a checkpoint to compare with is made by [`half()`] of the same
//! tensors where a program rounds.

use half::f16;
use serde_json::{Value, json};

use crate::tensor::{Tensor, Tensors};

/// Tensors as f16 holds them.
#[must_use]
pub fn half(tensors: &Tensors) -> Tensors {
    let round = |x: &f64| f16::from_f64(*x).to_f64();
    let rounded = tensors.iter().map(|(name, tensor)| {
        (name.clone(), Tensor::new(tensor.shape.clone(), tensor.data.iter().map(round).collect()))
    });
    rounded.collect()
}

/// A safetensors file of f16 or f32 with metadata.
///
/// # Panics
///
/// When the header is no JSON, which names cannot make it.
#[must_use]
pub fn safetensors(tensors: &Tensors, is_half: bool, metadata: &Value) -> Vec<u8> {
    let (dtype, size) = if is_half { ("F16", 2) } else { ("F32", 4) };
    let mut header = serde_json::Map::new();
    if !metadata.is_null() {
        header.insert("__metadata__".to_owned(), metadata.clone());
    }
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(bytes(&tensor.data, is_half));
        let entry = json!({
            "dtype": dtype, "shape": tensor.shape,
            "data_offsets": [start, start + size * tensor.data.len()],
        });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).expect("names are text");
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn bytes(values: &[f64], is_half: bool) -> Vec<u8> {
    if is_half {
        values.iter().flat_map(|&x| f16::from_f64(x).to_le_bytes()).collect()
    } else {
        values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()
    }
}

/// A converter to `.st`: four programs have the same script, which differs in what it transposes.
#[derive(Clone, Copy, Debug)]
pub struct StConverter {
    /// Parts of names, after renaming, whose last two dimensions are exchanged.
    pub transposed: &'static [&'static str],
    /// Whether a tensor is transposed for the first part that its name has, not for each.
    pub once: bool,
    /// Whether decays of RWKV-5.1 are repeated over the channels of a head.
    pub repeats: bool,
}

const V6: [&str; 4] = ["time_mix_w1", "time_mix_w2", "time_decay_w1", "time_decay_w2"];

/// cryscan/web-rwkv, `convert_safetensors.py`, and josStorer/RWKV-Runner,
/// `backend-python/convert_safetensors.py`.
pub const WEB_RWKV_AND_RUNNER: StConverter = StConverter {
    transposed: &[V6[0], V6[1], V6[2], V6[3], "time_state", "lora.0"],
    once: false,
    repeats: true,
};

/// Ai00-X/ai00_server, `assets/scripts/convert_safetensors.py`.
pub const AI00: StConverter = StConverter {
    transposed: &[
        V6[0],
        V6[1],
        V6[2],
        V6[3],
        "w1",
        "w2",
        "a1",
        "a2",
        "g1",
        "g2",
        "v1",
        "v2",
        "time_state",
        "lora.0",
    ],
    once: true,
    repeats: true,
};

/// Ai00-X/ai00_server, `assets/scripts/convert_ai00.py`, which transposes RWKV-6 twice.
pub const AI00_INFO: StConverter = StConverter { once: false, ..AI00 };

/// cryscan/web-rwkv, `crates/web-rwkv-converter`.
pub const WEB_RWKV_CRATE: StConverter =
    StConverter { transposed: &V6, once: false, repeats: false };

/// All of them, with the names of their programs.
pub const ST_CONVERTERS: [(&str, StConverter); 4] = [
    ("web-rwkv and RWKV Runner", WEB_RWKV_AND_RUNNER),
    ("Ai00", AI00),
    ("Ai00 with information", AI00_INFO),
    ("web-rwkv's crate", WEB_RWKV_CRATE),
];

impl StConverter {
    /// The tensors, to be written as f16.
    #[must_use]
    pub fn convert(&self, tensors: &Tensors) -> Tensors {
        let any = |part: &str| tensors.keys().any(|name| name.contains(part));
        let decay = tensors.get("blocks.0.att.time_decay").map(|decay| &decay.shape[..]);
        let is_v5_1 = any("ln_x")
            && any("gate.weight")
            && !any("time_maa")
            && !any("att.r_k")
            && !matches!(decay, Some([_, n]) if *n > 1);
        let converted = tensors.iter().map(|(name, tensor)| {
            let mut tensor = tensor.clone();
            let is_per_head = name.contains("time_decay") || name.contains("time_faaaa");
            if is_v5_1 && self.repeats && is_per_head {
                let (heads, width) = (tensor.data.len(), tensors["emb.weight"].shape[1]);
                let data = tensor.data.iter().flat_map(|&x| vec![x; width / heads]).collect();
                tensor = Tensor::new(vec![heads, width / heads], data);
            }
            let name = [
                ("time_faaaa", "time_first"),
                ("time_maa", "time_mix"),
                ("lora_A", "lora.0"),
                ("lora_B", "lora.1"),
            ]
            .iter()
            .fold(name.clone(), |name, (from, to)| name.replace(from, to))
            .to_lowercase();
            let parts = self.transposed.iter().filter(|part| name.contains(*part));
            let times = if self.once { parts.take(1).count() } else { parts.count() };
            if times % 2 == 1 {
                tensor = tensor.transposed();
            }
            (name, tensor)
        });
        converted.collect()
    }
}

/// RWKV/rwkv.cpp, `python/convert_pytorch_to_ggml.py`: a whole file.
#[must_use]
pub fn rwkv_cpp(tensors: &Tensors, is_half: bool) -> Vec<u8> {
    let has = |name: &str| tensors.contains_key(name);
    let is_v7 = has("blocks.0.att.k_k");
    let is_v6 = has("blocks.0.att.time_maa_x");
    let is_v5_2 = has("blocks.0.att.gate.weight");
    let is_v5 = has("blocks.0.att.ln_x.weight");
    let embedding = &tensors["emb.weight"].shape;
    let layers = (0..).take_while(|n| has(&format!("blocks.{n}.ln1.weight"))).count();
    let mut file = Vec::new();
    let numbers = [0x6767_6d66, 101, embedding[0], embedding[1], layers, usize::from(is_half)];
    numbers.iter().for_each(|&n| file.extend((n as i32).to_le_bytes()));
    let mut entries: Vec<(String, Tensor)> = Vec::new();
    for (name, tensor) in tensors {
        if is_v7 && name.contains("att.x_") {
            continue;
        }
        entries.push((name.clone(), tensor.clone()));
    }
    for layer in (0..layers).filter(|_| is_v7) {
        let part = |x: &str| &tensors[&format!("blocks.{layer}.att.x_{x}")];
        let data: Vec<f64> =
            ["r", "w", "k", "v", "a", "g"].iter().flat_map(|x| part(x).data.clone()).collect();
        let shape = vec![6, 1, data.len() / 6];
        entries.push((format!("blocks.{layer}.att.x_rwkvag"), Tensor::new(shape, data)));
    }
    for (name, mut tensor) in entries {
        let is = |part: &str| name.contains(part);
        if is(".time_") {
            tensor.shape = tensor.squeezed();
        }
        let map = |tensor: &mut Tensor, f: fn(f64) -> f64| {
            tensor.data.iter_mut().for_each(|x| *x = f(f64::from(*x as f32)));
        };
        let decay: fn(f64) -> f64 = |x| (-x.exp()).exp();
        if is_v7 {
            let low_rank = [".w1", ".w2", ".a1", ".a2", ".v1", ".v2", ".g1", ".g2"];
            if low_rank.iter().any(|part| is(part)) {
                tensor = tensor.transposed();
            }
        } else if is_v6 {
            let heads = tensors["blocks.0.att.time_faaaa"].shape[0];
            if is(".time_faaaa") {
                tensor.shape.push(1);
            }
            if is(".time_maa_w1") || is(".time_decay_w") || is(".time_maa_w2") {
                tensor = tensor.transposed();
            }
            if is(".time_decay") && !is("_w") {
                tensor.shape = vec![heads, tensor.data.len() / heads, 1];
            }
        } else if is_v5 {
            if is(".time_decay") {
                map(&mut tensor, decay);
                if is_v5_2 {
                    tensor.shape.push(1);
                } else {
                    tensor.shape = vec![tensor.data.len(), 1, 1];
                }
            }
            if is(".time_first") {
                map(&mut tensor, f64::exp);
                tensor.shape = vec![tensor.data.len(), 1, 1];
            }
            if is(".time_faaaa") {
                tensor.shape.push(1);
            }
        } else if is(".time_decay") {
            map(&mut tensor, |x| -x.exp());
        }
        let kept = [".time_", ".k_k", ".k_a", ".r_k", ".x_rwkvag", ".x_k", ".w0", ".a0", ".v0"];
        let halved = is_half && tensor.shape.len() > 1 && !kept.iter().any(|part| is(part));
        let numbers = [tensor.shape.len(), name.len(), usize::from(halved)];
        let dims = tensor.shape.iter().rev();
        let numbers = numbers.iter().chain(dims);
        numbers.for_each(|&n| file.extend((n as i32).to_le_bytes()));
        file.extend(name.as_bytes());
        file.extend(bytes(&tensor.data, halved));
    }
    file
}

/// ggml-org/llama.cpp, `conversion/rwkv.py`: the tensors of a GGUF file, from official ones, with
/// `rescale_every` as transformers' configurations of RWKV-6 have it.
#[must_use]
pub fn llama_cpp(tensors: &Tensors, rescale_every: usize) -> Tensors {
    let is_v7 = tensors.contains_key("blocks.0.att.r_k");
    let mut out = Tensors::new();
    let layers =
        (0..).take_while(|n| tensors.contains_key(&format!("blocks.{n}.ln1.weight"))).count();
    for (name, tensor) in tensors {
        let part = name.split('.').nth(1).and_then(|n| n.parse::<usize>().ok());
        let (layer, rest) = match part {
            Some(layer) if name.starts_with("blocks.") => {
                (Some(layer), name.splitn(3, '.').nth(2).unwrap_or_default())
            }
            _ => (None, &**name),
        };
        let short = gguf_name(rest);
        let mut tensor = tensor.clone();
        let Some(layer) = layer else {
            out.insert(short, tensor);
            continue;
        };
        if short.contains("lerp") || short.contains("time_mix_decay.") || is_v7 {
            tensor.shape = tensor.squeezed();
        }
        let low_rank = ["w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2"];
        if low_rank.iter().any(|end| short.ends_with(&format!("{end}.weight"))) {
            tensor = tensor.transposed();
        }
        if short == "time_mix_r_k.weight" {
            tensor.shape = vec![tensor.data.len()];
        }
        let divided = ["time_mix_output.weight", "channel_mix_value.weight"];
        if !is_v7 && rescale_every > 0 && divided.contains(&&*short) {
            let factor = 2f64.powi((layer / rescale_every) as i32);
            tensor.data.iter_mut().for_each(|x| *x /= factor);
        }
        let is_value_mix =
            ["time_mix_v0", "time_mix_v1", "time_mix_v2"].iter().any(|v| short.starts_with(v));
        if is_v7 && layer == 0 && is_value_mix {
            continue;
        }
        if is_v7 && layer == 0 && short.starts_with("time_mix_a") {
            let dummy = short.replace("time_mix_a", "time_mix_v");
            out.insert(format!("blk.0.{dummy}"), tensor.clone());
        }
        // The norm of the embedding is no part of a block there.
        let is_block = !short.starts_with("token_embd_norm");
        let name = if is_block { format!("blk.{layer}.{short}") } else { short };
        out.insert(name, tensor);
    }
    let order: &[&str] =
        if is_v7 { &["r", "w", "k", "v", "a", "g"] } else { &["w", "k", "v", "r", "g"] };
    for layer in 0..layers {
        let take = |x: &&str| out.remove(&format!("blk.{layer}.time_mix_lerp_{x}.weight"));
        let parts: Vec<Tensor> = order.iter().filter_map(take).collect();
        let width = parts[0].data.len();
        let data = parts.into_iter().flat_map(|part| part.data).collect();
        let fused = Tensor::new(vec![order.len(), 1, 1, width], data);
        out.insert(format!("blk.{layer}.time_mix_lerp_fused.weight"), fused);
    }
    out
}

/// The name that llama.cpp's map of names gives a tensor, without its layer.
fn gguf_name(rest: &str) -> String {
    const NAMES: [(&str, &str); 19] = [
        ("emb.weight", "token_embd.weight"),
        ("head.weight", "output.weight"),
        ("ln_out.", "output_norm."),
        ("ln0.", "token_embd_norm."),
        ("ln1.", "attn_norm."),
        ("ln2.", "attn_norm_2."),
        ("att.ln_x.", "time_mix_ln."),
        ("att.time_maa_w1", "time_mix_w1"),
        ("att.time_maa_w2", "time_mix_w2"),
        ("att.time_maa_", "time_mix_lerp_"),
        ("att.time_decay_", "time_mix_decay_"),
        ("att.time_decay", "time_mix_decay"),
        ("att.time_faaaa", "time_mix_first"),
        ("att.x_", "time_mix_lerp_"),
        ("att.", "time_mix_"),
        ("ffn.time_maa_", "channel_mix_lerp_"),
        ("ffn.x_", "channel_mix_lerp_"),
        ("ffn.", "channel_mix_"),
        ("", ""),
    ];
    let (from, to) = NAMES.iter().find(|(from, _)| rest.starts_with(from)).unwrap_or(&("", ""));
    let name = format!("{to}{}", &rest[from.len()..]);
    if name.ends_with(".weight") || name.ends_with(".bias") {
        name
    } else {
        format!("{name}.weight")
    }
}

/// A GGUF file, version 3, of f32 tensors; numbers of the metadata are u32 or f32, texts strings.
#[must_use]
pub fn gguf(metadata: &[(&str, Value)], tensors: &Tensors) -> Vec<u8> {
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut file, key);
        match value {
            Value::String(value) => {
                file.extend(8u32.to_le_bytes());
                text(&mut file, value);
            }
            // Parts count themselves in u16.
            Value::Number(n) if key.starts_with("split.") && !key.ends_with("tensors.count") => {
                file.extend(2u32.to_le_bytes());
                file.extend((n.as_u64().unwrap_or_default() as u16).to_le_bytes());
            }
            Value::Number(n) if n.is_f64() => {
                file.extend(6u32.to_le_bytes());
                file.extend((n.as_f64().unwrap_or_default() as f32).to_le_bytes());
            }
            value => {
                file.extend(4u32.to_le_bytes());
                file.extend((value.as_u64().unwrap_or_default() as u32).to_le_bytes());
            }
        }
    }
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        text(&mut file, name);
        file.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&n| file.extend((n as u64).to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        data.resize(data.len().next_multiple_of(32), 0);
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(bytes(&tensor.data, false));
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

/// huggingface/transformers, `convert_rwkv_checkpoint_to_hf.py` for RWKV-4, and the scripts of the
/// same name of BBuf/RWKV-World-HF-Tokenizer for RWKV-5 and 6.
#[must_use]
pub fn transformers(tensors: &Tensors) -> Tensors {
    let renamed = tensors.iter().map(|(name, tensor)| {
        let mut name = name.clone();
        if name.starts_with("emb.") {
            name = name.replace("emb.", "embeddings.");
        }
        if name.starts_with("blocks.0.ln0") {
            name = name.replace("blocks.0.ln0", "blocks.0.pre_ln");
        }
        name = name.replace(".att.", ".attention.").replace(".ffn.", ".feed_forward.");
        for (end, long) in [("k", "key"), ("v", "value"), ("r", "receptance"), ("g", "gate")] {
            if let Some(rest) = name.strip_suffix(&format!(".time_mix_{end}")) {
                name = format!("{rest}.time_mix_{long}");
            }
        }
        let name = if name == "head.weight" { name } else { format!("rwkv.{name}") };
        (name, tensor.clone())
    });
    renamed.collect()
}

/// fla-org/flash-linear-attention, `utils/convert_from_rwkv7.py`.
#[must_use]
pub fn fla(tensors: &Tensors) -> Tensors {
    let mut out = Tensors::new();
    for (name, tensor) in tensors {
        let unused = ["blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"];
        if unused.contains(&&**name) {
            continue;
        }
        let whole = match &**name {
            "emb.weight" => Some("model.embeddings.weight"),
            "ln_out.weight" => Some("model.norm.weight"),
            "ln_out.bias" => Some("model.norm.bias"),
            "head.weight" => Some("lm_head.weight"),
            _ => None,
        };
        if let Some(whole) = whole {
            out.insert(whole.to_owned(), tensor.clone());
            continue;
        }
        let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
        parts[0] = "model.layers".to_owned();
        parts[2] = match &*parts[2] {
            "att" => "attn",
            "ffn" => "ffn",
            "ln0" => "pre_norm",
            "ln1" => "attn_norm",
            _ => "ffn_norm",
        }
        .to_owned();
        let mut tensor = tensor.clone();
        let &[kind, number] = parts[3].as_bytes() else {
            let projection = match &*parts[3] {
                "receptance" => "r_proj",
                "key" => "k_proj",
                "value" => "v_proj",
                "ln_x" => "g_norm",
                "output" => "o_proj",
                other => other,
            };
            if parts[2] == "attn" {
                parts[3] = projection.to_owned();
            }
            // The six of the time mix are copied into parameters of the official shape.
            let is_kept = parts[2] == "attn" && parts[3].starts_with("x_");
            if tensor.shape[..tensor.shape.len() - 1] == [1, 1] && !is_kept {
                tensor.shape = tensor.squeezed();
            }
            out.insert(parts.join("."), tensor);
            continue;
        };
        let end = match number {
            b'0' => "2.bias",
            b'1' => "0.weight",
            _ => "2.weight",
        };
        if number == b'0' {
            tensor.shape = tensor.squeezed();
        } else {
            tensor = tensor.transposed();
        }
        parts[3] = format!("{}_lora.lora.{end}", char::from(kind));
        out.insert(parts.join("."), tensor);
    }
    out
}
