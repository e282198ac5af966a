//! Every version besides RWKV-7: the core against the oracle, what int8 costs,
//! and the same bits however tokens are divided.
#![expect(clippy::print_stdout, reason = "the figures are worth seeing with --nocapture")]

use std::path::Path;

use kinglet::engine::{BatchToken, Engine, StateError};
use kinglet::engine::{BufferError, Cpu, workspace_len};
use kinglet::format::model::Section;
use kinglet::format::shape::{Architecture, Shape};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split};
use kinglet::num::state_dtype::f16;
use kinglet_host::Threaded;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{ConvertError, Options, convert};
use kinglet_tests::fixture::{Fixture, load};
use kinglet_tests::metrics::{
    cosine, cosines, max_abs_diff, mean_cosine_loss, relative_mean_abs_diff, top1_agreement,
};
use kinglet_tests::oracle::{Oracle, Version};
use kinglet_tests::quantized::{
    ModelBytes, arrays, dequantized, forward, reference, with_engine, with_states,
};
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};
use kinglet_tests::tensor::{Tensor, Tensors};

/// What plain round-to-nearest int8 in groups of 32 costs.
struct Plain {
    /// 1 - mean cosine of the logits.
    logits: f64,
    /// 1 - cosine of the last state's arrays, the worst of them.
    state: f64,
}

const FIXTURES: [(&str, Architecture, Plain); 6] = [
    ("golden/v4", Architecture::Rwkv4, Plain { logits: 0.0019, state: 0.0014 }),
    ("golden/v5_0", Architecture::Rwkv5_0, Plain { logits: 0.0033, state: 0.0016 }),
    ("golden/v5_1", Architecture::Rwkv5_1, Plain { logits: 0.0044, state: 0.0102 }),
    ("golden/v5_2", Architecture::Rwkv5_2, Plain { logits: 0.0048, state: 0.0024 }),
    ("golden/v6", Architecture::Rwkv6, Plain { logits: 0.0023, state: 0.0008 }),
    ("golden/v7a", Architecture::Rwkv7a, Plain { logits: 0.0194, state: 0.0061 }),
];

const VERSIONS: [Version; 7] = [
    Version::V4,
    Version::V5_0,
    Version::V5_1,
    Version::V5_2,
    Version::V6,
    Version::V7,
    Version::V7a,
];

fn quantized(fixture: &str) -> (ModelBytes, Vec<u32>) {
    let fixture = Fixture::named(fixture);
    let (bytes, _) = ModelBytes::quantize(&fixture.path("model.pth"));
    (bytes, fixture.tokens().unwrap())
}

/// A random checkpoint of a version, quantized.
fn random(version: Version, dims: Dims) -> ModelBytes {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&checkpoint(version, dims, 7), &path);
    ModelBytes::quantize(&path).0
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Asserts that the core computes on a model what the oracle does on its
/// dequantized weights.
#[track_caller]
fn assert_computes(what: &str, bytes: &ModelBytes, tokens: &[u32]) {
    let model = bytes.model().unwrap();
    let mut oracle = Oracle::new(dequantized(&model)).unwrap();
    assert_eq!(format!("RWKV-{}", oracle.version()), model.shape().architecture.name());
    let expected = oracle.forward(tokens);
    let (logits, state) = reference(model, tokens);
    let difference = relative_mean_abs_diff(&logits, &expected);
    let cosines = cosines(&logits, &expected, model.shape().vocab);
    let least = cosines.into_iter().fold(1.0, f64::min);
    println!("{what}: mean |difference| {difference:.2e} of std, least cosine 1 - {:.2e}", {
        1.0 - least
    });
    assert!(difference <= 1e-3, "{what}: {difference}");
    assert!(least >= 0.9999, "{what}: {least}");

    let state = arrays(model.shape(), &state);
    let expected = oracle.state();
    assert!(state.keys().eq(expected.keys()));
    for (name, array) in &state {
        assert_eq!(array.shape, expected[name].shape);
        let difference = relative_mean_abs_diff(&array.data, &expected[name].data);
        println!("  {name} {difference:.2e}");
        assert!(difference <= 1e-3, "{what}, {name}: {difference}");
    }
}

