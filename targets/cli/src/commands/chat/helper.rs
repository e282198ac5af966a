//! What the line editor asks for: completions, and whether an entry is whole.

use std::fs;
use std::path::PathBuf;

use kinglet_talk::Thinking;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

use super::command::COMMANDS;
use super::{settings, storage, text};

pub(super) struct Helper {
    /// The folder of the conversations kept by name.
    folder: Option<PathBuf>,
}

impl Helper {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The words that may stand after a command.
    fn arguments(&self, command: &str) -> Vec<String> {
        match command {
            "load" | "save" | "fork" => {
                let kept = self.folder.as_deref().map(storage::list).unwrap_or_default();
                kept.into_iter().map(|kept| kept.name).collect()
            }
            "think" => Thinking::ALL.iter().map(|(name, _)| (*name).to_owned()).collect(),
            "set" => settings::KEYS.iter().map(|(name, _)| format!("{name} ")).collect(),
            "help" => COMMANDS.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            "system" | "grammar" => vec!["off".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// The paths beside one that is begun, written as `/read` takes them: a space is a space.
fn files(begun: &str) -> Vec<String> {
    let (folder, name) = begun.split_at(begun.rfind('/').map_or(0, |slash| slash + 1));
    let place = if folder.is_empty() { PathBuf::from(".") } else { text::path(folder) };
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let shown = entries.filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        // Hidden ones are for whoever asks for them.
        let is_shown = !file.starts_with('.') || name.starts_with('.');
        let end = if entry.path().is_dir() { "/" } else { "" };
        is_shown.then(|| format!("{folder}{file}{end}"))
    });
    shown.collect()
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let (Some(name), _) = text::split(line) else { return Ok((0, Vec::new())) };
        let pairs = |words: Vec<String>, begun: &str| {
            let mut words: Vec<_> =
                words.into_iter().filter(|word| word.starts_with(begun)).collect();
            words.sort();
            let pair =
                |word: String| Pair { display: word.trim_end().to_owned(), replacement: word };
            words.into_iter().map(pair).collect()
        };
        let start = name.len() + 2;
        if pos < start {
            let word = |&(name, argument, _): &(&str, &str, &str)| {
                let space = if argument.is_empty() { "" } else { " " };
                format!("/{name}{space}")
            };
            return Ok((0, pairs(COMMANDS.iter().map(word).collect(), &line[..pos])));
        }
        if name == "read" {
            return Ok((start, pairs(files(&line[start..pos]), &line[start..pos])));
        }
        Ok((start, pairs(self.arguments(name), &line[start..pos])))
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(match text::is_incomplete(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use rustyline::history::FileHistory;

    use super::*;

    fn complete(line: &str) -> (usize, Vec<String>) {
        let history = FileHistory::new();
        let helper = Helper::new(None);
        let (start, pairs) = helper.complete(line, line.len(), &Context::new(&history)).unwrap();
        (start, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn commands_and_their_words_are_completed() {
        assert_eq!(complete("/st"), (0, vec!["/states".into(), "/stats".into()]));
        assert_eq!(complete("/lo"), (0, vec!["/load ".into()]));
        assert_eq!(complete("/think fa"), (7, vec!["fast".into()]));
        assert_eq!(complete("/set top-"), (5, vec!["top-k ".into(), "top-p ".into()]));
        assert_eq!(complete("/load "), (6, vec![]));
        assert_eq!(complete("a question"), (0, vec![]));
        let (start, files) = complete("/read Cargo.to");
        assert_eq!((start, files), (6, vec!["Cargo.toml".into()]));
    }
}
