//! Adapters and tuned states, from the files of training to logits.
#![expect(clippy::print_stdout, reason = "the figures are worth seeing with --nocapture")]

use std::path::Path;

use kinglet::engine::Engine;
use kinglet::kernels::scalar::Scalar;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{ConvertError, Options, TunedState, convert, shape};
use kinglet_tests::fixture::{Fixture, load};
use kinglet_tests::metrics::{
    cosine, cosines, max_abs_diff, mean_cosine_loss, relative_mean_abs_diff,
};
use kinglet_tests::oracle::{Oracle, Version};
use kinglet_tests::plain;
use kinglet_tests::quantized::{ModelBytes, arrays, dequantized, reference, with_engine};
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};
use kinglet_tests::tensor::{Tensor, Tensors};

/// The alpha of `golden/v7/lora.pth`.
const ALPHA: f64 = 16.0;

/// A tuned model: its file, the weights and start state it was made of, and what must come out.
struct Case {
    name: String,
    model: ModelBytes,
    weights: Tensors,
    start: Option<Tensors>,
    tokens: Vec<u32>,
    logits: Tensor,
    state: Option<Tensors>,
}

/// The model that starts from the fixture's tuned state.
fn tuned(fixture: &str) -> Case {
    let files = Fixture::named(fixture);
    let base = Checkpoint::open(&files.path("model.pth")).unwrap();
    let state = Checkpoint::open(&files.path("state.pth")).unwrap();
    let state = TunedState::read(&state, &shape(&base).unwrap()).unwrap();
    let options = Options { state: Some(&state), ..Options::default() };
    Case {
        name: format!("{fixture}, tuned state"),
        model: ModelBytes::convert(&base, &options).0,
        weights: load(&files.path("model.pth")).unwrap(),
        start: Some(load(&files.path("state.pth")).unwrap()),
        tokens: files.tokens().unwrap(),
        logits: files.logits("logits_tuned.npy").unwrap(),
        state: Some(files.state("state_tuned.npz").unwrap()),
    }
}

/// The model with the fixture's LoRA adapter.
fn adapted(fixture: &str) -> Case {
    let files = Fixture::named(fixture);
    let mut base = Checkpoint::open(&files.path("model.pth")).unwrap();
    let adapter = Checkpoint::open(&files.path("lora.pth")).unwrap();
    base.merge(vec![adapter], Some(ALPHA)).unwrap();
    let mut weights = load(&files.path("model.pth")).unwrap();
    merge_lora(&mut weights, load(&files.path("lora.pth")).unwrap(), ALPHA);
    Case {
        name: format!("{fixture}, LoRA"),
        model: ModelBytes::convert(&base, &Options::default()).0,
        weights,
        start: None,
        tokens: files.tokens().unwrap(),
        logits: files.logits("logits_lora.npy").unwrap(),
        state: None,
    }
}

/// `W + alpha / r B A`, by the definition of the matrix product, in f64.
fn merge_lora(weights: &mut Tensors, mut adapter: Tensors, alpha: f64) {
    while let Some((name, tensor)) = adapter.pop_first() {
        let Some(matrix) = name.strip_suffix(".lora_A") else {
            weights.insert(name, tensor);
            continue;
        };
        let (a, b) = (tensor, adapter.remove(&format!("{matrix}.lora_B")).unwrap());
        let (rank, inputs) = (a.shape[0], a.shape[1]);
        let weight = weights.get_mut(&format!("{matrix}.weight")).unwrap();
        assert_eq!(weight.shape, [b.shape[0], inputs]);
        for (at, weight) in weight.data.iter_mut().enumerate() {
            let (o, i) = (at / inputs, at % inputs);
            let term = |k: usize| b.data[o * rank + k] * a.data[k * inputs + i];
            *weight += alpha / rank as f64 * (0..rank).map(term).sum::<f64>();
        }
    }
}

fn cases() -> [Case; 3] {
    [tuned("golden/v6"), tuned("golden/v7"), adapted("golden/v7")]
}

