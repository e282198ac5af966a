//! `kinglet run`: text from a prompt.

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kinglet::engine::{BatchToken, Engine, StepError};
use kinglet::format::model::{MAGIC, Model, Section};
use kinglet::sampler::{Sampler, SamplerOptions, is_uncounted};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::stop::StopMatcher;
use kinglet::tokenizer::text_stream::TextStream;
use serde_json::{Value, json};

use crate::args::{RunArgs, Stop};
use crate::support::engine::{PROMPT_BATCH, max_batch, with_engine};
use crate::support::input;
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::output::{self, Kind, Output};
use crate::support::sampling::{flags, sampling_json};
use crate::support::state_file::SavedState;
use crate::support::stdout::Stdout;
use crate::support::terminal::{self, IgnoreBrokenPipe};

/// Prompts from this many tokens on show how far they are.
const LONG_PROMPT: usize = 4 * PROMPT_BATCH;

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    if let Some(path) = &args.save_state {
        // The file of --state may be taken further.
        output::refuse_overwrite(&args.model.model, "--save-state", path)?;
        output::refuse_foreign(Kind::State, "--save-state", path, args.force)?;
    }
    let prompt = prompt(args)?;
    args.engine.check_device(&args.residence)?;
    let opened = LoadedModel::resident(&args.model, &args.residence)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let state_type = args.engine.state.state_type;
    let start = args.state.as_ref().map(|path| SavedState::read(state_type, model.header(), path));
    let start = start.transpose()?;
    if let Some(path) = &args.state {
        note_other_start(start.as_ref(), &model, path);
    }
    let first = start.as_ref().map_or(tokenizer.end_of_text(), |start| start.next);
    let mut tokens = Vec::from_iter(first);
    for token in tokenizer.encode(&prompt) {
        tokens.push(token.context("the prompt")?);
    }
    if tokens.is_empty() {
        bail!("there is no token to start with; give a prompt to go on with");
    }
    // Logits beyond the tokenizer's last id stand for nothing.
    let drawable_vocab = model.shape().vocab.min(tokenizer.vocab_len());
    let options = args.sampling.sampler.options(SamplerOptions::for_model(&model));
    let (sampler, seed) = sampler(args, options, start.as_ref(), drawable_vocab)?;
    let saved = args.save_state.as_deref().map(Output::private).transpose()?;
    let interrupted = interruptible(args);
    let batch = max_batch(&model, args.engine.prompt_batch()).min(tokens.len());
    with_engine(model, &args.engine, 1, batch, |engine| {
        if let Some(start) = &start {
            engine.load_state(0, &start.values)?;
        }
        let stdout = Stdout::lock();
        let out: Box<dyn Write> = match &saved {
            Some(_) => Box::new(IgnoreBrokenPipe::new(stdout)),
            None => Box::new(stdout),
        };
        let mut text = TextOutput::new(out, &model, args.json);
        if let Some(start) = &start {
            text.push(&start.unfinished)?;
        }
        if !args.no_echo {
            text.prompt(&prompt)?;
        }
        let stops = StopMatcher::new(&args.stop);
        let end_of_turn = model.end_of_turn().filter(|_| !args.ignore_turns);
        let mut generation = Generation {
            engine,
            tokenizer,
            end_of_turn,
            sampler,
            stops,
            text,
            drawable_vocab,
            interrupted,
        };
        // A state is saved before its next token, so that this can be fed again.
        let hold = usize::from(args.save_state.is_some() && args.tokens == 0);
        let told = generation.tell(&tokens[..tokens.len() - hold], args.tokens);
        let times = told.map_err(|error| explain(error, args, &mut generation.text))?;
        let unfinished = generation.text.end(saved.is_some())?;
        if let Some(mut file) = saved {
            let next = times.next.or(tokens.last().copied());
            let mut values = vec![0.0; model.shape().state_len()];
            generation.engine.store_state(0, &mut values)?;
            let mut sampler = vec![0; generation.sampler.snapshot_len()];
            generation.sampler.snapshot(&mut sampler)?;
            let start_state = Some(SavedState::start_state_of(model.header()));
            let state =
                SavedState { values, next, unfinished, sampler: Some(sampler), start_state };
            file.write_all(&state.bytes(state_type, model.header())?)?;
            file.finish()?;
        }
        // Where nothing was drawn, there is nothing to say again.
        let drew = times.tokens > 0 && !options.is_greedy();
        if args.json {
            let seed = seed.filter(|_| drew);
            return generation.text.done(&times, &options, seed);
        }
        let again = if drew { format!(" · {}", flags(&options, seed)) } else { String::new() };
        terminal::note(&format!("[{times}{again}]"));
        Ok(())
    })
}