#[test]
fn the_core_computes_what_the_oracle_does() {
    for (name, architecture, _) in FIXTURES {
        let (bytes, tokens) = quantized(name);
        assert_eq!(bytes.model().unwrap().shape().architecture, architecture);
        assert_computes(name, &bytes, &tokens);
    }
}

#[test]
fn int8_costs_no_more_than_plain_rounding() {
    for (name, _, plain) in FIXTURES {
        let (bytes, tokens) = quantized(name);
        let fixture = Fixture::named(name);
        let golden = fixture.logits("logits.npy").unwrap();
        let model = bytes.model().unwrap();
        let (logits, state) = reference(model, &tokens);
        let loss = mean_cosine_loss(&logits, &golden.data, golden.shape[1]);
        let top1 = top1_agreement(&logits, &golden.data, golden.shape[1]);
        println!("{name}: 1 - mean cosine {loss:.4} (plain {}), top-1 {top1:.2}", plain.logits);
        assert!(loss <= 1.2 * plain.logits, "{name}: {loss}");

        let state = arrays(model.shape(), &state);
        for (array, golden) in fixture.state("state.npz").unwrap() {
            let loss = 1.0 - cosine(&state[&array].data, &golden.data);
            println!("  {array}: 1 - cosine {loss:.1e}");
            assert!(loss <= 1.2 * plain.state, "{name}, {array}: {loss}");
        }
    }
}

/// Dimensions of which nothing is a multiple of anything.
const ODD: Dims =
    Dims { layers: 3, width: 24, head_size: 8, ffn: 36, vocab: 77, ranks: [5, 3, 7, 9, 5, 5] };

fn tokens(count: u32, vocab: usize) -> Vec<u32> {
    (0..count).map(|i| i * 7919 % vocab as u32).collect()
}

#[test]
fn any_dimensions_are_computed() {
    let one_layer = Dims { layers: 1, ..ODD };
    let channels = Dims { width: 21, head_size: 7, ffn: 70, vocab: 5, ..ODD };
    let wide = |head_size| Dims { layers: 2, width: 128, head_size, ffn: 448, vocab: 50, ..ODD };
    let all = [ODD, one_layer, channels, wide(16), wide(32), wide(64), wide(128)];
    for version in VERSIONS {
        for dims in all {
            let bytes = random(version, dims);
            let what = format!("RWKV-{version} {dims:?}");
            assert_computes(&what, &bytes, &tokens(40, dims.vocab));
        }
    }
}

/// Every part apart, as threads would have them: what is split must not meet.
struct Apart;

impl Kernels for Apart {
    fn name(&self) -> &'static str {
        "apart"
    }

    fn products(&self, jobs: &mut [Product<'_>]) {
        Scalar.products(jobs);
    }

    fn sparse_product(&self, job: SparseProduct<'_>) {
        Scalar.sparse_product(job);
    }

    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        let (mut parts, mut rest) = (Vec::new(), whole);
        while rest.len() > 1 {
            let at = rest.len() - 1;
            let (first, last) = rest.split_at(at);
            parts.push(last);
            rest = first;
        }
        parts.push(rest);
        parts.into_iter().for_each(|part| Scalar.for_parts(part, region, &f));
    }
}

/// Runs `f` on the fixture of every version and on a random model of odd dimensions.
fn on_every_version(f: impl Fn(&str, &ModelBytes, &[u32])) {
    for (name, ..) in FIXTURES {
        let (bytes, tokens) = quantized(name);
        f(name, &bytes, &tokens);
    }
    for version in VERSIONS {
        f(&format!("RWKV-{version}"), &random(version, ODD), &tokens(32, ODD.vocab));
    }
}

