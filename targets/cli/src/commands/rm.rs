//! `kinglet rm`: removes models from the models folder, and what is left of their downloads.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::args::RmArgs;
use crate::support::models;
use crate::support::numbers::size;
use crate::support::stdout::outln;

pub(crate) fn run(args: &RmArgs) -> Result<()> {
    let folder = models::folder()?;
    // All names stand for something before anything is removed.
    let mut files = Vec::new();
    for name in &args.names {
        for file in files_of(&folder, name)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    if !args.yes && !agreed(&files)? {
        files.clear();
    }
    let mut removed = Vec::new();
    for file in &files {
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        if args.json {
            removed.push(json!({ "path": file.display().to_string(), "bytes": bytes }));
        } else {
            outln!("removed {}", file.display())?;
        }
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&json!({ "removed": removed }))?)?;
    } else if files.is_empty() {
        outln!("nothing was removed")?;
    }
    Ok(())
}

/// The files of the model of that name, or of its download alone where the name is `NAME.download`.
fn files_of(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    if !models::is_name(name) {
        bail!("`{name}` is no name of a model; `kinglet list` shows the names");
    }
    let name = name.strip_suffix(".kinglet").unwrap_or(name);
    let of_part = |name| [models::part(folder, name), models::record(folder, name)];
    let there = |files: Vec<PathBuf>| -> Vec<PathBuf> {
        files.into_iter().filter(|file| file.is_file()).collect()
    };
    let model = [models::file(folder, name), models::origin(folder, name)];
    let mut files = there(model.into_iter().chain(of_part(name)).collect());
    if files.first().is_some_and(|file| *file == models::file(folder, name)) {
        files.extend(there(models::kept(folder, name).into()));
    }
    if let (true, Some(name)) = (files.is_empty(), models::of_part(name)) {
        files = there(of_part(name).into());
    }
    if files.is_empty() && models::is_checkpoint(name) {
        files = there(vec![folder.join(name)]);
    }
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
