//! `kinglet digest`: the proof of same bits.
#![expect(clippy::print_stdout, reason = "the digest is the output")]

use std::ops::Range;

use anyhow::{Result, bail};
use kinglet::engine::{BatchToken, Engine};
use kinglet::format::crc32::Crc32;

use crate::args::{DigestArgs, StateType};
use crate::support::engine::{memory, with_engine};
use crate::support::model::Opened;

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

/// Token `i` of the text that is fed: (7919 i + 1) mod vocab.
pub(crate) fn token(i: usize, vocab: usize) -> u32 {
    ((7919 * (i % vocab) as u64 + 1) % vocab as u64) as u32
}

/// Feeds the tokens of `range` and adds the logits after each to `crc`.
fn feed(engine: &mut dyn Engine, range: Range<usize>, mut crc: Crc32) -> Result<Crc32> {
    let (vocab, block) = (engine.shape().vocab, engine.max_batch());
    let mut logits = memory::<f32>("the logits of a chunk", block.checked_mul(vocab))?;
    for first in range.clone().step_by(block) {
        let last = range.end.min(first.saturating_add(block));
        let column = |i| BatchToken { token: token(i, vocab), sequence: 0, logits: true };
        let columns: Vec<BatchToken> = (first..last).map(column).collect();
        let logits = &mut logits[..columns.len() * vocab];
        engine.forward(&columns, logits)?;
        for logit in &*logits {
            crc = crc.update(&logit.to_le_bytes());
        }
    }
    Ok(crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_any_index_are_those_of_the_formula() {
        for (i, vocab) in [(0, 1), (5, 1024), (usize::MAX, 65536), (usize::MAX - 1, 1 << 20)] {
            let expected = (7919 * i as u128 + 1) % vocab as u128;
            assert_eq!(u128::from(token(i, vocab)), expected, "token {i} of {vocab}");
        }
    }
}