#[test]
fn blocks_of_any_size_agree() {
    on_every_version(|name, bytes, tokens| {
        let model = bytes.model().unwrap();
        let run = |chunk| {
            with_engine(model, Apart, 1, chunk, |engine| {
                let logits = forward(engine, tokens, chunk).unwrap();
                let mut state = vec![0.0; model.shape().state_len()];
                engine.store_state(0, &mut state).unwrap();
                (bits(&logits), bits(&state))
            })
        };
        let whole =
            with_engine(model, Scalar, 1, 1, |engine| bits(&forward(engine, tokens, 1).unwrap()));
        let one = run(1);
        assert!(one.0 == whole, "{name}: in parts");
        for chunk in [2, 7, 64] {
            assert!(run(chunk) == one, "{name}: chunks of {chunk}");
        }
        let vocab = model.shape().vocab;
        let mut last = vec![0.0; vocab];
        with_engine(model, Scalar, 1, 7, |engine| engine.prefill(0, tokens, &mut last)).unwrap();
        assert!(bits(&last) == one.0[one.0.len() - vocab..], "{name}: prefill");
    });
}

#[test]
fn sequences_do_not_see_each_other() {
    on_every_version(|name, bytes, tokens| {
        let model = bytes.model().unwrap();
        let vocab = model.shape().vocab;
        let (a, b) = tokens.split_at(tokens.len() / 2);
        let alone = [a, b].map(|tokens| {
            with_engine(model, Scalar, 1, 1, |engine| bits(&forward(engine, tokens, 1).unwrap()))
        });
        with_engine(model, Apart, 3, 6, |engine| {
            for (i, (a, b)) in a.chunks(3).zip(b.chunks(3)).enumerate() {
                let column =
                    |sequence| move |&token: &u32| BatchToken { token, sequence, logits: true };
                let (a, b) = (a.iter().map(column(2)), b.iter().map(column(0)));
                let columns: Vec<_> = if i % 2 == 0 {
                    a.zip(b).flat_map(|(a, b)| [a, b]).collect()
                } else {
                    b.chain(a).collect()
                };
                let mut logits = vec![0.0; columns.len() * vocab];
                engine.forward(&columns, &mut logits).unwrap();
                let mut seen = [3 * i; 3];
                for (column, logits) in columns.iter().zip(logits.chunks(vocab)) {
                    let at = seen[column.sequence];
                    seen[column.sequence] += 1;
                    let alone = &alone[usize::from(column.sequence == 0)];
                    let expected = &alone[at * vocab..][..vocab];
                    assert!(bits(logits) == expected, "{name}: sequence {}, {at}", column.sequence);
                }
            }
            // The sequence between them has seen nothing.
            let mut state = vec![0.0; model.shape().state_len()];
            engine.store_state(1, &mut state).unwrap();
            assert_eq!(state, start_state(model.shape()), "{name}");
        });
    });
}

fn start_state(shape: &Shape) -> Vec<f32> {
    let layer = shape.layer_state_len();
    (0..shape.state_len()).map(|i| shape.start_value(i % layer)).collect()
}

#[test]
fn states_are_saved_restored_and_reset() {
    on_every_version(|name, bytes, tokens| {
        let model = bytes.model().unwrap();
        let all = with_engine(model, Scalar, 1, 8, |e| forward(e, tokens, 8).unwrap());
        let (first, second) = tokens.split_at(tokens.len() / 2);
        let mut state = vec![0.0; model.shape().state_len()];
        with_engine(model, Scalar, 2, 8, |engine| {
            forward(engine, first, 8).unwrap();
            engine.store_state(0, &mut state).unwrap();
            assert_ne!(state, start_state(model.shape()));
            engine.reset(0).unwrap();
            let again = forward(engine, tokens, 8).unwrap();
            assert!(bits(&again) == bits(&all), "{name}: after a reset");
            engine.load_state(1, &state).unwrap();
            let mut copy = vec![0.0; state.len()];
            engine.store_state(1, &mut copy).unwrap();
            assert!(bits(&copy) == bits(&state), "{name}: copied");
        });
        let rest = with_engine(model, Scalar, 1, 8, |engine| {
            engine.load_state(0, &state).unwrap();
            forward(engine, second, 8).unwrap()
        });
        assert!(bits(&rest) == bits(&all[all.len() - rest.len()..]), "{name}: restored");
    });
}

