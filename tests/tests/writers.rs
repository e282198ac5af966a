//! Every form that a program writes, against the official form of the same weights.

use std::fs;
use std::path::{Path, PathBuf};

use kinglet_quantize::checkpoint::{Checkpoint, Container};
use kinglet_quantize::reference::Reference;
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Note, Options, TunedState, shape};
use kinglet_tests::metrics::relative_mean_abs_diff;
use kinglet_tests::oracle::Version;
use kinglet_tests::quantized::ModelBytes;
use kinglet_tests::random::{Dims, checkpoint};
use kinglet_tests::tensor::{Tensor, Tensors};
use kinglet_tests::writers::{
    AI00, ST_CONVERTERS, WEB_RWKV_AND_RUNNER, WEB_RWKV_CRATE, fla, gguf, half, llama_cpp, rwkv_cpp,
    safetensors, transformers,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const DIMS: Dims =
    Dims { layers: 3, width: 64, head_size: 32, ffn: 96, vocab: 50, ranks: [8, 4, 4, 12, 6, 3] };
const VERSIONS: [Version; 6] =
    [Version::V4, Version::V5_0, Version::V5_1, Version::V5_2, Version::V6, Version::V7];
const TOKENS: [u32; 9] = [0, 7, 7, 49, 3, 21, 8, 30, 1];

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn hash(path: &Path) -> [u8; 32] {
    ModelBytes::quantize(path).1.content_hash
}

/// The content hash of official tensors.
fn official(tensors: &Tensors) -> [u8; 32] {
    hash(&Files::new().write("model.safetensors", safetensors(tensors, false, &Value::Null)))
}

fn logits(path: &Path) -> Vec<f64> {
    Reference::open(&open(path)).unwrap().forward(&TOKENS)
}

/// A tuned state of a model of [`DIMS`].
fn with_state(tensors: &Tensors) -> Tensors {
    let mut tensors = tensors.clone();
    for layer in 0..DIMS.layers {
        let value = |i: usize| f64::from((i as f32 * 0.37 + layer as f32).sin());
        let state = Tensor::new(vec![2, 32, 32], (0..2048).map(value).collect());
        tensors.insert(format!("blocks.{layer}.att.time_state"), state);
    }
    tensors
}

#[test]
fn every_converter_to_st_is_followed() {
    let files = Files::new();
    let pt = json!({ "format": "pt" });
    for version in VERSIONS {
        let tensors = half(&checkpoint(version, DIMS, 11));
        for (program, converter) in ST_CONVERTERS {
            let st = safetensors(&converter.convert(&tensors), true, &pt);
            let st = files.write(&format!("{version:?}-{program}.st"), st);
            if version == Version::V5_1 && converter.repeats {
                // The same model as one of RWKV-5.2.
                let expected = safetensors(&tensors, false, &Value::Null);
                let expected = logits(&files.write("official.safetensors", expected));
                let difference = relative_mean_abs_diff(&logits(&st), &expected);
                assert!(difference < 1e-6, "{program}: {difference}");
                continue;
            }
            assert_eq!(hash(&st), official(&tensors), "{version:?} by {program}");
        }
    }
}

#[test]
fn a_state_in_a_model_is_turned_by_every_converter_that_turns_it() {
    let files = Files::new();
    for version in [Version::V6, Version::V7] {
        let tensors = half(&with_state(&checkpoint(version, DIMS, 12)));
        let path = files.write("official.safetensors", safetensors(&tensors, false, &Value::Null));
        let start = |path: &Path| {
            let (bytes, _) = ModelBytes::quantize(path);
            bytes.model().unwrap().start_state().unwrap().to_vec()
        };
        let expected = start(&path);
        // web-rwkv's crate leaves a state as it is, in which web-rwkv itself uses it transposed.
        for (program, converter) in &ST_CONVERTERS[..3] {
            let st = safetensors(&converter.convert(&tensors), true, &Value::Null);
            let st = files.write(&format!("{version:?}-{program}.st"), st);
            assert_eq!(start(&st), expected, "{version:?} by {program}");
        }
        assert!(!WEB_RWKV_CRATE.transposed.contains(&"time_state"));
    }
}

#[test]
fn adapters_of_every_converter_merge_as_those_of_training() {
    let files = Files::new();
    let base = half(&checkpoint(Version::V7, DIMS, 13));
    let base = files.write("base.safetensors", safetensors(&base, false, &Value::Null));
    let mut adapter = Tensors::new();
    for (matrix, outputs, inputs) in [("att.key", 64, 64), ("ffn.key", 96, 64)] {
        let value = |i: usize| f64::from((i as f32 * 1.3).sin()) * 0.2;
        let of = |shape: [usize; 2]| {
            Tensor::new(shape.to_vec(), (0..shape[0] * shape[1]).map(value).collect())
        };
        adapter.insert(format!("blocks.1.{matrix}.lora_A"), of([4, inputs]));
        adapter.insert(format!("blocks.1.{matrix}.lora_B"), of([outputs, 4]));
    }
    let adapter = half(&adapter);
    let merged = |bytes: Vec<u8>, name: &str| {
        let mut base = open(&base);
        base.merge(vec![open(&files.write(name, bytes))], Some(8.0)).unwrap();
        ModelBytes::convert(&base, &Options::default()).1.content_hash
    };
    let expected = merged(safetensors(&adapter, true, &Value::Null), "adapter.safetensors");
    for (program, converter) in ST_CONVERTERS {
        let lora = safetensors(&converter.convert(&adapter), true, &Value::Null);
        assert_eq!(merged(lora, &format!("{program}.lora")), expected, "{program}");
    }
}

#[test]
fn rwkv_cpp_files_of_every_version_are_read() {
    let files = Files::new();
    for version in VERSIONS {
        let tensors = half(&checkpoint(version, DIMS, 14));
        let expected = files.write("o.safetensors", safetensors(&tensors, false, &Value::Null));
        let expected_logits = logits(&expected);
        for is_half in [false, true] {
            let file = files.write("model.bin", rwkv_cpp(&tensors, is_half));
            assert_eq!(open(&file).container(), Container::RwkvCpp);
            let difference = relative_mean_abs_diff(&logits(&file), &expected_logits);
            assert!(difference < 1e-5, "{version:?}: {difference}");
            // Of RWKV-4 and 5 it stores functions of the decay.
            if matches!(version, Version::V6 | Version::V7) {
                assert_eq!(hash(&file), official(&tensors), "{version:?}");
            }
            fs::remove_file(file).unwrap();
        }
    }
}

/// A GGUF file's metadata, as llama.cpp's converter writes them.
fn metadata(architecture: &'static str) -> Vec<(&'static str, Value)> {
    let mut all = vec![("general.architecture", json!(architecture))];
    let keys: &[(&'static str, Value)] = if architecture == "rwkv7" {
        &[
            ("rwkv7.embedding_length", json!(64)),
            ("rwkv7.block_count", json!(3)),
            ("rwkv7.attention.layer_norm_epsilon", json!(1e-5)),
            ("rwkv7.wkv.head_size", json!(32)),
            ("rwkv7.attention.decay_lora_rank", json!(8)),
            ("rwkv7.feed_forward_length", json!(96)),
            ("rwkv7.attention.head_count", json!(0)),
            ("tokenizer.ggml.eot_token_id", json!(17)),
        ]
    } else {
        &[
            ("rwkv6.embedding_length", json!(64)),
            ("rwkv6.block_count", json!(3)),
            ("rwkv6.attention.layer_norm_epsilon", json!(1e-5)),
            ("rwkv6.rescale_every_n_layers", json!(2)),
            ("rwkv6.wkv.head_size", json!(32)),
            // Of the width, whatever the tensors' ranks are.
            ("rwkv6.time_mix_extra_dim", json!(32)),
            ("rwkv6.time_decay_extra_dim", json!(64)),
            ("rwkv6.feed_forward_length", json!(96)),
        ]
    };
    all.extend(keys.iter().cloned());
    all
}

#[test]
fn gguf_files_are_read_whole_and_in_parts() {
    let files = Files::new();
    for (version, architecture) in [(Version::V6, "rwkv6"), (Version::V7, "rwkv7")] {
        let tensors = checkpoint(version, DIMS, 15);
        let all = llama_cpp(&tensors, 2);
        let whole = files.write("model.gguf", gguf(&metadata(architecture), &all));
        assert_eq!(hash(&whole), official(&tensors), "{architecture}");
        assert_eq!(open(&whole).end_of_turn(), (architecture == "rwkv7").then_some(17));
        // As `llama-gguf-split` cuts it: all metadata are in the first part.
        let name = |part: usize| format!("{architecture}-{part:05}-of-00003.gguf");
        let mut parts = vec![Tensors::new(); 3];
        for (at, (name, tensor)) in all.iter().enumerate() {
            parts[3 * at / all.len()].insert(name.clone(), tensor.clone());
        }
        let paths: Vec<PathBuf> = (1..)
            .zip(&parts)
            .map(|(number, tensors)| {
                let mut keys = if number == 1 { metadata(architecture) } else { Vec::new() };
                keys.push(("split.no", json!(number - 1)));
                keys.push(("split.count", json!(3)));
                keys.push(("split.tensors.count", json!(all.len())));
                files.write(&name(number), gguf(&keys, tensors))
            })
            .collect();
        for path in &paths {
            assert_eq!(hash(path), official(&tensors), "{}", path.display());
        }
        fs::remove_file(&paths[2]).unwrap();
        let error = Checkpoint::open(&paths[0]).unwrap_err().to_string();
        assert!(error.contains("one of 3 parts") && error.contains(&name(3)), "{error}");
        let lone = files.write("part.gguf", fs::read(&paths[1]).unwrap());
        let error = Checkpoint::open(&lone).unwrap_err().to_string();
        assert!(error.contains("whose first part says what it is"), "{error}");
    }
}

#[test]
fn a_models_end_of_turn_is_kept() {
    let files = Files::new();
    let tensors = llama_cpp(&checkpoint(Version::V7, DIMS, 16), 0);
    let path = files.write("model.gguf", gguf(&metadata("rwkv7"), &tensors));
    let (bytes, _) = ModelBytes::quantize(&path);
    assert_eq!(bytes.model().unwrap().end_of_turn(), Some(17));
    let mut outside = metadata("rwkv7");
    outside.last_mut().unwrap().1 = json!(50);
    let path = files.write("outside.gguf", gguf(&outside, &tensors));
    assert_eq!(ModelBytes::quantize(&path).0.model().unwrap().end_of_turn(), None);
}

/// `config.json` of the scripts' own folders, for [`DIMS`].
fn config(class: &str) -> Value {
    json!({
        "architectures": [class], "attention_hidden_size": 64, "bos_token_id": 0,
        "context_length": 4096, "eos_token_id": 0, "head_size": 32, "hidden_size": 64,
        "intermediate_size": null, "layer_norm_epsilon": 1e-5, "num_hidden_layers": 3,
        "rescale_every": 6, "tie_word_embeddings": false, "use_cache": true, "vocab_size": 50,
    })
}

#[test]
fn folders_of_transformers_are_read() {
    for (version, class) in [
        (Version::V4, "RwkvForCausalLM"),
        (Version::V5_2, "Rwkv5ForCausalLM"),
        (Version::V6, "Rwkv6ForCausalLM"),
    ] {
        let files = Files::new();
        let tensors = checkpoint(version, DIMS, 17);
        let bytes = safetensors(&transformers(&tensors), false, &json!({ "format": "pt" }));
        files.write("model.safetensors", bytes);
        files.write("config.json", config(class).to_string());
        files.write("vocab.txt", "b'<s>'\nb'\\x00'\n'a b'\nb\"it's\"\n");
        assert_eq!(hash(files.0.path()), official(&tensors), "{class}");
        let tokens: [&[u8]; 4] = [b"", b"\0", b"a b", b"it's"];
        let expected = Vocabulary::from_tokens(tokens.map(<[u8]>::to_vec).to_vec()).unwrap();
        // The file alone is treated as its folder is.
        for path in [files.0.path(), &files.0.path().join("model.safetensors")] {
            assert_eq!(open(path).vocabulary().unwrap().as_ref(), Some(&expected));
        }
    }
}

#[test]
fn one_part_of_a_folder_finds_the_others() {
    let files = Files::new();
    let tensors = checkpoint(Version::V7, DIMS, 18);
    let all = fla(&tensors);
    let mut parts = vec![Tensors::new(); 2];
    let mut map = serde_json::Map::new();
    for (at, (name, tensor)) in all.iter().enumerate() {
        let part = at % 2;
        parts[part].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), format!("model-{:05}-of-00002.safetensors", part + 1).into());
    }
    let paths: Vec<PathBuf> = (1..)
        .zip(&parts)
        .map(|(number, part)| {
            let name = format!("model-{number:05}-of-00002.safetensors");
            files.write(&name, safetensors(part, false, &json!({ "format": "pt" })))
        })
        .collect();
    let of_fla = json!({
        "hidden_size": 64, "num_hidden_layers": 3, "head_dim": 32, "decay_low_rank_dim": 8,
        "a_low_rank_dim": 4, "v_low_rank_dim": 4, "gate_low_rank_dim": 12, "norm_bias": true,
        "attn": null, "hidden_act": "sqrelu", "vocab_size": 50, "norm_eps": 1e-5,
    });
    files.write("config.json", of_fla.to_string());
    let expected = official(&tensors);
    // Without an index their names tell, with one it does.
    for with_index in [false, true] {
        if with_index {
            let index = json!({ "metadata": {}, "weight_map": map });
            files.write("model.safetensors.index.json", index.to_string());
        }
        for path in [files.0.path(), &paths[0], &paths[1]] {
            assert_eq!(hash(path), expected, "{}", path.display());
        }
    }
    let refused = |key: &str, value: Value| {
        let mut config = of_fla.clone();
        config[key] = value;
        files.write("config.json", config.to_string());
        let shape = Checkpoint::open(&paths[0])
            .map_err(|error| error.to_string())
            .and_then(|checkpoint| shape(&checkpoint).map_err(|error| error.to_string()));
        shape.unwrap_err()
    };
    assert!(refused("gate_low_rank_dim", json!(16)).contains("gate_low_rank_dim in config.json"));
    assert!(refused("attn", json!({ "layers": [1] })).contains("layers of attention"));
    assert!(refused("quantization_config", json!({ "bits": 4 })).contains("quantized"));
    fs::remove_file(&paths[1]).unwrap();
    let error = Checkpoint::open(&paths[0]).unwrap_err().to_string();
    assert!(error.contains("model-00002-of-00002.safetensors"), "{error}");
}