/// The sampler, and its seed: one that goes on from a saved state has none.
fn sampler(
    args: &RunArgs,
    options: SamplerOptions,
    start: Option<&SavedState>,
    drawable_vocab: usize,
) -> Result<(Sampler<Vec<f32>>, Option<u64>)> {
    let seed = args.sampling.seed.unwrap_or_else(drawn_seed);
    let counts = vec![0.0; drawable_vocab];
    let mut sampler = Sampler::with_counts(options, seed, counts)?;
    let going_on = start.and_then(|start| start.sampler.as_ref());
    match going_on.filter(|_| args.sampling.seed.is_none()) {
        Some(snapshot) => {
            sampler.restore(snapshot).context("the sampler in the state file")?;
            Ok((sampler, None))
        }
        None => Ok((sampler, Some(seed))),
    }
}

/// Whether the generation is to end after the token under way.
fn interruptible(args: &RunArgs) -> Arc<AtomicBool> {
    #[cfg(unix)]
    if args.save_state.is_some() {
        return crate::support::signals::interruptible();
    }
    let _ = args;
    Arc::default()
}

/// Says that a state was saved with another tuned start state. The state itself is of this model.
fn note_other_start(start: Option<&SavedState>, model: &Model<'_>, path: &Path) {
    let expected = SavedState::start_state_of(model.header());
    if start.and_then(|start| start.start_state).is_some_and(|found| found != expected) {
        terminal::note(&format!(
            "note: {} was saved with a model of the same weights and another tuned start state",
            path.display()
        ));
    }
}

/// The error with where it may come from, on a line of its own below the text.
fn explain(error: anyhow::Error, args: &RunArgs, out: &mut TextOutput<'_>) -> anyhow::Error {
    if terminal::is_broken_pipe(&error) {
        return error;
    }
    // The error at hand says more than one of this line.
    let _ = out.end(false);
    match (&args.state, error.downcast_ref::<StepError>()) {
        (Some(path), Some(StepError::NonFinite)) => {
            error.context(format!("from the state in {}", path.display()))
        }
        _ => error,
    }
}

/// The prompt's bytes: text, or for a vocabulary of bytes whatever standard input has.
fn prompt(args: &RunArgs) -> Result<Vec<u8>> {
    if let Some(file) = &args.file {
        return input::text(file, "the prompt");
    }
    match args.prompt.as_deref() {
        None => Ok(Vec::new()),
        Some("-") => input::standard_input("the prompt"),
        Some(text) => {
            if is_model_file(text) {
                bail!("the prompt {text} is a model file; did you mean `-m {text}`?");
            }
            Ok(text.as_bytes().to_vec())
        }
    }
}

/// Whether a prompt is the path of a model file.
fn is_model_file(prompt: &str) -> bool {
    // A path is short, and has no line breaks.
    if prompt.len() > 4096 || prompt.contains('\n') {
        return false;
    }
    let path = Path::new(prompt);
    let named = path.extension().is_some_and(|end| end == "kinglet");
    path.is_file() && (named || begins_like_a_model(path))
}

fn begins_like_a_model(path: &Path) -> bool {
    let mut front = [0; MAGIC.len()];
    let file = std::fs::File::open(path);
    file.is_ok_and(|mut file| io::Read::read_exact(&mut file, &mut front).is_ok()) && front == MAGIC
}

/// A seed that differs between runs.
pub(crate) fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos());
    // Short enough to be typed again.
    u64::from((nanos ^ (nanos >> 32)) as u32 % 1_000_000)
}

/// How a generation went.
struct Times {
    /// The token to go on with, which the state has not taken in: the last one generated, or one
    /// of a prompt that was interrupted.
    next: Option<u32>,
    prompt_tokens: usize,
    prompt: Duration,
    tokens: usize,
    decode: Duration,
    /// Tokens of the prompt that were not read because of an interrupt.
    unread: usize,
    ended: Ended,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// As many tokens as were asked for.
    Length,
    EndOfText,
    StopString,
    Interrupt,
}

