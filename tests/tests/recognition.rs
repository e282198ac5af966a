//! Which model a checkpoint is, in the forms that training code and converters have given it.

use std::fs;
use std::path::{Path, PathBuf};

use kinglet::format::shape::Architecture;
use kinglet_quantize::checkpoint::{Checkpoint, CheckpointError, Problem};
use kinglet_quantize::reference::Reference;
use kinglet_quantize::{ConvertError, Options, TunedState};
use kinglet_tests::fixture::{Fixture, load};
use kinglet_tests::metrics::relative_mean_abs_diff;
use kinglet_tests::oracle::{Oracle, Version};
use kinglet_tests::quantized::{ModelBytes, dequantized};
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};
use kinglet_tests::tensor::{Tensor, Tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

const DIMS: Dims =
    Dims { layers: 2, width: 64, head_size: 32, ffn: 96, vocab: 50, ranks: [8, 4, 4, 12, 6, 3] };
const TOKENS: [u32; 9] = [0, 7, 7, 49, 3, 21, 8, 30, 1];

/// A file of its own.
struct File {
    _folder: TempDir,
    path: PathBuf,
}

/// Writes a checkpoint under a name of this ending.
fn file(tensors: &Tensors, ending: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("model.{ending}"));
    write_safetensors(tensors, &path);
    File { _folder: folder, path }
}

fn open(tensors: &Tensors) -> Result<Checkpoint, Problem> {
    Checkpoint::open(&file(tensors, "safetensors").path).map_err(CheckpointError::into_problem)
}

fn architecture(tensors: &Tensors) -> Result<Architecture, ConvertError> {
    let checkpoint = open(tensors).unwrap();
    kinglet_quantize::shape(&checkpoint).map(|shape| shape.architecture)
}

fn hash(path: &Path) -> [u8; 32] {
    ModelBytes::quantize(path).1.content_hash
}

fn hash_of(tensors: &Tensors) -> [u8; 32] {
    hash(&file(tensors, "safetensors").path)
}

/// Replaces every tensor whose name has this ending.
fn replace(tensors: &mut Tensors, ending: &str, f: impl Fn(&str, Tensor) -> (String, Tensor)) {
    let names: Vec<String> =
        tensors.keys().filter(|name| name.ends_with(ending)).cloned().collect();
    assert!(!names.is_empty(), "{ending}");
    for name in names {
        let tensor = tensors.remove(&name).unwrap();
        let (name, tensor) = f(&name, tensor);
        tensors.insert(name, tensor);
    }
}

fn map(tensor: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
    Tensor::new(tensor.shape.clone(), tensor.data.iter().map(|&x| f64::from(f(x) as f32)).collect())
}

/// The logarithm of the bonus, or the bonus itself, under the other name.
fn other_bonus(tensors: &mut Tensors, from: &str, to: &str, f: fn(f64) -> f64) {
    replace(tensors, from, |name, tensor| (name.replace(from, to), map(&tensor, f)));
}

/// Asserts that a file's tensors are read as the model that the oracle finds in them by itself.
#[track_caller]
fn assert_same_model(tensors: &Tensors, tolerance: f64) {
    let expected = Oracle::new(tensors.clone()).unwrap().forward(&TOKENS);
    let checkpoint = open(tensors).unwrap();
    let logits = Reference::open(&checkpoint).unwrap().forward(&TOKENS);
    let difference = relative_mean_abs_diff(&logits, &expected);
    assert!(difference <= tolerance, "{difference}");
}

#[test]
fn a_bonus_per_head_is_used_as_its_name_says() {
    // RWKV-5.1: any bonus, zero and negative ones too.
    let mut gated = checkpoint(Version::V5_1, DIMS, 1);
    other_bonus(&mut gated, ".att.time_first", ".att.time_faaaa", |x| x);
    gated.get_mut("blocks.1.att.time_faaaa").unwrap().data[0] = 0.0;
    assert!(gated["blocks.1.att.time_faaaa"].data[1] < 0.0);
    assert_eq!(architecture(&gated).unwrap(), Architecture::Rwkv5_2);
    assert_same_model(&gated, 0.0);
    let mut repeated = gated.clone();
    for name in [".att.time_faaaa", ".att.time_decay"] {
        replace(&mut repeated, name, |name, tensor| {
            let data = tensor.data.iter().flat_map(|&x| [x; 32]).collect();
            (name.to_owned(), Tensor::new(vec![2, 32], data))
        });
    }
    assert_eq!(hash_of(&gated), hash_of(&repeated));

    // RWKV-5.0: a positive one.
    let mut gateless = checkpoint(Version::V5_0, DIMS, 1);
    other_bonus(&mut gateless, ".att.time_first", ".att.time_faaaa", f64::exp);
    assert_eq!(architecture(&gateless).unwrap(), Architecture::Rwkv5_0);
    assert_same_model(&gateless, 1e-6);
    assert!(ModelBytes::quantize(&file(&gateless, "safetensors").path).0.model().is_ok());
    for none in [0.0, -0.5] {
        gateless.get_mut("blocks.1.att.time_faaaa").unwrap().data[1] = none;
        let problem = open(&gateless).unwrap_err();
        assert!(
            matches!(&problem, Problem::Bonus { tensor, found }
                if tensor == "blocks.1.att.time_faaaa" && f64::from(*found) == none),
            "{problem}"
        );
    }
}

