//! The engine on the emulated device computes the bits of the CPU's: every architecture, batches of
//! every size, several sequences, states in f16, states that were stored and loaded, models whose
//! first layers are on the processor. And how it fails: without memory, and when the device is lost.

use core::ops::ControlFlow;
use std::path::Path;

use kinglet::engine::{BatchToken, Engine, FirstLayers, StateError, StepError, workspace_len};
use kinglet::format::crc32::Crc32;
use kinglet::format::model::Model;
use kinglet::kernels::scalar::Scalar;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet_cuda::{
    Calls, CudaDevice, DeviceEngine, DeviceError, Emulated, EngineOptions, StateType,
};
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{Bits, Options};
use kinglet_tests::fixture::Fixture;
use kinglet_tests::oracle::Version;
use kinglet_tests::quantized::{ModelBytes, with_states};
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};

/// Every architecture, by its golden data.
const FIXTURES: [&str; 7] = ["v4", "v5_0", "v5_1", "v5_2", "v6", "v7", "v7a"];

/// The digest of `kinglet digest`: 64 tokens, all logits.
fn digest(engine: &mut dyn Engine) -> u32 {
    let (vocab, block) = (engine.shape().vocab, engine.max_batch());
    let tokens: Vec<_> = (0..64).map(|i| ((7919 * i + 1) % vocab as u64) as u32).collect();
    let mut crc = Crc32::new();
    for tokens in tokens.chunks(block) {
        for logit in forward(engine, tokens, 0) {
            crc = crc.update(&logit.to_le_bytes());
        }
    }
    crc.finish()
}

/// All logits of one batch of a sequence.
fn forward(engine: &mut dyn Engine, tokens: &[u32], sequence: usize) -> Vec<f32> {
    let token = |&token: &u32| BatchToken { token, sequence, logits: true };
    let batch: Vec<_> = tokens.iter().map(token).collect();
    let mut logits = vec![0.0; batch.len() * engine.shape().vocab];
    engine.forward(&batch, &mut logits).unwrap();
    logits
}

/// All logits and the last state of a text, in batches as large as the engine takes.
fn run(engine: &mut dyn Engine, tokens: &[u32]) -> Vec<u32> {
    let block = engine.max_batch();
    let mut all: Vec<f32> =
        tokens.chunks(block).flat_map(|tokens| forward(engine, tokens, 0)).collect();
    let mut state = vec![0.0; engine.shape().state_len()];
    engine.store_state(0, &mut state).unwrap();
    all.append(&mut state);
    all.into_iter().map(f32::to_bits).collect()
}

/// An engine on the emulated device, or on the GPU whose index KINGLET_CUDA_DEVICE has. `order` is
/// that of the emulated threads.
fn on_device(
    model: &Model<'_>,
    state: StateType,
    max_batch: usize,
    sequences: usize,
    order: u32,
) -> Box<dyn Engine> {
    let options = EngineOptions { state, max_batch, sequences, host_layers: 0 };
    if let Some(device) = gpu() {
        return Box::new(DeviceEngine::new(device, model, &options, None, &mut |_, _| ()).unwrap());
    }
    Box::new(emulated(Emulated::new(order), model, &options))
}

/// The GPU whose index KINGLET_CUDA_DEVICE has.
fn gpu() -> Option<CudaDevice> {
    let index = std::env::var("KINGLET_CUDA_DEVICE").ok()?;
    let mut device = CudaDevice::open(index.parse().unwrap()).unwrap();
    // For tools that watch allocations.
    device.allocate_separately();
    Some(device)
}

/// An engine on an emulated device, which has allocated what was planned.
fn emulated(
    device: Emulated,
    model: &Model<'_>,
    options: &EngineOptions,
) -> DeviceEngine<'static, Emulated> {
    let (mut last, mut total) = (0, 0);
    let engine = DeviceEngine::new(device, model, options, None, &mut |done, all| {
        assert!(last <= done && done <= all);
        (last, total) = (done, all);
    });
    let engine = engine.unwrap();
    let plan = DeviceEngine::<Emulated>::plan(model, options).unwrap();
    assert_eq!((engine.memory_plan(), engine.device().allocated()), (plan, plan.total()));
    assert_eq!((last, total), (plan.weights, plan.weights));
    engine
}

