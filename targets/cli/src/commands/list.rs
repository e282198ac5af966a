//! `kinglet list`: the models in the models folder, parts of downloads and kept checkpoints.
//!
//! A model's header is read and nothing else, so that a folder of many gigabytes is listed at once.
//! A file that is no model is listed with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use kinglet::engine::Requirements;
use kinglet::format::model::Model;
use kinglet_host::ModelFile;
use serde_json::{Value, json};

use crate::args::ListArgs;
use crate::support::models;
use crate::support::numbers::{amount, size};
use crate::support::stdout::outln;
use crate::support::terminal::visible;
use crate::support::traffic::parameters;

pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let folder = models::folder()?;
    let names = models::names(&folder);
    let names = names.with_context(|| format!("cannot read {}", folder.display()))?;
    let entries: Vec<_> = names.into_iter().map(|name| Entry::new(&folder, name)).collect();
    let (parts, checkpoints) = (models::parts(&folder), models::checkpoints(&folder));
    if args.json {
        let models: Vec<_> = entries.iter().map(Entry::json).collect();
        let files = |files: &[(String, u64)]| -> Vec<_> {
            files.iter().map(|(name, len)| json!({ "name": name, "bytes": len })).collect()
        };
        let json = json!({
            "folder": folder.display().to_string(),
            "models": models,
            "downloads": files(&parts),
            "checkpoints": files(&checkpoints),
        });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
    } else {
        print(&folder, &entries)?;
        for (name, len) in parts {
            let bytes = size(len);
            let name = visible(&name);
            outln!("{name}: {bytes} of its download; `kinglet rm {name}.download` removes that")?;
        }
        for (name, len) in checkpoints {
            let (name, bytes) = (visible(&name), size(len));
            outln!("{name}: a checkpoint, {bytes}; `kinglet rm {name}` removes that alone")?;
        }
    }
    Ok(())
}

/// A file of the folder.
struct Entry {
    name: String,
    path: PathBuf,
    bytes: u64,
    changed: Option<SystemTime>,
    /// What the file says of itself, or why it cannot be used.
    facts: Result<Facts, String>,
}

struct Facts {
    architecture: &'static str,
    parameters: u64,
    state_bytes: u64,
}

impl Entry {
    fn new(folder: &Path, name: String) -> Self {
        let path = models::file(folder, &name);
        let metadata = fs::metadata(&path).ok();
        Self {
            name,
            bytes: metadata.as_ref().map_or(0, fs::Metadata::len),
            changed: metadata.and_then(|metadata| metadata.modified().ok()),
            facts: facts(&path),
            path,
        }
    }

    /// The day of the last change, such as 2026-11-30.
    fn day(&self) -> Option<String> {
        let time = humantime::format_rfc3339_seconds(self.changed?).to_string();
        Some(time.split('T').next()?.to_owned())
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "name": self.name,
            "path": self.path.display().to_string(),
            "bytes": self.bytes,
            "changed": self.changed.map(|time| humantime::format_rfc3339_seconds(time).to_string()),
        });
        let facts = match &self.facts {
            Ok(facts) => json!({
                "architecture": facts.architecture,
                "parameters": facts.parameters,
                "state_bytes": facts.state_bytes,
            }),
            Err(error) => json!({ "error": error }),
        };
        if let (Value::Object(json), Value::Object(facts)) = (&mut json, facts) {
            json.extend(facts);
        }
        json
    }
}

/// Reads header and directory of a model file.
fn facts(path: &Path) -> Result<Facts, String> {
    let file = ModelFile::open(path).map_err(|error| error.to_string())?;
    let model = Model::open(file.bytes()).map_err(|error| error.to_string())?;
    let shape = model.shape();
    Ok(Facts {
        architecture: shape.architecture.name(),
        parameters: parameters(&model),
        state_bytes: Requirements::of::<f32>(shape, 1).state_bytes as u64,
    })
}

fn print(folder: &Path, entries: &[Entry]) -> io::Result<()> {
    if entries.is_empty() {
        return outln!("no models in {}; {}", folder.display(), models::NEXT);
    }
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0).max(4);
    outln!(
        "{:width$}  {:12}  {:>10}  {:>8}  {:>8}  changed",
        "name",
        "architecture",
        "parameters",
        "file",
        "state"
    )?;
    for entry in entries {
        let name = visible(&entry.name);
        let day = entry.day().unwrap_or_default();
        let file = size(entry.bytes);
        match &entry.facts {
            Ok(Facts { architecture, parameters, state_bytes }) => outln!(
                "{name:width$}  {architecture:12}  {:>10}  {file:>8}  {:>8}  {day}",
                amount(*parameters),
                size(*state_bytes),
            )?,
            Err(error) => outln!("{name:width$}  not usable: {}", visible(error))?,
        }
    }
    outln!()?;
    outln!("in {}", folder.display())
}
