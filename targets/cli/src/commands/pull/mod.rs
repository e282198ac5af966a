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
mod room;
mod source;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Parser;
use kinglet::format::model::MAGIC;

use self::client::Client;
use self::download::Part;
use self::source::Source;
use crate::args::{PullArgs, QuantizeArgs};
use crate::commands::quantize;
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
        outln!("{} is there already, as {}; --force gets it again", source.name, target.display())?;
        return Ok(());
    }
    if !args.force {
        room::check_memory(&source)?;
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let part = Part::open(&folder, &source.name)?;
    let part = download::download(&client, &source, part, args.force)
        .map_err(|error| manual::explain(error, &source, &target))?;
    place(&part, &source, &target, args)?;
    outln!("{}: {}", target.display(), size(fs::metadata(&target)?.len()))?;
    outln!("try: kinglet run -m {} \"User: Hello!\\n\\nAssistant:\"", source.name)?;
    Ok(())
}

/// Makes the model of the checkpoint, and removes that or gives it its own name.
fn place(part: &Part, source: &Source, target: &Path, args: &PullArgs) -> Result<()> {
    if is_model(part.path())? {
        fs::rename(part.path(), target)
            .with_context(|| format!("cannot write {}", target.display()))?;
        part.forget();
        return Ok(());
    }
    terminal::note(&format!("converting {} to int8", source.file));
    quantize::run(&conversion(part.path(), source, target, args)).with_context(|| {
        format!(
            "the checkpoint stays as {}; `kinglet rm {}` removes it",
            part.path().display(),
            source.name
        )
    })?;
    if args.keep {
        let kept = target.with_file_name(&source.file);
        fs::rename(part.path(), &kept)
            .with_context(|| format!("cannot write {}", kept.display()))?;
        terminal::note(&format!("the checkpoint is kept as {}", kept.display()));
    }
    part.remove();
    Ok(())
}

/// The options of `quantize` for a checkpoint.
fn conversion(checkpoint: &Path, source: &Source, target: &Path, args: &PullArgs) -> QuantizeArgs {
    /// The options alone, with their defaults.
    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: QuantizeArgs,
    }
    let mut words: Vec<OsString> = vec!["kinglet".into(), "--output".into()];
    words.push(target.into());
    if args.force {
        words.push("--force".into());
    }
    if let Some(vocab) = &args.vocab {
        words.extend(["--vocab".into(), vocab.into()]);
    }
    if let Some(entry) = source.entry {
        words.extend(["--licence".into(), entry.licence.into()]);
    }
    words.extend(["--".into(), checkpoint.into()]);
    Alone::parse_from(words).args
}

/// Whether the file is a model already.
fn is_model(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut front = [0; MAGIC.len()];
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut file = file.take(MAGIC.len() as u64);
    let mut read = 0;
    while let len @ 1.. = file.read(&mut front[read..])? {
        read += len;
    }
    if read == 0 {
        bail!("{} is empty: there is nothing to convert", path.display());
    }
    Ok(front == MAGIC)
}