/// What an f16 state means, with the rounding of another library: single steps of
/// an engine with an f32 state, each of whose elements is rounded after each.
fn rounded_by_hand(bytes: &ModelBytes, tokens: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let model = bytes.model().unwrap();
    let mut state = vec![0.0; model.shape().state_len()];
    let mut logits = vec![0.0; model.shape().vocab];
    let mut all = Vec::new();
    with_engine(model, Scalar, 1, 1, |engine| {
        for &token in tokens {
            engine.step(0, token, &mut logits).unwrap();
            all.extend(bits(&logits));
            engine.store_state(0, &mut state).unwrap();
            for value in &mut state {
                *value = f16::from_f32(value.clamp(-65504.0, 65504.0)).to_f32();
            }
            engine.load_state(0, &state).unwrap();
        }
    });
    (all, bits(&state))
}

/// [`on_every_version`] whose state may be kept in f16.
fn on_every_f16_version(f: impl Fn(&str, &ModelBytes, &[u32])) {
    on_every_version(|name, bytes, tokens| {
        if bytes.model().unwrap().shape().architecture != Architecture::Rwkv4 {
            f(name, bytes, tokens);
        }
    });
}

#[test]
fn an_f16_state_is_rounded_after_every_token_in_blocks_of_any_size() {
    on_every_f16_version(|name, bytes, tokens| {
        let model = bytes.model().unwrap();
        let expected = rounded_by_hand(bytes, tokens);
        for chunk in [1, 2, 7, 64] {
            let found = with_states(model, Apart, 1, chunk, |engine: &mut Cpu<'_, _, f16>| {
                let logits = forward(engine, tokens, chunk).unwrap();
                let mut state = vec![0.0; model.shape().state_len()];
                engine.store_state(0, &mut state).unwrap();
                (bits(&logits), bits(&state))
            });
            assert!(found == expected, "{name}: chunks of {chunk}");
        }
        let threaded = Threaded::new(Scalar, 3);
        let found = with_states(model, threaded, 1, 7, |engine: &mut Cpu<'_, _, f16>| {
            bits(&forward(engine, tokens, 7).unwrap())
        });
        assert!(found == expected.0, "{name}: three threads");
        let exact = with_engine(model, Scalar, 1, 1, |engine| forward(engine, tokens, 1).unwrap());
        assert!(bits(&exact) != expected.0, "{name}: the rounding shows nowhere");
    });
}

#[test]
fn f16_sequences_do_not_see_each_other() {
    on_every_f16_version(|name, bytes, tokens| {
        let model = bytes.model().unwrap();
        let vocab = model.shape().vocab;
        let halves = tokens.split_at(tokens.len() / 2);
        let alone = [halves.0, halves.1].map(|tokens| rounded_by_hand(bytes, tokens).0);
        with_states(model, Apart, 2, 6, |engine: &mut Cpu<'_, _, f16>| {
            for (i, (a, b)) in halves.0.chunks(3).zip(halves.1.chunks(3)).enumerate() {
                let column =
                    |sequence| move |&token: &u32| BatchToken { token, sequence, logits: true };
                let (a, b) = (a.iter().map(column(0)), b.iter().map(column(1)));
                let columns: Vec<_> = a.zip(b).flat_map(|(a, b)| [b, a]).collect();
                let mut logits = vec![0.0; columns.len() * vocab];
                engine.forward(&columns, &mut logits).unwrap();
                for (c, (column, logits)) in columns.iter().zip(logits.chunks(vocab)).enumerate() {
                    let expected = &alone[column.sequence][(3 * i + c / 2) * vocab..][..vocab];
                    assert!(bits(logits) == expected, "{name}: block {i}, column {c}");
                }
            }
        });
    });
}

