//! Questions and their answers: reading a text into the state, then drawing tokens.
//!
//! Ctrl-C is looked at between batches of the text and between tokens. A text that is stopped is
//! taken back whole; an answer that is stopped keeps what it has, and `/continue` goes on with it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use kinglet_talk::{Finish, Session, TalkError};

use super::{Chat, Flow};
use crate::support::interrupt::Interrupt;
use crate::support::numbers::grouped;
use crate::support::terminal;

/// Texts that take longer than this show how far they are read.
const PATIENCE: Duration = Duration::from_millis(400);

/// Tokens and the time that they took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    pub(super) tokens: usize,
    pub(super) time: Duration,
}

/// The work of the last answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) read: Rate,
    pub(super) drawn: Rate,
}

impl Chat<'_> {
    /// Asks a question, after the text that was read for it, and shows the answer.
    pub(super) fn ask(&mut self, question: &str) -> Result<Flow> {
        let text = match &*self.attached {
            "" => question.to_owned(),
            attached => format!("{}\n\n{question}", attached.trim_end()),
        };
        if self.read(|session, progress| session.ask_with(&text, progress))? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
        self.attached.clear();
        self.answer()
    }

    /// Lets the session read a text; shows how far it is, and stops where Ctrl-C says so.
    pub(super) fn read(
        &mut self,
        read: impl FnOnce(&mut Session<'_>, kinglet_talk::Progress<'_>) -> Result<(), TalkError>,
    ) -> Result<Flow> {
        let start = Instant::now();
        let before = self.session.stats().read;
        let mut progress = Reading { interrupt: &self.interrupt, start, bar: None };
        let result = read(&mut self.session, &mut |done, all| progress.at(done, all));
        drop(progress);
        let tokens = self.session.stats().read - before;
        self.times.read = Rate { tokens, time: start.elapsed() };
        match result {
            Ok(()) => Ok(Flow::GoOn),
            Err(TalkError::Cancelled) => {
                self.display.note("(stopped; it was not read, and the conversation is as before)");
                Ok(Flow::Stopped)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Shows the answer under way until it ends, and puts the conversation on disk.
    pub(super) fn answer(&mut self) -> Result<Flow> {
        let start = Instant::now();
        let drawn = self.session.stats().drawn;
        let result = self.pieces();
        let tokens = self.session.stats().drawn - drawn;
        self.times.drawn = Rate { tokens, time: start.elapsed() };
        let held = self.session.held_back();
        self.display.piece(&kinglet_talk::Piece { answer: held, ..Default::default() });
        self.display.end_answer();
        let finish = self.session.finish().cloned();
        // What there is of the answer is kept, whatever ended it.
        let kept = self.keep();
        let flow = result?;
        let (end, note) = match (flow, finish) {
            (Flow::Stopped, _) => {
                ("interrupt", "(stopped; /continue goes on, /retry answers in another way)".into())
            }
            (_, Some(Finish::Length)) => {
                let most = grouped(self.session.options().answer_tokens as u64);
                ("length", format!("(stopped after {most} tokens; /continue goes on)"))
            }
            (_, Some(Finish::Stop(_))) => ("stop", String::new()),
            (_, Some(Finish::Complete)) => ("complete", String::new()),
            _ => ("end", String::new()),
        };
        if !note.is_empty() {
            self.display.note(&note);
        } else if tokens <= 1 && end != "complete" && self.input.is_terminal() {
            self.display.note("(the model has no more to say)");
        }
        if let Some(turn) = self.session.turns().last() {
            self.display.whole_answer(turn, end);
        }
        kept?;
        Ok(flow)
    }

    /// Shows the pieces of the answer as they come.
    fn pieces(&mut self) -> Result<Flow> {
        loop {
            if self.interrupt.take() {
                return Ok(Flow::Stopped);
            }
            match self.session.next_piece()? {
                Some(piece) => self.display.piece(&piece),
                None => return Ok(Flow::GoOn),
            }
            if self.display.has_failed() {
                return Ok(Flow::End);
            }
        }
    }
}

/// A text that is being read.
struct Reading<'i> {
    interrupt: &'i Interrupt,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Reading<'_> {
    fn at(&mut self, done: usize, all: usize) -> ControlFlow<()> {
        if self.interrupt.take() {
            return ControlFlow::Break(());
        }
        // It takes as long again for what is left.
        let takes = self.start.elapsed().mul_f64(all as f64 / done.max(1) as f64);
        if self.bar.is_none() && takes > PATIENCE {
            self.bar = Some(terminal::progress(
                all as u64,
                "{bar:30} {percent}% · reading, {human_pos} of {human_len} tokens{left}",
            ));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
        ControlFlow::Continue(())
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
