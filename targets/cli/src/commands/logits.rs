//! `kinglet logits`: what the model says after every token of a list.

use std::io::{BufWriter, IntoInnerError, Write};

use anyhow::{Context, Result, bail};
use kinglet::engine::{BatchToken, Engine};

use crate::args::LogitsArgs;
use crate::support::engine::with_engine;
use crate::support::model::{LoadedModel, read};
use crate::support::npy;
use crate::support::output::{self, Output};

/// Tokens computed together.
const MAX_BATCH: usize = 32;

pub(crate) fn run(args: &LogitsArgs) -> Result<()> {
    let inputs = args.model.model.iter().chain([&args.tokens]);
    output::refuse_overwrite(inputs, "--output", &args.output)?;
    let path = args.tokens.display();
    let tokens: Vec<u32> = serde_json::from_slice(&read(&args.tokens)?)
        .with_context(|| format!("{path} is not a list of token ids such as [0, 742, 694]"))?;
    if tokens.is_empty() {
        bail!("{path} has no token ids");
    }
    let opened = LoadedModel::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let vocab = model.shape().vocab;
    if let Some((at, token)) = tokens.iter().enumerate().find(|(_, t)| **t as usize >= vocab) {
        bail!("{path}: token {token} at position {at} is outside the vocabulary of {vocab}");
    }
    let max_batch = MAX_BATCH.min(tokens.len());
    with_engine(model, &args.engine, 1, max_batch, |engine| {
        let mut file = BufWriter::new(Output::create(&args.output)?);
        write(engine, &tokens, &mut file)?;
        Ok(file.into_inner().map_err(IntoInnerError::into_error)?.finish()?)
    })
}

fn write(engine: &mut dyn Engine, tokens: &[u32], out: &mut impl Write) -> Result<()> {
    let vocab = engine.shape().vocab;
    npy::write_header(out, tokens.len(), vocab)?;
    let mut logits = vec![0.0f32; engine.max_batch() * vocab];
    for chunk in tokens.chunks(engine.max_batch()) {
        let batch: Vec<_> =
            chunk.iter().map(|&token| BatchToken { token, sequence: 0, logits: true }).collect();
        let logits = &mut logits[..chunk.len() * vocab];
        engine.forward(&batch, logits)?;
        for logit in logits {
            out.write_all(&logit.to_le_bytes())?;
        }
    }
    Ok(())
}
