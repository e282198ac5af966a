//! `kinglet bench`: how fast a model runs here, beside what memory allows.
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kinglet::engine::Engine;
use kinglet::engine::{Cpu, workspace_len};
use kinglet::format::model::{Model, Tensor};
use kinglet::format::tensors;
use kinglet_host::{ReadBandwidth, ResidentMemory, Threaded};
use kinglet_quantize::synthetic::SyntheticModel;
use kinglet_simd::SimdKernels;
use serde_json::{Value, json};

use crate::args::{BenchArgs, EngineArgs, StateType};
use crate::commands::digest::token;
use crate::commands::info::{grouped, read_per_token};
use crate::support::engine::{BLOCK, with_engine};
use crate::support::model::Opened;
use crate::support::terminal;

/// Seed of the random weights: every run measures the same.
const SEED: u64 = 7;
/// Tokens on which zero activations are counted, after as many to settle.
const COUNTED: usize = 16;
/// Steps before decoding is timed.
const WARM_UP: usize = 8;
/// Readings of the memory's bandwidth after each repeat of decoding.
const PASSES: usize = 3;

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let Some((name, shape)) = args.shape else {
        let opened = Opened::resident(&args.model, &args.residence)?;
        return measure(args, opened.name(), opened.model()?);
    };
    let start = Instant::now();
    let synthetic = SyntheticModel::new(&shape, args.ffn_sparsity, SEED).context(name)?;
    let model = Model::open(synthetic.bytes())?;
    let groups = synthetic.groups().iter().map(|(name, group)| format!("{name} {group}"));
    terminal::note(&format!(
        "{name}: random weights, {} bytes, made in {:.1} s; inputs per scale: {}",
        grouped(synthetic.bytes().len() as u64),
        start.elapsed().as_secs_f64(),
        groups.collect::<Vec<_>>().join(", "),
    ));
    measure(args, name, model)
}

/// Measures with every thread count, and prints.
fn measure(args: &BenchArgs, name: &str, model: Model<'_>) -> Result<()> {
    let one = EngineArgs { kernel: args.kernel.clone(), threads: None, state: args.state };
    let engines = if args.threads.is_empty() {
        vec![EngineArgs { threads: Some(one.threads()?), ..one.clone() }]
    } else {
        let with = |&threads| EngineArgs { threads: Some(threads), ..one.clone() };
        args.threads.iter().map(with).collect()
    };
    // What cannot be is refused before anything takes time.
    for engine in &engines {
        engine.threads()?;
    }
    let kernel = one.set()?.name();
    let zeros = zero_share(&model, &one)?;
    let traffic = Traffic::new(&model, zeros, args.state.state_type);
    let mut results = Vec::new();
    for engine in &engines {
        let threads = engine.threads()?;
        let figures = Figures::measure(args, model, engine, threads)?;
        let state = args.state.state_type.name();
        results.push(Measured { model: name, kernel, threads, state, zeros, traffic, figures });
    }
    if args.json {
        let array: Vec<Value> = results.iter().map(Measured::json).collect();
        println!("{}", serde_json::to_string_pretty(&array)?);
    } else if args.csv {
        print_csv(&results);
    } else if args.md {
        print_markdown(&results);
    } else {
        print_table(&results);
    }
    Ok(())
}

/// Bytes that decoding one token reads.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Traffic {
    /// All vectors and matrices, one row of the embedding, and the state.
    dense: u64,
    /// The same without the weights that zero activations spare.
    read: u64,
}

impl Traffic {
    /// Of sparse matrices the values of inputs that are not zero count, and all
    /// scales: a group of inputs is rarely all zeros.
    fn new(model: &Model<'_>, zeros: f64, state: StateType) -> Self {
        let state = model.shape().state_len() * state.size();
        let dense = read_per_token(model) + state as u64;
        let spared: u64 = (0..tensors::tensor_count(model.shape()))
            .map(|index| match model.tensor(index) {
                Some(Tensor::Sparse(matrix)) => (matrix.weights().len() as f64 * zeros) as u64,
                _ => 0,
            })
            .sum();
        Self { dense, read: dense - spared }
    }
}

