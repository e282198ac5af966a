//! `kinglet digest`: the proof of same bits.

use std::ops::Range;

use anyhow::Result;
use indicatif::ProgressBar;
use kinglet::engine::{BatchToken, Engine};
use kinglet::format::crc32::Crc32;
use kinglet::format::model::Model;
use kinglet_simd::SimdKernels;
use serde_json::json;

use crate::args::{DigestArgs, EngineArgs, StateType};
use crate::support::engine::{memory, with_engine};
use crate::support::model::LoadedModel;
use crate::support::stdout::outln;
use crate::support::terminal;
use crate::support::tokens::token;

pub(crate) fn run(args: &DigestArgs) -> Result<()> {
    args.engine.check_device(&args.residence)?;
    let opened = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
    let model = opened.model()?;
    let half = if args.restore { args.tokens / 2 } else { args.tokens };
    let saved = if args.restore { model.shape().state_len() } else { 0 };
    let mut state = vec![0.0; saved];
    let max_batch = args.batch.min(args.tokens);
    let bar = terminal::progress(
        args.tokens as u64,
        "{bar:30} {percent}% · {human_pos} of {human_len} tokens{left}",
    );
    let crc = with_engine(model, &args.engine, 1, max_batch, |engine| {
        let crc = feed(engine, 0..half, Crc32::new(), &bar)?;
        if args.restore {
            engine.store_state(0, &mut state)?;
        }
        Ok(crc)
    })?;
    let crc = if args.restore {
        with_engine(model, &args.engine, 1, max_batch, |engine| {
            engine.load_state(0, &state)?;
            feed(engine, half..args.tokens, crc, &bar)
        })?
    } else {
        crc
    };
    bar.finish_and_clear();
    if args.json {
        let json = json!({
            "model": opened.name(),
            "digest": format!("{:08x}", crc.finish()),
            "tokens": args.tokens,
            "state_type": args.engine.state.state_type.name(),
            "kernel": args.engine.set()?.name(),
            "threads": args.engine.threads(),
        });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
        return Ok(());
    }
    outln!("{}", labelled(args.engine.state.state_type, crc))?;
    Ok(())
}

/// The digest of `tokens` tokens, fed one by one.
pub(crate) fn of(model: Model<'_>, args: &EngineArgs, tokens: usize) -> Result<String> {
    let crc = with_engine(model, args, 1, 1, |engine| {
        feed(engine, 0..tokens, Crc32::new(), &ProgressBar::hidden())
    })?;
    Ok(labelled(args.state.state_type, crc))
}

/// The label keeps the checksum of other numbers from being taken for this machine's fault.
fn labelled(state: StateType, crc: Crc32) -> String {
    let label = match state {
        StateType::F32 => "",
        StateType::F16 => "f16:",
    };
    format!("{label}{:08x}", crc.finish())
}

/// Feeds the tokens of `range` and adds the logits after each to `crc`.
fn feed(
    engine: &mut dyn Engine,
    range: Range<usize>,
    mut crc: Crc32,
    bar: &ProgressBar,
) -> Result<Crc32> {
    let (vocab, max_batch) = (engine.shape().vocab, engine.max_batch());
    let mut logits = memory::<f32>("the logits of a batch", max_batch.checked_mul(vocab))?;
    for first in range.clone().step_by(max_batch) {
        let last = range.end.min(first.saturating_add(max_batch));
        let fed = |i| BatchToken { token: token(i, vocab), sequence: 0, logits: true };
        let batch: Vec<BatchToken> = (first..last).map(fed).collect();
        let logits = &mut logits[..batch.len() * vocab];
        engine.forward(&batch, logits)?;
        for logit in &*logits {
            crc = crc.update(&logit.to_le_bytes());
        }
        bar.inc(batch.len() as u64);
    }
    Ok(crc)
}
