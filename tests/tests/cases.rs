//! Files as other programs write them, each beside the same weights in official form.

use std::path::{Path, PathBuf};

use kinglet::format::model::Section;
use kinglet::kernels::weights::WeightType;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Bits, Note, Options, TunedState, convert, shape};
use kinglet_tests::fixture::{Fixture, load};
use kinglet_tests::metrics::mean_cosine_loss;
use kinglet_tests::npy;
use kinglet_tests::quantized::{ModelBytes, dequantized, reference};
use kinglet_tests::random::write_safetensors;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cases").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&case(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn content_hash(checkpoint: &Checkpoint) -> [u8; 32] {
    ModelBytes::convert(checkpoint, &Options::default()).1.content_hash
}

/// Mean 1 - cosine between a model's logits after `tokens.json` of a case and its `expected.npy`.
fn loss(case_name: &str, model: &ModelBytes) -> f64 {
    let tokens = std::fs::read(case(case_name).join("tokens.json")).unwrap();
    let tokens: Vec<u32> = serde_json::from_slice(&tokens).unwrap();
    let expected = npy::read(&case(case_name).join("expected.npy")).unwrap();
    let (logits, _) = reference(model.model().unwrap(), &tokens);
    mean_cosine_loss(&logits, &expected.data, *expected.shape.last().unwrap())
}

/// int8 loses less than this of a tiny random model; a state applied transposed loses more.
const LIMIT: f64 = 5e-3;

#[test]
fn rwkv_cpp_lays_out_the_decay_of_rwkv_6_per_head() {
    let [file, same] = ["model.bin", "same.pth"].map(|n| open(&format!("rwkvcpp-v6-decay/{n}")));
    assert_eq!(content_hash(&file), content_hash(&same));
}

#[test]
fn tuned_states_are_turned_as_their_writers_lay_them_out() {
    let base = open("base.pth");
    let shape = shape(&base).unwrap();
    let state = |name: &str| {
        TunedState::read(&open(&format!("state-st-orientation/{name}")), &shape).unwrap()
    };
    let trained = state("state.pth");
    for name in ["state.st", "ai00.state"] {
        let same = state(name);
        // The converters round to half precision, 11 bits.
        for (a, b) in trained.values().iter().zip(same.values()) {
            assert!((a - b).abs() <= a.abs() * 2f32.powi(-11) + 1e-7, "{name}: {a} {b}");
        }
        let options = Options { state: Some(&same), ..Options::default() };
        let loss = loss("state-st-orientation", &ModelBytes::convert(&base, &options).0);
        assert!(loss < LIMIT, "{name}: {loss}");
    }
}

#[test]
fn a_half_precision_state_is_turned_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("state.safetensors");
    std::fs::copy(case("state-st-orientation/state.st"), &renamed).unwrap();
    let shape = shape(&open("base.pth")).unwrap();
    let read = |file: &Checkpoint| TunedState::read(file, &shape).unwrap().values().to_vec();
    assert_eq!(
        read(&Checkpoint::open(&renamed).unwrap()),
        read(&open("state-st-orientation/state.st"))
    );
}

#[test]
fn names_of_compiled_models_are_unwrapped() {
    let wrapped = open("prefix-orig-mod/model.pth");
    assert_eq!(content_hash(&wrapped), content_hash(&open("base.pth")));
}

/// The content hash of the shared base with `lora.pth` and its alpha.
fn adapted_hash() -> [u8; 32] {
    let mut base = open("base.pth");
    base.merge(vec![open("lora.pth")], Some(8.0)).unwrap();
    content_hash(&base)
}

#[test]
fn peft_folders_bring_their_alpha() {
    for name in ["adapter-hf-peft/adapter", "adapter-hf-peft/adapter/adapter_model.safetensors"] {
        let mut base = open("base.pth");
        let merged = base.merge(vec![open(name)], None).unwrap();
        assert_eq!(merged.lora, 12, "{name}");
        assert_eq!(content_hash(&base), adapted_hash(), "{name}");
        let model = ModelBytes::convert(&base, &Options::default()).0;
        assert!(loss("adapter-hf-peft", &model) < LIMIT);
    }
}