/// Share of zeros among the channel mix's activations; 0 where no product is sparse.
fn zero_share(model: &Model<'_>, args: &EngineArgs) -> Result<f64> {
    let kernels = Threaded::new(args.set()?, args.threads()?).counting_zeros();
    let shape = model.shape();
    let mut state = vec![0.0; shape.state_len()];
    let mut workspace = vec![0.0; workspace_len(shape, 1)];
    let mut logits = vec![0.0; shape.vocab];
    let mut engine = Cpu::new(*model, kernels, 1, &mut state, &mut workspace)?;
    for i in 0..2 * COUNTED {
        if i == COUNTED {
            engine.kernels().take_zero_share();
        }
        engine.step(0, token(i, shape.vocab), &mut logits)?;
    }
    Ok(engine.kernels().take_zero_share().unwrap_or(0.0))
}

/// Median, smallest and largest of several measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// # Panics
    /// When there are no values.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (half, last) = (values.len() / 2, values.len() - 1);
        let median = (values[half] + values[last - half]) / 2.0;
        Self { median, min: values[0], max: values[last] }
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// The smallest value that at least this share of `sorted` does not exceed.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// What was measured with one thread count.
#[derive(Clone, Debug)]
struct Figures {
    /// Tokens per second.
    prefill: Spread,
    decode: Spread,
    /// Milliseconds of one token, that half and 99 % of them do not exceed.
    p50: f64,
    p99: f64,
    /// Bytes per second that memory was read with in between.
    bandwidth: f64,
    /// Bytes, where it is known how to ask.
    peak_memory: Option<u64>,
}

impl Figures {
    fn measure(
        args: &BenchArgs,
        model: Model<'_>,
        engine: &EngineArgs,
        threads: usize,
    ) -> Result<Self> {
        forget_peak();
        let block = args.block.unwrap_or(BLOCK).min(args.prompt);
        let vocab = model.shape().vocab;
        let prompt: Vec<u32> = (0..args.prompt).map(|i| token(i, vocab)).collect();
        with_engine(model, engine, 1, block, |engine| {
            let mut logits = vec![0.0; vocab];
            let prefill = prefill(engine, &prompt, args.repeats, &mut logits)?;
            for i in 0..WARM_UP {
                engine.step(0, token(i, vocab), &mut logits)?;
            }
            // Before the buffer in which bandwidth is measured.
            let peak_memory = ResidentMemory::now().map(|memory| memory.peak);
            let memory = ReadBandwidth::new(threads).context("measuring the memory")?;
            memory.pass();
            let (mut rates, mut steps, mut bandwidths) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..args.repeats {
                let times = decode(engine, args.tokens, &mut logits)?;
                rates.push(rate(args.tokens, times.iter().sum()));
                steps.extend(times.iter().map(|time| 1e3 * time.as_secs_f64()));
                bandwidths.extend((0..PASSES).map(|_| memory.pass()));
            }
            steps.sort_by(f64::total_cmp);
            Ok(Self {
                prefill,
                decode: Spread::of(rates),
                p50: quantile(&steps, 0.50),
                p99: quantile(&steps, 0.99),
                bandwidth: Spread::of(bandwidths).median,
                peak_memory,
            })
        })
    }
}

/// Makes the peak of resident memory what it is now, where that can be done; it
/// is an upper bound elsewhere.
fn forget_peak() {
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(1e-9)
}

/// Reads the prompt from the start, once to warm up and then `repeats` times.
fn prefill(
    engine: &mut dyn Engine,
    prompt: &[u32],
    repeats: usize,
    logits: &mut [f32],
) -> Result<Spread> {
    let mut rates = Vec::new();
    for _ in 0..=repeats {
        engine.reset(0)?;
        let start = Instant::now();
        engine.prefill(0, prompt, logits)?;
        rates.push(rate(prompt.len(), start.elapsed()));
    }
    Ok(Spread::of(rates.split_off(1)))
}

/// The time of each of `tokens` steps.
fn decode(engine: &mut dyn Engine, tokens: usize, logits: &mut [f32]) -> Result<Vec<Duration>> {
    let vocab = engine.shape().vocab;
    // The bandwidth's buffer has taken the caches, and threads have gone to sleep.
    engine.step(0, token(0, vocab), logits)?;
    let step = |i| {
        let start = Instant::now();
        engine.step(0, token(i, vocab), logits)?;
        Ok(start.elapsed())
    };
    (1..=tokens).map(step).collect()
}