#[test]
fn norms_without_a_bias_have_one_of_zeros() {
    let files = Files::new();
    let mut tensors = checkpoint(Version::V7, DIMS, 19);
    for (name, tensor) in &mut tensors {
        if name.ends_with(".bias") && !name.contains("ln_x") {
            tensor.data.fill(0.0);
        }
    }
    let mut without = fla(&tensors);
    without.retain(|name, _| !name.ends_with("norm.bias") || name.contains("g_norm"));
    assert_eq!(fla(&tensors).len() - without.len(), 2 * 3 + 2);
    files.write("model.safetensors", safetensors(&without, false, &Value::Null));
    files.write("config.json", json!({ "head_dim": 32, "norm_bias": false }).to_string());
    assert_eq!(hash(files.0.path()), official(&tensors));
    files.write("config.json", json!({ "head_dim": 32 }).to_string());
    let error = shape(&open(files.0.path())).unwrap_err().to_string();
    assert!(error.contains("bias is missing"), "{error}");
}

/// BlinkDL/RWKV-LM, `RWKV-v8/251105_reverse_run.py`: the names of the digit-reversal model.
fn demo(tensors: &Tensors) -> Tensors {
    let mut out = Tensors::new();
    for (name, tensor) in tensors {
        let parts: Vec<&str> = name.splitn(4, '.').collect();
        let name = match parts[..] {
            ["emb", rest] => format!("e.{rest}"),
            ["head", rest] => format!("o.{rest}"),
            ["ln_out", rest] => format!("lno.{rest}"),
            ["blocks", layer, module, rest] => {
                let number = layer.parse::<usize>().unwrap() + 1;
                match module {
                    "att" => format!("rwkv{number}.{rest}"),
                    "ffn" => format!("ffn{number}.{rest}"),
                    "ln1" => format!("ln{number}a.{rest}"),
                    "ln2" => format!("ln{number}b.{rest}"),
                    _ => continue,
                }
            }
            _ => panic!("{name}"),
        };
        out.insert(name, tensor.clone());
    }
    for layer in 1..=DIMS.layers {
        for part in ["q", "k", "v", "o"] {
            let fill = if part == "o" { 0.0 } else { 0.5 };
            let name = format!("rosa{layer}.{part}");
            out.insert(format!("{name}.weight"), Tensor::new(vec![64, 64], vec![fill; 4096]));
            out.insert(format!("{name}.bias"), Tensor::new(vec![64], vec![fill; 64]));
        }
        out.insert(format!("rosa{layer}.rosa_qkv.emb"), Tensor::new(vec![1, 1, 64], vec![1.0; 64]));
        for part in ["weight", "bias"] {
            out.insert(format!("ln{layer}c.{part}"), Tensor::new(vec![64], vec![1.0; 64]));
        }
    }
    out
}

