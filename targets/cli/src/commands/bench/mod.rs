//! `kinglet bench`: how fast a model runs here, beside what memory allows.
//!
//! Prefill and decode are timed in turn with readings of the memory's bandwidth, because decoding
//! is bound by it and a shared machine's bandwidth changes from minute to minute.

#[cfg(feature = "boards")]
mod board;
mod machine;
mod measure;
mod print;
mod record;

use std::time::Instant;

use anyhow::{Context, Result};
use kinglet::format::model::Model;
use kinglet::kernels::weights::WeightType;
use kinglet_quantize::synthetic::SyntheticModel;
use kinglet_simd::SimdKernels;
use serde_json::{Value, json};

use self::measure::{Figures, Spread, zero_share};
use self::print::{COLUMNS, print_csv, print_markdown, print_table};
use self::record::FirstToken;
use crate::args::{BenchArgs, EngineArgs};
use crate::support::device;
use crate::support::model::LoadedModel;
use crate::support::numbers::grouped;
use crate::support::stdout::outln;
use crate::support::terminal;
use crate::support::traffic::Traffic;

/// Seed of the random weights: every run measures the same.
const SEED: u64 = 7;
/// Tokens on which zero activations are counted, after as many to settle.
const COUNTED: usize = 16;
/// Steps before decoding is timed.
const WARM_UP: usize = 8;
/// Readings of the memory's bandwidth after each repeat of decoding.
const PASSES: usize = 3;

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    #[cfg(feature = "boards")]
    if let Some(board) = &args.board {
        return board::run(args, board);
    }
    let Some((name, shape)) = args.shape else {
        let opened = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
        return measure(args, opened.name(), opened.model()?, false);
    };
    let name = match args.bits {
        WeightType::Int4 => format!("{name} int4"),
        _ => name.to_owned(),
    };
    let start = Instant::now();
    let synthetic = SyntheticModel::with_weights(&shape, args.bits, args.ffn_sparsity, SEED)
        .with_context(|| name.clone())?;
    let model = Model::open(synthetic.bytes())?;
    let groups = synthetic.groups().iter().map(|(name, group)| format!("{name} {group}"));
    terminal::note(&format!(
        "{name}: random weights, {} bytes, made in {:.1} s; inputs per scale: {}",
        grouped(synthetic.bytes().len() as u64),
        start.elapsed().as_secs_f64(),
        groups.collect::<Vec<_>>().join(", "),
    ));
    measure(args, &name, model, true)
}

/// Measures with every thread count, and prints. `made`: the model has no file.
fn measure(args: &BenchArgs, name: &str, model: Model<'_>, made: bool) -> Result<()> {
    let threads = args.threads.first().copied();
    let (kernel, device, state) = (args.kernel.clone(), args.device, args.state);
    let one = EngineArgs { kernel, threads, device, state };
    one.check_device(&args.residence)?;
    let one = EngineArgs { threads: None, ..one };
    let engines = if args.threads.is_empty() {
        vec![EngineArgs { threads: Some(one.threads()), ..one.clone() }]
    } else {
        let with = |&threads| EngineArgs { threads: Some(threads), ..one.clone() };
        args.threads.iter().map(with).collect()
    };
    // Opened before anything takes time, as well.
    let device = device::name(one.device.device)?;
    let kernel = if device.is_some() { "cuda" } else { one.set()?.name() };
    let zeros = zero_share(&model, &one)?;
    let traffic = Traffic::new(&model, zeros, args.state.state_type);
    let mut results = Vec::new();
    for engine in &engines {
        let threads = engine.threads();
        let figures = Figures::measure(args, model, engine, threads)?;
        let state = args.state.state_type.name();
        let device = device.as_deref().unwrap_or("cpu");
        let measured = Measured {
            model: name,
            device,
            kernel,
            threads,
            sequences: args.sequences,
            state,
            zeros,
            traffic,
            figures,
        };
        if args.record {
            let first = FirstToken::measure(args, made.then_some(model), engine)?;
            record::print(args, model, engine, &measured, first)?;
        }
        results.push(measured);
    }
    if args.record {
        return Ok(());
    }
    if args.json {
        let array: Vec<Value> = results.iter().map(Measured::json).collect();
        outln!("{}", serde_json::to_string_pretty(&array)?)?;
    } else if args.csv {
        print_csv(&results)?;
    } else if args.md {
        print_markdown(&results)?;
    } else {
        print_table(&results)?;
    }
    Ok(())
}

/// What was measured, on what.
pub(super) struct Measured<'a> {
    model: &'a str,
    /// `cpu`, or a GPU's own name.
    device: &'a str,
    kernel: &'static str,
    threads: usize,
    /// Decoded together.
    sequences: usize,
    /// What the state is kept in.
    state: &'static str,
    /// Share of zero activations in the channel mix.
    zeros: f64,
    traffic: Traffic,
    figures: Figures,
}

impl Measured<'_> {
    /// Bytes per second that decoding reads. A step of several sequences reads the weights once.
    fn achieved(&self) -> f64 {
        self.traffic.read as f64 * self.figures.decode.median / self.sequences as f64
    }

    fn ratio(&self) -> f64 {
        self.achieved() / self.figures.bandwidth
    }

    fn json(&self) -> Value {
        let Figures { prefill, decode, p50, p99, bandwidth, clock, peak_memory } = &self.figures;
        json!({
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "sequences": self.sequences,
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
            "clock_mhz": clock.as_ref().map(|clock| clock.median),
            "peak_rss_bytes": peak_memory,
        })
    }

    /// The figures under [`COLUMNS`].
    fn cells(&self) -> [String; COLUMNS.len()] {
        let Figures { prefill, decode, p50, p99, bandwidth, peak_memory, .. } = &self.figures;
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

#[cfg(test)]
mod tests {
    use super::measure::quantile;
    use super::print::flat;
    use super::*;
    use crate::args::StateType;
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
            clock: None,
            peak_memory: None,
        };
        let traffic = Traffic::new(&model, 0.5, StateType::F32);
        let (model, device, kernel, state) = ("a \"b\"", "cpu", "scalar", "f32");
        let (threads, sequences, zeros) = (1, 1, 0.5);
        let measured =
            Measured { model, device, kernel, threads, sequences, state, zeros, traffic, figures };
        let json = measured.json();
        for key in
            ["model", "device", "threads", "kernel", "state_type", "achieved_gbps", "machine_gbps"]
        {
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
