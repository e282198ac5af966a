//! `kinglet perplexity`: how well a model predicts a text.
//!
//! Each document begins from the start state; each of its tokens is scored given those before it.
//! Sums are in f64, in the order of the text.

use anyhow::{Context, Result, bail};
use kinglet::engine::{BatchToken, Engine, StepError};
use kinglet::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::PerplexityArgs;
use crate::support::engine::{max_batch, with_engine};
use crate::support::input;
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::numbers::grouped;
use crate::support::stdout::outln;
use crate::support::terminal;
use crate::support::tokens::{SEPARATOR, documents};

/// Tokens computed together.
const MAX_BATCH: usize = 32;

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Figures {
    documents: usize,
    tokens: usize,
    bytes: usize,
    nats_per_token: f64,
    perplexity: f64,
    bits_per_byte: f64,
}

pub(crate) fn run(args: &PerplexityArgs) -> Result<()> {
    let path = input::shown(&args.file);
    let text = input::text(&args.file, "a text")?;
    let text = String::from_utf8(text).with_context(|| format!("{path} is not UTF-8 text"))?;
    let text = text.replace("\r\n", "\n");
    args.engine.check_device(&args.residence)?;
    let opened = LoadedModel::resident(&args.model.chosen(), &args.residence)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let documents = documents(&text);
    if documents.is_empty() {
        bail!("{path} has no text");
    }
    let batch = max_batch(&model, MAX_BATCH);
    let figures = with_engine(model, &args.engine, 1, batch, |engine| {
        let bar = terminal::progress(
            text.len() as u64,
            "{bar:30} {percent}% · {decimal_bytes} of {decimal_total_bytes} · {msg}{left}",
        );
        let mut sum = Sum { nats: 0.0, tokens: 0, bytes: 0 };
        for (index, document) in documents.iter().enumerate() {
            sum.document(engine, &tokenizer, document)
                .with_context(|| format!("{path}, document {} of it", index + 1))?;
            bar.set_message(format!("perplexity {:.4}", sum.nats_per_token().exp()));
            bar.inc((document.len() + SEPARATOR.len() + 2) as u64);
        }
        bar.finish_and_clear();
        if sum.tokens == 0 {
            bail!(
                "{path} has no token to score: the vocabulary has none that begins a text, so \
                 that each document's first only predicts; give a longer text"
            );
        }
        let nats = sum.nats_per_token();
        Ok(Figures {
            documents: documents.len(),
            tokens: sum.tokens,
            bytes: sum.bytes,
            nats_per_token: nats,
            perplexity: nats.exp(),
            bits_per_byte: sum.nats / std::f64::consts::LN_2 / sum.bytes as f64,
        })
    })?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&figures)?)?;
    } else {
        let Figures { documents, tokens, bytes, nats_per_token, perplexity, bits_per_byte } =
            figures;
        let plural = if documents == 1 { "" } else { "s" };
        outln!(
            "{documents} document{plural}, {} tokens, {} bytes",
            grouped(tokens as u64),
            grouped(bytes as u64)
        )?;
        outln!("{nats_per_token:.5} nats per token")?;
        outln!("perplexity {perplexity:.4}")?;
        outln!("{bits_per_byte:.4} bits per byte")?;
    }
    Ok(())
}

/// What the scored tokens cost.
struct Sum {
    nats: f64,
    tokens: usize,
    /// The text that they stand for.
    bytes: usize,
}

impl Sum {
    fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    /// Scores each token of a document, from the start state and the token that
    /// ends a text, where there is one; else the first token is not scored.
    fn document(
        &mut self,
        engine: &mut dyn Engine,
        tokenizer: &Tokenizer<'_>,
        document: &str,
    ) -> Result<()> {
        let mut tokens = Vec::from_iter(tokenizer.end_of_text());
        for token in tokenizer.encode(document.as_bytes()) {
            tokens.push(token?);
        }
        let vocab = engine.shape().vocab;
        // Every token is a target, which the logits must have.
        if let Some(&found) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(StepError::Token { found, vocab }.into());
        }
        let mut logits = vec![0.0; engine.max_batch() * vocab];
        engine.reset(0)?;
        let Some((&first, targets)) = tokens.split_first() else { return Ok(()) };
        let unscored = match tokenizer.end_of_text() {
            // No byte of the document.
            Some(_) => 0,
            None => tokenizer.token(first).map_or(0, <[u8]>::len),
        };
        self.bytes += document.len().saturating_sub(unscored);
        for (inputs, targets) in
            tokens.chunks(engine.max_batch()).zip(targets.chunks(engine.max_batch()))
        {
            let inputs = &inputs[..targets.len()];
            let batch: Vec<_> = inputs
                .iter()
                .map(|&token| BatchToken { token, sequence: 0, logits: true })
                .collect();
            let logits = &mut logits[..inputs.len() * vocab];
            engine.forward(&batch, logits)?;
            for (logits, target) in logits.chunks_exact(vocab).zip(targets) {
                self.nats += nats(logits, *target as usize);
                self.tokens += 1;
            }
        }
        Ok(())
    }
}

/// -ln of the probability that `logits` give to `target`.
fn nats(logits: &[f32], target: usize) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    largest + sum.ln() - f64::from(logits[target])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_share_the_probability() {
        assert!((nats(&[3.0; 8], 5) - 8f64.ln()).abs() < 1e-12);
    }
}