#[test]
fn the_digit_reversal_model_is_read_with_its_biases() {
    let files = Files::new();
    let mut tensors = checkpoint(Version::V7, DIMS, 20);
    let bias: Vec<f64> = (0..50).map(|i| f64::from((i as f32 * 0.7).cos())).collect();
    tensors.retain(|name, _| !name.starts_with("blocks.0.ln0"));
    let plain = files.write("plain.safetensors", safetensors(&tensors, false, &Value::Null));
    let plain: Vec<f64> = logits(&plain);
    let mut named = demo(&tensors);
    named.insert("o.bias".to_owned(), Tensor::new(vec![50], bias.clone()));
    let path = files.write("demo.safetensors", safetensors(&named, false, &Value::Null));
    let found = logits(&path);
    let expected: Vec<f64> =
        plain.chunks(50).flat_map(|row| row.iter().zip(&bias).map(|(x, b)| x + b)).collect();
    let difference = relative_mean_abs_diff(&found, &expected);
    assert!(difference < 1e-5, "{difference}");
    // It converts, and no layer of it is one of ROSA.
    assert_eq!(ModelBytes::quantize(&path).1.shape.layers, 3);

    // ROSA's output may be the same for every channel, which no LayerNorm lets through.
    let changed = |name: &str, f: fn(usize) -> f64| {
        let mut named = named.clone();
        let tensor = named.get_mut(name).unwrap();
        tensor.data = (0..tensor.data.len()).map(f).collect();
        let path = files.write("changed.safetensors", safetensors(&named, false, &Value::Null));
        let opened = Checkpoint::open(&path).map_err(|error| error.to_string());
        let result =
            opened.map(|checkpoint| Reference::open(&checkpoint).unwrap().forward(&TOKENS));
        fs::remove_file(path).unwrap();
        result
    };
    assert_eq!(changed("rosa2.o.bias", |_| 0.3).unwrap(), found);
    for (name, f) in
        [("rosa2.o.bias", (|i| i as f64) as fn(usize) -> f64), ("rosa1.o.weight", |_| 0.1)]
    {
        let error = changed(name, f).unwrap_err();
        assert!(error.contains("ROSA layer of RWKV-8"), "{error}");
    }
    // What is not there is not zero.
    named.retain(|name, _| name != "rosa1.o.weight");
    named.get_mut("rosa1.q.weight").unwrap().data[0] = 1.0;
    let path = files.write("variant.safetensors", safetensors(&named, false, &Value::Null));
    let error = Checkpoint::open(&path).expect_err("it is no RWKV-7").to_string();
    assert!(error.contains("ROSA layer of RWKV-8"), "{error}");
}

