//! `bench --record`: a line of JSON that says what was measured on which machine, so that figures
//! of many boards stand in one table.
//!
//! It holds no path and no name of a person or a host: it is meant to be sent to others.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use kinglet::format::model::Model;
use kinglet_quantize::Hex;
use serde::Serialize;

use super::Measured;
use super::machine::{About, Machine};
use super::measure::Spread;
use crate::args::{BenchArgs, EngineArgs};
use crate::commands::digest;
use crate::support::engine::with_engine;
use crate::support::model::LoadedModel;
use crate::support::numbers::rounded;
use crate::support::stdout::outln;
use crate::support::tokens::token;

/// Tokens of the digest, as in `kinglet digest`.
pub(super) const DIGEST_TOKENS: usize = 64;

/// How long it takes until a text begins, the model's file cached by the system.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstToken {
    /// Until the model is open; nothing where it was made in memory.
    load: Duration,
    /// From there on, until the prompt is read and the first token is chosen.
    prompt: Duration,
}

impl FirstToken {
    /// Opens the model once more, but for one that was `made` in memory, and reads the prompt.
    pub(super) fn measure(
        args: &BenchArgs,
        made: Option<Model<'_>>,
        engine: &EngineArgs,
    ) -> Result<Self> {
        if let Some(model) = made {
            let prompt = prompt_time(args, model, engine)?;
            return Ok(Self { load: Duration::ZERO, prompt });
        }
        let start = Instant::now();
        let loaded = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
        let model = loaded.model()?;
        let load = start.elapsed();
        Ok(Self { load, prompt: prompt_time(args, model, engine)? })
    }
}

/// From the making of an engine until the token after the prompt is chosen.
fn prompt_time(args: &BenchArgs, model: Model<'_>, engine: &EngineArgs) -> Result<Duration> {
    let start = Instant::now();
    let vocab = model.shape().vocab;
    let prompt: Vec<u32> = (0..args.prompt).map(|i| token(i, vocab)).collect();
    let max_batch = args.batch.unwrap_or(engine.prompt_batch()).min(args.prompt);
    with_engine(model, engine, 1, max_batch, |engine| {
        let mut logits = vec![0.0; vocab];
        engine.prefill(0, &prompt, &mut logits)?;
        black_box(logits.iter().copied().max_by(f32::total_cmp));
        Ok(start.elapsed())
    })
}

/// The line; fields are in the order in which they are read.
#[derive(Serialize)]
struct Record<'a> {
    kinglet: &'static str,
    #[serde(flatten)]
    about: About,
    /// Median over the repeats of decoding, right after each.
    mhz: Option<f64>,
    celsius: Option<f64>,
    /// What held the clock back; `null` where the machine does not tell.
    throttled: Option<BTreeSet<String>>,
    model: &'a str,
    model_hash: String,
    model_bytes: u64,
    state_type: &'a str,
    device: &'a str,
    kernels: &'a str,
    threads: usize,
    sequences: usize,
    prompt_tokens: usize,
    tokens: usize,
    prefill_tps: f64,
    decode_tps: f64,
    decode_tps_range: [f64; 2],
    p50_ms: f64,
    p99_ms: f64,
    load_ms: f64,
    first_token_ms: f64,
    bytes_per_token: u64,
    memory_gbps: f64,
    bandwidth_ratio: f64,
    peak_memory: Option<u64>,
    digest: String,
}

/// Prints the record of what was measured of `model`.
pub(super) fn print(
    args: &BenchArgs,
    model: Model<'_>,
    engine: &EngineArgs,
    measured: &Measured<'_>,
    first: FirstToken,
) -> Result<()> {
    let machine = Machine::this();
    let limits = machine.limits();
    let figures = &measured.figures;
    let ms = |time: Duration| rounded(1e3 * time.as_secs_f64());
    let name = Path::new(measured.model).file_name().and_then(|name| name.to_str());
    let record = Record {
        kinglet: env!("CARGO_PKG_VERSION"),
        about: machine.about(),
        mhz: figures.clock.map(|clock| rounded(clock.median)),
        celsius: machine.temperature(),
        throttled: limits,
        model: name.unwrap_or(measured.model),
        model_hash: Hex(&model.header().content_hash).to_string(),
        model_bytes: model.bytes().len() as u64,
        state_type: measured.state,
        device: measured.device,
        kernels: measured.kernel,
        threads: measured.threads,
        sequences: measured.sequences,
        prompt_tokens: args.prompt,
        tokens: args.tokens,
        prefill_tps: rounded(figures.prefill.median),
        decode_tps: rounded(figures.decode.median),
        decode_tps_range: range(&figures.decode),
        p50_ms: rounded(figures.p50),
        p99_ms: rounded(figures.p99),
        load_ms: ms(first.load),
        first_token_ms: ms(first.load + first.prompt),
        bytes_per_token: measured.traffic.read,
        memory_gbps: rounded(figures.bandwidth / 1e9),
        bandwidth_ratio: rounded(measured.ratio()),
        peak_memory: figures.peak_memory,
        digest: digest::of(model, engine, DIGEST_TOKENS)?,
    };
    outln!("{}", serde_json::to_string(&record)?)?;
    Ok(())
}

fn range(spread: &Spread) -> [f64; 2] {
    [rounded(spread.min), rounded(spread.max)]
}
