//! `kinglet logits`: what the model says after every token of a list.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use kinglet::engine::{Column, Engine};

use crate::args::LogitsArgs;
use crate::engine::with_engine;
use crate::model::{Opened, read};
use crate::{npy, output};

/// Tokens computed together.
const BLOCK: usize = 32;

pub(crate) fn run(args: &LogitsArgs) -> Result<()> {
    let inputs = args.model.model.iter().chain([&args.tokens]);
    output::keep(inputs, "--output", &args.output)?;
    let path = args.tokens.display();
    let tokens: Vec<u32> = serde_json::from_slice(&read(&args.tokens)?)
        .with_context(|| format!("{path} is not a list of token ids such as [0, 742, 694]"))?;
    if tokens.is_empty() {
        bail!("{path} has no token ids");
    }
    let opened = Opened::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let vocab = model.shape().vocab;
    if let Some((at, token)) = tokens.iter().enumerate().find(|(_, t)| **t as usize >= vocab) {
        bail!("{path}: token {token} at position {at} is outside the vocabulary of {vocab}");
    }
    let block = BLOCK.min(tokens.len());
    with_engine(model, &args.engine, 1, block, |engine| {
        kinglet_quantize::write_beside(&args.output, |path| write(engine, &tokens, path))
            .with_context(|| format!("cannot write {}", args.output.display()))
    })
}

fn write(engine: &mut dyn Engine, tokens: &[u32], path: &Path) -> Result<()> {
    let vocab = engine.shape().vocab;
    let mut out = BufWriter::new(File::create(path)?);
    npy::write_header(&mut out, tokens.len(), vocab)?;
    let mut logits = vec![0.0f32; engine.block() * vocab];
    for chunk in tokens.chunks(engine.block()) {
        let columns: Vec<_> =
            chunk.iter().map(|&token| Column { token, slot: 0, logits: true }).collect();
        let logits = &mut logits[..chunk.len() * vocab];
        engine.forward(&columns, logits)?;
        for logit in logits {
            out.write_all(&logit.to_le_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}