/// The tensors with one of them in another shape.
fn reshaped(tensors: &Tensors, name: &str, shape: &[usize]) -> Tensors {
    let mut tensors = tensors.clone();
    let tensor = tensors.get_mut(name).unwrap();
    *tensor = Tensor::new(shape.to_vec(), tensor.data.clone());
    tensors
}

#[test]
fn a_head_is_what_two_dimensions_say() {
    for (version, name) in [
        (Version::V5_2, "blocks.0.att.time_decay"),
        (Version::V5_2, "blocks.1.att.time_faaaa"),
        (Version::V6, "blocks.0.att.time_faaaa"),
        (Version::V7, "blocks.0.att.r_k"),
    ] {
        let tensors = checkpoint(version, DIMS, 2);
        let whole = hash_of(&tensors);
        assert_eq!(hash_of(&reshaped(&tensors, name, &[1, 2, 32])), whole);
        for flat in [&[64][..], &[1, 1, 64], &[2, 4, 8]] {
            let refused = reshaped(&tensors, name, flat);
            // A flat decay is one of RWKV-5.1, beside which the bonus is refused at once.
            let error = match open(&refused) {
                Ok(checkpoint) => kinglet_quantize::shape(&checkpoint).unwrap_err().to_string(),
                Err(problem) => problem.to_string(),
            };
            assert!(error.contains("has shape"), "{name} {flat:?}: {error}");
        }
    }
}

/// What is converted can be compared with its checkpoint.
#[test]
fn no_shape_is_converted_that_the_reference_refuses() {
    for (version, name, shapes) in [
        (Version::V7, "blocks.0.att.r_k", [&[64][..], &[1, 2, 32], &[2, 32], &[4, 16]]),
        (Version::V7, "blocks.1.att.k_k", [&[64], &[64, 1], &[1, 1, 64], &[16, 4]]),
        (Version::V7, "blocks.0.ln0.bias", [&[64], &[1, 64], &[8, 8], &[2, 32]]),
        (Version::V6, "blocks.0.att.time_decay", [&[64], &[1, 1, 64], &[2, 32], &[64, 1]]),
        (Version::V5_1, "blocks.0.att.time_first", [&[2], &[1, 1, 2], &[2, 1], &[1, 2]]),
        (Version::V5_0, "blocks.0.att.time_decay", [&[2], &[1, 1, 2], &[2, 1], &[2, 1, 1]]),
    ] {
        let tensors = checkpoint(version, DIMS, 3);
        let mut accepted = 0;
        for shape in shapes {
            let checkpoint = open(&reshaped(&tensors, name, shape)).unwrap();
            let converts = kinglet_quantize::shape(&checkpoint).is_ok();
            assert!(!converts || Reference::open(&checkpoint).is_ok(), "{name} {shape:?}");
            accepted += usize::from(converts);
        }
        assert!(accepted > 0, "{name}");
    }
}

/// What web-rwkv's converter makes of official tensors.
fn web_rwkv(tensors: &Tensors) -> Tensors {
    let low_rank =
        ["w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2"].map(|name| format!("att.{name}"));
    let is_low_rank = |name: &str| {
        name.contains("time_maa_w") && !name.ends_with("maa_w")
            || name.contains("time_decay_w")
            || low_rank.iter().any(|end| name.ends_with(end))
    };
    let converted = tensors.iter().map(|(name, tensor)| {
        let renamed = name.replace("time_faaaa", "time_first").replace("time_maa", "time_mix");
        (renamed, if is_low_rank(name) { tensor.transposed() } else { tensor.clone() })
    });
    converted.collect()
}

