//! `kinglet pull`: from a name to a model in the models folder.
//!
//! ```text
//! name, hf:OWNER/REPO/FILE, URL -> source -> room (RAM) -> client: the hub, its CDN
//!                                                             |
//!            models folder <- quantize <- checksum <- download: NAME.download, resumed
//! ```
//!
//! What is downloaded stays as `NAME.download`, with `NAME.download.json` beside it, until it is
//! converted: whatever ends the program, the same command goes on from there.

mod client;
mod download;
mod manual;
mod origin;
mod place;
mod room;
mod source;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use kinglet::format::model::Model;
use kinglet_host::ModelFile;
use kinglet_quantize::Hex;
use serde_json::json;

use self::client::Client;
use self::download::Part;
use self::source::Source;
use crate::args::PullArgs;
use crate::support::models;
use crate::support::numbers::size;
use crate::support::stdout::outln;
use crate::support::terminal;

pub(crate) fn run(args: &PullArgs) -> Result<()> {
    let client = Client::new()?;
    let folder = models::folder()?;
    let Some(model) = &args.model else {
        return table::print(&folder, args.json);
    };
    let source = Source::parse(model, args.name.as_deref(), client.endpoint())?;
    let target = models::file(&folder, &source.name);
    if target.exists() && !args.force {
        origin::check_same(&folder, &source, &target)?;
        let path = target.display();
        terminal::note(&format!(
            "{} is there already, as {path}; --force gets it again",
            source.name
        ));
        if args.json {
            print_json(&source, &target, None)?;
        }
        return Ok(());
    }
    let kept = args.keep.then(|| place::kept(&folder, &source)).transpose()?;
    if !args.force {
        room::check_memory(&source)?;
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let part = Part::open(&folder, &source.name)?;
    let part = download::download(&client, &source, part, args.force)
        .map_err(|error| manual::explain(error, &source, &target))?;
    place::place(part, &source, &target, kept.as_deref(), args)?;
    if args.json {
        print_json(&source, &target, kept.as_deref())?;
    } else if !terminal::is_quiet() {
        outln!("{}: {}", target.display(), size(fs::metadata(&target)?.len()))?;
    }
    Ok(())
}

/// Prints what the model is, and what it was made of.
fn print_json(source: &Source, target: &Path, kept: Option<&Path>) -> Result<()> {
    let file = ModelFile::open(target)?;
    let model = Model::open(file.bytes())?;
    let sha256 = model.provenance().lines().find_map(|line| line.strip_prefix("source-sha256: "));
    let json = json!({
        "name": source.name,
        "path": target.display().to_string(),
        "bytes": file.bytes().len(),
        "content_hash": Hex(&model.header().content_hash).to_string(),
        "source": source.from,
        "sha256": sha256,
        "kept": kept.filter(|kept| kept.is_file()).map(|kept| kept.display().to_string()),
    });
    Ok(outln!("{}", serde_json::to_string_pretty(&json)?)?)
}