/// Calls `f` with an engine whose first `host_layers` layers are on the CPU, with states in `S`.
fn divided<S: StateElement, R>(
    model: Model<'_>,
    options: &EngineOptions,
    order: u32,
    f: impl FnOnce(&mut dyn Engine) -> R,
) -> R {
    let EngineOptions { max_batch, sequences, host_layers, .. } = *options;
    let shape = *model.shape();
    let len = host_layers * shape.layer_state_len();
    let mut states = vec![S::zeroed(); sequences * len];
    let mut workspace = vec![0.0; workspace_len(&shape, max_batch)];
    let host = FirstLayers::new(model, Scalar, host_layers, max_batch, &mut states, &mut workspace);
    let host = Some(Box::new(host.unwrap()) as _);
    match gpu() {
        Some(device) => {
            f(&mut DeviceEngine::new(device, &model, options, host, &mut |_, _| ()).unwrap())
        }
        None => {
            let device = Emulated::new(order);
            f(&mut DeviceEngine::new(device, &model, options, host, &mut |_, _| ()).unwrap())
        }
    }
}

/// What the CPU computes, with states in `S`.
fn on_cpu<S: StateElement>(model: Model<'_>, tokens: &[u32]) -> Vec<u32> {
    with_states::<_, S, _>(model, Scalar, 1, 8, |engine| run(engine, tokens))
}

/// Types of the weights of a model.
#[derive(Clone, Copy, Debug)]
enum Weights {
    Int8,
    Int4,
    /// Every second tensor is int4, the first one where `from` is 0.
    Mixed {
        from: usize,
    },
}

fn quantize(path: &Path, weights: Weights) -> ModelBytes {
    let checkpoint = Checkpoint::open(path).unwrap();
    let with = |bits| {
        let options = Options { bits, ..Options::default() };
        ModelBytes::convert(&checkpoint, &options).0
    };
    match weights {
        Weights::Int8 => with(Bits::Eight),
        Weights::Int4 => with(Bits::Four),
        Weights::Mixed { from } => {
            with(Bits::Eight).mixed(&with(Bits::Four), |index| index % 2 == from)
        }
    }
}

/// A model of random weights.
fn random(version: Version, dims: Dims, weights: Weights) -> ModelBytes {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&checkpoint(version, dims, 7), &path);
    quantize(&path, weights)
}

fn fixture(name: &str) -> (ModelBytes, Vec<u32>) {
    fixture_with(name, Weights::Int8)
}

fn fixture_with(name: &str, weights: Weights) -> (ModelBytes, Vec<u32>) {
    let fixture = Fixture::named(&format!("golden/{name}"));
    (quantize(&fixture.path("model.pth"), weights), fixture.tokens().unwrap())
}

/// Batches of each product kernel, some of them cut short; each with another order of threads.
#[test]
fn the_digest_is_that_of_every_target() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    for (order, max_batch) in [1, 7, 16, 17, 64].into_iter().enumerate() {
        let mut engine = on_device(&model, StateType::F32, max_batch, 1, order as u32);
        assert_eq!(digest(&mut *engine), 0x5774_C7A9, "batches of {max_batch}");
    }
}

/// Around the limits of the product kernels, 8 and 16 and 32 tokens, and all between.
#[test]
fn prompts_in_blocks_of_every_size_have_the_bits_of_the_cpu() {
    let few = vec![2, 8, 9, 16, 17, 32, 33];
    let mixed = Weights::Mixed { from: 0 };
    for (name, weights, sizes) in [
        ("v7", Weights::Int8, (1..=35).collect()),
        ("v6", Weights::Int8, few.clone()),
        ("v7a", mixed, few),
    ] {
        let (bytes, tokens) = fixture_with(name, weights);
        let model = bytes.model().unwrap();
        let tokens: Vec<_> = tokens.iter().cycle().copied().take(36).collect();
        let expected = on_cpu::<f32>(model, &tokens);
        for size in sizes {
            let mut engine = on_device(&model, StateType::F32, size, 1, size as u32);
            let found = run(&mut *engine, &tokens);
            assert!(found == expected, "{name}, {weights:?}, blocks of {size}");
        }
    }
}