impl Ended {
    /// The name in the JSON.
    const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::EndOfText => "end of text",
            Self::StopString => "stop string",
            Self::Interrupt => "interrupt",
        }
    }
}

fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(1e-9)
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.prompt_tokens > 1 {
            let rate = rate(self.prompt_tokens, self.prompt);
            write!(f, "prompt {} tokens, {rate:.0} tokens/s · ", self.prompt_tokens)?;
        }
        if self.unread > 0 {
            return write!(f, "stopped, {} tokens of the prompt were not read", self.unread);
        }
        match self.tokens {
            0 => f.write_str("0 tokens"),
            tokens => write!(f, "{tokens} tokens, {:.0} tokens/s", rate(tokens, self.decode)),
        }
    }
}

/// The text as it is shown: whole characters, or the bytes of a vocabulary of bytes as they are
/// where nobody reads them on a terminal, or JSON.
struct TextOutput<'a> {
    out: Box<dyn Write + 'a>,
    /// `None` where bytes are written as they are.
    characters: Option<TextStream>,
    /// With --json, the text of the next object.
    json: Option<String>,
}

impl<'a> TextOutput<'a> {
    fn new(out: Box<dyn Write + 'a>, model: &Model<'_>, json: bool) -> Self {
        // The first byte of the section is its kind.
        let bytes = model.section(Section::Tokenizer).first() == Some(&0);
        let raw = bytes && !json && !io::stdout().is_terminal();
        Self { out, characters: (!raw).then(TextStream::new), json: json.then(String::new) }
    }

