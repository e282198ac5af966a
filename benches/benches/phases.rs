//! What a program waits for, phase by phase: start-up, reading a prompt,
//! writing tokens, and what lies around them. On one thread with the fastest
//! kernel set, so that figures of different machines say something about their
//! cores; how threads and sizes scale is for `kinglet bench` to measure.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kinglet::engine::Engine;
use kinglet::engine::{Cpu, workspace_len};
use kinglet::format::model::{Model, Section};
use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet::format::state_file::StateFile;
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::text_stream::TextStream;
use kinglet_desktop::KernelSet;
use kinglet_host::{ModelFile, Threaded};
use kinglet_quantize::synthetic::SyntheticModel;

static STORIES: &[u8] = kinglet_stories::MODEL;
/// English prose for the tokenizer.
const PROSE: &str = include_str!("../../models/stories/README.md");

/// A model of 26 MB: more than most second-level caches, quick to measure. The
/// vocabulary is small, so that the layers are most of it, as in large models.
const SMALL: Shape = Shape {
    architecture: Architecture::Rwkv7,
    layers: 6,
    width: 512,
    head_size: 64,
    ffn: 2048,
    vocab: 4096,
    ranks: Ranks { decay: 64, iclr: 64, value: 32, gate: 96, ..Ranks::NONE },
};
/// What random weights give, and the seed of `kinglet bench`.
const SPARSITY: f64 = 0.5;
const SEED: u64 = 7;
/// Tokens of a prompt that are computed together, as `kinglet run` does.
const BLOCK: usize = 64;
/// Tokens of the official models' vocabulary.
const WORLD: usize = 65536;

fn synthetic() -> SyntheticModel {
    SyntheticModel::new(&SMALL, SPARSITY, SEED).expect("memory for a small model")
}

/// Token `i` of the text that is measured on.
fn token(i: usize, vocab: usize) -> u32 {
    ((7919 * i + 1) % vocab) as u32
}

/// The memory of an engine on one thread.
struct Buffers {
    states: Vec<f32>,
    workspace: Vec<f32>,
    logits: Vec<f32>,
}

impl Buffers {
    fn new(shape: &Shape, block: usize) -> Self {
        Self {
            states: vec![0.0; shape.state_len()],
            workspace: vec![0.0; workspace_len(shape, block)],
            logits: vec![0.0; shape.vocab],
        }
    }

    /// The engine, and the buffer for its logits.
    fn engine<'a>(
        &'a mut self,
        model: Model<'a>,
        block: usize,
    ) -> (Cpu<'a, Threaded<KernelSet>>, &'a mut [f32]) {
        let Self { states, workspace, logits } = self;
        let kernels = Threaded::new(KernelSet::best(), 1);
        let engine = Cpu::new(model, kernels, block, states, workspace);
        (engine.expect("buffers of the model's lengths"), logits)
    }
}

/// The models that are measured, by name.
fn models<'a>(synthetic: &'a SyntheticModel) -> [(&'static str, Model<'a>); 2] {
    let open = |bytes| Model::open(bytes).expect("a model");
    [("stories", open(STORIES)), ("L6 D512", open(synthetic.bytes()))]
}

fn decode(criterion: &mut Criterion) {
    let synthetic = synthetic();
    let mut bench = criterion.benchmark_group("decode");
    bench.throughput(Throughput::Elements(1));
    for (name, model) in models(&synthetic) {
        let vocab = model.shape().vocab;
        let mut buffers = Buffers::new(model.shape(), 1);
        let (mut engine, logits) = buffers.engine(model, 1);
        let mut i = 0;
        bench.bench_function(name, |bench| {
            bench.iter(|| {
                engine.step(0, token(i, vocab), logits).expect("a step");
                i += 1;
            });
        });
    }
}

fn prefill(criterion: &mut Criterion) {
    let synthetic = synthetic();
    let mut bench = criterion.benchmark_group("prefill");
    for (name, model) in models(&synthetic) {
        let vocab = model.shape().vocab;
        let mut buffers = Buffers::new(model.shape(), BLOCK);
        let (mut engine, logits) = buffers.engine(model, BLOCK);
        // One token, a part of a block, a block, and several.
        for count in [1, 16, BLOCK, 4 * BLOCK] {
            let prompt: Vec<u32> = (0..count).map(|i| token(i, vocab)).collect();
            bench.throughput(Throughput::Elements(count as u64));
            bench.bench_function(format!("{name}/{count}"), |bench| {
                bench.iter(|| engine.prefill(0, &prompt, logits).expect("a prompt"));
            });
        }
    }
}