/// It does not show where a model is divided between the CPU and the device.
#[test]
fn layers_on_the_cpu_do_not_show() {
    for name in FIXTURES {
        let (bytes, tokens) = fixture(name);
        let model = bytes.model().unwrap();
        let tokens = &tokens[..tokens.len().min(24)];
        let (layers, f16_state) =
            (model.shape().layers, model.shape().architecture.allows_f16_state());
        let expected = [on_cpu::<f32>(model, tokens), run_f16(model, tokens)];
        for host_layers in 1..=layers {
            for max_batch in [1, 18] {
                let all =
                    EngineOptions { state: StateType::F32, max_batch, sequences: 2, host_layers };
                let order = host_layers as u32;
                let check = |engine: &mut dyn Engine, expected: &[u32]| {
                    // Another sequence does not matter, and a reset one starts anew.
                    engine.step(1, tokens[0], &mut vec![0.0; model.shape().vocab]).unwrap();
                    assert!(run(engine, tokens) == expected, "{name}, {all:?}");
                    engine.reset(0).unwrap();
                    let again = run(engine, tokens);
                    assert!(again == expected, "{name} again, {all:?}");
                };
                divided::<f32, _>(model, &all, order, |engine| check(engine, &expected[0]));
                if f16_state {
                    let all = EngineOptions { state: StateType::F16, ..all };
                    divided::<f16, _>(model, &all, order, |engine| check(engine, &expected[1]));
                }
            }
        }
    }
}

/// [`on_cpu`] with states in f16, where the architecture allows it.
fn run_f16(model: Model<'_>, tokens: &[u32]) -> Vec<u32> {
    let allowed = model.shape().architecture.allows_f16_state();
    if allowed { on_cpu::<f16>(model, tokens) } else { Vec::new() }
}

/// States go from the CPU to a divided model and back.
#[test]
fn states_travel_through_a_divided_model() {
    let (bytes, tokens) = fixture_with("v7", Weights::Mixed { from: 1 });
    let model = bytes.model().unwrap();
    let (first, second) = tokens.split_at(tokens.len() / 2);
    let mut state = vec![0.0; model.shape().state_len()];
    let expected = with_states::<_, f32, _>(model, Scalar, 1, 8, |engine| {
        run(engine, first);
        engine.store_state(0, &mut state).unwrap();
        run(engine, second)
    });
    let options =
        EngineOptions { state: StateType::F32, max_batch: 3, sequences: 2, host_layers: 1 };
    divided::<f32, _>(model, &options, 0, |engine| {
        engine.load_state(1, &state).unwrap();
        let mut own = vec![0.0; state.len()];
        engine.store_state(1, &mut own).unwrap();
        assert!(own == state);
        engine.load_state(0, &own).unwrap();
        assert!(run(engine, second) == expected);
        let bad = StateError::NonFinite { index: state.len() - 1 };
        *own.last_mut().unwrap() = f32::INFINITY;
        assert_eq!(engine.load_state(1, &own), Err(bad));
        engine.store_state(1, &mut own).unwrap();
        assert!(own == state, "a state that was refused");
    });
    // What the device has computed goes on on the CPU.
    let options = EngineOptions { host_layers: 0, ..options };
    let mut device = emulated(Emulated::new(0), &model, &options);
    run(&mut device, first);
    device.store_state(0, &mut state).unwrap();
    let found = with_states::<_, f32, _>(model, Scalar, 1, 8, |engine| {
        engine.load_state(0, &state).unwrap();
        run(engine, second)
    });
    assert!(found == expected);
}

#[test]
fn every_architecture_has_the_bits_of_the_cpu() {
    for name in FIXTURES {
        let (bytes, tokens) = fixture(name);
        let model = bytes.model().unwrap();
        let expected = on_cpu::<f32>(model, &tokens);
        for (order, max_batch) in [1, 3, 33].into_iter().enumerate() {
            let mut engine = on_device(&model, StateType::F32, max_batch, 1, order as u32);
            assert!(run(&mut *engine, &tokens) == expected, "{name}, batches of {max_batch}");
        }
    }
}