#[test]
fn square_low_rank_matrices_have_an_orientation_too() {
    // Ranks of decay, learning rate, value, gate and token shift; the last is a fifth of w1's.
    for (version, width, ranks) in [
        (Version::V7, 64, [64, 4, 4, 12, 0, 0]),
        (Version::V7, 64, [64, 64, 64, 3, 0, 0]),
        (Version::V7, 64, [64; 6]),
        (Version::V6, 160, [8, 0, 0, 0, 32, 0]),
        (Version::V6, 160, [160, 0, 0, 0, 32, 0]),
    ] {
        let tensors = checkpoint(version, Dims { width, ranks, ..DIMS }, 4);
        let converted = web_rwkv(&tensors);
        let expected = hash_of(&tensors);
        assert_eq!(hash(&file(&converted, "st").path), expected, "{version} {ranks:?}");
        // The ending counts only where the shapes say nothing.
        if ranks[3] != width && version == Version::V7 {
            assert_eq!(hash_of(&converted), expected, "{version} {ranks:?}");
            assert_eq!(hash(&file(&tensors, "st").path), expected, "{version} {ranks:?}");
        }
    }
}

/// Official names and flash-linear-attention's, in the order in which they are replaced.
const FLA: [(&str, &str); 16] = [
    ("emb.weight", "model.embeddings.weight"),
    ("head.weight", "lm_head.weight"),
    ("ln_out.", "model.norm."),
    ("blocks.", "model.layers."),
    (".ln0.", ".pre_norm."),
    (".ln1.", ".attn_norm."),
    (".ln2.", ".ffn_norm."),
    (".att.", ".attn."),
    (".ln_x.", ".g_norm."),
    (".attn.receptance.", ".attn.r_proj."),
    (".attn.key.", ".attn.k_proj."),
    (".attn.value.", ".attn.v_proj."),
    (".attn.output.", ".attn.o_proj."),
    ("w0", "w_lora.lora.2.bias"),
    ("a0", "a_lora.lora.2.bias"),
    ("v0", "v_lora.lora.2.bias"),
];

/// What flash-linear-attention saves of an RWKV-7.
fn fla(official: &Tensors) -> Tensors {
    let converted = official.iter().map(|(name, tensor)| {
        let low_rank = ["w", "a", "v", "g"].into_iter().find_map(|letter| {
            let (prefix, part) = name.split_once(&format!(".att.{letter}"))?;
            let part = ["1", "2"].iter().position(|&number| number == part)?;
            let layer = prefix.replace("blocks", "model.layers");
            Some(format!("{layer}.attn.{letter}_lora.lora.{}.weight", 2 * part))
        });
        match low_rank {
            Some(name) => (name, tensor.transposed()),
            None => {
                let renamed = FLA.iter().fold(name.clone(), |name, (a, b)| name.replace(a, b));
                (renamed, tensor.clone())
            }
        }
    });
    converted.collect()
}

