//! The loop of a chat: an entry, what it asks for, and the next one.
//!
//! An entry that fails is told and the loop goes on; what was said before stays. Only where the
//! input is no terminal do failures count: they become the status at the end.

use std::io;

use anyhow::{Result, bail};

use super::input::Entry;
use super::{Chat, Flow, command, editor, text};
use crate::support::interrupt::Interrupt;

/// Talks until the end of the input.
pub(super) fn talk(chat: &mut Chat<'_>) -> Result<()> {
    let (mut failures, mut interrupted, mut stopped) = (0, false, false);
    loop {
        let prompt = chat.display.prompt(chat.storage.name());
        let initial = std::mem::take(&mut chat.initial);
        let entry = chat.next_entry(&prompt, &initial);
        let again = matches!(entry, Ok(Entry::Interrupt));
        let taken = match entry {
            Ok(Entry::End) => break,
            Ok(Entry::Interrupt) if interrupted => break,
            Ok(Entry::Interrupt) => {
                chat.display.note("(Ctrl-C again ends the chat, as Ctrl-D and /exit do)");
                Ok(Flow::GoOn)
            }
            Ok(Entry::Editor(begun)) => chat.take_from_editor(&begun),
            Ok(Entry::Text(text)) => chat.take(&text),
            // What cannot be read at all has no next entry.
            Err(error) if chat.input.is_terminal() || error.is::<io::Error>() => return Err(error),
            Err(error) => Err(error),
        };
        interrupted = again;
        let flow = taken.unwrap_or_else(|error| {
            failures += 1;
            chat.display.error(&error);
            Flow::GoOn
        });
        chat.display.check()?;
        // Whoever stops a chat that nobody types into wants no more of its lines.
        stopped = flow == Flow::Stopped && !chat.input.is_terminal();
        if flow == Flow::End || stopped {
            break;
        }
    }
    chat.leave();
    if stopped {
        Interrupt::end();
    }
    if failures > 0 && !chat.input.is_terminal() {
        bail!("{failures} of the entries failed");
    }
    Ok(())
}

impl Chat<'_> {
    /// Waits for the next entry. Of a pipe nobody knows when it comes: Ctrl-C ends the chat then.
    fn next_entry(&mut self, prompt: &(String, String), initial: &str) -> Result<Entry> {
        if self.input.is_terminal() {
            return self.input.next(prompt, initial);
        }
        self.interrupt.set_ends(true);
        if self.interrupt.take() {
            Interrupt::end();
        }
        let entry = self.input.next(prompt, initial);
        self.interrupt.set_ends(false);
        entry
    }

    /// Does what an entry asks for.
    pub(super) fn take(&mut self, entry: &str) -> Result<Flow> {
        // One that came before this was meant for something else.
        if self.interrupt.take() && !self.input.is_terminal() {
            return Ok(Flow::Stopped);
        }
        match text::split(entry) {
            (Some(name), argument) => self.perform(command::parse(name, argument)?),
            (None, body) => {
                let question = text::meant(body);
                if question.trim().is_empty() && self.attached.is_empty() {
                    return Ok(Flow::GoOn);
                }
                if text::is_incomplete(body) && body.trim_start().starts_with("\"\"\"") {
                    bail!("the block that \"\"\" begins has no \"\"\" at its end");
                }
                self.ask(&question)
            }
        }
    }

    fn take_from_editor(&mut self, begun: &str) -> Result<Flow> {
        let written = match editor::write(begun, &self.interrupt) {
            Ok(written) => written,
            Err(error) => {
                // Nothing that was typed is lost.
                self.initial = begun.to_owned();
                return Err(error);
            }
        };
        if written.trim().is_empty() {
            return Ok(Flow::GoOn);
        }
        self.display.line(&format!("> {}", written.trim_end()));
        self.ask(written.trim_end())
    }

    /// Says what there is, to a person.
    pub(super) fn greet(&mut self, resume: bool) {
        let turns = self.session.turns().len();
        if resume && self.storage.saved().is_none() {
            self.display.note("note: there is no conversation to go on with; this is a new one");
        }
        if !self.input.is_terminal() {
            return;
        }
        let template = self.session.template();
        let way = if template.is_plain() {
            "it goes on with your text".to_owned()
        } else {
            format!("template {template}")
        };
        let note = format!(
            "{} · {way} · /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends",
            self.model_name
        );
        self.display.note(&note);
        if turns > 0 {
            self.show_last();
        }
    }

    /// Shows the last turn, so that a person knows where the conversation stands.
    pub(super) fn show_last(&mut self) {
        let turns = self.session.turns().len();
        let Some(last) = self.session.turns().last() else { return };
        if self.input.is_terminal() {
            let (user, answer) = (last.user.clone(), last.answer.clone());
            self.display.note(&format!("({turns} {}, the last:)", plural(turns, "turn")));
            self.display.turn(&user, &answer);
        }
    }

    fn leave(&mut self) {
        let kept = self.storage.is_begun() && !self.session.turns().is_empty();
        if self.input.is_terminal() && kept {
            self.display.note(&format!("(kept; {})", self.storage.way_back()));
        }
    }
}

/// A word for that many.
pub(super) fn plural(number: usize, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}
