//! Files as other programs write them, each beside the same weights in official form.

use std::path::{Path, PathBuf};

use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{Options, TunedState, shape};
use kinglet_tests::metrics::mean_cosine_loss;
use kinglet_tests::npy;
use kinglet_tests::quantized::{ModelBytes, reference};

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
