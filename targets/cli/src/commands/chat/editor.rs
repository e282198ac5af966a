//! A text written in an editor of the person's choice.

use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::support::input;
use crate::support::interrupt::Interrupt;

/// Longest text.
const MAX_TEXT: u64 = 16 << 20;

/// The editor that the environment names.
pub(super) fn named() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    variable("VISUAL").or_else(|| variable("EDITOR"))
}

/// Opens an editor on a text, and returns what it became. Ctrl-C is the editor's meanwhile.
pub(super) fn write(begun: &str, interrupt: &Interrupt) -> Result<String> {
    let editor =
        named().context("no editor is named; set VISUAL or EDITOR, such as EDITOR=nano")?;
    let mut file = tempfile::Builder::new().prefix("kinglet-").suffix(".txt").tempfile()?;
    writeln!(file, "{begun}")?;
    file.flush()?;
    // An editor may put another file in the place of this one, so that it is known by its path.
    let path = file.into_temp_path();
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(program);
    command.args(words).arg(&path);
    let status = interrupt.leave_to(|| command.status());
    let status = status.with_context(|| format!("the editor {editor}"))?;
    if !status.success() {
        bail!("the editor {editor} ended with {status}; nothing is asked");
    }
    let bytes = input::read(&path, MAX_TEXT, "a question")?;
    let text = String::from_utf8(bytes).context("the text is not UTF-8")?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
