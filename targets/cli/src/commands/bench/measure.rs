//! What `bench` measures: rates of prefill and decode, and the memory's bandwidth in between.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kinglet::engine::{Cpu, Engine, Requirements};
use kinglet::format::model::Model;
use kinglet_host::{ReadBandwidth, ResidentMemory, Threaded};
use serde_json::{Value, json};

use super::{COUNTED, PASSES, WARM_UP};
use crate::args::{BenchArgs, EngineArgs};
use crate::support::engine::{PROMPT_BATCH, with_engine};
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
        let max_batch = args.batch.unwrap_or(PROMPT_BATCH).min(args.prompt);
        let vocab = model.shape().vocab;
        let prompt: Vec<u32> = (0..args.prompt).map(|i| token(i, vocab)).collect();
        with_engine(model, engine, 1, max_batch, |engine| {
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