#[test]
fn f16_states_are_saved_restored_and_reset() {
    on_every_f16_version(|name, bytes, tokens| {
        let model = bytes.model().unwrap();
        let all = rounded_by_hand(bytes, tokens).0;
        let (first, second) = tokens.split_at(tokens.len() / 2);
        let mut elements = vec![f16::ZERO; model.shape().state_len()];
        let mut values = vec![0.0; elements.len()];
        with_states(model, Scalar, 2, 8, |engine: &mut Cpu<'_, _, f16>| {
            forward(engine, first, 8).unwrap();
            engine.store_elements(0, &mut elements).unwrap();
            engine.store_state(0, &mut values).unwrap();
            assert!(elements.iter().zip(&values).all(|(x, y)| x.to_f32() == *y), "{name}");
            engine.reset(0).unwrap();
            let again = bits(&forward(engine, tokens, 8).unwrap());
            assert!(again == all, "{name}: after a reset");
        });
        let restored = |load: &dyn Fn(&mut Cpu<'_, Scalar, f16>)| {
            let rest = with_states(model, Scalar, 1, 8, |engine| {
                load(engine);
                bits(&forward(engine, second, 8).unwrap())
            });
            assert!(rest == all[all.len() - rest.len()..], "{name}: restored");
        };
        restored(&|engine| engine.load_elements(0, &elements).unwrap());
        restored(&|engine| engine.load_state(0, &values).unwrap());
    });
}

#[test]
fn an_f16_state_saturates_and_refuses_what_is_not_finite() {
    let bytes = random(Version::V7, ODD);
    let model = bytes.model().unwrap();
    let mut state = vec![1e6; model.shape().state_len()];
    state[1] = -1e6;
    with_states(model, Scalar, 1, 1, |engine: &mut Cpu<'_, _, f16>| {
        engine.load_state(0, &state).unwrap();
        let mut elements = vec![f16::ZERO; state.len()];
        engine.store_elements(0, &mut elements).unwrap();
        assert_eq!((elements[0], elements[1]), (f16::MAX, f16::MIN));
        let kept = elements.clone();
        elements[3] = f16::INFINITY;
        let refused = Err(StateError::NonFinite { index: 3 });
        assert_eq!(engine.load_elements(0, &elements), refused);
        state[3] = f32::NAN;
        assert_eq!(engine.load_state(0, &state), refused);
        engine.store_elements(0, &mut elements).unwrap();
        assert_eq!(elements, kept, "a refused state has left something");
        let (found, needed) = (kept.len() - 1, kept.len());
        assert_eq!(engine.load_elements(0, &kept[1..]), Err(StateError::Len { found, needed }));
        assert_eq!(
            engine.store_elements(1, &mut elements),
            Err(StateError::Sequence { found: 1, sequences: 1 })
        );
    });
}

#[test]
fn rwkv4_refuses_an_f16_state() {
    let bytes = random(Version::V4, ODD);
    let model = bytes.model().unwrap();
    let mut state = vec![f16::ZERO; model.shape().state_len()];
    let mut workspace = vec![0.0; workspace_len(model.shape(), 1)];
    let error = Cpu::new(model, Scalar, 1, &mut state, &mut workspace).unwrap_err();
    assert_eq!(error, BufferError::F16State { architecture: Architecture::Rwkv4 });
    assert!(error.to_string().contains("keep it in f32"), "{error}");
}

