//! `kinglet quantize --report`: what rounding changes in what the model says.
//!
//! The model file that was just written runs beside a float64 reference of the checkpoint, over the
//! same tokens: those of a text, or drawn from the reference itself. The second says nothing of how
//! good the model is, but compares the two where the model is at home.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use kinglet::tokenizer::Tokenizer;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::quality::{self, Quality, SAMPLE_LEN, SAMPLE_SEED, SAMPLES};
use kinglet_quantize::reference::{self, Reference};
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Hex, Report, TensorReport};
use serde::Serialize;
use serde_json::Value;

use super::print::mix_json;
use crate::args::{EngineArgs, ModelArgs, QuantizeArgs};
use crate::support::engine::with_engine;
use crate::support::input;
use crate::support::model::LoadedModel;
use crate::support::stdout::Stdout;
use crate::support::terminal::{self, IgnoreBrokenPipe};
use crate::support::tokens::documents;
use crate::support::tokens::without_mark;

/// Tensors that the summary names.
const WORST: usize = 5;
/// What the two sides are compared on.
pub(crate) enum Texts {
    /// The model's own samples.
    Told,
    /// Token ids of each text.
    Given(Vec<Vec<u32>>),
}

impl Texts {
    /// Reads the text, where one is given: UTF-8 where there is a vocabulary, otherwise a JSON
    /// list of token ids. `vocab` is the model's number of token ids.
    pub(crate) fn read(
        path: Option<&Path>,
        vocabulary: Option<&Vocabulary>,
        vocab: usize,
    ) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Told) };
        let bytes = input::text(path, "a text")?;
        let bytes = without_mark(&bytes).to_vec();
        let texts = match vocabulary {
            Some(vocabulary) => tokenize(bytes, vocabulary),
            None => list(&bytes).map(|tokens| vec![tokens]),
        };
        let texts = texts.with_context(|| path.display().to_string())?;
        for (at, token) in texts.iter().flatten().enumerate() {
            if *token as usize >= vocab {
                bail!(
                    "{}: token {token}, the {at}th from 0, is outside the model's vocabulary of \
                     {vocab}; pass the text's own model or vocabulary",
                    path.display()
                );
            }
        }
        Ok(Self::Given(texts))
    }
}

/// The documents of a text, each after the token that ends a text, where there is one.
fn tokenize(text: Vec<u8>, vocabulary: &Vocabulary) -> Result<Vec<Vec<u32>>> {
    let text = String::from_utf8(text).context("not UTF-8 text")?.replace("\r\n", "\n");
    let packed = vocabulary.pack()?;
    let tokenizer = Tokenizer::parse(&packed)?;
    let mut texts = Vec::new();
    for document in documents(&text) {
        let mut tokens = Vec::from_iter(tokenizer.end_of_text());
        for token in tokenizer.encode(document.as_bytes()) {
            tokens.push(token?);
        }
        texts.push(tokens);
    }
    long_enough(texts.iter().map(|tokens| tokens.len().saturating_sub(1)).sum())?;
    Ok(texts)
}

/// A list of token ids.
fn list(json: &[u8]) -> Result<Vec<u32>> {
    let tokens: Vec<u32> = serde_json::from_slice(json).context(
        "not a list of token ids such as [0, 742, 694]; for a text pass its vocabulary as --vocab",
    )?;
    long_enough(tokens.len())?;
    Ok(tokens)
}

fn long_enough(tokens: usize) -> Result<()> {
    if tokens < 2 {
        bail!(
            "the text is too short: {tokens} of the 2 tokens that are needed; a thousand or more say \
             much"
        );
    }
    Ok(())
}

/// The report, as the file has it; [`KEYS`](crate::args::KEYS) says what is what.
#[derive(Debug, Serialize)]
struct Json<'a> {
    checkpoint: String,
    model: String,
    architecture: &'static str,
    content_hash: String,
    text: Option<String>,
    samples: Option<Samples>,
    sequences: usize,
    positions: usize,
    kl_mean: f64,
    kl_max: f64,
    top1_agreement: f64,
    cosine_loss: f64,
    scored: usize,
    perplexity_checkpoint: f64,
    perplexity_int8: f64,
    perplexity_ratio: f64,
    mix: Option<Value>,
    tensors: Vec<JsonTensor<'a>>,
}

#[derive(Debug, Serialize)]
struct Samples {
    count: usize,
    tokens: usize,
    temperature: f32,
    seed: u64,
}

#[derive(Debug, Serialize)]
struct JsonTensor<'a> {
    name: &'a str,
    rows: usize,
    cols: usize,
    bits: u32,
    group: usize,
    bits_per_weight: f64,
    relative_rms_error: f64,
    outlier_ratio: f64,
    int4_kl: Option<f64>,
}

impl<'a> JsonTensor<'a> {
    fn new(tensor: &'a TensorReport) -> Self {
        Self {
            name: &tensor.name,
            rows: tensor.rows,
            cols: tensor.cols,
            bits: tensor.bits(),
            group: tensor.group,
            bits_per_weight: tensor.bits_per_weight(),
            relative_rms_error: tensor.relative_error(),
            outlier_ratio: tensor.outlier_ratio(),
            int4_kl: tensor.int4_kl,
        }
    }
}