/// Models of int4, and of both types; divided ones, and with states in f16.
#[test]
fn weights_of_four_bits_have_the_bits_of_the_cpu() {
    for name in FIXTURES {
        for (order, weights) in
            [Weights::Int4, Weights::Mixed { from: 0 }, Weights::Mixed { from: 1 }]
                .into_iter()
                .enumerate()
        {
            let (bytes, tokens) = fixture_with(name, weights);
            let model = bytes.model().unwrap();
            let tokens = &tokens[..tokens.len().min(23)];
            let expected = on_cpu::<f32>(model, tokens);
            for max_batch in [1, 5, 18] {
                let mut engine = on_device(&model, StateType::F32, max_batch, 1, order as u32);
                let found = run(&mut *engine, tokens);
                assert!(found == expected, "{name}, {weights:?}, batches of {max_batch}");
            }
            let options = EngineOptions {
                state: StateType::F32,
                max_batch: 18,
                sequences: 1,
                host_layers: 1,
            };
            divided::<f32, _>(model, &options, order as u32, |engine| {
                assert!(run(engine, tokens) == expected, "{name}, {weights:?}, divided");
            });
            if model.shape().architecture.allows_f16_state() {
                let mut engine = on_device(&model, StateType::F16, 18, 1, order as u32);
                let found = run(&mut *engine, tokens);
                assert!(found == run_f16(model, tokens), "{name}, {weights:?}, f16");
            }
        }
    }
}

#[test]
fn states_in_f16_have_the_bits_of_the_cpu() {
    for name in &FIXTURES[1..] {
        let (bytes, tokens) = fixture(name);
        let model = bytes.model().unwrap();
        let expected = on_cpu::<f16>(model, &tokens);
        for (order, max_batch) in [1, 17].into_iter().enumerate() {
            let mut engine = on_device(&model, StateType::F16, max_batch, 1, order as u32);
            assert!(run(&mut *engine, &tokens) == expected, "{name}, batches of {max_batch}");
        }
    }
    let (bytes, _) = fixture("v4");
    let options =
        EngineOptions { state: StateType::F16, max_batch: 1, sequences: 1, host_layers: 0 };
    let plan = DeviceEngine::<Emulated>::plan(&bytes.model().unwrap(), &options);
    assert!(matches!(plan, Err(DeviceError::F16State { .. })));
}

/// Heads of 64, whose state is in registers, and dimensions that fill no tile, warp or block.
#[test]
fn models_of_any_dimensions_have_the_bits_of_the_cpu() {
    let ranks = [5, 40, 33, 7, 6, 9];
    let of_64 = Dims { layers: 2, width: 128, head_size: 64, ffn: 300, vocab: 50, ranks };
    let odd = Dims { width: 60, head_size: 20, ffn: 77, ..of_64 };
    let versions =
        [Version::V4, Version::V5_1, Version::V5_2, Version::V6, Version::V7, Version::V7a];
    let few = std::env::var_os("KINGLET_CUDA_FEW").is_some();
    for (order, version) in versions.into_iter().enumerate() {
        for (at, dims) in [of_64, odd].into_iter().enumerate() {
            // Where a sanitizer watches, one of the two is enough but where heads of 64 and others
            // have kernels of their own: RWKV-5 computes by RWKV-6's, 7a by 7's, and 4 has no heads.
            let has_both = matches!(version, Version::V6 | Version::V7);
            if few && !has_both && order % 2 != at {
                continue;
            }
            let bytes = random(version, dims, Weights::Int8);
            let model = bytes.model().unwrap();
            let tokens: Vec<_> = (0..24).map(|i| i * 31 % 50).collect();
            let expected = on_cpu::<f32>(model, &tokens);
            let mut engine = on_device(&model, StateType::F32, 20, 1, order as u32);
            assert!(run(&mut *engine, &tokens) == expected, "{version:?}, {dims:?}");
            if model.shape().architecture.allows_f16_state() {
                // The other way round for the other dimensions.
                let bytes = random(version, dims, Weights::Mixed { from: dims.width / 4 % 2 });
                let model = bytes.model().unwrap();
                let expected = on_cpu::<f16>(model, &tokens);
                let mut engine = on_device(&model, StateType::F16, 5, 1, order as u32);
                assert!(run(&mut *engine, &tokens) == expected, "{version:?}, {dims:?}, f16");
            }
        }
    }
}