#[test]
fn biases_of_matrices_are_folded_where_they_can_be() {
    let files = Files::new();
    let tensors = checkpoint(Version::V6, DIMS, 21);
    let with = |name: &str, bias: Vec<f64>| {
        let mut tensors = tensors.clone();
        tensors.insert(name.to_owned(), Tensor::new(vec![bias.len()], bias));
        let path = files.write("biased.safetensors", safetensors(&tensors, false, &Value::Null));
        let opened = Checkpoint::open(&path).map_err(|error| error.to_string());
        let hash =
            opened.map(|open| ModelBytes::convert(&open, &Options::default()).1.content_hash);
        fs::remove_file(path).unwrap();
        hash
    };
    let plain = official(&tensors);
    assert_eq!(with("blocks.1.att.key.bias", vec![0.0; 64]).unwrap(), plain);
    assert_eq!(with("blocks.1.ffn.value.bias", vec![0.25; 64]).unwrap(), plain);
    assert_ne!(with("head.bias", vec![0.5; 50]).unwrap(), plain);
    let slope = |len: usize| (0..len).map(|i| i as f64).collect::<Vec<_>>();
    for name in ["blocks.1.att.key.bias", "blocks.2.ffn.value.bias"] {
        let error = with(name, slope(64)).unwrap_err();
        assert!(error.contains(name) && error.contains("adds a constant"), "{error}");
    }
    // With more tokens than channels there is no norm's bias that does it.
    let wide = checkpoint(Version::V6, Dims { vocab: 80, ..DIMS }, 22);
    for (bias, folds) in [(vec![0.5; 80], true), (slope(80), false)] {
        let mut tensors = wide.clone();
        tensors.insert("head.bias".to_owned(), Tensor::new(vec![80], bias));
        let path = files.write("wide.safetensors", safetensors(&tensors, false, &Value::Null));
        match Checkpoint::open(&path) {
            Ok(open) => {
                assert!(folds);
                let (_, report) = ModelBytes::convert(&open, &Options::default());
                assert_eq!(report.content_hash, official(&wide));
            }
            Err(error) => assert!(!folds && error.to_string().contains("head.bias"), "{error}"),
        }
        fs::remove_file(path).unwrap();
    }
}