    /// Shows the characters that `bytes` complete.
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        match (&mut self.characters, &mut self.json) {
            (None, _) => self.out.write_all(bytes)?,
            (Some(characters), Some(json)) => json.extend(characters.push(bytes)),
            (Some(characters), None) => {
                for text in characters.push(bytes) {
                    self.out.write_all(text.as_bytes())?;
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    /// Shows what a token adds.
    fn token(&mut self, token: u32, bytes: &[u8]) -> Result<()> {
        self.push(bytes)?;
        match &mut self.json {
            None => Ok(()),
            Some(text) => {
                let text = mem::take(text);
                self.object(&json!({ "token": token, "text": text }))
            }
        }
    }

    /// Shows the prompt, whose bytes stand for themselves.
    fn prompt(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.push(bytes)?;
        self.end_character()?;
        match &mut self.json {
            None => Ok(()),
            Some(text) => {
                let text = mem::take(text);
                self.object(&json!({ "prompt": text }))
            }
        }
    }

    /// The last object of --json.
    fn done(&mut self, times: &Times, options: &SamplerOptions, seed: Option<u64>) -> Result<()> {
        let speed = |tokens, time| (tokens > 0).then(|| rate(tokens, time));
        let text = self.json.take().unwrap_or_default();
        self.object(&json!({ "done": {
            "text": text,
            "ended": times.ended.name(),
            "tokens": times.tokens,
            "tokens_per_second": speed(times.tokens, times.decode),
            "prompt_tokens": times.prompt_tokens,
            "prompt_tokens_per_second": speed(times.prompt_tokens, times.prompt),
            "prompt_tokens_unread": times.unread,
            "seed": seed,
            "sampling": sampling_json(options),
        } }))
    }

    fn object(&mut self, object: &Value) -> Result<()> {
        writeln!(self.out, "{object}")?;
        Ok(self.out.flush()?)
    }

    /// Shows what is no whole character as U+FFFD.
    fn end_character(&mut self) -> Result<()> {
        match (&mut self.characters, &mut self.json) {
            (Some(characters), Some(json)) => json.push_str(characters.finish()),
            (Some(characters), None) => self.out.write_all(characters.finish().as_bytes())?,
            (None, _) => {}
        }
        Ok(())
    }

    /// Ends the text with a line break. What is no whole character is shown as U+FFFD, or
    /// returned where it is to be `kept`.
    fn end(&mut self, kept: bool) -> Result<Vec<u8>> {
        let pending = self.characters.as_ref().map_or(&[][..], TextStream::pending);
        let unfinished = if kept { pending.to_vec() } else { Vec::new() };
        if !kept {
            self.end_character()?;
        }
        if self.characters.is_some() && self.json.is_none() {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()?;
        Ok(unfinished)
    }
}

/// A text under way.
struct Generation<'a> {
    engine: &'a mut dyn Engine,
    tokenizer: Tokenizer<'a>,
    /// The token at which the model's turn is over.
    end_of_turn: Option<u32>,
    sampler: Sampler<Vec<f32>>,
    stops: StopMatcher<'a, Stop>,
    text: TextOutput<'a>,
    /// Ids that may be drawn are below it.
    drawable_vocab: usize,
    /// Whether to end after the token under way.
    interrupted: Arc<AtomicBool>,
}

impl Generation<'_> {
    /// Reads the prompt and writes at most `most` tokens that follow it.
    fn tell(&mut self, prompt: &[u32], most: usize) -> Result<Times> {
        let mut logits = vec![0.0; self.engine.shape().vocab];
        let start = Instant::now();
        let read = self.read(prompt, &mut logits)?;
        let ready = Instant::now();
        let mut times = Times {
            next: prompt.get(read).copied(),
            prompt_tokens: read,
            prompt: ready - start,
            tokens: 0,
            decode: Duration::ZERO,
            unread: prompt.len() - read,
            ended: Ended::Interrupt,
        };
        if read < prompt.len() {
            return Ok(times);
        }
        times.ended = Ended::Length;
        // The first token is drawn in any case: the state has taken in the whole prompt, and goes
        // on with a token that it has not.
        while times.tokens < most {
            if times.tokens > 0 && self.interrupted.load(Ordering::Relaxed) {
                times.ended = Ended::Interrupt;
                break;
            }
            if let Some(token) = times.next {
                self.engine.step(0, token, &mut logits)?;
            }
            let token = self.sampler.sample(&mut logits[..self.drawable_vocab])?;
            times.tokens += 1;
            times.next = Some(token);
            let ends = [self.tokenizer.end_of_text(), self.end_of_turn];
            if ends.contains(&Some(token)) {
                times.ended = Ended::EndOfText;
                break;
            }
            if self.write(token)? {
                times.ended = Ended::StopString;
                break;
            }
        }
        times.decode = ready.elapsed();
        // No stop came after all.
        let held = self.stops.held_bytes();
        self.text.push(held)?;
        Ok(times)
    }

    /// Reads the prompt, in batches; how many of its tokens, where an interrupt ends it.
    fn read(&mut self, prompt: &[u32], logits: &mut [f32]) -> Result<usize> {
        let bar = (prompt.len() >= LONG_PROMPT).then(|| {
            terminal::progress(
                prompt.len() as u64,
                "{bar:30} {percent}% · reading the prompt, {human_pos} of {human_len} tokens · {eta} left",
            )
        });
        let vocab = self.engine.shape().vocab;
        if let Some(&found) = prompt.iter().find(|&&token| token as usize >= vocab) {
            return Err(StepError::Token { found, vocab }.into());
        }
        let mut read = 0;
        for tokens in prompt.chunks(self.engine.max_batch()) {
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
            let last = read + tokens.len() == prompt.len();
            let batch: Vec<_> = (1..=tokens.len())
                .zip(tokens)
                .map(|(at, &token)| BatchToken {
                    token,
                    sequence: 0,
                    logits: last && at == tokens.len(),
                })
                .collect();
            self.engine.forward(&batch, if last { &mut *logits } else { &mut [] })?;
            read += tokens.len();
            if let Some(bar) = &bar {
                bar.set_position(read as u64);
            }
        }
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        Ok(read)
    }

    /// Counts a token and shows its text; whether a stop ends it.
    fn write(&mut self, token: u32) -> Result<bool> {
        let bytes = self.tokenizer.token(token).unwrap_or_default();
        if is_uncounted(bytes) {
            self.sampler.accept_uncounted(token);
        } else {
            self.sampler.accept(token);
        }
        let mut shown = Vec::new();
        let stopped = self.stops.push(bytes, |bytes| shown.extend_from_slice(bytes));
        self.text.token(token, &shown)?;
        Ok(stopped.is_some())
    }
}
