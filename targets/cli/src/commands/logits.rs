//! `kinglet logits`: what the model says after every token of a list.

use std::io::{BufWriter, IntoInnerError, Write};

use anyhow::{Context, Result, bail};
use kinglet::engine::{BatchToken, Engine};
use serde_json::json;

use crate::args::LogitsArgs;
use crate::support::engine::{max_batch, with_engine};
use crate::support::input;
use crate::support::model::LoadedModel;
use crate::support::npy;
use crate::support::output::{self, Kind, Output};
use crate::support::stdout::outln;
use crate::support::terminal;
use crate::support::tokens::without_mark;

/// Tokens computed together.
const MAX_BATCH: usize = 32;

pub(crate) fn run(args: &LogitsArgs) -> Result<()> {
    let chosen = args.model.chosen();
    let inputs = chosen.model.iter().chain([&args.ids]);
    output::refuse_overwrite(inputs, "--output", &args.output)?;
    output::refuse_foreign(Kind::Npy, "--output", &args.output, args.force)?;
    let path = input::shown(&args.ids);
    let bytes = input::text(&args.ids, "a list of token ids")?;
    let tokens: Vec<u32> = serde_json::from_slice(without_mark(&bytes))
        .with_context(|| format!("{path} is not a list of token ids such as [0, 742, 694]"))?;
    if tokens.is_empty() {
        bail!("{path} has no token ids");
    }
    args.engine.check_device(&args.residence)?;
    let opened = LoadedModel::resident(&chosen, &args.residence)?;
    let model = opened.model()?;
    let vocab = model.shape().vocab;
    if let Some((at, token)) = tokens.iter().enumerate().find(|(_, t)| **t as usize >= vocab) {
        bail!("{path}: token {token} at position {at} is outside the vocabulary of {vocab}");
    }
    let batch = max_batch(&model, MAX_BATCH).min(tokens.len());
    with_engine(model, &args.engine, 1, batch, |engine| {
        let mut file = BufWriter::new(Output::create(&args.output)?);
        write(engine, &tokens, &mut file)?;
        Ok(file.into_inner().map_err(IntoInnerError::into_error)?.finish()?)
    })?;
    if args.json {
        let output = args.output.display().to_string();
        let json =
            json!({ "model": opened.name(), "output": output, "shape": [tokens.len(), vocab] });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
    }
    Ok(())
}

fn write(engine: &mut dyn Engine, tokens: &[u32], out: &mut impl Write) -> Result<()> {
    let vocab = engine.shape().vocab;
    npy::write_header(out, tokens.len(), vocab)?;
    let mut logits = vec![0.0f32; engine.max_batch() * vocab];
    let bar = terminal::progress(
        tokens.len() as u64,
        "{bar:30} {percent}% · {human_pos} of {human_len} tokens{left}",
    );
    for chunk in tokens.chunks(engine.max_batch()) {
        let batch: Vec<_> =
            chunk.iter().map(|&token| BatchToken { token, sequence: 0, logits: true }).collect();
        let logits = &mut logits[..chunk.len() * vocab];
        engine.forward(&batch, logits)?;
        for logit in logits {
            out.write_all(&logit.to_le_bytes())?;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}
