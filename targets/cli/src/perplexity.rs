//! `kinglet perplexity`: how well a model predicts a text.
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use anyhow::{Context, Result, bail};
use kinglet::engine::{Column, Engine};
use kinglet::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::PerplexityArgs;
use crate::engine::with_engine;
use crate::model::{Opened, read, tokenizer};
use crate::terminal;

/// A line of its own between two documents.
const SEPARATOR: &str = "\n<|endoftext|>\n";
/// Starts every document; not scored.
const END_OF_TEXT: u32 = 0;
/// Tokens computed together.
const BLOCK: usize = 32;

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
    let path = args.file.display();
    let text = read(&args.file)?;
    let text = String::from_utf8(text).with_context(|| format!("{path} is not UTF-8 text"))?;
    let text = text.replace("\r\n", "\n");
    let opened = Opened::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let documents: Vec<&str> = documents(&text).collect();
    if documents.is_empty() {
        bail!("{path} has no text");
    }
    let figures = with_engine(model, &args.engine, 1, BLOCK, |engine| {
        let bar = terminal::progress(
            text.len() as u64,
            "{bar:30} {percent}% · {bytes} of {total_bytes} · {msg} · {eta} left",
        );
        let mut sum = Sum { nats: 0.0, tokens: 0 };
        let mut bytes = 0;
        for document in &documents {
            sum.document(engine, &tokenizer, document)
                .with_context(|| format!("{path}, the document at byte {bytes} of the text"))?;
            bytes += document.len();
            bar.set_message(format!("perplexity {:.4}", sum.nats_per_token().exp()));
            bar.inc((document.len() + SEPARATOR.len()) as u64);
        }
        bar.finish_and_clear();
        let nats = sum.nats_per_token();
        Ok(Figures {
            documents: documents.len(),
            tokens: sum.tokens,
            bytes,
            nats_per_token: nats,
            perplexity: nats.exp(),
            bits_per_byte: sum.nats / std::f64::consts::LN_2 / bytes as f64,
        })
    })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        let Figures { documents, tokens, bytes, nats_per_token, perplexity, bits_per_byte } =
            figures;
        println!("{documents} documents, {tokens} tokens, {bytes} bytes");
        println!("{nats_per_token:.5} nats per token");
        println!("perplexity {perplexity:.4}");
        println!("{bits_per_byte:.4} bits per byte");
    }
    Ok(())
}

/// The documents of a text: what stands between separators, if not empty.
pub(crate) fn documents(text: &str) -> impl Iterator<Item = &str> {
    text.split(SEPARATOR).filter(|document| !document.is_empty())
}

/// What the scored tokens cost.
struct Sum {
    nats: f64,
    tokens: usize,
}

impl Sum {
    fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    /// Scores each token of a document, from the start state and token 0.
    fn document(
        &mut self,
        engine: &mut dyn Engine,
        tokenizer: &Tokenizer<'_>,
        document: &str,
    ) -> Result<()> {
        let mut tokens = vec![END_OF_TEXT];
        for token in tokenizer.encode(document.as_bytes()) {
            tokens.push(token?);
        }
        let vocab = engine.shape().vocab;
        let mut logits = vec![0.0; engine.block() * vocab];
        engine.reset(0)?;
        let targets = &tokens[1..];
        for (inputs, targets) in tokens.chunks(engine.block()).zip(targets.chunks(engine.block())) {
            let inputs = &inputs[..targets.len()];
            let columns: Vec<_> =
                inputs.iter().map(|&token| Column { token, slot: 0, logits: true }).collect();
            let logits = &mut logits[..inputs.len() * vocab];
            engine.forward(&columns, logits)?;
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
    fn separators_are_lines() {
        let text = "one\n<|endoftext|>\ntwo <|endoftext|> still\n<|endoftext|>\n";
        assert_eq!(documents(text).collect::<Vec<_>>(), ["one", "two <|endoftext|> still"]);
    }

    #[test]
    fn equal_logits_share_the_probability() {
        assert!((nats(&[3.0; 8], 5) - 8f64.ln()).abs() < 1e-12);
    }
}
