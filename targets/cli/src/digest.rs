//! `kinglet digest`: the proof of same bits.
#![expect(clippy::print_stdout, reason = "the digest is the output")]

use anyhow::{Result, bail};
use kinglet::crc32::Crc32;
use kinglet::engine::{Column, Engine};

use crate::args::{DigestArgs, StateType};
use crate::engine::with_engine;
use crate::model::Opened;

pub(crate) fn run(args: &DigestArgs) -> Result<()> {
    if args.chunk == 0 {
        bail!("--chunk 0 computes nothing; give 1 or more");
    }
    let opened = Opened::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let half = if args.restore { args.tokens / 2 } else { args.tokens };
    let saved = if args.restore { model.shape().state_len() } else { 0 };
    let mut state = vec![0.0; saved];
    let block = args.chunk.min(args.tokens.max(1));
    let crc = with_engine(model, &args.engine, 1, block, |engine| {
        let crc = feed(engine, 0..half, Crc32::new())?;
        if args.restore {
            engine.store_state(0, &mut state)?;
        }
        Ok(crc)
    })?;
    let crc = if args.restore {
        with_engine(model, &args.engine, 1, block, |engine| {
            engine.load_state(0, &state)?;
            feed(engine, half..args.tokens, crc)
        })?
    } else {
        crc
    };
    // The label keeps the checksum of other numbers from being taken for this machine's fault.
    let label = match args.engine.state.state_type {
        StateType::F32 => "",
        StateType::F16 => "f16:",
    };
    println!("{label}{:08x}", crc.finish());
    Ok(())
}

/// Feeds token (7919 i + 1) mod vocab for each i of `range` and adds the logits to `crc`.
fn feed(engine: &mut dyn Engine, range: std::ops::Range<usize>, mut crc: Crc32) -> Result<Crc32> {
    let vocab = engine.shape().vocab;
    let indices: Vec<usize> = range.collect();
    let mut logits = vec![0.0; engine.block() * vocab];
    for chunk in indices.chunks(engine.block()) {
        let token = |i: usize| ((7919 * i as u64 + 1) % vocab as u64) as u32;
        let columns: Vec<Column> =
            chunk.iter().map(|&i| Column { token: token(i), slot: 0, logits: true }).collect();
        let logits = &mut logits[..chunk.len() * vocab];
        engine.forward(&columns, logits)?;
        for logit in logits {
            crc = crc.update(&logit.to_le_bytes());
        }
    }
    Ok(crc)
}
