//! From the download to the model: converted, or taken as it is where it is one already.
//!
//! The model that was there stays until the new one is known to be good.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::Parser;
use kinglet::format::model::{MAGIC, Model, ModelError, Section};
use kinglet_host::ModelFile;
use kinglet_quantize::ConvertError;
use kinglet_quantize::checkpoint::CheckpointError;

use super::download::Part;
use super::manual::quoted;
use super::origin;
use super::source::Source;
use crate::args::{PullArgs, QuantizeArgs};
use crate::commands::quantize;
use crate::support::models::ENDINGS;
use crate::support::terminal;

/// Where the checkpoint is kept: beside the model, under its name.
pub(super) fn kept(folder: &Path, source: &Source) -> Result<PathBuf> {
    let ending = source.file.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    let ending = ending.filter(|ending| ENDINGS.contains(&&**ending));
    let ending = ending.as_deref().unwrap_or(ENDINGS[ENDINGS.len() - 1]);
    let kept = folder.join(format!("{}.{ending}", source.name));
    if kept.symlink_metadata().is_ok() {
        bail!(
            "--keep: {} is there already; move it away, or give the model another name with \
             --as NAME",
            kept.display()
        );
    }
    Ok(kept)
}

/// Makes the model of what was downloaded, and removes that, or keeps it as `kept`.
pub(super) fn place(
    mut part: Part,
    source: &Source,
    target: &Path,
    kept: Option<&Path>,
    args: &PullArgs,
) -> Result<()> {
    let is_model = is_model(part.path())?;
    let made = match is_model {
        true => take(part.path(), target, args),
        false => convert(part.path(), source, target, args),
    };
    if let Err(error) = made {
        return Err(stays(&mut part, source, error));
    }
    let file = ModelFile::open(target)?;
    let model = Model::open(file.bytes())?;
    origin::note(target.parent().unwrap_or(target), source, &model);
    let is_mute = model.section(Section::Tokenizer).is_empty();
    let wanted = args.vocab.as_deref().is_some_and(|vocab| vocab == Path::new("none"));
    if is_model {
        part.forget();
    } else if let Some(kept) = kept {
        fs::rename(part.path(), kept)
            .with_context(|| format!("cannot write {}", kept.display()))?;
        terminal::note(&format!("the checkpoint is kept as {}", kept.display()));
        part.forget();
    } else if is_mute && !wanted {
        terminal::note(&format!("the checkpoint stays as {}", part.path().display()));
    } else {
        part.remove();
    }
    if !is_mute {
        terminal::note(&format!("next: {}", next(&model, source)));
    } else if !is_model && !wanted {
        terminal::note(&format!("next: {}", with_vocabulary(source, target, kept)));
    }
    Ok(())
}

/// The command that uses the model.
fn next(model: &Model<'_>, source: &Source) -> String {
    let name = quoted(&source.name);
    match has_roles(model) {
        true => format!("kinglet chat {name}"),
        false => format!("kinglet run -m {name}"),
    }
}

/// Whether the model was trained to answer.
#[cfg(feature = "chat")]
fn has_roles(model: &Model<'_>) -> bool {
    use kinglet_talk::{Template, choose, template::BuiltIn};
    !matches!(choose(model).template, Template::BuiltIn(BuiltIn::Plain))
}
#[cfg(not(feature = "chat"))]
fn has_roles(_: &Model<'_>) -> bool {
    false
}

/// The command that makes the model once more, with a vocabulary.
fn with_vocabulary(source: &Source, target: &Path, kept: Option<&Path>) -> String {
    if let Some(kept) = kept {
        let path = |path: &Path| quoted(&path.display().to_string());
        return format!("kinglet quantize {} -o {} --vocab FILE", path(kept), path(target));
    }
    let given = match source.entry {
        Some(entry) => entry.name,
        // A URL with a password or a signature is not shown.
        None if !source.of_hub && source.url != source.from => "URL",
        None => &source.from,
    };
    let (given, name) = (quoted(given), quoted(&source.name));
    format!("kinglet pull {given} --as {name} --vocab FILE --force")
}

/// The error, with what becomes of the download.
fn stays(part: &mut Part, source: &Source, error: Error) -> Error {
    let mut again = "";
    if may_be_damage(&error) {
        part.distrust();
        if !part.is_compared() {
            again = ", and the next pull begins again, for no checksum says that it is whole";
        }
    }
    // What is wrong comes first, then what becomes of the file.
    anyhow!(
        "{error:#}; what was downloaded stays as {}{again}; `kinglet rm {}.download` removes it",
        part.path().display(),
        quoted(&source.name)
    )
}

/// Whether the bytes of the download may be what is wrong.
fn may_be_damage(error: &Error) -> bool {
    let conversion = error.downcast_ref::<ConvertError>().is_some_and(|error| {
        !matches!(error, ConvertError::Vocabulary { .. } | ConvertError::Output { .. })
    });
    conversion
        || error.downcast_ref::<CheckpointError>().is_some()
        || error.downcast_ref::<ModelError>().is_some()
}

/// Takes the file as the model, once it is known to be a whole one.
fn take(path: &Path, target: &Path, args: &PullArgs) -> Result<()> {
    verify(path).context("this is no whole model")?;
    if args.vocab.is_some() || args.keep {
        terminal::note("note: it is a model already; --vocab and --keep are for checkpoints");
    }
    fs::rename(path, target).with_context(|| format!("cannot write {}", target.display()))
}

fn verify(path: &Path) -> Result<()> {
    let file = ModelFile::open(path)?;
    let model = Model::open(file.bytes())?;
    Ok(model.verify_with(crc32fast::hash)?)
}

/// Converts the checkpoint.
fn convert(path: &Path, source: &Source, target: &Path, args: &PullArgs) -> Result<()> {
    terminal::note(&format!("converting {} to int8", source.file));
    quantize::run(&conversion(path, source, target, args))
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
    let json = args.json;
    let args = Alone::parse_from(words).args;
    QuantizeArgs { pulled: Some(source.file.clone()), unsaid: json, ..args }
}

/// Whether the file says that it is a model.
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
