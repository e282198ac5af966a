//! A text under way: the prompt is read in batches, then tokens are drawn one by one.
//!
//! A stop string is looked for in bytes, whichever tokens it falls on, and what may begin one is
//! held back. An interrupt ends the text after the token or batch under way, so that the state is
//! one that can be saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use kinglet::engine::{BatchToken, Engine, StepError};
use kinglet::sampler::{Sampler, is_uncounted};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::stop::StopMatcher;

use super::text::TextOutput;
use super::times::{Ended, Times};
use crate::args::Stop;
use crate::support::engine::PROMPT_BATCH;
#[cfg(all(feature = "grammar", any(unix, windows)))]
use crate::support::grammar::Held;
use crate::support::terminal;

/// Prompts from this many tokens on show how far they are.
const LONG_PROMPT: usize = 4 * PROMPT_BATCH;

/// A text under way.
pub(super) struct Generation<'a> {
    pub(super) engine: &'a mut dyn Engine,
    pub(super) tokenizer: Tokenizer<'a>,
    /// The token at which the model's turn is over.
    pub(super) end_of_turn: Option<u32>,
    pub(super) sampler: Sampler<Vec<f32>>,
    pub(super) stops: StopMatcher<'a, Stop>,
    /// What the text is held to.
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    pub(super) held: Option<Held<'a>>,
    pub(super) text: TextOutput<'a>,
    /// Ids that may be drawn are below it.
    pub(super) drawable_vocab: usize,
    /// Whether to end after the token under way.
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Generation<'_> {
    /// Reads the prompt and writes at most `most` tokens that follow it.
    pub(super) fn tell(&mut self, prompt: &[u32], most: usize) -> Result<Times> {
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
        times.ended = if self.is_complete() { Ended::Complete } else { Ended::Length };
        // The first token is drawn in any case: the state has taken in the whole prompt, and goes
        // on with a token that it has not.
        while times.tokens < most && times.ended != Ended::Complete {
            if times.tokens > 0 && self.interrupted.load(Ordering::Relaxed) {
                times.ended = Ended::Interrupt;
                break;
            }
            if let Some(token) = times.next {
                self.engine.step(0, token, &mut logits)?;
            }
            let token = self.sample(&mut logits[..self.drawable_vocab])?;
            times.tokens += 1;
            times.next = Some(token);
            if self.ends(token)? {
                times.ended = Ended::EndOfText;
                break;
            }
            if self.write(token)? {
                times.ended = Ended::StopString;
                break;
            }
            if self.is_complete() {
                times.ended = Ended::Complete;
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
                "{bar:30} {percent}% · reading the prompt, {human_pos} of {human_len} tokens{left}",
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

    /// Draws the next token.
    fn sample(&mut self, logits: &mut [f32]) -> Result<u32> {
        #[cfg(all(feature = "grammar", any(unix, windows)))]
        if let Some(held) = &mut self.held {
            return held.sample(&mut self.sampler, logits);
        }
        Ok(self.sampler.sample(logits)?)
    }

    /// Whether a token that was drawn ends the text.
    fn ends(&mut self, token: u32) -> Result<bool> {
        #[cfg(all(feature = "grammar", any(unix, windows)))]
        if let Some(held) = &mut self.held {
            return held.accept(token);
        }
        Ok([self.tokenizer.end_of_text(), self.end_of_turn].contains(&Some(token)))
    }

    /// Whether nothing may follow under a grammar.
    fn is_complete(&self) -> bool {
        #[cfg(all(feature = "grammar", any(unix, windows)))]
        return self.held.as_ref().is_some_and(Held::is_over);
        #[cfg(not(all(feature = "grammar", any(unix, windows))))]
        false
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
