//! From a checkpoint and a vocabulary to text, with every sort of vocabulary.

#![cfg(feature = "quantizer")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Map, json};
use support::{Folder, kinglet, refusal, succeed};

const NEOX: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../quantize/tests/data/neox_4096.tokenizer.json");
const STORIES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories/stories.vocab.txt");
const WIDTH: usize = 32;
const LAYERS: usize = 2;

/// Names and shapes of an RWKV-4's tensors.
fn shapes(vocab: usize) -> Vec<(String, Vec<usize>)> {
    let (vector, mix) = (vec![WIDTH], vec![1, 1, WIDTH]);
    let square = vec![WIDTH, WIDTH];
    let mut shapes = vec![
        ("emb.weight".to_owned(), vec![vocab, WIDTH]),
        ("head.weight".to_owned(), vec![vocab, WIDTH]),
    ];
    let norm = |name: String| ["weight", "bias"].map(|part| format!("{name}.{part}"));
    shapes.extend(norm("ln_out".to_owned()).map(|name| (name, vector.clone())));
    shapes.extend(norm("blocks.0.ln0".to_owned()).map(|name| (name, vector.clone())));
    for layer in 0..LAYERS {
        for ln in ["ln1", "ln2"] {
            let names = norm(format!("blocks.{layer}.{ln}"));
            shapes.extend(names.map(|name| (name, vector.clone())));
        }
        for (name, shape) in [
            ("att.time_decay", &vector),
            ("att.time_first", &vector),
            ("att.time_mix_k", &mix),
            ("att.time_mix_v", &mix),
            ("att.time_mix_r", &mix),
            ("att.key.weight", &square),
            ("att.value.weight", &square),
            ("att.receptance.weight", &square),
            ("att.output.weight", &square),
            ("ffn.time_mix_k", &mix),
            ("ffn.time_mix_r", &mix),
            ("ffn.key.weight", &vec![4 * WIDTH, WIDTH]),
            ("ffn.receptance.weight", &square),
            ("ffn.value.weight", &vec![WIDTH, 4 * WIDTH]),
        ] {
            shapes.push((format!("blocks.{layer}.{name}"), shape.clone()));
        }
    }
    shapes
}

/// A checkpoint of RWKV-4 with weights that look random, as safetensors.
fn checkpoint(path: &str, vocab: usize) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    let mut bits = 1_u32;
    for (name, shape) in shapes(vocab) {
        let start = data.len();
        for _ in 0..shape.iter().product() {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let weight = (bits >> 8) as f32 / (1 << 24) as f32 - 0.5;
            data.extend(weight.to_le_bytes());
        }
        let offsets = [start, data.len()];
        header.insert(name, json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets }));
    }
    let header = serde_json::Value::Object(header).to_string();
    let len = (header.len() as u64).to_le_bytes();
    fs::write(path, [&len, header.as_bytes(), &data].concat()).expect("a checkpoint");
}

