//! One model in every container: the weights that are stored decide, not how they are.
#![expect(clippy::print_stdout, reason = "the figures are worth seeing with --nocapture")]

use std::path::{Path, PathBuf};

use kinglet_quantize::checkpoint::{Checkpoint, Container};
use kinglet_quantize::{Hex, Options};
use kinglet_tests::fixture::{Fixture, load};
use kinglet_tests::metrics::{mean_cosine_loss, top1_agreement};
use kinglet_tests::quantized::{ModelBytes, reference};
use kinglet_tests::random::write_safetensors;
use kinglet_tests::tensor::{Tensor, Tensors};
use sha2::{Digest, Sha256};

/// The containers of `golden/v7_formats`. The weights are bf16 that f16 holds exactly, but for
/// one in a few thousand below 2^-14, which is too small to change an int8.
const FORMATS: [(&str, Container); 7] = [
    ("model.pth", Container::Pth),
    ("hf", Container::HuggingFace),
    ("model-webrwkv.st", Container::WebRwkv),
    ("model-f16.gguf", Container::Gguf),
    ("model-f32.gguf", Container::Gguf),
    ("model-rwkvcpp-fp16.bin", Container::RwkvCpp),
    ("model-rwkvcpp-fp32.bin", Container::RwkvCpp),
];

/// 1 - mean cosine of plain int8 in groups of 32.
const PLAIN_INT8: f64 = 0.0022;

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap()
}

/// The containers, and a safetensors file of the `.pth`'s weights in `folder`.
fn formats(folder: &Path) -> Vec<(PathBuf, Container)> {
    let fixture = Fixture::named("golden/v7_formats");
    let official = folder.join("model.safetensors");
    write_safetensors(&load(&fixture.path("model.pth")).unwrap(), &official);
    let mut formats = FORMATS.map(|(name, container)| (fixture.path(name), container)).to_vec();
    formats.push((official, Container::Safetensors));
    formats
}

#[test]
fn every_container_gives_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut hashes = Vec::new();
    for (path, container) in formats(folder.path()) {
        let checkpoint = open(&path);
        assert_eq!(checkpoint.container(), container, "{}", path.display());
        let (_, report) = ModelBytes::convert(&checkpoint, &Options::default());
        hashes.push((path, report.content_hash, report.file_len, report.parameters));
    }
    for (path, hash, _, parameters) in &hashes {
        assert_eq!(Hex(hash).to_string(), Hex(&hashes[0].1).to_string(), "{}", path.display());
        assert_eq!(*parameters, hashes[0].3, "{}", path.display());
    }
    assert_eq!(hashes.len(), 8);
}

/// The hash that they share is that of the right model.
#[test]
fn that_model_says_what_the_golden_data_say() {
    let fixture = Fixture::named("golden/v7_formats");
    let (bytes, _) = ModelBytes::quantize(&fixture.path("model-f16.gguf"));
    let golden = fixture.logits("logits.npy").unwrap();
    let (logits, _) = reference(bytes.model().unwrap(), &fixture.tokens().unwrap());
    let loss = mean_cosine_loss(&logits, &golden.data, golden.shape[1]);
    let top1 = top1_agreement(&logits, &golden.data, golden.shape[1]);
    println!("1 - mean cosine {loss:.4} (plain {PLAIN_INT8}), top-1 {top1:.2}");
    assert!(loss <= 1.2 * PLAIN_INT8, "{loss}");
}

/// A weight that differs in its last place is another model.
#[test]
fn other_weights_give_another_hash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let mut tensors = load(&Fixture::named("golden/v7_formats").path("model.pth")).unwrap();
    let hash = |tensors: &Tensors| {
        write_safetensors(tensors, &path);
        ModelBytes::quantize(&path).1.content_hash
    };
    let before = hash(&tensors);
    let bias = &mut tensors.get_mut("blocks.1.ln2.bias").unwrap().data[17];
    *bias *= 1.0 + f64::from(f32::EPSILON);
    assert_ne!(hash(&tensors), before);
}

/// A LoRA adapter has the official names, whatever the names and layouts of its base.
#[test]
fn every_container_takes_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter.safetensors");
    let random = |shape: [usize; 2], scale: f64| {
        let value = |i: usize| scale * f64::from((i as f32 * 1.7).sin());
        Tensor::new(shape.to_vec(), (0..shape[0] * shape[1]).map(value).collect())
    };
    let mut tensors = Tensors::new();
    for (matrix, outputs, inputs) in [
        ("att.receptance", 128, 128),
        ("att.output", 128, 128),
        ("ffn.key", 96, 128),
        ("ffn.value", 128, 96),
    ] {
        let name = |part| format!("blocks.1.{matrix}.lora_{part}");
        tensors.insert(name("A"), random([4, inputs], 0.3));
        tensors.insert(name("B"), random([outputs, 4], 0.2));
    }
    tensors.insert("blocks.1.att.k_k".to_owned(), Tensor::new(vec![1, 1, 128], vec![0.75; 128]));
    write_safetensors(&tensors, &adapter);

    let mut hashes = Vec::new();
    for (path, _) in formats(folder.path()) {
        let mut base = open(&path);
        let plain = ModelBytes::convert(&base, &Options::default()).1.content_hash;
        let merged = base.merge(vec![open(&adapter)], Some(8.0)).unwrap();
        assert_eq!((merged.lora, merged.replaced), (4, 1));
        let hash = ModelBytes::convert(&base, &Options::default()).1.content_hash;
        assert_ne!(hash, plain, "{}", path.display());
        hashes.push((path, hash));
    }
    for (path, hash) in &hashes {
        assert_eq!(hash, &hashes[0].1, "{}", path.display());
    }
}

/// The first layer mixes no values, and some files hold the matrices for it.
#[test]
fn unused_tensors_of_layer_0_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::named("golden/v7_dummy");
    let mut tensors = load(&fixture.path("model.pth")).unwrap();
    let unused = ["v0", "v1", "v2"].map(|v| format!("blocks.0.att.{v}"));
    for name in &unused {
        assert!(tensors.remove(name).is_some(), "{name}");
    }
    let path = folder.path().join("without.safetensors");
    write_safetensors(&tensors, &path);
    let (_, without) = ModelBytes::quantize(&path);
    let (_, with) = ModelBytes::quantize(&fixture.path("model.pth"));
    assert_eq!(with.content_hash, without.content_hash);
    assert_eq!(with.parameters, without.parameters);
}

/// What the provenance says of a directory can be checked with `cat` and `sha256sum`.
#[test]
fn a_directory_is_known_by_its_files() {
    let directory = Fixture::named("golden/v7_formats").path("hf");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "safetensors"));
    files.sort();
    assert_eq!(files.len(), 2);
    let mut sha = Sha256::new();
    files.iter().for_each(|file| sha.update(std::fs::read(file).unwrap()));
    let expected = Hex(&sha.finalize().into()).to_string();

    let (bytes, _) = ModelBytes::quantize(&directory);
    let provenance = bytes.model().unwrap().provenance().to_owned();
    assert!(provenance.starts_with("source: hf\n"), "{provenance}");
    assert!(provenance.contains(&format!("source-sha256: {expected}\n")), "{provenance}");
}
