//! The text as it is shown.
//!
//! A token may be a part of a character, so that bytes are held until a character is whole. Three
//! forms share this: text for people, the bytes as they are for vocabularies of bytes in a pipe,
//! and JSON, an object a line for the prompt, for each token, and `done` at the end.

use std::io::{self, IsTerminal, Write};
use std::mem;

use anyhow::Result;
use kinglet::format::model::{Model, Section};
use kinglet::sampler::SamplerOptions;
use kinglet::tokenizer::text_stream::TextStream;
use serde_json::{Value, json};

use super::times::{Times, rate};
use crate::support::sampling::sampling_json;

/// The text as it is shown: whole characters, or the bytes of a vocabulary of bytes as they are
/// where nobody reads them on a terminal, or JSON.
pub(super) struct TextOutput<'a> {
    out: Box<dyn Write + 'a>,
    /// `None` where bytes are written as they are.
    characters: Option<TextStream>,
    /// With --json, the text of the next object.
    json: Option<String>,
}

impl<'a> TextOutput<'a> {
    pub(super) fn new(out: Box<dyn Write + 'a>, model: &Model<'_>, json: bool) -> Self {
        // The first byte of the section is its kind.
        let bytes = model.section(Section::Tokenizer).first() == Some(&0);
        let raw = bytes && !json && !io::stdout().is_terminal();
        Self { out, characters: (!raw).then(TextStream::new), json: json.then(String::new) }
    }

    /// Shows the characters that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
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
    pub(super) fn token(&mut self, token: u32, bytes: &[u8]) -> Result<()> {
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
    pub(super) fn prompt(&mut self, bytes: &[u8]) -> Result<()> {
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
    pub(super) fn done(
        &mut self,
        times: &Times,
        options: &SamplerOptions,
        seed: Option<u64>,
    ) -> Result<()> {
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
    pub(super) fn end(&mut self, kept: bool) -> Result<Vec<u8>> {
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
