//! `kinglet run`: text from a prompt.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kinglet::engine::Engine;
use kinglet::sampler::{Sampler, is_uncounted};
use kinglet::text::TextStream;
use kinglet::tokenizer::Tokenizer;

use crate::args::RunArgs;
use crate::engine::with_engine;
use crate::model::{Opened, tokenizer};
use crate::terminal;

/// Starts every text, and ends it.
const END_OF_TEXT: u32 = 0;
/// Tokens of the prompt that are computed together.
const BLOCK: usize = 32;

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let opened = Opened::new(&args.model)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let prompt = prompt(args)?;
    let mut tokens = vec![END_OF_TEXT];
    for token in tokenizer.encode(prompt.as_bytes()) {
        tokens.push(token.context("the prompt")?);
    }
    let seed = args.seed.unwrap_or_else(drawn_seed);
    let vocab = model.shape().vocab;
    // Logits beyond the tokenizer's last id stand for nothing.
    let drawable = vocab.min(tokenizer.vocab_len());
    let sampler = Sampler::with_counts(args.sampler_options(), seed, vec![0.0; drawable])?;
    let block = BLOCK.min(tokens.len());
    with_engine(model, &args.engine, 1, block, |engine| {
        let mut story = Story { engine, tokenizer, sampler, text: TextStream::new(), drawable };
        let mut out = io::stdout().lock();
        out.write_all(prompt.as_bytes())?;
        let times = story.tell(&tokens, args.tokens, &mut out)?;
        let seed = if args.seed.is_some() || args.temperature == 0.0 {
            String::new()
        } else {
            format!(" · --seed {seed}")
        };
        terminal::note(&format!("[{times}{seed}]"));
        Ok(())
    })
}

/// The prompt's text.
fn prompt(args: &RunArgs) -> Result<String> {
    match args.prompt.as_deref() {
        None => Ok(String::new()),
        Some("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("the prompt on standard input")?;
            Ok(text)
        }
        Some(text) => Ok(text.to_owned()),
    }
}

/// A seed that differs between runs.
fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos());
    // Short enough to be typed again.
    u64::from((nanos ^ (nanos >> 32)) as u32 % 1_000_000)
}

/// How long a story took.
struct Times {
    prompt_tokens: usize,
    prompt: Duration,
    tokens: usize,
    decode: Duration,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        if self.prompt_tokens > 1 {
            let rate = rate(self.prompt_tokens, self.prompt);
            write!(f, "prompt {} tokens, {rate:.0} tokens/s · ", self.prompt_tokens)?;
        }
        write!(f, "{} tokens, {:.0} tokens/s", self.tokens, rate(self.tokens, self.decode))
    }
}

/// A text under way.
struct Story<'a> {
    engine: &'a mut dyn Engine,
    tokenizer: Tokenizer<'a>,
    sampler: Sampler<Vec<f32>>,
    text: TextStream,
    /// Ids that may be drawn are below it.
    drawable: usize,
}

impl Story<'_> {
    /// Reads the prompt and writes at most `most` tokens that follow it.
    fn tell(&mut self, prompt: &[u32], most: usize, out: &mut impl Write) -> Result<Times> {
        let mut logits = vec![0.0; self.engine.shape().vocab];
        let start = Instant::now();
        self.engine.prefill(0, prompt, &mut logits)?;
        let read = Instant::now();
        let mut tokens = 0;
        while tokens < most {
            let token = self.sampler.sample(&mut logits[..self.drawable])?;
            tokens += 1;
            if token == END_OF_TEXT {
                break;
            }
            self.write(token, out)?;
            if tokens < most {
                self.engine.step(0, token, &mut logits)?;
            }
        }
        let decode = read.elapsed();
        writeln!(out, "{}", self.text.finish())?;
        out.flush()?;
        Ok(Times { prompt_tokens: prompt.len(), prompt: read - start, tokens, decode })
    }

    fn write(&mut self, token: u32, out: &mut impl Write) -> Result<()> {
        let bytes = self.tokenizer.token(token).unwrap_or_default();
        if is_uncounted(bytes) {
            self.sampler.accept_uncounted(token);
        } else {
            self.sampler.accept(token);
        }
        for text in self.text.push(bytes) {
            out.write_all(text.as_bytes())?;
        }
        out.flush()?;
        Ok(())
    }
}