/// huggingface/peft, `save_pretrained` of an AdaLoRA model, as RWKV-PEFT names its target.
#[test]
fn adalora_folders_are_merged_with_their_singular_values() {
    let files = Files::new();
    let tensors = checkpoint(Version::V7, DIMS, 23);
    let base = files.write("base.safetensors", safetensors(&tensors, false, &Value::Null));
    let value = |i: usize| f64::from((i as f32 * 0.9).sin()) * 0.1;
    let of = |shape: [usize; 2]| {
        Tensor::new(shape.to_vec(), (0..shape[0] * shape[1]).map(value).collect())
    };
    let (a, b, e) = (of([4, 64]), of([96, 4]), of([4, 1]));
    let name = "base_model.model.blocks.1.ffn.key";
    let adapter = Tensors::from([
        (format!("{name}.lora_A"), a.clone()),
        (format!("{name}.lora_B"), b.clone()),
        (format!("{name}.lora_E"), e.clone()),
    ]);
    files.write("a/adapter_model.safetensors", safetensors(&adapter, false, &Value::Null));
    let config = json!({
        "peft_type": "ADALORA", "lora_alpha": 32, "init_r": 12, "target_r": 8, "r": 8,
        "rank_pattern": null, "use_dora": false, "init_lora_weights": true,
    });
    let folder = files.write("a/adapter_config.json", config.to_string());
    let mut opened = open(&base);
    let merged = opened.merge(vec![open(folder.parent().unwrap())], None).unwrap();
    assert_eq!((merged.adalora, merged.lora), (1, 0));
    let mut found = Vec::new();
    opened.tensor("blocks.1.ffn.key.weight").unwrap().read_all(&mut found);
    let scale = 32.0 / (4.0 + 1e-5);
    for (at, &found) in found.iter().enumerate() {
        let (row, column) = (at / 64, at % 64);
        let product: f64 =
            (0..4).map(|r| b.data[4 * row + r] * e.data[r] * a.data[64 * r + column]).sum();
        let expected = tensors["blocks.1.ffn.key.weight"].data[at] + scale * product;
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
    }
    // Without a factor, or with one of another shape.
    for (broken, cause) in [("lora_B", "the other is missing"), ("lora_E", "expected [4, 1]")] {
        let mut adapter = adapter.clone();
        let tensor = adapter.remove(&format!("{name}.{broken}")).unwrap();
        if broken == "lora_E" {
            adapter.insert(format!("{name}.lora_E"), Tensor::new(vec![2, 2], tensor.data));
        }
        let folder = format!("{broken}/adapter_model.safetensors");
        let path = files.write(&folder, safetensors(&adapter, false, &Value::Null));
        files.write(&format!("{broken}/adapter_config.json"), config.to_string());
        let error = open(&base).merge(vec![open(path.parent().unwrap())], None).unwrap_err();
        assert!(error.to_string().contains(cause), "{error}");
    }
}

