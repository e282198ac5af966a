//! The commands of a chat, which begin with `/`.
//!
//! Read whole before anything is done: a wrong argument, or one too many, changes nothing. What
//! other programs call a command is understood, and what is near to one is named.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::text;

/// Names, arguments, and what they do, as `/help` lists them.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("help", "[COMMAND]", "lists the commands, or explains one"),
    ("retry", "", "answers the last question again, in another way"),
    ("undo", "[N]", "takes back the last turn, or the last N"),
    ("edit", "[TEXT]", "asks TEXT in the place of the last question; without it, opens that one"),
    ("continue", "", "goes on with an answer that was stopped"),
    ("save", "NAME", "keeps the conversation; with --force, in the place of another"),
    ("load", "NAME", "goes on with a conversation that was kept"),
    ("states", "", "lists the conversations that were kept"),
    ("fork", "NAME", "goes on as NAME, which is kept after every turn from here"),
    ("system", "[TEXT|off]", "shows, sets or takes away the instructions"),
    (
        "think",
        "[MODE]",
        "shows or sets how the model thinks: none, fast, full, think, a-bit, a-lot",
    ),
    #[cfg(feature = "grammar")]
    ("grammar", "[FILE|off]", "shows, sets or takes away the grammar that answers are held to"),
    ("set", "[KEY VALUE]", "shows or sets an option, such as temp, top-p, seed, tokens"),
    ("stats", "", "shows model, template, speed, memory and file"),
    ("read", "FILE", "puts the text of a file before the next question"),
    ("clear", "", "begins a new conversation"),
    ("exit", "", "ends; so does Ctrl-D"),
];