/// From a file's name to an engine that can take a token. What `open` takes must
/// not grow with the file; `verify` reads all of it.
fn start(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("start");
    let synthetic = synthetic();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("phases.kinglet");
    fs::write(&path, synthetic.bytes()).expect("a file in the target folder");
    bench.bench_function("map and open", |bench| {
        bench.iter(|| {
            let file = ModelFile::open(&path).expect("the file");
            let model = Model::open(file.bytes()).expect("a model");
            let section = model.section(Section::Tokenizer);
            black_box(Tokenizer::parse(section).expect("a tokenizer").vocab_len())
        });
    });
    fs::remove_file(&path).expect("the file");
    let [_, (_, model)] = models(&synthetic);
    bench.bench_function("engine", |bench| {
        bench.iter(|| {
            let mut buffers = Buffers::new(model.shape(), BLOCK);
            black_box(buffers.engine(model, BLOCK).0.max_batch())
        });
    });
    bench.throughput(Throughput::BytesDecimal(synthetic.bytes().len() as u64));
    bench.bench_function("verify", |bench| {
        bench.iter(|| model.verify_with(crc32fast::hash).expect("an undamaged model"));
    });
}

fn tokenizer(criterion: &mut Criterion) {
    let model = Model::open(STORIES).expect("a model");
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).expect("a tokenizer");
    let encode = || tokenizer.encode(PROSE.as_bytes()).map(|id| id.expect("a token"));
    let ids: Vec<u32> = encode().collect();
    let mut bench = criterion.benchmark_group("tokenizer");
    bench.throughput(Throughput::BytesDecimal(PROSE.len() as u64));
    bench.bench_function("encode", |bench| {
        bench.iter(|| encode().fold(0, |sum: u32, id| sum.wrapping_add(id)));
    });
    bench.bench_function("decode", |bench| {
        bench.iter(|| {
            let mut text = TextStream::new();
            let mut len = 0;
            for &id in &ids {
                let bytes = tokenizer.token(id).unwrap_or_default();
                len += text.push(bytes).map(str::len).sum::<usize>();
            }
            assert_eq!(len + text.finish().len(), PROSE.len());
        });
    });
}

/// Logits as a model's are spread: a few large ones above a broad rest.
fn logits() -> Vec<f32> {
    let mut x = 1u32;
    let mut uniform = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / (1 << 24) as f32
    };
    // The sum of four is near enough to a normal number; the cube of the fifth
    // lifts some out.
    (0..WORLD)
        .map(|_| {
            let normal: f32 = (0..4).map(|_| uniform()).sum::<f32>() - 2.0;
            3.0 * normal + 12.0 * uniform().powi(16)
        })
        .collect()
}

fn sampler(criterion: &mut Criterion) {
    let logits = logits();
    let plain = SamplerOptions { temperature: 0.8, ..SamplerOptions::greedy() };
    let penalties = SamplerOptions { presence: 0.3, frequency: 0.3, ..plain };
    let options = [
        ("greedy", SamplerOptions::greedy()),
        ("temperature", plain),
        ("top-p 0.9", SamplerOptions { top_p: 0.9, ..plain }),
        ("top-k 40", SamplerOptions { top_k: 40, ..plain }),
        ("min-p 0.05", SamplerOptions { min_p: 0.05, ..plain }),
        ("penalties", penalties),
    ];
    let mut bench = criterion.benchmark_group("sampler");
    bench.throughput(Throughput::Elements(1));
    for (name, options) in options {
        let mut sampler =
            Sampler::with_counts(options, SEED, vec![0.0; WORLD]).expect("sound options");
        bench.bench_function(name, |bench| {
            bench.iter_batched_ref(
                || logits.clone(),
                |logits| {
                    let token = sampler.sample(logits).expect("finite logits");
                    sampler.accept(token);
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn state(criterion: &mut Criterion) {
    let synthetic = synthetic();
    let [_, (_, model)] = models(&synthetic);
    let mut buffers = Buffers::new(model.shape(), 1);
    let (mut engine, logits) = buffers.engine(model, 1);
    engine.step(0, 1, logits).expect("a step");
    let mut values = vec![0.0; SMALL.state_len()];
    let mut file = vec![0; StateFile::<f32>::len(&SMALL)];
    let mut bench = criterion.benchmark_group("state");
    bench.throughput(Throughput::BytesDecimal(file.len() as u64));
    bench.bench_function("save", |bench| {
        bench.iter(|| {
            engine.store_state(0, &mut values).expect("a state");
            StateFile::write(model.header(), &values, Some(1), &mut file).expect("a state file");
        });
    });
    bench.bench_function("restore", |bench| {
        bench.iter(|| {
            StateFile::read(model.header(), &file, &mut values).expect("a state file");
            engine.load_state(0, &values).expect("a state");
        });
    });
}

/// All of them within a minute.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = quick();
    targets = decode, prefill, start, tokenizer, sampler, state
}
criterion_main!(benches);