#[test]
fn rwkv4_starts_below_every_exponent() {
    let bytes = random(Version::V4, ODD);
    let shape = *bytes.model().unwrap().shape();
    let start = arrays(&shape, &start_state(&shape));
    assert!(start["pp"].data.iter().all(|&pp| pp == f64::from(-1e30f32)));
    for name in ["att_prev", "ffn_prev", "aa", "bb"] {
        assert!(start[name].data.iter().all(|&x| x == 0.0), "{name}");
    }
    let rwkv7 = random(Version::V7, ODD);
    assert!(start_state(rwkv7.model().unwrap().shape()).iter().all(|&x| x == 0.0));
}

/// Row tables have no multiplier: what their scales cannot hold is refused.
#[test]
fn rows_that_int8_cannot_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [path, out] = ["model.safetensors", "model.kinglet"].map(|name| dir.path().join(name));
    for (scale, fits) in [(1e5, true), (1e8, false), (3e37, false)] {
        let mut tensors = checkpoint(Version::V7, ODD, 3);
        let weight = tensors.get_mut("blocks.0.ln0.weight").unwrap();
        weight.data.iter_mut().for_each(|w| *w *= scale);
        write_safetensors(&tensors, &path);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let result = convert(&checkpoint, &out, &Options::default(), &mut |_, _| ());
        assert_eq!(result.is_ok(), fits, "{scale}");
        if let Err(error) = result {
            assert!(error.to_string().starts_with("tensor emb.weight has a row with"), "{error}");
            assert!(!out.exists());
        } else {
            std::fs::remove_file(&out).unwrap();
        }
    }
}

/// Keys far outside the range of `exp`, of either sign, reproduce the equations.
#[test]
fn rwkv4_keys_may_be_of_any_size() {
    for scale in [50.0, 1e3, -1e4] {
        let mut tensors = checkpoint(Version::V4, ODD, 3);
        for layer in 0..ODD.layers {
            let key = tensors.get_mut(&format!("blocks.{layer}.att.key.weight")).unwrap();
            key.data.iter_mut().for_each(|w| *w *= scale);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write_safetensors(&tensors, &path);
        let (bytes, _) = ModelBytes::quantize(&path);
        let model = bytes.model().unwrap();
        let tokens = tokens(40, ODD.vocab);
        let (logits, state) = reference(model, &tokens);
        let pp = &arrays(model.shape(), &state)["pp"];
        let largest = pp.data.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(largest > 88.0, "{largest}");

        let mut oracle = Oracle::new(dequantized(&model)).unwrap();
        let expected = oracle.forward(&tokens);
        let loss = mean_cosine_loss(&logits, &expected, ODD.vocab);
        println!("|pp| {largest:.0}: 1 - mean cosine {loss:.1e}");
        // Sixteen bits of input leave an error of 1e-5 of the key in its exponent.
        assert!(loss <= 1e-6 * largest.max(100.0), "{loss}");
    }
}

#[test]
fn an_export_has_every_tensor_of_the_checkpoint() {
    for version in VERSIONS {
        let tensors = checkpoint(version, ODD, 7);
        let bytes = random(version, ODD);
        let mut exported = dequantized(&bytes.model().unwrap());
        for (name, tensor) in tensors {
            let folded = name.contains(".ln0.") || name.ends_with("s_emb_x.weight");
            let Some(export) = exported.remove(&name) else {
                assert!(folded, "RWKV-{version}: {name} is not exported");
                continue;
            };
            assert_eq!(export.shape, tensor.shape, "RWKV-{version}: {name}");
            let folded_into = name == "emb.weight" || name.ends_with("s_emb.weight");
            let matrix = tensor.squeezed().len() > 1
                && !["time_decay", "time_faaaa", "r_k"].iter().any(|end| name.ends_with(end));
            let largest = tensor.data.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let allowed = if matrix { largest / 200.0 } else { 0.0 };
            let error = max_abs_diff(&export.data, &tensor.data);
            assert!(folded_into || error <= allowed, "RWKV-{version}: {name}: {error}");
        }
        assert!(exported.is_empty(), "RWKV-{version}: {:?}", exported.keys());
    }
}

#[test]
fn only_deep_embed_has_a_ninth_section() {
    for version in VERSIONS {
        let bytes = random(version, ODD);
        let count = u32::from_le_bytes(bytes.bytes()[104..108].try_into().unwrap());
        let len = bytes.model().unwrap().section(Section::DeepEmbed).len();
        assert_eq!((count, len > 0), if version == Version::V7a { (9, true) } else { (8, false) });
    }
}

#[test]
fn damage_in_a_deep_embed_table_is_found() {
    let bytes = random(Version::V7a, ODD);
    let at = bytes.model().unwrap().header().section(Section::DeepEmbed).offset as usize;
    let mut damaged = bytes.bytes().to_vec();
    damaged[at] ^= 1;
    let error = ModelBytes::new(&damaged).model().unwrap_err().to_string();
    assert!(error.contains("DeepEmbed is damaged"), "{error}");
}

fn refusal(tensors: &Tensors) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(tensors, &path);
    let out = dir.path().join("model.kinglet");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error: ConvertError =
        convert(&checkpoint, &out, &Options::default(), &mut |_, _| ()).unwrap_err();
    assert!(!Path::new(&out).exists());
    error.to_string()
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    for version in VERSIONS {
        let whole = checkpoint(version, ODD, 7);
        for name in whole.keys() {
            let mut missing = whole.clone();
            missing.remove(name);
            let error = refusal(&missing);
            // Without what tells its version apart it is an incomplete other one, or none.
            let named = error.contains("blocks.") || error.contains(name);
            assert!(named || name == "emb.weight", "RWKV-{version}, {name}: {error}");

            let mut longer = whole.clone();
            let tensor = longer.get_mut(name).unwrap();
            tensor.shape[0] *= 7;
            tensor.data = tensor.data.repeat(7);
            let error = refusal(&longer);
            let found = ["has shape", "is impossible", "is missing", "is not part of"];
            assert!(found.iter().any(|found| error.contains(found)), "{version}, {name}: {error}");
        }
        let mut more = whole;
        more.insert("blocks.1.att.extra".to_owned(), Tensor::new(vec![1], vec![0.0]));
        let error = refusal(&more);
        assert!(error.contains("blocks.1.att.extra is not part of RWKV-"), "{error}");
    }
}