/// What was measured, on what.
struct Measured<'a> {
    model: &'a str,
    kernel: &'static str,
    threads: usize,
    /// What the state is kept in.
    state: &'static str,
    /// Share of zero activations in the channel mix.
    zeros: f64,
    traffic: Traffic,
    figures: Figures,
}

impl Measured<'_> {
    /// Bytes per second that decoding reads.
    fn achieved(&self) -> f64 {
        self.traffic.read as f64 * self.figures.decode.median
    }

    fn ratio(&self) -> f64 {
        self.achieved() / self.figures.bandwidth
    }

    fn json(&self) -> Value {
        let Figures { prefill, decode, p50, p99, bandwidth, peak_memory } = &self.figures;
        json!({
            "model": self.model,
            "threads": self.threads,
            "kernel": self.kernel,
            "state_type": self.state,
            "prefill_tps": prefill.json(),
            "decode_tps": decode.json(),
            "ms_per_token": { "p50": p50, "p99": p99 },
            "ffn_sparsity": self.zeros,
            "bytes_per_token": self.traffic.read,
            "bytes_per_token_dense": self.traffic.dense,
            "achieved_gbps": self.achieved() / 1e9,
            "machine_gbps": bandwidth / 1e9,
            "bandwidth_ratio": self.ratio(),
            "peak_rss_bytes": peak_memory,
        })
    }

    /// The figures under [`COLUMNS`].
    fn cells(&self) -> [String; COLUMNS.len()] {
        let Figures { prefill, decode, p50, p99, bandwidth, peak_memory } = &self.figures;
        let spread = |s: &Spread| format!("{:.1} ({:.1}-{:.1})", s.median, s.min, s.max);
        [
            self.threads.to_string(),
            spread(prefill),
            spread(decode),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            format!("{:.1}", self.traffic.read as f64 / 1e6),
            format!("{:.1}", self.achieved() / 1e9),
            format!("{:.1}", bandwidth / 1e9),
            format!("{:.0} %", 100.0 * self.ratio()),
            peak_memory.map_or("not known".to_owned(), |peak| format!("{:.1}", peak as f64 / 1e6)),
        ]
    }
}

/// Headings for people; rates are medians with smallest and largest.
const COLUMNS: [&str; 10] = [
    "threads",
    "prefill tokens/s",
    "decode tokens/s",
    "ms p50",
    "ms p99",
    "MB/token",
    "GB/s",
    "memory GB/s",
    "ratio",
    "peak MB",
];

