//! What `bench` measures: rates of prefill and decode, and the memory's bandwidth in between.
//!
//! On a shared machine clock and bandwidth change within seconds, so that the two are measured in
//! alternation and medians are told, with the range.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kinglet::engine::{BatchToken, Cpu, Engine, Requirements, StepError};
use kinglet::format::model::Model;
use kinglet_host::{ReadBandwidth, ResidentMemory, Threaded};
use serde_json::{Value, json};

use super::machine::Machine;
use super::{COUNTED, PASSES, WARM_UP};
use crate::args::{BenchArgs, Device, EngineArgs};
use crate::support::device;
use crate::support::engine::with_engine;
use crate::support::tokens::token;

/// Share of zeros among the channel mix's activations; 0 where no product is sparse.
pub(super) fn zero_share(model: &Model<'_>, args: &EngineArgs) -> Result<f64> {
    let kernels = Threaded::new(args.set()?, args.threads()).counting_zeros();
    let shape = model.shape();
    let needs = Requirements::of::<f32>(shape, 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut logits = vec![0.0; needs.logits];
    let mut engine = Cpu::single(*model, kernels, &mut state, &mut workspace)?;
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
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// # Panics
    /// When there are no values.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (half, last) = (values.len() / 2, values.len() - 1);
        let median = (values[half] + values[last - half]) / 2.0;
        Self { median, min: values[0], max: values[last] }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// The smallest value that at least this share of `sorted` does not exceed.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// What was measured with one thread count.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Tokens per second.
    pub(super) prefill: Spread,
    pub(super) decode: Spread,
    /// Milliseconds of one token, that half and 99 % of them do not exceed.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Bytes per second that memory was read with in between.
    pub(super) bandwidth: f64,
    /// MHz of the fastest core right after each repeat, where it is known how to ask.
    pub(super) clock: Option<Spread>,
    /// Bytes, where it is known how to ask.
    pub(super) peak_memory: Option<u64>,
}

impl Figures {
    pub(super) fn measure(
        args: &BenchArgs,
        model: Model<'_>,
        engine: &EngineArgs,
        threads: usize,
    ) -> Result<Self> {
        forget_peak();
        let max_batch = args.batch.unwrap_or(engine.prompt_batch()).min(args.prompt);
        let vocab = model.shape().vocab;
        let prompt: Vec<u32> = (0..args.prompt).map(|i| token(i, vocab)).collect();
        let (device, sequences) = (engine.device.device, args.sequences);
        with_engine(model, engine, sequences, max_batch.max(sequences), |engine| {
            let mut logits = vec![0.0; sequences * vocab];
            let prefill = prefill(engine, &prompt, args.repeats, &mut logits[..vocab])?;
            for i in 0..WARM_UP {
                step(engine, i, &mut logits)?;
            }
            // Before the buffer in which bandwidth is measured.
            let peak_memory = ResidentMemory::now().map(|memory| memory.peak);
            let memory = Bandwidth::new(device, threads)?;
            memory.pass()?;
            let (mut rates, mut steps, mut bandwidths) = (Vec::new(), Vec::new(), Vec::new());
            let (machine, mut clocks) = (Machine::this(), Vec::new());
            for _ in 0..args.repeats {
                let times = decode(engine, args.tokens, &mut logits)?;
                clocks.extend(machine.clock());
                rates.push(rate(sequences * args.tokens, times.iter().sum()));
                steps.extend(times.iter().map(|time| 1e3 * time.as_secs_f64()));
                for _ in 0..PASSES {
                    bandwidths.push(memory.pass()?);
                }
            }
            steps.sort_by(f64::total_cmp);
            Ok(Self {
                prefill,
                decode: Spread::of(rates),
                p50: quantile(&steps, 0.50),
                p99: quantile(&steps, 0.99),
                bandwidth: Spread::of(bandwidths).median,
                clock: (!clocks.is_empty()).then(|| Spread::of(clocks)),
                peak_memory,
            })
        })
    }
}

/// The bandwidth of the memory that holds the weights.
enum Bandwidth {
    /// Read by the CPU's threads.
    Host(Box<ReadBandwidth>),
    /// Read and written by copies within a GPU's.
    Device(Device),
}

impl Bandwidth {
    fn new(device: Device, threads: usize) -> Result<Self> {
        if device != Device::Cpu {
            return Ok(Self::Device(device));
        }
        let memory = ReadBandwidth::new(threads).context("measuring the memory")?;
        Ok(Self::Host(Box::new(memory)))
    }

    /// Bytes per second.
    fn pass(&self) -> Result<f64> {
        match self {
            Self::Host(memory) => Ok(memory.pass()),
            Self::Device(device) => device::copy_bandwidth(*device),
        }
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

/// The time of each of `tokens` steps; `logits`: `[sequence][vocab]`.
fn decode(engine: &mut dyn Engine, tokens: usize, logits: &mut [f32]) -> Result<Vec<Duration>> {
    // The bandwidth's buffer has taken the caches, and threads have gone to sleep.
    step(engine, 0, logits)?;
    let timed = |i| {
        let start = Instant::now();
        step(engine, i, logits)?;
        Ok(start.elapsed())
    };
    (1..=tokens).map(timed).collect()
}

/// Token `i` of each sequence, together; `logits`: `[sequence][vocab]`.
fn step(engine: &mut dyn Engine, i: usize, logits: &mut [f32]) -> Result<(), StepError> {
    let vocab = engine.shape().vocab;
    let of = |sequence| BatchToken { token: token(i + sequence, vocab), sequence, logits: true };
    let batch: Vec<_> = (0..engine.sequences()).map(of).collect();
    engine.forward(&batch, logits)
}