/// Sequences of different lengths share batches, in different orders.
#[test]
fn sequences_do_not_see_each_other() {
    for name in FIXTURES {
        let (bytes, tokens) = fixture(name);
        let model = bytes.model().unwrap();
        let (a, b) = tokens.split_at(tokens.len() / 3);
        let vocab = model.shape().vocab;
        let expected = [a, b].map(|tokens| on_cpu::<f32>(model, tokens));
        let mut engine = on_device(&model, StateType::F32, 9, 4, 5);
        let mut found = [Vec::new(), Vec::new()];
        let parts = |tokens: &[u32], of: usize| -> Vec<Vec<u32>> {
            tokens.chunks(tokens.len().div_ceil(of)).map(<[u32]>::to_vec).collect()
        };
        let of = b.len().div_ceil(5);
        let (a, b) = (parts(a, of), parts(b, of));
        for i in 0..a.len().max(b.len()) {
            let of = |parts: &[Vec<u32>], sequence| -> Vec<_> {
                let tokens = parts.get(i).cloned().unwrap_or_default();
                let token = |token| BatchToken { token, sequence, logits: true };
                tokens.into_iter().map(token).collect()
            };
            let (mut a, mut b) = (of(&a, 3), of(&b, 1));
            // One after the other, or alternating as far as it goes.
            let mut batch = Vec::new();
            if i % 2 == 0 {
                batch.append(&mut b);
            }
            while let Some(token) = (!a.is_empty()).then(|| a.remove(0)) {
                batch.push(token);
                if !b.is_empty() {
                    batch.push(b.remove(0));
                }
            }
            batch.append(&mut b);
            let mut logits = vec![0.0; batch.len() * vocab];
            engine.forward(&batch, &mut logits).unwrap();
            for (token, logits) in batch.iter().zip(logits.chunks(vocab)) {
                let of = usize::from(token.sequence == 1);
                found[of].extend(logits.iter().map(|logit| logit.to_bits()));
            }
        }
        for ((found, sequence), expected) in found.iter_mut().zip([3, 1]).zip(&expected) {
            let mut state = vec![0.0; model.shape().state_len()];
            engine.store_state(sequence, &mut state).unwrap();
            found.extend(state.iter().map(|x| x.to_bits()));
            assert!(found == expected, "{name}, sequence {sequence}");
        }
    }
}

/// Texts that are drawn from the logits of one batch, a sequence and a seed each.
fn texts(engine: &mut dyn Engine, options: SamplerOptions, first: u32) -> [Vec<u32>; 2] {
    let vocab = engine.shape().vocab;
    let sampler = |seed| Sampler::with_counts(options, seed, vec![0.0; vocab]).unwrap();
    let mut samplers = [sampler(1), sampler(2)];
    let mut texts = [vec![first], vec![first]];
    for sequence in 0..2 {
        engine.reset(sequence).unwrap();
    }
    let mut logits = vec![0.0; 2 * vocab];
    for _ in 0..16 {
        let batch = [0, 1].map(|sequence| {
            let token = *texts[sequence].last().unwrap();
            BatchToken { token, sequence, logits: true }
        });
        engine.forward(&batch, &mut logits).unwrap();
        let drawn = samplers.iter_mut().zip(&mut texts).zip(logits.chunks_exact_mut(vocab));
        for ((sampler, text), logits) in drawn {
            let token = sampler.sample(logits).unwrap();
            sampler.accept(token);
            text.push(token);
        }
    }
    texts
}

#[test]
fn the_same_seeds_give_the_same_texts() {
    let (bytes, tokens) = fixture("v7");
    let model = bytes.model().unwrap();
    let all = SamplerOptions { top_k: 0, top_p: 1.0, ..SamplerOptions::default() };
    let mut engine = on_device(&model, StateType::F32, 2, 2, 4);
    for options in [
        SamplerOptions::greedy(),
        SamplerOptions::default(),
        all,
        SamplerOptions { top_k: 7, temperature: 1.5, ..all },
        SamplerOptions { top_p: 0.8, temperature: 0.7, ..all },
        SamplerOptions { min_p: 0.02, ..all },
        SamplerOptions { presence: 0.5, frequency: 0.3, penalty_decay: 0.99, ..all },
    ] {
        let expected = with_states::<_, f32, _>(model, Scalar, 2, 2, |engine| {
            texts(engine, options, tokens[0])
        });
        assert_eq!(texts(&mut *engine, options, tokens[0]), expected, "{options:?}");
        let greedy = options.is_greedy();
        assert_eq!(expected[0] == expected[1], greedy, "{options:?} depends on the seed");
    }
}

