//! What a person sees: answers as they come, thoughts dimmed, and what the program says.
//!
//! Answers and what commands were asked for go to standard output, all else to standard error.
//! Where standard output is no terminal, answers are there as the model wrote them, without
//! thoughts; with --json each is a line. On a terminal a control character of the model could do
//! anything, and is left out.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use kinglet_talk::{Piece, Turn};
use serde_json::json;

use crate::support::terminal::{self, visible};

const DIM: Style = Style::new().dimmed();
const PROMPT: Style = AnsiColor::Cyan.on_default().bold();

/// The part of a turn that was shown last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    Thought,
    Answer,
}

pub(super) struct Display {
    out: AutoStream<io::Stdout>,
    /// Whether answers are lines of JSON.
    is_json: bool,
    /// Whether a person reads the standard output.
    is_terminal: bool,
    /// Whether it has colours.
    is_styled: bool,
    part: Part,
    /// Whether the next character begins a line.
    at_line_start: bool,
    /// Why nothing can be shown any more.
    failure: Option<io::Error>,
}

impl Display {
    pub(super) fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal() && !is_json;
        let is_styled = is_terminal && AutoStream::choice(&stdout) != ColorChoice::Never;
        Self {
            out: AutoStream::auto(stdout),
            is_json,
            is_terminal,
            is_styled,
            part: Part::Nothing,
            at_line_start: true,
            failure: None,
        }
    }

    /// Whether nobody can read it any more.
    pub(super) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The failure to show something, which ends the chat.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(error) => {
                let message = format!("cannot write to standard output: {error}");
                Err(io::Error::new(error.kind(), message))
            }
            None => Ok(()),
        }
    }

    /// The prompt, plain and with its style.
    pub(super) fn prompt(&self, name: Option<&str>) -> (String, String) {
        let plain = format!("{}> ", name.unwrap_or_default());
        let styled =
            if self.is_styled { format!("{PROMPT}{plain}{PROMPT:#}") } else { plain.clone() };
        (plain, styled)
    }

    /// Shows what a token of an answer completed.
    pub(super) fn piece(&mut self, Piece { thought, answer }: &Piece) {
        if self.is_json {
            return;
        }
        if self.is_terminal && !thought.is_empty() {
            if self.part != Part::Thought && !self.is_styled {
                self.write("[thinking]\n");
            }
            self.part = Part::Thought;
            let shown = visible(thought);
            let dimmed = if self.is_styled { format!("{DIM}{shown}{DIM:#}") } else { shown };
            self.write(&dimmed);
        }
        if answer.is_empty() {
            return;
        }
        if self.part == Part::Thought {
            self.end_thought();
        }
        if !self.is_terminal {
            self.write(answer);
        } else if self.part == Part::Nothing {
            self.write(&visible(answer.trim_start()));
        } else {
            self.write(&visible(answer));
        }
        if !answer.trim_start().is_empty() {
            self.part = Part::Answer;
        }
    }

    fn end_thought(&mut self) {
        self.new_line();
        self.write(if self.is_styled { "\n" } else { "[answer]\n" });
        self.part = Part::Nothing;
    }

    /// Ends an answer.
    pub(super) fn end_answer(&mut self) {
        match (self.is_json, self.is_terminal) {
            (true, _) => {}
            (false, true) => self.new_line(),
            (false, false) => self.write("\n"),
        }
        self.part = Part::Nothing;
    }

    /// Shows a whole answer where answers are lines of JSON.
    pub(super) fn whole_answer(&mut self, turn: &Turn, end: &str) {
        if self.is_json {
            let line = json!({
                "question": turn.user,
                "thought": turn.thought,
                "answer": turn.answer,
                "tokens": turn.tokens.len(),
                "end": end,
            });
            self.write(&format!("{line}\n"));
        }
    }

    /// Shows a turn of before.
    pub(super) fn turn(&mut self, user: &str, answer: &str) {
        if self.is_styled {
            self.write(&format!("{DIM}> {}{DIM:#}\n", visible(user)));
        } else {
            self.write(&format!("> {}\n", visible(user)));
        }
        self.write(&visible(answer.trim()));
        self.new_line();
    }

    /// Shows what was asked for.
    pub(super) fn line(&mut self, text: &str) {
        let text = match (self.is_json, self.is_terminal) {
            (true, _) => json!({ "shown": text }).to_string(),
            (false, true) => visible(text),
            (false, false) => text.to_owned(),
        };
        self.write(&text);
        self.write("\n");
    }

    /// Says something beside it.
    pub(super) fn note(&mut self, text: &str) {
        if self.is_terminal {
            self.new_line();
        }
        terminal::note(text);
    }

    /// Says why something was not done.
    pub(super) fn error(&mut self, error: &anyhow::Error) {
        if self.is_terminal {
            self.new_line();
        }
        terminal::error(error);
    }

    fn new_line(&mut self) {
        if !self.at_line_start {
            self.write("\n");
        }
    }

    fn write(&mut self, text: &str) {
        if self.failure.is_some() || text.is_empty() {
            return;
        }
        self.at_line_start = text.ends_with('\n');
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        self.failure = written.err();
    }
}