#[test]
fn guesses_are_said_to_be_some() {
    let files = Files::new();
    let base = half(&checkpoint(Version::V7, DIMS, 24));
    let base = files.write("base.safetensors", safetensors(&base, false, &Value::Null));
    let base = open(&base);
    let shape = shape(&base).unwrap();
    let mut states = half(&with_state(&Tensors::new()));
    states.retain(|name, _| name.ends_with("time_state"));
    let state = WEB_RWKV_AND_RUNNER.convert(&states);
    let notes = |name: &str, is_half: bool, metadata: &Value| {
        let path = files.write(name, safetensors(&state, is_half, metadata));
        let state = TunedState::read(&open(&path), &shape).unwrap();
        let options = Options { state: Some(&state), ..Options::default() };
        ModelBytes::convert(&base, &options).1.notes
    };
    assert_eq!(notes("tuned.st", true, &Value::Null), [Note::StateModel]);
    let guessed = notes("tuned.safetensors", true, &Value::Null);
    assert_eq!(guessed, [Note::StateLayout, Note::StateModel]);
    // Ai00's converter writes the version down, and files have it in their names.
    let info = |version: &str| json!({ "model_type": "state", "rwkv_version": version });
    assert_eq!(notes("a.state", true, &info("x070")), [Note::StateModel]);
    let model = shape.architecture;
    let other = [Note::StateVersion { stated: 6, model }];
    assert_eq!(notes("b.state", true, &info("x060")), other);
    assert_eq!(notes("rwkv-x060-chn-7B-20240301-ctx1024.state", true, &Value::Null), other);
    assert!(other[0].to_string().contains("RWKV-6"));
    assert!(AI00.transposed.contains(&"time_state"));

    // Square low-rank matrices: the ending decides, and that is said.
    let square = Dims { ranks: [64, 64, 64, 64, 0, 0], ..DIMS };
    let square = half(&checkpoint(Version::V7, square, 25));
    let st = safetensors(&AI00.convert(&square), true, &Value::Null);
    let (_, report) = ModelBytes::quantize(&files.write("square.st", st));
    assert_eq!(report.notes, [Note::LowRankLayout]);
    assert_eq!(report.content_hash, official(&square));
}