/// The folder of the adapter with changes to its `adapter_config.json`.
fn with_config(folder: &Path, changes: &[(&str, &str)]) -> Result<Checkpoint, String> {
    let adapter = case("adapter-hf-peft/adapter");
    let mut config = std::fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    for (from, to) in changes {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, to);
    }
    std::fs::write(folder.join("adapter_config.json"), config).unwrap();
    let tensors = folder.join("adapter_model.safetensors");
    if !tensors.exists() {
        // A mapped file is not written over.
        std::fs::copy(adapter.join("adapter_model.safetensors"), tensors).unwrap();
    }
    Checkpoint::open(folder).map_err(|error| error.to_string())
}

#[test]
fn peft_configurations_are_honoured_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let merged = |adapter: Checkpoint| {
        let mut base = open("base.pth");
        base.merge(vec![adapter], None).map(|_| content_hash(&base)).map_err(|e| e.to_string())
    };
    // alpha / sqrt(4) of alpha 4 is alpha / 4 of alpha 8.
    let changes =
        [("\"lora_alpha\": 8", "\"lora_alpha\": 4"), ("rslora\": false", "rslora\": true")];
    assert_eq!(merged(with_config(folder.path(), &changes).unwrap()).unwrap(), adapted_hash());
    let own = with_config(
        folder.path(),
        &[("\"alpha_pattern\": {}", "\"alpha_pattern\": {\"att.key\": 16}")],
    )
    .unwrap();
    assert_ne!(merged(own).unwrap(), adapted_hash());
    let refused = [
        ("\"LORA\"", "\"IA3\"", "peft_type is \"IA3\""),
        ("\"use_dora\": false", "\"use_dora\": true", "use_dora"),
        ("\"alpha_pattern\": {}", "\"alpha_pattern\": {\"k.*\": 1}", "alpha_pattern has \"k.*\""),
    ];
    for (from, to, message) in refused {
        let error = with_config(folder.path(), &[(from, to)]).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let pissa =
        with_config(folder.path(), &[("\"r\": 4", "\"r\": 4, \"init_lora_weights\": \"pissa\"")])
            .unwrap();
    assert!(merged(pissa).unwrap_err().contains("init_lora_weights"));
}

#[test]
fn a_trained_start_is_taken_out_of_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let trained = with_config(
        folder.path(),
        &[("\"r\": 4", "\"r\": 4, \"init_lora_weights\": \"pissa_niter_4\"")],
    );
    let mut base = open("base.pth");
    let merged = base.merge(vec![trained.unwrap(), open("adapter-hf-peft/adapter")], None).unwrap();
    assert_eq!(merged.pissa, 12);
    // What training began with is what came out here, so nothing changes.
    let mut values = Vec::new();
    let key = "blocks.0.att.key.weight";
    base.tensor(key).unwrap().read_all(&mut values);
    let mut expected = Vec::new();
    open("base.pth").tensor(key).unwrap().read_all(&mut expected);
    for (value, expected) in values.iter().zip(&expected) {
        assert!((value - expected).abs() < 1e-6, "{value} {expected}");
    }
}

#[test]
fn base_and_adapter_in_one_file_are_merged() {
    let mut full = open("base-and-lora-in-one/full.pth");
    assert!(full.is_base_and_adapter());
    let error = full.merge(Vec::new(), None).unwrap_err().to_string();
    assert!(error.contains("base checkpoint and its LoRA adapter of rank 4 in one"), "{error}");
    full.merge(Vec::new(), Some(8.0)).unwrap();
    assert_eq!(content_hash(&full), adapted_hash());
    let mut base = open("base.pth");
    let full = open("base-and-lora-in-one/full.pth");
    let error = base.merge(vec![full], Some(8.0)).unwrap_err().to_string();
    assert!(error.contains("base and adapter in one"), "{error}");
}