/// Quantizes a checkpoint with this many ids, and runs the model on a prompt.
fn text(name: &str, vocab: usize, vocabulary: &str, prompt: &str) -> Vec<u8> {
    let folder = Folder::new(name);
    let (from, model) = (folder.file("small.safetensors"), folder.file("small.kinglet"));
    checkpoint(&from, vocab);
    succeed(&["quantize", &from, "--vocab", vocabulary, "-o", &model]);
    // One file holds all that running takes.
    fs::remove_file(&from).expect("the checkpoint");
    let args = ["run", "-m", &model, "--temp", "0", "-n", "12", prompt];
    let run = || {
        let output = kinglet(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let text = run();
    assert_eq!(run(), text);
    assert!(text.starts_with(prompt.as_bytes()), "{text:?}");
    text
}

#[test]
fn an_rwkv_4_runs_with_the_tokenizer_of_the_pile_models() {
    let prompt = "In 1871, the naïve   café's\n\tfunction(x) { 漢字 }";
    // The head has more rows than the tokenizer has ids, as official heads do.
    let text = text("vocab-neox", 4368, NEOX, prompt);
    assert!(text.len() > prompt.len() + 1, "no token followed: {text:?}");
}

#[test]
fn an_rwkv_4_runs_with_a_vocabulary_in_text_form() {
    text("vocab-text", 1024, STORIES, "Once upon a time");
}

#[test]
fn models_of_65_536_outputs_get_the_world_vocabulary() {
    let folder = Folder::new("vocab-world");
    let (from, model) = (folder.file("small.safetensors"), folder.file("small.kinglet"));
    checkpoint(&from, 65_536);
    let quantize = |args: &[&str]| {
        let output = kinglet(&[&["quantize", &from, "-o", &model], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(quantize(&[]).contains("World vocabulary"));
    let by_default = fs::read(&model).expect("the model");
    let tokens = succeed(&["tokenize", "-m", &model, "--json", "User: 你好\n\n"]);
    let tokens: Vec<u32> = serde_json::from_str(&tokens).expect("a list");
    assert_eq!((tokens[0], tokens[1], tokens.last()), (24281, 59, Some(&261)));
    assert!(!quantize(&["--vocab", "world"]).contains("note"));
    assert!(fs::read(&model).expect("the model") == by_default);
    assert!(quantize(&["--vocab", "none"]).contains("no vocabulary"));
    let error = refusal(&["run", "-m", &model, "a"]);
    assert!(error.contains("has no vocabulary"), "{error}");
    // Any other number of outputs says nothing of the vocabulary.
    checkpoint(&from, 1024);
    assert!(quantize(&[]).contains("brings no vocabulary"));
}

#[test]
fn an_rwkv_4_runs_on_bytes() {
    let prompt = "naïve \u{1F99C}";
    for (name, vocab, vocabulary) in
        [("vocab-bytes", 256, "bytes"), ("vocab-bytes-1", 257, "bytes+1")]
    {
        // Bytes come out as they are, whether they are a text or not.
        let text = text(name, vocab, vocabulary, prompt);
        assert!(text.len() <= prompt.len() + 12, "{text:?}");
    }
}

#[test]
fn a_hugging_face_directory_brings_its_vocabulary() {
    let prompt = "It's the end of the world";
    for (file, from, vocab) in
        [("tokenizer.json", NEOX, 4368), ("rwkv_vocab_v20230424.txt", STORIES, 1024)]
    {
        let folder = Folder::new(&format!("vocab-directory-{vocab}"));
        checkpoint(&folder.file("model.safetensors"), vocab);
        fs::copy(from, folder.file(file)).expect("a vocabulary");
        let model = folder.file("small.kinglet");
        succeed(&["quantize", folder.0.to_str().unwrap(), "-o", &model]);
        let text = succeed(&["run", "-m", &model, "--temp", "0", "-n", "12", prompt]);
        assert!(text.starts_with(prompt), "{text:?}");
        // The same as when it is named.
        let named = folder.file("named.kinglet");
        let checkpoint = folder.file("model.safetensors");
        succeed(&["quantize", &checkpoint, "--vocab", from, "-o", &named]);
        assert_eq!(succeed(&["run", "-m", &named, "--temp", "0", "-n", "12", prompt]), text);
    }
}

#[test]
fn a_vocabulary_that_does_not_fit_is_refused() {
    let folder = Folder::new("vocab-refused");
    let (from, model) = (folder.file("small.safetensors"), folder.file("small.kinglet"));
    checkpoint(&from, 4300);
    let error = refusal(&["quantize", &from, "--vocab", NEOX, "-o", &model]);
    assert!(error.contains("has token id 4363, but the model has 4300"), "{error}");
    assert!(error.contains(&format!("{NEOX}, for {from}: ")), "{error}");
    assert!(error.contains("pass the vocabulary that the model was trained with"), "{error}");

    let json = fs::read_to_string(NEOX).expect("the tokenizer");
    let other = folder.file("other.json");
    fs::write(&other, json.replace(r#"{"type":"NFC"}"#, r#"{"type":"NFKC"}"#)).expect("a file");
    let error = refusal(&["quantize", &from, "--vocab", &other, "-o", &model]);
    assert!(error.contains("other.json") && error.contains("normalizer NFKC"), "{error}");

    fs::rename(&from, folder.file("model.safetensors")).expect("the checkpoint");
    fs::rename(&other, folder.file("tokenizer.json")).expect("the tokenizer");
    let error = refusal(&["quantize", folder.0.to_str().unwrap(), "-o", &model]);
    assert!(error.contains("tokenizer.json") && error.contains("--vocab FILE"), "{error}");
    assert!(!Path::new(&model).exists());
}

#[test]
fn perplexity_counts_what_it_scores() {
    let folder = Folder::new("vocab-perplexity");
    let (from, text) = (folder.file("small.safetensors"), folder.file("text"));
    let model = folder.file("small.kinglet");
    checkpoint(&from, 257);
    let measure = |content: &str| {
        fs::write(&text, content).expect("a text");
        kinglet(&["perplexity", "--json", "-m", &model, &text])
    };
    let figures = |content: &str| {
        let output = measure(content);
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let of = |key: &str| json[key].as_f64().expect(key);
        let bits = of("nats_per_token") / std::f64::consts::LN_2 * of("tokens") / of("bytes");
        assert!((bits - of("bits_per_byte")).abs() < 1e-9, "{json}");
        [of("documents"), of("tokens"), of("bytes")]
    };
    // No token begins a text, so that the first byte of each only predicts.
    succeed(&["quantize", &from, "--vocab", "bytes", "-q", "-o", &model]);
    assert_eq!(figures("abcd\n<|endoftext|>\nxyz"), [2.0, 5.0, 5.0]);
    let refused = measure("a\n<|endoftext|>\nb");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.stdout.is_empty() && error.contains("has no token to score"), "{error}");
    succeed(&["quantize", &from, "--vocab", "bytes+1", "-q", "-o", &model]);
    assert_eq!(figures("abcd\n<|endoftext|>\nxyz"), [2.0, 7.0, 7.0]);
    assert_eq!(figures("a"), [1.0, 1.0, 1.0]);
}
