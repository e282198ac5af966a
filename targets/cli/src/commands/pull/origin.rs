//! Where a model of the folder came from: two checkpoints of one name are told apart.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kinglet::format::model::Model;
use kinglet_host::ModelFile;
use kinglet_quantize::Hex;
use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::support::models;

/// What is known of a model, in JSON beside it.
#[derive(Serialize, Deserialize)]
struct Origin {
    /// As [`Source::from`].
    from: String,
    /// The model that it is about: another may have taken its name.
    content_hash: String,
}

/// Notes where the model came from. Failing to is no error: a note is a comfort.
pub(super) fn note(folder: &Path, source: &Source, model: &Model<'_>) {
    let content_hash = Hex(&model.header().content_hash).to_string();
    let origin = Origin { from: source.from.clone(), content_hash };
    if let Ok(json) = serde_json::to_vec_pretty(&origin) {
        let _ = fs::write(models::origin(folder, &source.name), json);
    }
}

/// Refuses where the model that is there is not the one that `source` gives.
pub(super) fn check_same(folder: &Path, source: &Source, target: &Path) -> Result<()> {
    let (name, from) = (&source.name, &source.from);
    let unusable =
        || format!("{} is there, and cannot be used; --force gets {name} again", target.display());
    let file = ModelFile::open(target).with_context(unusable)?;
    let model = Model::open(file.bytes()).with_context(unusable)?;
    if let Some(other) = other(folder, source, &model) {
        bail!(
            "{name} is there already, and is another model: {} came from {other}, not from \
             {from}; `--as NAME` gets this one under another name, --force in place of that one",
            target.display()
        );
    }
    Ok(())
}

/// What the model came from, where that is not `source`.
fn other(folder: &Path, source: &Source, model: &Model<'_>) -> Option<String> {
    let json = fs::read(models::origin(folder, &source.name)).ok();
    let origin: Option<Origin> = json.and_then(|json| serde_json::from_slice(&json).ok());
    let hash = Hex(&model.header().content_hash).to_string();
    if let Some(origin) = origin.filter(|origin| origin.content_hash == hash) {
        return Some(origin.from).filter(|from| *from != source.from);
    }
    // A model that was put there by hand says itself what it was made of.
    let stated = |key: &str| model.provenance().lines().find_map(|line| line.strip_prefix(key));
    let name = stated("source: ")?;
    if let (Some(entry), Some(sha256)) = (source.entry, stated("source-sha256: ")) {
        return Some(name.to_owned()).filter(|_| sha256 != entry.sha256);
    }
    // A finished model does not say by what name it is published.
    let is_finished = source.file.ends_with(".kinglet") || name.ends_with(".download");
    Some(name.to_owned()).filter(|name| !is_finished && *name != source.file)
}