fn oracle(weights: Tensors, start: Option<&Tensors>) -> Oracle {
    let mut oracle = Oracle::new(weights).unwrap();
    if let Some(start) = start {
        oracle.tune(start.clone()).unwrap();
    }
    oracle
}

/// The yardsticks of the tests below: an exact merge reproduces the golden logits, and plain
/// rounding costs what the fixtures' description says.
#[test]
fn the_golden_logits_are_those_of_an_exact_merge() {
    for case in cases() {
        let logits = oracle(case.weights, case.start.as_ref()).forward(&case.tokens);
        let difference = max_abs_diff(&logits, &case.logits.data);
        assert!(difference <= 1e-6, "{}: {difference}", case.name);
    }
    for (name, documented) in [("golden/v6", 0.0023), ("golden/v7", 0.0046)] {
        let fixture = Fixture::named(name);
        let weights = plain::rounded(&load(&fixture.path("model.pth")).unwrap());
        let logits = oracle(weights, None).forward(&fixture.tokens().unwrap());
        let golden = fixture.logits("logits.npy").unwrap();
        let loss = mean_cosine_loss(&logits, &golden.data, golden.shape[1]);
        println!("{name}: plain int8 1 - mean cosine {loss:.5}");
        assert!((loss - documented).abs() <= 2e-4, "{name}: {loss}, documented {documented}");
    }
}

#[test]
fn the_core_computes_what_the_oracle_does() {
    for case in cases() {
        let model = case.model.model().unwrap();
        let mut oracle = oracle(dequantized(&model), case.start.as_ref());
        let expected = oracle.forward(&case.tokens);
        let (logits, state) = reference(model, &case.tokens);
        let difference = relative_mean_abs_diff(&logits, &expected);
        let cosines = cosines(&logits, &expected, model.shape().vocab);
        let least = cosines.into_iter().fold(1.0, f64::min);
        let name = &case.name;
        println!(
            "{name}: mean |difference| {difference:.1e} of std, 1 - cosine {:.1e}",
            1.0 - least
        );
        assert!(difference <= 1e-3, "{name}: {difference}");
        assert!(least >= 0.999, "{name}: {least}");
        let state = arrays(model.shape(), &state);
        for (array, expected) in oracle.state() {
            let difference = relative_mean_abs_diff(&state[&array].data, &expected.data);
            assert!(difference <= 1e-3, "{name}, {array}: {difference}");
        }
    }
}

#[test]
fn int8_costs_no_more_than_plain_rounding() {
    for case in cases() {
        let name = &case.name;
        let mut plain = oracle(plain::rounded(&case.weights), case.start.as_ref());
        let vocab = case.logits.shape[1];
        let allowed = mean_cosine_loss(&plain.forward(&case.tokens), &case.logits.data, vocab);
        let model = case.model.model().unwrap();
        let (logits, state) = reference(model, &case.tokens);
        let loss = mean_cosine_loss(&logits, &case.logits.data, vocab);
        println!("{name}: 1 - mean cosine {loss:.4} (plain {allowed:.4})");
        assert!(loss <= 1.2 * allowed, "{name}: {loss}, plain {allowed}");

        let (state, plain) = (arrays(model.shape(), &state), plain.state());
        let golden = case.state.unwrap_or_default();
        let of =
            |found: &Tensors, array: &str| 1.0 - cosine(&found[array].data, &golden[array].data);
        for array in golden.keys() {
            let (loss, allowed) = (of(&state, array), of(&plain, array));
            println!("  {array}: 1 - cosine {loss:.1e} (plain {allowed:.1e})");
            assert!(loss <= 1.2 * allowed, "{name}, {array}: {loss}, plain {allowed}");
        }
    }
}

/// Dimensions of which nothing is a multiple of anything.
const ODD: Dims =
    Dims { layers: 3, width: 24, head_size: 8, ffn: 36, vocab: 77, ranks: [5, 3, 7, 9, 5, 5] };

const WITH_STATE: [Version; 6] =
    [Version::V5_0, Version::V5_1, Version::V5_2, Version::V6, Version::V7, Version::V7a];