#[test]
fn other_forms_of_a_vocabulary_give_the_same_model() {
    let read = |name: &str| Vocabulary::read(&std::fs::read(case(name)).unwrap()).unwrap();
    let text = read("vocab-id-to-text-json/vocab.txt");
    let json = read("vocab-id-to-text-json/vocab.json");
    let base = open("vocab-id-to-text-json/base.pth");
    let model = |vocabulary: &Vocabulary| {
        let options = Options { vocabulary: Some(vocabulary), ..Options::default() };
        ModelBytes::convert(&base, &options).0.bytes().to_vec()
    };
    assert!(model(&text) == model(&json));
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let marked = std::fs::read(case("byte-order-mark/vocab.txt")).unwrap();
    let plain = marked.strip_prefix(b"\xef\xbb\xbf").unwrap();
    assert_eq!(Vocabulary::read(&marked).unwrap(), Vocabulary::read(plain).unwrap());
}

#[test]
fn a_vocabulary_far_smaller_than_the_model_is_noted() {
    let base = open("vocab-id-to-text-json/base.pth");
    let notes = |vocabulary: &Vocabulary| {
        let options = Options { vocabulary: Some(vocabulary), ..Options::default() };
        ModelBytes::convert(&base, &options).1.notes
    };
    let small = Vocabulary::from_rwkv_text(b"1 'a' 1\n").unwrap();
    let vocab = shape(&base).unwrap().vocab;
    assert_eq!(notes(&small), [Note::SmallVocabulary { found: 2, vocab }]);
    let text = std::fs::read(case("vocab-id-to-text-json/vocab.txt")).unwrap();
    assert_eq!(notes(&Vocabulary::read(&text).unwrap()), []);
}

#[test]
fn what_a_config_states_in_words_is_refused_where_it_is_another_function() {
    let error = Checkpoint::open(&case("config-hidden-act/hf")).unwrap_err().to_string();
    assert!(error.contains("hidden_act is \"relu\"; expected \"sqrelu\""), "{error}");
    // The file alone is treated as its folder is.
    let error = Checkpoint::open(&case("config-hidden-act/hf/model.safetensors")).unwrap_err();
    assert!(error.to_string().contains("hidden_act"), "{error}");
}

#[test]
fn a_model_may_be_without_a_norm_of_the_embedding() {
    let model = ModelBytes::convert(&open("no-embedding-norm/hf"), &Options::default()).0;
    let loss = loss("no-embedding-norm", &model);
    assert!(loss < LIMIT, "{loss}");
}

#[test]
fn expanded_tensors_are_what_they_repeat() {
    let [expanded, same] = ["model.pth", "same.pth"].map(|n| open(&format!("expanded-tensor/{n}")));
    assert_eq!(content_hash(&expanded), content_hash(&same));
}

#[test]
fn a_flipped_bit_is_found_by_the_archives_checksum() {
    let damaged = open("pth-crc-unchecked/model.pth");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.kinglet");
    let error = convert(&damaged, &out, &Options::default(), &mut |_, _| {}).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("zip member \"archive/data/9\" is damaged"), "{error}");
    assert!(!out.exists());
    open("base.pth").verify().unwrap();
}

#[test]
fn what_training_and_packing_put_around_weights_is_taken_off() {
    let expected = content_hash(&open("base.pth"));
    for name in ["lightning.ckpt", "deepspeed.pt", "legacy.pth", "deflated.pth", "attributes.pth"] {
        let wrapped = open(&format!("torch-wrappings/{name}"));
        assert_eq!(content_hash(&wrapped), expected, "{name}");
    }
}