/// What is the same for all thread counts.
fn summary(results: &[Measured<'_>]) -> Option<String> {
    let Measured { model, kernel, state, zeros, traffic, .. } = results.first()?;
    Some(format!(
        "{model}, kernel {kernel}, {state} state; {:.0} % of the channel mix's activations are zero, which \
         leaves {} of {} bytes to read per token",
        100.0 * zeros,
        grouped(traffic.read),
        grouped(traffic.dense),
    ))
}

fn print_table(results: &[Measured<'_>]) {
    let rows: Vec<_> = results.iter().map(Measured::cells).collect();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|i| {
        rows.iter().map(|row| row[i].len()).fold(COLUMNS[i].len(), usize::max)
    });
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    println!("{}", summary(results).unwrap_or_default());
    println!("{}", line(&COLUMNS.map(str::to_owned)));
    for row in &rows {
        println!("{}", line(row));
    }
}

fn print_markdown(results: &[Measured<'_>]) {
    println!("{}\n", summary(results).unwrap_or_default());
    println!("| {} |", COLUMNS.join(" | "));
    println!("|{}", "---:|".repeat(COLUMNS.len()));
    for result in results {
        println!("| {} |", result.cells().join(" | "));
    }
}

/// The keys of the JSON, those of inner objects after a dot.
fn print_csv(results: &[Measured<'_>]) {
    for (i, result) in results.iter().enumerate() {
        let (names, values): (Vec<_>, Vec<_>) = flat(&result.json()).into_iter().unzip();
        if i == 0 {
            println!("{}", names.join(","));
        }
        println!("{}", values.join(","));
    }
}

/// Names and values of an object and the objects in it. A text is quoted, with
/// quotes in it doubled (RFC 4180); null is empty.
fn flat(value: &Value) -> Vec<(String, String)> {
    let fields = value.as_object().into_iter().flatten();
    let cells = fields.flat_map(|(name, value)| match value {
        Value::Object(_) => {
            let inner = flat(value).into_iter();
            inner.map(|(key, value)| (format!("{name}.{key}"), value)).collect()
        }
        Value::String(text) => {
            vec![(name.clone(), format!("\"{}\"", text.replace('"', "\"\"")))]
        }
        Value::Null => vec![(name.clone(), String::new())],
        other => vec![(name.clone(), other.to_string())],
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet::format::shape::{Architecture, Ranks, Shape};

    fn tiny(sparsity: f64) -> SyntheticModel {
        let shape = Shape {
            architecture: Architecture::Rwkv7,
            layers: 3,
            width: 128,
            head_size: 64,
            ffn: 512,
            vocab: 512,
            ranks: Ranks { decay: 32, iclr: 32, value: 32, gate: 32, ..Ranks::NONE },
        };
        SyntheticModel::new(&shape, sparsity, 3).unwrap()
    }

    #[test]
    fn random_weights_have_the_share_of_zeros_that_was_asked_for() {
        for asked in [0.0, 0.3, 0.5, 0.87] {
            let synthetic = tiny(asked);
            let model = Model::open(synthetic.bytes()).unwrap();
            let found = zero_share(&model, &EngineArgs::default()).unwrap();
            assert!((found - asked).abs() < 0.1, "{found}, asked {asked}");
        }
    }

    #[test]
    fn zeros_spare_the_values_of_the_channel_mix() {
        let synthetic = tiny(0.5);
        let model = Model::open(synthetic.bytes()).unwrap();
        let sparse_values = 3 * 128 * 512;
        let Traffic { dense, read } = Traffic::new(&model, 1.0, StateType::F32);
        assert_eq!(dense - read, sparse_values);
        assert_eq!(Traffic::new(&model, 0.0, StateType::F32).read, dense);
        // The state, and all but the embedding's other rows, header and directory.
        let embedding = 512 * (128 + 2 * 128 / 32);
        let state = 4 * model.shape().state_len();
        let file = (synthetic.bytes().len() + state) as u64;
        assert!(dense < file - embedding + embedding / 512);
        assert!(dense > file - embedding - 8192, "{dense} of {file}");
    }

    #[test]
    fn medians_and_quantiles() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(vec![5.0, 1.0, 2.0]).median, 2.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&hundred, 0.5), quantile(&hundred, 0.99)), (50.0, 99.0));
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
    }

    #[test]
    fn a_measurement_has_every_key() {
        let synthetic = tiny(0.5);
        let model = Model::open(synthetic.bytes()).unwrap();
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0 };
        let figures = Figures {
            prefill: spread,
            decode: spread,
            p50: 0.5,
            p99: 0.6,
            bandwidth: 4.0 * Traffic::new(&model, 0.5, StateType::F32).read as f64,
            peak_memory: None,
        };
        let traffic = Traffic::new(&model, 0.5, StateType::F32);
        let (model, kernel, state) = ("a \"b\"", "scalar", "f32");
        let measured = Measured { model, kernel, threads: 1, state, zeros: 0.5, traffic, figures };
        let json = measured.json();
        for key in ["model", "threads", "kernel", "state_type", "achieved_gbps", "machine_gbps"] {
            assert!(!json[key].is_null(), "{key}");
        }
        assert_eq!(json["bandwidth_ratio"], 0.5);
        assert_eq!(json["prefill_tps"], json!({ "median": 2.0, "min": 1.0, "max": 3.0 }));
        assert_eq!(json["ms_per_token"]["p99"], 0.6);
        let flat = flat(&json);
        let cell = |name: &str| &flat.iter().find(|(key, _)| key == name).unwrap().1;
        assert_eq!(cell("decode_tps.max"), "3.0");
        assert_eq!(cell("model"), "\"a \"\"b\"\"\"");
        assert_eq!(cell("peak_rss_bytes"), "");
    }
}
