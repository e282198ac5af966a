//! What is entered: on a terminal with editing, history and completion, elsewhere lines.
//!
//! An entry of several lines stands between `"""` and `"""`, or has a `\` at each line's end.

use std::io::{self, BufRead, IsTerminal, Read, StdinLock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Editor, Event, EventContext,
    EventHandler, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::helper::Helper;
use super::{storage, text};

/// Longest text of a turn that is read from a pipe.
const MAX_TEXT: u64 = 64 << 20;
/// Entries of the history.
const MAX_HISTORY: usize = 1000;

/// What was entered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A question or a command.
    Text(String),
    /// The beginning of a text that is to be written in an editor.
    Editor(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of the input.
    End,
}

pub(super) enum Input {
    Terminal(Box<Terminal>),
    Lines(StdinLock<'static>),
}

pub(super) struct Terminal {
    editor: Editor<Helper, FileHistory>,
    history: Option<PathBuf>,
    /// Set by Ctrl-G.
    wants_editor: Arc<AtomicBool>,
}

impl Input {
    /// Input from a terminal if both sides are one, and nobody asks for `lines`. State names in
    /// `folder` are completed.
    pub(super) fn new(folder: Option<PathBuf>, lines: bool) -> Result<Self> {
        if lines || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Lines(io::stdin().lock()));
        }
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(MAX_HISTORY)?
            .history_ignore_dups(true)?
            .build();
        let mut editor = Editor::with_config(config).context("the terminal")?;
        editor.set_helper(Some(Helper::new(folder)));
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        let wants_editor = Arc::new(AtomicBool::new(false));
        let handler = OpenEditor(Arc::clone(&wants_editor));
        editor.bind_sequence(KeyEvent::ctrl('G'), EventHandler::Conditional(Box::new(handler)));
        let history = storage::history();
        if let Some(history) = &history {
            // There is none at first.
            let _ = editor.load_history(history);
        }
        Ok(Self::Terminal(Box::new(Terminal { editor, history, wants_editor })))
    }

    /// Whether a person enters it.
    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Waits for the next entry, after a prompt on a terminal. `initial` is there to be edited.
    pub(super) fn next(&mut self, prompt: &(String, String), initial: &str) -> Result<Entry> {
        match self {
            Self::Terminal(terminal) => terminal.next(prompt, initial),
            Self::Lines(lines) => next_lines(lines),
        }
    }
}

impl Terminal {
    fn next(&mut self, prompt: &(String, String), initial: &str) -> Result<Entry> {
        self.wants_editor.store(false, Ordering::Relaxed);
        match self.editor.readline_with_initial(prompt, (initial, "")) {
            Ok(text) if self.wants_editor.load(Ordering::Relaxed) => Ok(Entry::Editor(text)),
            Ok(text) => {
                self.remember(&text);
                Ok(Entry::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Entry::Interrupt),
            Err(ReadlineError::Eof) => Ok(Entry::End),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }

    /// Puts an entry into the history, and this on the disk: the program may be killed.
    fn remember(&mut self, text: &str) {
        let is_new = self.editor.add_history_entry(text).unwrap_or(false);
        if let Some(history) = self.history.as_ref().filter(|_| is_new) {
            // A history that is not kept is no reason to end.
            let _ = self.editor.append_history(history);
        }
    }
}

/// Ctrl-G: takes the text as it is, to go on with it in an editor.
struct OpenEditor(Arc<AtomicBool>);

impl ConditionalEventHandler for OpenEditor {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(true, Ordering::Relaxed);
        Some(Cmd::AcceptLine)
    }
}

/// The next entry of lines.
fn next_lines(lines: &mut impl BufRead) -> Result<Entry> {
    let mut entry = String::new();
    loop {
        let mut line = Vec::new();
        let most = MAX_TEXT - entry.len() as u64;
        lines.take(most).read_until(b'\n', &mut line).context("cannot read standard input")?;
        let at_end = line.last() != Some(&b'\n');
        if at_end && line.len() as u64 == most {
            bail!("a turn on standard input has more than {MAX_TEXT} bytes");
        }
        if at_end && line.is_empty() && entry.is_empty() {
            return Ok(Entry::End);
        }
        let line = String::from_utf8(line).context("a line of standard input is not UTF-8")?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        entry += line.strip_suffix('\r').unwrap_or(line);
        if at_end || !text::is_incomplete(&entry) {
            return Ok(Entry::Text(entry));
        }
        entry.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_blocks_are_entries() {
        let mut lines = "a\r\n\n\"\"\"\nb\n\nc\n\"\"\"\nd\\\ne\n/undo\nlast".as_bytes();
        let mut entries = Vec::new();
        loop {
            match next_lines(&mut lines).unwrap() {
                Entry::Text(text) => entries.push(text),
                end => break assert_eq!(end, Entry::End),
            }
        }
        let block = "\"\"\"\nb\n\nc\n\"\"\"";
        assert_eq!(entries, ["a", "", block, "d\\\ne", "/undo", "last"]);
        assert_eq!(next_lines(&mut &b"\"\"\"a"[..]).unwrap(), Entry::Text("\"\"\"a".into()));
        let mut wrong = &b"\xff\nb\n"[..];
        assert!(next_lines(&mut wrong).is_err());
        assert_eq!(next_lines(&mut wrong).unwrap(), Entry::Text("b".into()));
    }
}
