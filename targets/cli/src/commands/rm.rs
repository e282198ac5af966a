//! `kinglet rm`: removes models from the models folder, and what is left of their downloads.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::args::RmArgs;
use crate::support::models;
use crate::support::numbers::size;
use crate::support::stdout::outln;

pub(crate) fn run(args: &RmArgs) -> Result<()> {
    let folder = models::folder()?;
    // All names stand for something before anything is removed.
    let mut files = Vec::new();
    for name in &args.names {
        files.extend(files_of(&folder, name)?);
    }
    if !args.yes && !agreed(&files)? {
        outln!("nothing was removed")?;
        return Ok(());
    }
    for file in &files {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        outln!("removed {}", file.display())?;
    }
    Ok(())
}

/// The files of the model of that name.
fn files_of(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    if !models::is_name(name) {
        bail!("`{name}` is no name of a model; `kinglet list` shows the names");
    }
    let name = name.strip_suffix(".kinglet").unwrap_or(name);
    let files =
        [models::file(folder, name), models::part(folder, name), models::record(folder, name)];
    let files: Vec<_> = files.into_iter().filter(|file| file.is_file()).collect();
    if files.is_empty() {
        let known = models::names(folder).unwrap_or_default();
        let near = models::near(name, known.iter().map(String::as_str));
        let next = match near.is_empty() {
            true => "`kinglet list` shows those that are there".to_owned(),
            false => format!("near is {}", near.join(", ")),
        };
        bail!("no model `{name}` in {}; {next}", folder.display());
    }
    Ok(files)
}

/// Asks whether the files are to go.
fn agreed(files: &[PathBuf]) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask on; `--yes` removes without asking");
    }
    let mut question = io::stderr().lock();
    for file in files {
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        writeln!(question, "{} ({})", file.display(), size(bytes))?;
    }
    write!(question, "Remove? [y/N] ")?;
    question.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