#[test]
fn damaged_deflated_members_are_found_when_they_are_opened() {
    let packed = std::fs::read(case("torch-wrappings/deflated.pth")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    let mut refused = 0;
    // Behind the names of members and before the directory nearly all is deflated.
    for at in (200..packed.len() / 2).step_by(97) {
        let mut damaged = packed.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        match Checkpoint::open(&path) {
            Err(_) => refused += 1,
            // The bit was one of a header that is not read.
            Ok(checkpoint) => {
                assert_eq!(content_hash(&checkpoint), content_hash(&open("base.pth")))
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
    assert!(refused > 80, "{refused}");
}

/// Every version of a model that was exported and quantized again, with weights of either type.
#[test]
fn an_export_is_quantized_to_the_model_that_it_is_of() {
    let fixtures = ["v4", "v5_0", "v5_1", "v5_2", "v6", "v7", "v7_dummy", "v7a"];
    for name in fixtures.map(|name| format!("golden/{name}")) {
        for (bits, weights) in [(Bits::Eight, WeightType::Int8), (Bits::Four, WeightType::Int4)] {
            let options = Options { bits, ..Options::default() };
            let checkpoint = Checkpoint::open(&Fixture::named(&name).path("model.pth")).unwrap();
            let (bytes, report) = ModelBytes::convert(&checkpoint, &options);
            assert!(report.tensors.iter().all(|tensor| tensor.weights == weights));
            let folder = tempfile::tempdir().unwrap();
            let export = folder.path().join("weights.safetensors");
            kinglet_quantize::export(&bytes.model().unwrap(), &export).unwrap();
            let exported = Checkpoint::open(&export).unwrap();
            assert!(exported.is_export());
            let (again, same) = ModelBytes::convert(&exported, &options);
            assert_eq!(same.content_hash, report.content_hash, "{name}, {bits:?}");
            again.model().unwrap();
        }
    }
}

/// Weights of four bits make a file of format 1.1, and say where they come from.
#[test]
fn four_bits_are_stated() {
    let checkpoint = Checkpoint::open(&Fixture::named("golden/v7").path("model.pth")).unwrap();
    let stated = |bits| {
        let options = Options { bits, ..Options::default() };
        let (bytes, report) = ModelBytes::convert(&checkpoint, &options);
        let model = bytes.model().unwrap();
        assert_eq!(kinglet_quantize::content_hash(&model), report.content_hash);
        let provenance = String::from_utf8_lossy(model.section(Section::Provenance)).into_owned();
        (model.header().minor, provenance.contains("weights: int4 in groups of 32"))
    };
    assert_eq!(stated(Bits::Eight), (0, false));
    assert_eq!(stated(Bits::Four), (1, true));
}

/// What was changed between leaves the grid, and is quantized as any checkpoint is.
#[test]
fn a_changed_export_is_measured_anew() {
    let (bytes, report) = ModelBytes::quantize(&case("base.pth"));
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("weights.safetensors");
    kinglet_quantize::export(&bytes.model().unwrap(), &export).unwrap();
    let mut file = std::fs::read(&export).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&file[8..8 + header]).unwrap();
    let key = "blocks.0.att.key.weight";
    let at = 8 + header + json[key]["data_offsets"][0].as_u64().unwrap() as usize;
    file[at..at + 4].copy_from_slice(&3.0f32.to_le_bytes());
    let changed = folder.path().join("changed.safetensors");
    std::fs::write(&changed, file).unwrap();
    let (changed, other) = ModelBytes::quantize(&changed);
    assert_ne!(other.content_hash, report.content_hash);
    let tensors = dequantized(&changed.model().unwrap());
    assert!((tensors[key].data[0] - 3.0).abs() < 0.02, "{}", tensors[key].data[0]);
}

/// A group of zeros may have a scale, which its weights do not say.
#[test]
fn scales_of_groups_of_zeros_are_kept() {
    let mut tensors = load(&case("base.pth")).unwrap();
    let matrix = tensors.get_mut("blocks.0.ffn.key.weight").unwrap();
    // Beside a weight of one these round to zero, with the least scale that there is.
    matrix.data[..16].fill(1e-11);
    matrix.data[17] = 4.0;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.safetensors");
    write_safetensors(&tensors, &path);
    let (bytes, report) = ModelBytes::quantize(&path);
    let export = folder.path().join("weights.safetensors");
    kinglet_quantize::export(&bytes.model().unwrap(), &export).unwrap();
    let text = String::from_utf8_lossy(&std::fs::read(&export).unwrap()).into_owned();
    assert!(text.contains("zeros"), "nothing was rounded to zero");
    assert_eq!(ModelBytes::quantize(&export).1.content_hash, report.content_hash);
}