/// A Hugging Face directory.
fn folder(tensors: &Tensors, config: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_safetensors(tensors, &folder.path().join("model.safetensors"));
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

/// What the configuration of [`DIMS`] says.
fn config() -> Value {
    json!({
        "model_type": "rwkv7", "hidden_size": 64, "num_hidden_layers": 2, "head_dim": 32,
        "intermediate_size": 96, "vocab_size": 50, "norm_eps": 1e-5, "num_heads": null,
    })
}

#[test]
fn a_configuration_that_contradicts_the_tensors_is_refused() {
    let official = checkpoint(Version::V7, DIMS, 5);
    let tensors = fla(&official);
    let shape = |config: &Value| {
        let folder = folder(&tensors, config);
        let checkpoint = Checkpoint::open(folder.path())?;
        kinglet_quantize::shape(&checkpoint)
    };
    assert_eq!(hash(folder(&tensors, &config()).path()), hash_of(&official));
    assert!(shape(&json!({ "intermediate_size": null })).is_ok());
    for (key, value, found) in [
        ("hidden_size", 192, 64),
        ("num_hidden_layers", 7, 2),
        ("head_dim", 16, 32),
        ("intermediate_size", 256, 96),
        ("vocab_size", 51, 50),
    ] {
        let mut config = config();
        config[key] = value.into();
        let error = shape(&config).unwrap_err().to_string();
        assert!(error.contains(&format!("{key} in config.json is {value}")), "{error}");
        assert!(error.contains(&format!("with {found};")), "{error}");
    }
    let error = shape(&json!({ "norm_eps": 1e-3 })).unwrap_err().to_string();
    assert!(error.contains("norm_eps in config.json is 0.001; expected 0.00001"), "{error}");
    let error = shape(&json!([1])).unwrap_err().to_string();
    assert!(error.contains("config.json: invalid type"), "{error}");
}

#[test]
fn metadata_that_contradict_the_tensors_are_refused() {
    let path = Fixture::named("golden/v7_formats").path("model-f32.gguf");
    let bytes = fs::read(path).unwrap();
    for key in ["embedding_length", "block_count", "feed_forward_length"] {
        let key = format!("rwkv7.{key}");
        let mut file = bytes.clone();
        let at = file.windows(key.len()).position(|part| part == key.as_bytes()).unwrap();
        // After the key: four bytes of type, then the number.
        file[at + key.len() + 4] += 1;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs::write(&path, file).unwrap();
        let error = kinglet_quantize::shape(&Checkpoint::open(&path).unwrap()).unwrap_err();
        assert!(error.to_string().contains(&format!("{key} is ")), "{error}");
    }
}

#[test]
fn a_flat_bonus_is_split_by_the_configuration() {
    let official = checkpoint(Version::V7, DIMS, 6);
    let mut tensors = fla(&official);
    for layer in 0..2 {
        tensors = reshaped(&tensors, &format!("model.layers.{layer}.attn.r_k"), &[64]);
    }
    assert_eq!(hash(folder(&tensors, &config()).path()), hash_of(&official));
    let unstated = folder(&tensors, &json!({}));
    let checkpoint = Checkpoint::open(unstated.path()).unwrap();
    let error = kinglet_quantize::shape(&checkpoint).unwrap_err();
    assert!(matches!(error, ConvertError::PerHead { ref found, .. } if found == &[64]), "{error}");
}

/// The library's first version kept the six token shifts in one tensor.
#[test]
fn token_shifts_in_one_tensor_are_split() {
    let official = checkpoint(Version::V7, DIMS, 7);
    for shape in [&[6, 64][..], &[6, 1, 1, 64], &[6, 1, 64]] {
        let mut tensors = fla(&official);
        for layer in 0..2 {
            let name = |part: &str| format!("model.layers.{layer}.attn.x_{part}");
            let shifts = ["r", "w", "k", "v", "a", "g"].map(|part| tensors.remove(&name(part)));
            let data = shifts.into_iter().flat_map(|shift| shift.unwrap().data).collect();
            tensors.insert(name("x"), Tensor::new(shape.to_vec(), data));
        }
        assert_eq!(hash(folder(&tensors, &config()).path()), hash_of(&official), "{shape:?}");
    }
}

#[test]
fn a_tied_embedding_is_the_head() {
    let mut official = checkpoint(Version::V7, DIMS, 8);
    let mut tensors = fla(&official);
    tensors.remove("lm_head.weight");
    let mut tied = config();
    tied["tie_word_embeddings"] = true.into();
    official.insert("head.weight".to_owned(), official["emb.weight"].clone());
    assert_eq!(hash(folder(&tensors, &tied).path()), hash_of(&official));

    let untied = folder(&tensors, &config());
    let checkpoint = Checkpoint::open(untied.path()).unwrap();
    let error = kinglet_quantize::shape(&checkpoint).unwrap_err();
    assert!(error.to_string().contains("head.weight is missing"), "{error}");
}

#[test]
fn an_export_has_the_tuned_state() {
    for fixture in ["golden/v6", "golden/v7"] {
        let files = Fixture::named(fixture);
        let base = Checkpoint::open(&files.path("model.pth")).unwrap();
        let state = Checkpoint::open(&files.path("state.pth")).unwrap();
        let tuned = TunedState::read(&state, &kinglet_quantize::shape(&base).unwrap()).unwrap();
        let options = Options { state: Some(&tuned), ..Options::default() };
        let (bytes, _) = ModelBytes::convert(&base, &options);
        let exported = dequantized(&bytes.model().unwrap());
        let states = load(&files.path("state.pth")).unwrap();
        assert!(!states.is_empty());
        for (name, expected) in &states {
            assert_eq!(exported[name].shape, expected.shape, "{name}");
            assert_eq!(exported[name].data, expected.data, "{name}");
        }
        let names = exported.keys().filter(|name| name.ends_with("time_state"));
        assert!(names.eq(states.keys()));
        let plain = ModelBytes::quantize(&files.path("model.pth")).0;
        let plain = dequantized(&plain.model().unwrap());
        assert!(!plain.keys().any(|name| name.ends_with("time_state")));
    }
}
