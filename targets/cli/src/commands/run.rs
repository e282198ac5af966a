//! `kinglet run`: text from a prompt.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kinglet::engine::{Engine, StepError};
use kinglet::sampler::{Sampler, is_uncounted};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::text_stream::TextStream;

use crate::args::RunArgs;
use crate::support::engine::{PROMPT_BATCH, with_engine};
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::output::{self, Output};
use crate::support::state_file::SavedState;
use crate::support::stdout::Stdout;
use crate::support::terminal::{self, IgnoreBrokenPipe};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    if let Some(path) = &args.save_state {
        // The file of --state may be taken further.
        output::refuse_overwrite(&args.model.model, "--save-state", path)?;
    }
    let opened = LoadedModel::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let prompt = prompt(args)?;
    let state_type = args.engine.state.state_type;
    let start = args.state.as_ref().map(|path| SavedState::read(state_type, model.header(), path));
    let start = start.transpose()?;
    let first = start.as_ref().map_or(tokenizer.end_of_text(), |start| start.next);
    let mut tokens = Vec::from_iter(first);
    for token in tokenizer.encode(prompt.as_bytes()) {
        tokens.push(token.context("the prompt")?);
    }
    if tokens.is_empty() {
        bail!("there is no token to start with; give a prompt to go on with");
    }
    let seed = args.sampling.seed.unwrap_or_else(drawn_seed);
    let vocab = model.shape().vocab;
    // Logits beyond the tokenizer's last id stand for nothing.
    let drawable_vocab = vocab.min(tokenizer.vocab_len());
    let sampler = Sampler::with_counts(args.sampling.options(), seed, vec![0.0; drawable_vocab])?;
    let max_batch = PROMPT_BATCH.min(tokens.len());
    let saved = args.save_state.as_deref().map(Output::create).transpose()?;
    with_engine(model, &args.engine, 1, max_batch, |engine| {
        if let Some(start) = &start {
            engine.load_state(0, &start.values)?;
        }
        let mut story =
            Generation { engine, tokenizer, sampler, text: TextStream::new(), drawable_vocab };
        let stdout = Stdout::lock();
        let mut out: Box<dyn Write> = match &saved {
            Some(_) => Box::new(IgnoreBrokenPipe::new(stdout)),
            None => Box::new(stdout),
        };
        out.write_all(prompt.as_bytes())?;
        // A state is saved before its next token, so that this can be fed again.
        let hold = usize::from(args.save_state.is_some() && args.tokens == 0);
        let told = story.tell(&tokens[..tokens.len() - hold], args.tokens, &mut out);
        let times = told.map_err(|error| explain(error, args, &mut out))?;
        if let Some(mut file) = saved {
            let next = times.last.or(tokens.last().copied());
            let mut values = vec![0.0; model.shape().state_len()];
            story.engine.store_state(0, &mut values)?;
            file.write_all(&SavedState { values, next }.bytes(state_type, model.header())?)?;
            file.finish()?;
        }
        let seed = if args.sampling.seed.is_some() || args.sampling.temperature == 0.0 {
            String::new()
        } else {
            format!(" · --seed {seed}")
        };
        terminal::note(&format!("[{times}{seed}]"));
        Ok(())
    })
}

/// The error with where it may come from, on a line of its own below the text.
fn explain(error: anyhow::Error, args: &RunArgs, out: &mut dyn Write) -> anyhow::Error {
    if terminal::is_broken_pipe(&error) {
        return error;
    }
    // The error at hand says more than one of this line.
    let _ = writeln!(out).and_then(|()| out.flush());
    match (&args.state, error.downcast_ref::<StepError>()) {
        (Some(path), Some(StepError::NonFinite)) => {
            error.context(format!("from the state in {}", path.display()))
        }
        _ => error,
    }
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

/// How a story went.
struct Times {
    /// The last token generated, which the state has not taken in.
    last: Option<u32>,
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
struct Generation<'a> {
    engine: &'a mut dyn Engine,
    tokenizer: Tokenizer<'a>,
    sampler: Sampler<Vec<f32>>,
    text: TextStream,
    /// Ids that may be drawn are below it.
    drawable_vocab: usize,
}

impl Generation<'_> {
    /// Reads the prompt and writes at most `most` tokens that follow it.
    fn tell(&mut self, prompt: &[u32], most: usize, out: &mut dyn Write) -> Result<Times> {
        let mut logits = vec![0.0; self.engine.shape().vocab];
        let start = Instant::now();
        self.engine.prefill(0, prompt, &mut logits)?;
        let read = Instant::now();
        let mut tokens = 0;
        let mut last = None;
        while tokens < most {
            let token = self.sampler.sample(&mut logits[..self.drawable_vocab])?;
            tokens += 1;
            last = Some(token);
            if Some(token) == self.tokenizer.end_of_text() {
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
        Ok(Times { last, prompt_tokens: prompt.len(), prompt: read - start, tokens, decode })
    }

    fn write(&mut self, token: u32, out: &mut dyn Write) -> Result<()> {
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
