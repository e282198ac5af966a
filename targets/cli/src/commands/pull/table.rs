//! `kinglet pull` alone: the models to be had.

use std::io;
use std::path::Path;

use anyhow::Result;
use kinglet_host::total_memory;
use serde_json::{Value, json};

use super::room::fits;
use super::source::HUB;
use crate::catalogue::{ENTRIES, Entry};
use crate::support::models;
use crate::support::numbers::size;
use crate::support::stdout::outln;

/// Shows the list; `folder` is where those lie that are there already.
pub(super) fn print(folder: &Path, as_json: bool) -> Result<()> {
    if as_json {
        let models: Vec<_> = ENTRIES.iter().map(|entry| json(entry, folder)).collect();
        let json = json!({ "ram_bytes": total_memory(), "models": models });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
    } else {
        lines(folder)?;
    }
    Ok(())
}

fn json(entry: &Entry, folder: &Path) -> Value {
    json!({
        "name": entry.name,
        "version": entry.version,
        "title": entry.title,
        "repository": entry.repository,
        "file": entry.file,
        "url": format!("{HUB}/{}/resolve/main/{}", entry.repository, entry.file),
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "licence": entry.licence,
        "model_bytes": entry.model_len(),
        "ram_bytes": entry.ram(),
        "fits": fits(entry),
        "here": is_here(entry, folder),
        "good_for": entry.good_for,
    })
}

fn is_here(entry: &Entry, folder: &Path) -> bool {
    models::file(folder, entry.name).is_file()
}

fn lines(folder: &Path) -> io::Result<()> {
    let width = |text: fn(&Entry) -> &str| ENTRIES.iter().map(|entry| text(entry).len()).max();
    let name = width(|entry| entry.name).unwrap_or(0);
    let title = width(|entry| entry.title).unwrap_or(0);
    let licence = width(|entry| entry.licence).unwrap_or(0);
    outln!(
        "{:name$}  {:title$}  {:>8}  {:>8}  {:>8}  {:5}  {:licence$}  good for",
        "name",
        "model",
        "download",
        ".kinglet",
        "RAM",
        "fits",
        "licence"
    )?;
    for entry in ENTRIES {
        let fits = match (is_here(entry, folder), fits(entry)) {
            (true, _) => "here",
            (false, Some(true)) => "yes",
            (false, Some(false)) => "no",
            (false, None) => "?",
        };
        outln!(
            "{:name$}  {:title$}  {:>8}  {:>8}  {:>8}  {fits:5}  {:licence$}  {}",
            entry.name,
            entry.title,
            size(entry.bytes),
            size(entry.model_len()),
            size(entry.ram()),
            entry.licence,
            entry.good_for,
        )?;
    }
    outln!()?;
    match total_memory() {
        Some(total) => {
            outln!("fits: this machine has {} of RAM; here: in {}", size(total), folder.display())?
        }
        None => outln!("fits: this machine's RAM is not known; here: in {}", folder.display())?,
    }
    outln!("`kinglet pull NAME` gets one; hf:OWNER/REPO/FILE or a URL what is not in the list")?;
    outln!("`kinglet pull --json` has their files and repositories: {HUB}/BlinkDL and others")
}