/// What other programs call a command.
const ALIASES: [(&str, &str); 6] = [
    ("?", "help"),
    ("regen", "retry"),
    ("new", "clear"),
    ("quit", "exit"),
    ("bye", "exit"),
    ("q", "exit"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help(Option<String>),
    Retry,
    Undo(usize),
    Edit(Option<String>),
    Continue,
    Save {
        name: String,
        force: bool,
    },
    Load(String),
    States,
    Fork {
        name: String,
        force: bool,
    },
    System(Option<String>),
    Think(Option<String>),
    #[cfg(feature = "grammar")]
    Grammar(Option<String>),
    Set(Option<(String, String)>),
    Stats,
    Read(PathBuf),
    Clear,
    Exit,
}

/// The command of that name with its argument.
pub(super) fn parse(name: &str, argument: &str) -> Result<Command> {
    let name = unaliased(name);
    let argument = text::meant(argument);
    let argument = argument.trim();
    let given = (!argument.is_empty()).then(|| argument.to_owned());
    let command = match name {
        "undo" => return Ok(Command::Undo(turns(argument)?)),
        "help" => {
            Command::Help(given.map(|given| known(given.trim_start_matches('/'))).transpose()?)
        }
        "edit" => Command::Edit(given),
        "system" => Command::System(given),
        "think" => Command::Think(given),
        #[cfg(feature = "grammar")]
        "grammar" => Command::Grammar(given),
        "set" => Command::Set(given.map(|given| key_and_value(&given)).transpose()?),
        "save" | "fork" => {
            let (argument, force) = match argument.strip_suffix("--force") {
                Some(argument) => (argument.trim_end(), true),
                None => (argument, false),
            };
            let argument = needed(name, "NAME", argument)?;
            match name {
                "save" => Command::Save { name: argument, force },
                _ => Command::Fork { name: argument, force },
            }
        }
        "load" => Command::Load(needed(name, "NAME", argument)?),
        "read" => Command::Read(text::path(&needed(name, "FILE", argument)?)),
        _ => return without_argument(name, argument),
    };
    Ok(command)
}

/// The name of a command that other programs may call otherwise.
fn unaliased(name: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or(name, |(_, name)| name)
}

/// The name of a command that `/help` is to explain.
fn known(name: &str) -> Result<String> {
    let name = unaliased(name);
    if !COMMANDS.iter().any(|(known, ..)| *known == name) {
        bail!("there is no command /{name}; {}", advice(name));
    }
    Ok(name.to_owned())
}

fn without_argument(name: &str, argument: &str) -> Result<Command> {
    let command = match name {
        "retry" => Command::Retry,
        "continue" => Command::Continue,
        "states" => Command::States,
        "stats" => Command::Stats,
        "clear" => Command::Clear,
        "exit" => Command::Exit,
        _ => bail!("there is no command /{name}; {}", advice(name)),
    };
    if !argument.is_empty() {
        bail!("/{name} takes nothing after it, but there is \"{argument}\"");
    }
    Ok(command)
}

/// The nearest name, and how to ask a question that begins with `/`.
fn advice(name: &str) -> String {
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    let names = COMMANDS.iter().map(|(known, ..)| *known);
    let begun: Vec<_> = names.clone().filter(|known| known.starts_with(name)).collect();
    let nearest = match begun[..] {
        [only] => Some(only),
        _ => names.min_by_key(|known| distance(known)).filter(|known| distance(known) <= 2),
    };
    match nearest {
        Some(nearest) => format!("did you mean /{nearest}?"),
        None => "/help lists them; a question may begin with a space and then /".to_owned(),
    }
}

fn turns(argument: &str) -> Result<usize> {
    match argument {
        "" => Ok(1),
        _ => match argument.parse() {
            Ok(turns @ 1..) => Ok(turns),
            _ => bail!("/undo {argument}: not a number of turns from 1"),
        },
    }
}

fn needed(name: &str, what: &str, argument: &str) -> Result<String> {
    if argument.is_empty() {
        bail!("/{name} needs more: /{name} {what}");
    }
    Ok(argument.to_owned())
}

fn key_and_value(argument: &str) -> Result<(String, String)> {
    let mut words = argument.split([' ', '=', '\t']).filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(key), Some(value), None) => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("/set takes a key and a value, such as /set temp 0.7; /set alone shows all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command> {
        let (name, argument) = text::split(line);
        parse(name.expect("a command"), argument)
    }

    #[test]
    fn every_command_that_is_listed_is_known() {
        for (name, argument, _) in COMMANDS {
            let line =
                format!("/{name} {}", if *argument == "[KEY VALUE]" { "temp 1" } else { "" });
            let found = read(&line);
            let needs = !argument.is_empty() && !argument.starts_with('[');
            assert_eq!(found.is_err(), needs, "{line}: {found:?}");
        }
    }

    #[test]
    fn arguments_are_read() {
        assert_eq!(read("/undo 3").unwrap(), Command::Undo(3));
        assert_eq!(read("/undo").unwrap(), Command::Undo(1));
        let save = Command::Save { name: "a b".into(), force: true };
        assert_eq!(read("/save a b --force").unwrap(), save);
        assert_eq!(read("/edit a\\\nb").unwrap(), Command::Edit(Some("a\nb".into())));
        let set = Command::Set(Some(("temp".into(), "1".into())));
        assert_eq!(read("/set temp=1").unwrap(), set);
        assert_eq!(read("/q").unwrap(), Command::Exit);
        assert_eq!(read("/?").unwrap(), Command::Help(None));
        assert_eq!(read("/help /regen").unwrap(), Command::Help(Some("retry".into())));
    }

    #[test]
    fn a_wrong_command_says_what_is_right() {
        for (line, part) in [
            ("/udno", "did you mean /undo?"),
            ("/cont", "did you mean /continue?"),
            ("/frobnicate", "/help lists them"),
            ("/undo x", "number of turns"),
            ("/undo 0", "number of turns"),
            ("/save", "/save NAME"),
            ("/set temp", "/set temp 0.7"),
            ("/retry now", "takes nothing"),
            ("/help udno", "did you mean /undo?"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