#[test]
fn states_travel_between_the_cpu_and_the_device() {
    let (bytes, tokens) = fixture("v7");
    let model = bytes.model().unwrap();
    let (first, second) = tokens.split_at(tokens.len() / 2);
    let mut state = vec![0.0; model.shape().state_len()];
    let expected = with_states::<_, f32, _>(model, Scalar, 1, 8, |engine| {
        run(engine, first);
        engine.store_state(0, &mut state).unwrap();
        run(engine, second)
    });
    let mut engine = on_device(&model, StateType::F32, 5, 2, 0);
    run(&mut *engine, first);
    let mut own = vec![0.0; state.len()];
    engine.store_state(0, &mut own).unwrap();
    assert!(own == state);
    run(&mut *engine, second);
    engine.load_state(0, &state).unwrap();
    assert!(run(&mut *engine, second) == expected);
    // A reset is the start, for a sequence that nothing has used as well.
    engine.reset(0).unwrap();
    let start = run(&mut *engine, first);
    engine.store_state(0, &mut own).unwrap();
    assert!(own == state && start.len() > state.len());

    let bad = vec![f32::NAN; state.len()];
    assert_eq!(engine.load_state(1, &bad), Err(StateError::NonFinite { index: 0 }));
    let wrong = StateError::Sequence { found: 2, sequences: 2 };
    assert_eq!(engine.load_state(2, &state), Err(wrong));
    let needed = state.len();
    let wrong = StateError::Len { found: 1, needed };
    assert_eq!(engine.store_state(0, &mut own[..1]), Err(wrong));
}

#[test]
fn wrong_batches_are_refused_and_steps_can_be_cancelled() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let vocab = model.shape().vocab;
    let mut engine = on_device(&model, StateType::F32, 2, 1, 0);
    let token = |token, sequence| BatchToken { token, sequence, logits: false };
    let mut refused = |batch: &[BatchToken]| engine.forward(batch, &mut []).unwrap_err();
    assert_eq!(refused(&[]), StepError::Batch { found: 0, largest: 2 });
    assert_eq!(refused(&[token(0, 0); 3]), StepError::Batch { found: 3, largest: 2 });
    let found = vocab as u32;
    assert_eq!(refused(&[token(found, 0)]), StepError::Token { found, vocab });
    assert_eq!(refused(&[token(0, 1)]), StepError::Sequence { found: 1, sequences: 1 });
    let wrong = StepError::Logits { found: 1, needed: 0 };
    assert_eq!(engine.forward(&[token(0, 0)], &mut [0.0]), Err(wrong));
    let stop =
        &mut |layers| if layers == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let cancelled = engine.forward_with(&[token(0, 0)], &mut [], stop);
    assert_eq!(cancelled, Err(StepError::Cancelled { layers: 2 }));
}

#[test]
fn values_that_are_not_finite_are_found() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let mut engine = on_device(&model, StateType::F32, 1, 1, 0);
    let huge = vec![f32::MAX; model.shape().state_len()];
    engine.load_state(0, &huge).unwrap();
    let mut logits = vec![0.0; model.shape().vocab];
    assert_eq!(engine.step(0, 1, &mut logits), Err(StepError::NonFinite));
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_numbers() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let options =
        EngineOptions { state: StateType::F32, max_batch: 64, sequences: 8, host_layers: 0 };
    let needs = DeviceEngine::<Emulated>::plan(&model, &options).unwrap();
    let engine = |memory| {
        let device = Emulated::with_memory(memory);
        DeviceEngine::new(device, &model, &options, None, &mut |_, _| ())
    };
    assert!(engine(needs.total()).is_ok());
    let error = engine(needs.total() - 1).unwrap_err().to_string();
    assert!(error.contains("MB are free") && error.contains("weights 2 MB"), "{error}");
    let none = EngineOptions { sequences: 0, ..options };
    let refused = DeviceEngine::<Emulated>::plan(&model, &none);
    assert!(matches!(refused, Err(DeviceError::Size { sequences: 0, .. })));
}