/// Measures the model that was just written, and writes the report to `file`.
pub(crate) fn write(
    file: &mut impl Write,
    args: &QuantizeArgs,
    checkpoint: &Checkpoint,
    converted: &Report,
    texts: &Texts,
) -> Result<()> {
    let quality = compare(args, checkpoint, texts)?;
    let mut worst: Vec<_> = converted.tensors.iter().collect();
    worst.sort_by(|a, b| b.relative_error().total_cmp(&a.relative_error()));
    let told = matches!(texts, Texts::Told);
    let json = Json {
        checkpoint: args.checkpoint.display().to_string(),
        model: args.output.display().to_string(),
        architecture: converted.shape.architecture.name(),
        content_hash: Hex(&converted.content_hash).to_string(),
        text: args.text.as_ref().map(|path| path.display().to_string()),
        samples: told.then_some(Samples {
            count: SAMPLES,
            tokens: SAMPLE_LEN,
            temperature: 1.0,
            seed: SAMPLE_SEED,
        }),
        sequences: quality.sequences,
        positions: quality.positions,
        kl_mean: quality.kl,
        kl_max: quality.largest_kl,
        top1_agreement: quality.top1,
        cosine_loss: quality.cosine_loss,
        scored: quality.scored,
        perplexity_checkpoint: quality.checkpoint_perplexity,
        perplexity_int8: quality.int8_perplexity,
        perplexity_ratio: quality.perplexity_ratio(),
        mix: converted.mix.as_ref().map(mix_json),
        tensors: worst.iter().map(|tensor| JsonTensor::new(tensor)).collect(),
    };
    serde_json::to_writer_pretty(&mut *file, &json).map_err(io::Error::from)?;
    file.write_all(b"\n")?;
    // With --json, the standard output is one value, and the report has the figures.
    if args.json { Ok(()) } else { Ok(print(&quality, &worst, told)?) }
}

/// Both sides on the texts.
fn compare(args: &QuantizeArgs, checkpoint: &Checkpoint, texts: &Texts) -> Result<Quality> {
    let mut reference = Reference::open(checkpoint)?;
    if let Some(path) = &args.tuned_state {
        reference.tune_from(&Checkpoint::open(path)?)?;
    }
    let opened = LoadedModel::new(&ModelArgs { model: Some(args.output.clone()), verify: false })?;
    let model = opened.model()?;
    let engine = EngineArgs::default();
    with_engine(model, &engine, SAMPLES, reference::MAX_BATCH, |engine| {
        let told;
        let texts = match texts {
            Texts::Given(texts) => texts,
            Texts::Told => {
                told = quality::samples(engine, SAMPLES, SAMPLE_LEN, SAMPLE_SEED)?;
                &told
            }
        };
        let all: usize = texts.iter().map(Vec::len).sum();
        let bar = terminal::progress(
            all as u64,
            "{bar:30} {percent}% · compared at {human_pos} of {human_len} tokens{left}",
        );
        let quality = quality::measure(&mut reference, engine, texts, &mut |done| {
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        Ok(quality?)
    })
}

fn print(quality: &Quality, worst: &[&TensorReport], told: bool) -> io::Result<()> {
    let mut out = IgnoreBrokenPipe::new(Stdout::lock());
    let weights = if worst.iter().any(|tensor| tensor.bits() < 8) { "int4" } else { "int8" };
    let texts = if told { "texts of its own" } else { "texts" };
    writeln!(
        out,
        "{weights} against the checkpoint, at {} tokens of {} {texts}:",
        quality.positions, quality.sequences
    )?;
    writeln!(out, "  KL divergence {:.2e} nats, at most {:.2e}", quality.kl, quality.largest_kl)?;
    writeln!(out, "  the same most probable token at {:.2} %", 100.0 * quality.top1)?;
    writeln!(
        out,
        "  perplexity {:.4} for {:.4}, a ratio of {:.5}",
        quality.int8_perplexity,
        quality.checkpoint_perplexity,
        quality.perplexity_ratio()
    )?;
    writeln!(out, "  largest relative errors of rounding:")?;
    for tensor in worst.iter().take(WORST) {
        writeln!(
            out,
            "    {:.2} %  {}, groups of {}, largest weight {:.1} times the rms",
            100.0 * tensor.relative_error(),
            tensor.name,
            tensor.group,
            tensor.outlier_ratio(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_short_a_text_says_nothing() {
        let bytes = Vocabulary::bytes(0);
        for text in ["", "a", "\n<|endoftext|>\n"] {
            let error = tokenize(text.into(), &bytes).unwrap_err().to_string();
            assert!(error.contains("of the 2 tokens that are needed"), "{text:?}: {error}");
        }
        assert!(list(b"[7]").unwrap_err().to_string().contains("too short: 1 of the 2 tokens"));
        assert!(list(b"once").unwrap_err().to_string().contains("--vocab"));
    }

    #[test]
    fn documents_start_with_the_end_of_a_text() {
        let text = b"abc\n<|endoftext|>\nd";
        let texts = tokenize(text.to_vec(), &Vocabulary::bytes(1)).unwrap();
        assert_eq!(texts, [vec![0, 98, 99, 100], vec![0, 101]]);
        let texts = tokenize(text.to_vec(), &Vocabulary::bytes(0)).unwrap();
        assert_eq!(texts, [vec![97, 98, 99], vec![100]]);
    }
}