#[test]
fn relatives_are_refused_by_name() {
    let with = |version, name: &str| {
        let mut tensors = checkpoint(version, ODD, 7);
        tensors.insert(name.to_owned(), Tensor::new(vec![1], vec![0.0]));
        refusal(&tensors)
    };
    assert!(with(Version::V7a, "blocks.0.qkv.qq.weight").contains("RWKV-7b"));
    assert!(with(Version::V7, "blocks.0.ffn.enn.weight").contains("RWKV-8"));
    assert!(with(Version::V4, "blocks.2.tiny_q.weight").contains("RWKV-4a"));
}

/// Every fixture of a directory, tuned or of other dimensions, which need not be
/// in the repository.
#[test]
#[ignore = "needs KINGLET_GOLDEN, a directory of fixtures of every version"]
fn every_fixture_of_a_directory() {
    let root = std::env::var_os("KINGLET_GOLDEN").expect("KINGLET_GOLDEN names a directory");
    for entry in std::fs::read_dir(root).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("model.pth").exists() {
            continue;
        }
        let fixture = Fixture::at(&dir);
        let tokens = fixture.tokens().unwrap();
        let (bytes, _) = ModelBytes::quantize(&fixture.path("model.pth"));
        assert_computes(&dir.display().to_string(), &bytes, &tokens);
        let golden = Oracle::new(load(&fixture.path("model.pth")).unwrap()).unwrap();
        assert_eq!(
            format!("RWKV-{}", golden.version()),
            bytes.model().unwrap().shape().architecture.name()
        );
    }
}