/// A tuned state of every layer, of which no two values are the same.
fn time_states(dims: Dims) -> Tensors {
    let (heads, n) = (dims.width / dims.head_size, dims.head_size);
    let layer = |layer: usize| {
        let value = |i: usize| f64::from(((layer * 1000 + i) as f32 * 0.37).sin());
        let data = (0..heads * n * n).map(value).collect();
        (format!("blocks.{layer}.att.time_state"), Tensor::new(vec![heads, n, n], data))
    };
    (0..dims.layers).map(layer).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, name: &str, tensors: &Tensors) -> Checkpoint {
        let path = self.0.path().join(name);
        write_safetensors(tensors, &path);
        Checkpoint::open(&path).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn every_version_starts_from_its_tuned_state() {
    for version in WITH_STATE {
        let folder = Folder::new();
        let weights = checkpoint(version, ODD, 7);
        let states = time_states(ODD);
        let base = folder.open("base.safetensors", &weights);
        let file = folder.open("state.safetensors", &states);
        let state = TunedState::read(&file, &shape(&base).unwrap()).unwrap();
        let options = Options { state: Some(&state), ..Options::default() };
        let (bytes, report) = ModelBytes::convert(&base, &options);
        let model = bytes.model().unwrap();
        assert_eq!(model.start_state(), Some(state.values()));

        let tokens: Vec<u32> = (0..40).map(|i| i * 7919 % ODD.vocab as u32).collect();
        let mut oracle = oracle(dequantized(&model), Some(&states));
        let at_start = arrays(model.shape(), state.values());
        assert_eq!(at_start, oracle.state(), "RWKV-{version}");
        let expected = oracle.forward(&tokens);
        let (logits, _) = reference(model, &tokens);
        let difference = relative_mean_abs_diff(&logits, &expected);
        assert!(difference <= 1e-3, "RWKV-{version}: {difference}");

        // Every sequence starts there, and comes back to it.
        with_engine(model, Scalar, 2, 4, |engine| {
            let mut found = vec![0.0; model.shape().state_len()];
            for sequence in 0..2 {
                engine.store_state(sequence, &mut found).unwrap();
                assert_eq!(found, state.values());
            }
            let mut logits = vec![0.0; ODD.vocab];
            engine.step(1, 3, &mut logits).unwrap();
            engine.store_state(1, &mut found).unwrap();
            assert_ne!(found, state.values());
            engine.reset(1).unwrap();
            engine.store_state(1, &mut found).unwrap();
            assert_eq!(found, state.values());
        });

        // A checkpoint that has the state in it gives the same model, and the same weights
        // give the same content hash, whatever the state.
        let whole: Tensors = weights.clone().into_iter().chain(states).collect();
        let whole = folder.open("whole.safetensors", &whole);
        let (inside, _) = ModelBytes::convert(&whole, &Options::default());
        assert_eq!(inside.model().unwrap().start_state(), Some(state.values()));
        let (plain, plain_report) = ModelBytes::convert(&base, &Options::default());
        assert_eq!(plain.model().unwrap().start_state(), None);
        assert_eq!(plain_report.content_hash, report.content_hash);
        let of_whole = TunedState::read(&whole, model.shape()).unwrap();
        assert_eq!(of_whole.values(), state.values());
    }
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let base = folder.open("base.safetensors", &checkpoint(Version::V7, ODD, 7));
    let shape_of_base = shape(&base).unwrap();
    let refuse = |what: &str, change: &dyn Fn(&mut Tensors), said: &str| {
        let mut states = time_states(ODD);
        change(&mut states);
        let file = folder.open("state.safetensors", &states);
        let error = TunedState::read(&file, &shape_of_base).unwrap_err().to_string();
        assert!(error.contains(said), "{what}: {error}");
    };
    let name = "blocks.1.att.time_state";
    refuse("a layer less", &|s| drop(s.remove(name)), "blocks.1.att.time_state is missing");
    let more = |s: &mut Tensors| {
        let state = s[name].clone();
        s.insert("blocks.3.att.time_state".to_owned(), state);
    };
    refuse("a layer more", &more, "the tuned state has 4 layers; the model has 3");
    refuse("another head", &|s| s.get_mut(name).unwrap().shape = vec![1, 24, 8], "[3, 8, 8]");
    refuse("NaN", &|s| s.get_mut(name).unwrap().data[70] = f64::NAN, "NaN at row 14, column 0");
    let other = |s: &mut Tensors| {
        s.insert("ln_out.bias".to_owned(), Tensor::new(vec![1], vec![0.0]));
    };
    refuse("another tensor", &other, "ln_out.bias is not part of");
    let none = |s: &mut Tensors| {
        s.clear();
        other(s);
    };
    refuse("no state", &none, "holds no tuned state");

    let rwkv4 = folder.open("rwkv4.safetensors", &checkpoint(Version::V4, ODD, 7));
    let file = folder.open("state.safetensors", &time_states(ODD));
    let error = TunedState::read(&file, &shape(&rwkv4).unwrap()).unwrap_err().to_string();
    assert!(error.contains("RWKV-5, 6 or 7"), "{error}");
}

/// Quantizing what holds no model of its own says what to do with it.
#[test]
fn tuning_alone_is_no_checkpoint() {
    let refusal = |path: &Path| -> ConvertError {
        let folder = Folder::new();
        let checkpoint = Checkpoint::open(path).unwrap();
        let out = folder.path("model.kinglet");
        let error = convert(&checkpoint, &out, &Options::default(), &mut |_, _| ());
        assert!(!out.exists());
        error.unwrap_err()
    };
    let fixture = Fixture::named("golden/v7");
    let error = refusal(&fixture.path("state.pth")).to_string();
    assert!(error.contains("tuned state") && error.contains("--tuned-state"), "{error}");
    let error = refusal(&fixture.path("lora.pth")).to_string();
    assert!(error.contains("adapter") && error.contains("--lora"), "{error}");
}

/// A state is of the layers, not a layer of its own.
#[test]
fn a_state_with_more_layers_does_not_make_the_model_deeper() {
    let folder = Folder::new();
    let mut whole = checkpoint(Version::V7, ODD, 7);
    whole.extend(time_states(Dims { layers: 4, ..ODD }));
    let whole = folder.open("whole.safetensors", &whole);
    let error = shape(&whole).unwrap_err().to_string();
    assert!(error.contains("blocks.3.att.time_state is not part of RWKV-7"), "{error}");
}

/// Adapters on every matrix of every version: the model file is that of weights merged before,
/// but for what the order of f32 additions changes.
#[test]
fn every_version_takes_every_adapter() {
    const RANK: usize = 4;
    for version in [&[Version::V4][..], &WITH_STATE].concat() {
        let weights = checkpoint(version, ODD, 7);
        for kind in ["lora", "pissa", "disha", "bone"] {
            let (mut adapter, mut merged) = (Tensors::new(), weights.clone());
            let matrices = weights.iter().filter(|(name, tensor)| {
                // The tables of DeepEmbed have ln0 folded in when they come back.
                let of_layer = name.contains(".att.") || name.contains(".ffn.");
                of_layer
                    && !name.contains(".s_emb")
                    && name.ends_with(".weight")
                    && tensor.shape.len() == 2
            });
            for (seed, (name, weight)) in matrices.enumerate() {
                let matrix = name.strip_suffix(".weight").unwrap();
                let update = merged.get_mut(name).unwrap();
                match kind {
                    "bone" if weight.shape.iter().all(|n| n % RANK == 0) => {
                        let block = random(&[weight.shape[1] / RANK, RANK, RANK], seed);
                        merge_tiles(update, &block);
                        adapter.insert(format!("{matrix}.bone"), block);
                    }
                    "bone" => {}
                    "disha" => {
                        // No divisor of the inputs.
                        let block = random(&[5, weight.shape[0]], seed);
                        merge_shared(update, &block);
                        adapter.insert(format!("{matrix}.disha"), block);
                    }
                    _ => {
                        let a = random(&[RANK, weight.shape[1]], seed);
                        let b = random(&[weight.shape[0], RANK], seed + 100);
                        merge_product(update, &a, &b, if kind == "lora" { 0.5 } else { 1.0 });
                        adapter.insert(format!("{matrix}.lora_A"), a);
                        adapter.insert(format!("{matrix}.lora_B"), b);
                    }
                }
                if kind == "pissa" {
                    let a = random(&[3, weight.shape[1]], seed + 200);
                    let b = random(&[weight.shape[0], 3], seed + 300);
                    merge_product(update, &a, &b, -1.0);
                    adapter.insert(format!("{matrix}.init_lora_A"), a);
                    adapter.insert(format!("{matrix}.init_lora_B"), b);
                }
            }
            let ln = Tensor::new(vec![24], (0..24).map(|i| f64::from(i) / 32.0 + 0.5).collect());
            merged.insert("ln_out.weight".to_owned(), ln.clone());
            adapter.insert("ln_out.weight".to_owned(), ln);

            let folder = Folder::new();
            let mut base = folder.open("base.safetensors", &weights);
            let adapter = folder.open("adapter.safetensors", &adapter);
            // Half of the rank: a scale of 0.5.
            base.merge(vec![adapter], Some(2.0)).unwrap();
            for (name, expected) in &merged {
                let mut values = Vec::new();
                base.tensor(name).unwrap().read_all(&mut values);
                let found = values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                let difference = max_abs_diff(&found, &expected.data);
                assert!(difference <= 4e-6, "RWKV-{version} {kind} {name}: {difference}");
            }
            let (model, _) = ModelBytes::convert(&base, &Options::default());
            let exported = dequantized(&model.model().unwrap());
            for (name, weight) in &exported {
                let (before, after) = (&weights[name], &merged[name]);
                if before.data != after.data && name.ends_with(".weight") {
                    let apart = relative_mean_abs_diff(&before.data, &after.data);
                    let difference = relative_mean_abs_diff(&weight.data, &after.data);
                    assert!(apart > 0.02, "the adapter changes {name} by {apart}");
                    assert!(difference <= 0.01, "RWKV-{version} {kind} {name}: {difference}");
                }
            }
        }
    }
}

/// Values below 0.5, each an f32.
fn random(shape: &[usize], seed: usize) -> Tensor {
    let value = |i: usize| f64::from((((seed * 7919 + i) as f32) * 1.7).sin() * 0.5);
    Tensor::new(shape.to_vec(), (0..shape.iter().product()).map(value).collect())
}

fn merge_product(weight: &mut Tensor, a: &Tensor, b: &Tensor, scale: f64) {
    let (rank, inputs) = (a.shape[0], a.shape[1]);
    for (at, weight) in weight.data.iter_mut().enumerate() {
        let term = |k: usize| b.data[at / inputs * rank + k] * a.data[k * inputs + at % inputs];
        *weight += scale * (0..rank).map(term).sum::<f64>();
    }
}

fn merge_shared(weight: &mut Tensor, block: &Tensor) {
    let (rank, outputs, inputs) = (block.shape[0], block.shape[1], weight.shape[1]);
    for (at, weight) in weight.data.iter_mut().enumerate() {
        *weight += block.data[at % inputs % rank * outputs + at / inputs];
    }
}

fn merge_tiles(weight: &mut Tensor, blocks: &Tensor) {
    let (rank, inputs) = (blocks.shape[1], weight.shape[1]);
    let before = weight.data.clone();
    for (at, weight) in weight.data.iter_mut().enumerate() {
        let (o, i) = (at / inputs, at % inputs);
        let first = i / rank * rank;
        let block = |k: usize| blocks.data[(first + k) * rank + i % rank];
        let product: f64 = (0..rank).map(|k| before[o * inputs + first + k] * block(k)).sum();
        *weight += product + block(o % rank);
    }
}