#[test]
fn a_small_device_keeps_as_many_layers_as_fit() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let layers = model.shape().layers;
    let all = EngineOptions { state: StateType::F32, max_batch: 4, sequences: 1, host_layers: 0 };
    let plan = |host_layers| {
        DeviceEngine::<Emulated>::plan(&model, &EngineOptions { host_layers, ..all }).unwrap()
    };
    for host_layers in 0..=layers {
        let needs = plan(host_layers).total();
        let fit = DeviceEngine::<Emulated>::fit(&model, &all, needs).unwrap();
        assert_eq!(fit.host_layers, host_layers);
        if host_layers > 0 {
            let fit =
                DeviceEngine::<Emulated>::fit(&model, &all, plan(host_layers - 1).total() - 1);
            assert_eq!(fit.unwrap().host_layers, host_layers, "a byte less");
        }
    }
    let half = plan(layers / 2).total();
    let fit = DeviceEngine::<Emulated>::fit(&model, &all, half).unwrap();
    assert_eq!(divided::<f32, _>(model, &fit, 0, digest), 0x5774_C7A9);
    let needs = plan(layers).total();
    let none = DeviceEngine::<Emulated>::fit(&model, &all, needs - 1);
    assert!(matches!(none, Err(DeviceError::Memory { free, .. }) if free == needs - 1));
    let host_layers = layers + 1;
    let wrong = DeviceEngine::<Emulated>::plan(&model, &EngineOptions { host_layers, ..all });
    assert!(matches!(wrong, Err(DeviceError::HostLayers { found, .. }) if found == host_layers));
}

/// A device that is lost at any call ends the step as an error, and every call after it.
#[test]
fn a_lost_device_is_an_error() {
    let (bytes, tokens) = fixture("v7");
    let model = bytes.model().unwrap();
    let options =
        EngineOptions { state: StateType::F32, max_batch: 1, sequences: 1, host_layers: 0 };
    let vocab = model.shape().vocab;
    // Enough for a batch of plain launches, one that is recorded and replays.
    for calls in [0, 1, 2, 17, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40] {
        let mut engine = emulated(Emulated::new(0), &model, &options);
        let mut logits = vec![0.0; vocab];
        engine.device().fail_after(calls);
        let mut steps = tokens.iter().cycle().take(40);
        let failed = steps.find_map(|&token| engine.step(0, token, &mut logits).err());
        assert_eq!(failed, Some(StepError::Device), "after {calls} calls");
        let failure = engine.failure().expect("the reason").to_string();
        assert!(failure.contains("CUDA driver refused to") && failure.contains("emulated loss"));
        // It does not come back.
        engine.device().fail_after(u64::MAX);
        assert_eq!(engine.step(0, tokens[0], &mut logits), Err(StepError::Device));
    }
    let mut engine = emulated(Emulated::new(0), &model, &options);
    engine.device().fail_after(0);
    let mut state = vec![0.0; model.shape().state_len()];
    assert_eq!(engine.store_state(0, &mut state), Err(StateError::Device));
    assert_eq!(engine.load_state(0, &state), Err(StateError::Device));
    assert_eq!(engine.reset(0), Err(StateError::Device));
    assert_eq!(engine.step(0, 0, &mut vec![0.0; vocab]), Err(StepError::Device));
}

/// What `README.md` says of launches, for a token of each architecture; and that a batch of a size
/// that came before is one call.
#[test]
fn a_token_takes_as_many_launches_as_the_readme_says() {
    // Of a layer; layer 0 has as many.
    let of_layer = [12, 12, 12, 12, 18, 14, 18];
    for (name, of_layer) in FIXTURES.into_iter().zip(of_layer) {
        let (bytes, tokens) = fixture(name);
        let model = bytes.model().unwrap();
        let options =
            EngineOptions { state: StateType::F32, max_batch: 2, sequences: 1, host_layers: 0 };
        let mut engine = emulated(Emulated::new(0), &model, &options);
        let mut logits = vec![0.0; model.shape().vocab];
        let mut calls = Vec::new();
        for &token in &tokens[..4] {
            let before = engine.device().calls();
            engine.step(0, token, &mut logits).unwrap();
            calls.push(since(before, engine.device().calls()));
        }
        let launches = of_layer * model.shape().layers as u64 + 6;
        let (replays, writes, reads) = (0, 1, 1);
        let plain = Calls { launches, plain: launches, replays, writes, reads };
        let recorded = Calls { plain: 0, replays: 1, ..plain };
        assert_eq!(calls, [plain, recorded, recorded, recorded], "{name}");
        // Another size is another recording; the first one stays.
        forward(&mut engine, &tokens[..2], 0);
        let before = engine.device().calls();
        engine.step(0, tokens[0], &mut logits).unwrap();
        assert_eq!(since(before, engine.device().calls()), recorded, "{name}");
    }
}

fn since(before: Calls, after: Calls) -> Calls {
    Calls {
        launches: after.launches - before.launches,
        plain: after.plain - before.plain,
        replays: after.replays - before.replays,
        writes: after.writes - before.writes,
        reads: after.reads - before.reads,
    }
}
