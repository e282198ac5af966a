//! What the commands of a chat do.
//!
//! A command that fails or is interrupted leaves the conversation as it was, and says why.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kinglet_talk::Thinking;

use super::command::{COMMANDS, Command};
use super::repl::plural;
#[cfg(feature = "grammar")]
use super::text;
use super::{Chat, Flow, editor, settings, start, stats, storage};
#[cfg(feature = "grammar")]
use crate::args::Notation;
#[cfg(feature = "grammar")]
use crate::support::grammar;
use crate::support::input;
use crate::support::numbers::grouped;

/// Longest file of `/read`.
const MAX_READ: u64 = 16 << 20;

impl Chat<'_> {
    /// Does what a command says.
    pub(super) fn perform(&mut self, command: Command) -> Result<Flow> {
        match command {
            Command::Help(None) => self.display.line(&help()),
            Command::Help(Some(name)) => self.display.line(&help_of(&name)),
            Command::Retry => {
                self.need_turn()?;
                self.session.retry()?;
                return self.answer();
            }
            Command::Continue => {
                self.need_turn()?;
                self.session.go_on()?;
                return self.answer();
            }
            Command::Edit(text) => return self.edit(text),
            Command::Undo(turns) => self.undo(turns)?,
            Command::Save { name, force } => self.save(&name, force)?,
            Command::Load(name) => self.load(&name)?,
            Command::States => self.states(),
            Command::Fork { name, force } => self.fork(&name, force)?,
            Command::System(text) => return self.system(text),
            Command::Think(mode) => self.think(mode)?,
            #[cfg(feature = "grammar")]
            Command::Grammar(file) => self.grammar(file.as_deref())?,
            Command::Set(None) => {
                let shown = settings::show(&self.session, self.seed);
                self.display.line(&shown);
            }
            Command::Set(Some((key, value))) => self.set(&key, &value)?,
            Command::Stats => {
                let stats = self.stats();
                self.display.line(&stats);
            }
            Command::Read(path) => self.attach(&path)?,
            Command::Clear => self.clear()?,
            Command::Exit => return Ok(Flow::End),
        }
        Ok(Flow::GoOn)
    }

    fn need_turn(&self) -> Result<()> {
        if self.session.turns().is_empty() {
            bail!("nothing was asked yet");
        }
        Ok(())
    }

    fn edit(&mut self, text: Option<String>) -> Result<Flow> {
        self.need_turn()?;
        let last = self.session.turns().last().map(|turn| turn.user.clone()).unwrap_or_default();
        let text = match text {
            Some(text) => text,
            None if !self.input.is_terminal() => bail!("/edit needs more: /edit TEXT"),
            None if editor::named().is_some() => editor::write(&last, &self.interrupt)?,
            None => {
                self.initial = format!("/edit {last}");
                return Ok(Flow::GoOn);
            }
        };
        if text.trim().is_empty() {
            bail!("there is no text; the conversation is as before");
        }
        if self.read(|session, progress| session.edit_with(&text, progress))? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
        self.answer()
    }

    fn undo(&mut self, turns: usize) -> Result<()> {
        let found = self.session.turns().len();
        if turns > found {
            bail!(
                "there {} {found} {}",
                if found == 1 { "is" } else { "are" },
                plural(found, "turn")
            );
        }
        self.session.undo(turns)?;
        self.keep()?;
        match self.session.turns().len() {
            0 => self.display.note("(at the beginning)"),
            _ => self.show_last(),
        }
        Ok(())
    }

    fn save(&mut self, name: &str, force: bool) -> Result<()> {
        let path = self.storage.path_to_write(name, force)?;
        let bytes = self.bytes()?;
        storage::write(&path, &bytes)?;
        self.display.note(&format!("(kept as {name}; /load {name} goes on from here)"));
        Ok(())
    }

    fn load(&mut self, name: &str) -> Result<()> {
        let path = self.storage.path(name)?;
        if !path.is_file() {
            let kept: Vec<_> = self.storage.kept().into_iter().map(|kept| kept.name).collect();
            match kept[..] {
                [] => bail!("{name} is not there; /save NAME keeps a conversation"),
                _ => bail!("{name} is not there; there are {}", kept.join(", ")),
            }
        }
        let branch = start::load(&self.model, self.state_type, &path)
            .map_err(|error| anyhow!("{error}; /states lists the others"))?;
        self.put_aside()?;
        self.session.switch(&branch)?;
        if let Some(settings) = &branch.settings {
            self.session.set_settings(settings)?;
        }
        (self.reason, self.seed) = ("that of the conversation".to_owned(), None);
        self.keep()?;
        self.show_last();
        Ok(())
    }

    fn states(&mut self) {
        let kept = self.storage.kept();
        if kept.is_empty() {
            self.display.note("(none; /save NAME keeps the conversation)");
        }
        for kept in &kept {
            self.display.line(&stats::kept(kept));
        }
    }

    fn fork(&mut self, name: &str, force: bool) -> Result<()> {
        self.storage.path_to_write(name, force)?;
        let aside = self.put_aside()?;
        self.storage.follow(name);
        self.keep()?;
        let aside = aside.filter(|old| old != name);
        let aside = aside.map_or(String::new(), |old| format!("; what it goes on from is {old}"));
        self.display.note(&format!("(goes on as {name}{aside})"));
        Ok(())
    }

    /// Keeps the conversation for later, because another takes its place; its name, if there is
    /// one.
    fn put_aside(&mut self) -> Result<Option<String>> {
        self.storage.leave(!self.session.turns().is_empty())
    }

    fn system(&mut self, text: Option<String>) -> Result<Flow> {
        let text = match text {
            None => {
                let system = self.session.options().system.clone();
                self.display.line(system.as_deref().unwrap_or("(no instructions)"));
                return Ok(Flow::GoOn);
            }
            Some(text) => Some(text).filter(|text| text != "off"),
        };
        let flow = self.read(|session, progress| session.set_system_with(text, progress))?;
        if flow == Flow::GoOn {
            self.display.note("(set; the conversation was read again)");
            self.keep()?;
        }
        Ok(flow)
    }

    fn think(&mut self, mode: Option<String>) -> Result<()> {
        let options = self.session.options();
        let budget = options.thought_tokens;
        let Some(mode) = mode else {
            let name = options.thinking.name();
            self.display.line(name);
            return Ok(());
        };
        let Some(thinking) = Thinking::named(&mode) else {
            let names = Thinking::ALL.map(|(name, _)| name);
            bail!("/think {mode}: there are {}", names.join(", "));
        };
        if thinking != Thinking::None && !self.session.template().thinks() {
            bail!("the template {} has no thoughts", self.session.template());
        }
        self.session.set_thinking(thinking, budget);
        self.display.note(&format!("(thinking: {})", thinking.name()));
        self.keep()
    }

    #[cfg(feature = "grammar")]
    fn grammar(&mut self, file: Option<&str>) -> Result<()> {
        let grammar = match file {
            None => {
                let shown = stats::grammar(self.session.options().grammar.as_ref());
                self.display.line(&shown);
                return Ok(());
            }
            Some("off") => None,
            Some(file) => {
                let path = text::path(file);
                let schema = path.extension().is_some_and(|end| end == "json" || end == "schema");
                let notation = if schema { Notation::JsonSchema } else { Notation::Gbnf };
                Some(grammar::read(&path, notation)?)
            }
        };
        let shown = stats::grammar(grammar.as_ref());
        self.session.set_grammar(grammar)?;
        self.display.note(&format!("(answers: {shown})"));
        self.keep()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        settings::set(&mut self.session, key, value)?;
        if key == "seed" {
            self.seed = Some(self.session.options().seed);
        }
        self.display.note(&format!("({key} is {value})"));
        self.keep()
    }

    fn attach(&mut self, path: &Path) -> Result<()> {
        let bytes = input::read(path, MAX_READ, "a text")?;
        let text =
            String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
        if !self.attached.is_empty() {
            self.attached.push('\n');
        }
        self.attached += text.strip_prefix('\u{feff}').unwrap_or(&text);
        let len = grouped(self.attached.len() as u64);
        self.display.note(&format!("({len} bytes; they stand before the next question)"));
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        let aside = self.put_aside()?;
        self.attached.clear();
        self.session.undo(self.session.turns().len())?;
        self.keep()?;
        let aside = aside.map_or(String::new(), |old| format!("; the one before is {old}"));
        self.display.note(&format!("(a new conversation{aside})"));
        Ok(())
    }
}

/// The lines of the commands that `wanted` chooses.
fn lines(wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for (name, argument, what) in COMMANDS.iter().filter(|(name, ..)| wanted(name)) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<24}{what}", format!("/{name} {argument}"));
    }
    text
}

/// What a command is for.
fn help_of(command: &str) -> String {
    lines(|name| name == command).trim_end().to_owned()
}

/// The commands, a line each.
fn help() -> String {
    lines(|_| true)
        + "\nA question has several lines after \"\"\" and up to \"\"\", after a \\ at the end of a line, \
            with Alt-Enter,\nor where they are pasted. Ctrl-G opens $EDITOR. Ctrl-C stops an answer; \
            twice, or Ctrl-D: the end."
}
