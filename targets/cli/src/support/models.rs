//! The models folder: what `kinglet pull` fills, `list` and `rm` look after, and `-m NAME` reads.
//!
//! A model has the name of its file without `.kinglet`. A file that is there goes before a name.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

/// The ending of model files.
const ENDING: &str = "kinglet";
#[cfg(all(feature = "pull", any(unix, windows)))]
/// The ending of what there is of a checkpoint.
const PART: &str = ".download";
#[cfg(all(feature = "pull", any(unix, windows)))]
/// Endings of the checkpoints that `pull --keep` keeps. Others get the last one, for they may be
/// those of the folder's own files.
pub(crate) const ENDINGS: [&str; 7] =
    ["pth", "pt", "safetensors", "st", "gguf", "bin", "checkpoint"];
/// Names that are at least so much like another one are shown with it, from 0 to 1.
const NEAR: f64 = 0.75;
/// Names that are shown at most.
const MOST_NEAR: usize = 5;

/// The folder: `$KINGLET_MODELS`, or `kinglet/models` where programs keep a user's data.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(folder) = variable("KINGLET_MODELS") {
        return Ok(folder);
    }
    let Some(data) = data_folder() else {
        bail!("there is no home folder for models; set KINGLET_MODELS to a folder");
    };
    Ok(data.join("models"))
}

/// `kinglet` where programs keep a user's data, if the environment says where that is.
pub(crate) fn data_folder() -> Option<PathBuf> {
    let data = variable("XDG_DATA_HOME")
        .or_else(|| variable("LOCALAPPDATA").filter(|_| cfg!(windows)))
        .or_else(|| variable("HOME").map(|home| home.join(".local").join("share")));
    Some(data?.join("kinglet"))
}

/// A folder that the environment names.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The file of the model of that name, in `folder`.
pub(crate) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{ENDING}"))
}

#[cfg(all(feature = "pull", any(unix, windows)))]
/// What there is of the checkpoint that the model of that name is to be made of.
pub(crate) fn part(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{PART}"))
}

#[cfg(all(feature = "pull", any(unix, windows)))]
/// What is known of [`part`].
pub(crate) fn record(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{PART}.json"))
}

#[cfg(all(feature = "pull", any(unix, windows)))]
/// What is known of where the model of that name came from.
pub(crate) fn origin(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.source"))
}

#[cfg(all(feature = "pull", any(unix, windows)))]
/// The name whose download `name` stands for, as `list` shows it.
pub(crate) fn of_part(name: &str) -> Option<&str> {
    name.strip_suffix(PART)
}

/// Where the checkpoint of the model of that name may be kept.
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) fn kept(folder: &Path, name: &str) -> [PathBuf; ENDINGS.len()] {
    ENDINGS.map(|ending| folder.join(format!("{name}.{ending}")))
}

/// Whether a name is that of a checkpoint, as `pull --keep` names it.
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) fn is_checkpoint(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// Names of the models in `folder`, sorted; none where there is no such folder.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_model = path.extension() == Some(OsStr::new(ENDING)) && path.is_file();
        let name = path.file_stem().and_then(OsStr::to_str).filter(|_| is_model);
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

#[cfg(all(feature = "pull", any(unix, windows)))]
/// Names and lengths of what there is of checkpoints that are not all there.
pub(crate) fn parts(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut parts: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_suffix(PART)?.to_owned();
            Some((name, entry.metadata().ok()?.len()))
        })
        .collect();
    parts.sort();
    parts
}

/// Names and lengths of the checkpoints in `folder`, sorted.
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) fn checkpoints(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut kept: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_str().filter(|name| is_checkpoint(name))?.to_owned();
            Some((name, entry.metadata().ok().filter(fs::Metadata::is_file)?.len()))
        })
        .collect();
    kept.sort();
    kept
}

/// Whether a file may have the name: a single part of a path that hides nothing.
pub(crate) fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '\\', ':'])
}

/// The file that `-m GIVEN` means: the path itself where a file is there, or the model of that name.
///
/// A name that stands for nothing is an error that says what is near. Any other path is returned as
/// it is, for opening it says what is wrong with it.
pub(crate) fn resolve(given: &Path) -> Result<PathBuf> {
    let is_folder = given.is_dir();
    let is_file = given.exists() && !is_folder;
    let Some(name) = given.to_str().filter(|name| is_name(name) && !is_file) else {
        return Ok(given.to_owned());
    };
    let folder = folder()?;
    let stem = name.strip_suffix(".kinglet").unwrap_or(name);
    let known = [Some(stem), listed_name(stem)];
    let mut files = known.into_iter().flatten().map(|name| file(&folder, name));
    if let Some(found) = files.find(|file| file.is_file()) {
        return Ok(found);
    }
    // Opening says what it is.
    if is_folder {
        return Ok(given.to_owned());
    }
    bail!(
        "cannot read {name}: there is no such file, and no model of that name in {}; {}",
        folder.display(),
        advice(stem, &names(&folder).unwrap_or_default())
    );
}

/// Whether a word is the name of a model that is in the folder or that `pull` knows.
pub(crate) fn is_known(word: &str) -> bool {
    if !is_name(word) || word.contains(char::is_whitespace) {
        return false;
    }
    let stem = word.strip_suffix(".kinglet").unwrap_or(word);
    listed_name(stem).is_some() || folder().is_ok_and(|folder| file(&folder, stem).is_file())
}

/// What to do about a name that stands for no model in the folder.
pub(crate) fn advice(name: &str, known: &[String]) -> String {
    if listed_name(name).is_some() {
        return format!("`kinglet pull {name}` gets it");
    }
    let near_here = near(name, known.iter().map(String::as_str));
    if !near_here.is_empty() {
        return format!("near is {}", near_here.join(", "));
    }
    match near(name, listed_names()).first() {
        Some(listed) => format!("`kinglet pull {listed}` gets one of a name near it"),
        None if known.is_empty() => NEXT.to_owned(),
        None => "`kinglet list` shows those that are there".to_owned(),
    }
}

/// What fills an empty folder.
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) const NEXT: &str = "`kinglet pull` shows models to be had";
#[cfg(not(all(feature = "pull", any(unix, windows))))]
pub(crate) const NEXT: &str =
    "`kinglet quantize CHECKPOINT -o NAME.kinglet`, with a full build, makes one of a checkpoint";

/// The name under which `pull` knows a model.
#[cfg(all(feature = "pull", any(unix, windows)))]
fn listed_name(name: &str) -> Option<&'static str> {
    crate::catalogue::find(name).map(|entry| entry.name)
}
#[cfg(not(all(feature = "pull", any(unix, windows))))]
fn listed_name(_: &str) -> Option<&'static str> {
    None
}

/// All names that `pull` knows.
fn listed_names() -> impl Iterator<Item = &'static str> {
    #[cfg(all(feature = "pull", any(unix, windows)))]
    return crate::catalogue::ENTRIES.iter().map(|entry| entry.name);
    #[cfg(not(all(feature = "pull", any(unix, windows))))]
    std::iter::empty()
}

/// Those of `names` that `name` may have been meant for, the nearest first.
pub(crate) fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let likeness = |other: &str| {
        let other = other.to_lowercase();
        let part = !name.is_empty() && (other.contains(&name) || name.contains(&other));
        strsim::jaro_winkler(&name, &other).max(if part { 1.0 } else { 0.0 })
    };
    let mut near: Vec<_> = names.into_iter().map(|other| (likeness(other), other)).collect();
    near.retain(|(likeness, _)| *likeness >= NEAR);
    near.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    near.truncate(MOST_NEAR);
    near.into_iter().map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_parts_of_a_path() {
        for name in ["g1-0.1b", "My model", "a.kinglet", "模型"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["", ".", "..", "a/b", "/a", "a/", ".hidden", "-x", "C:x", "a\\b"] {
            assert!(!is_name(path), "{path}");
        }
    }

    #[test]
    fn near_names_are_found() {
        let names = ["g1-0.1b", "g1-0.4b", "world6-3b"];
        assert_eq!(near("g1-0.1", names), ["g1-0.1b", "g1-0.4b"]);
        assert_eq!(near("G1-0.4B", names)[0], "g1-0.4b");
        assert_eq!(near("world6", names), ["world6-3b"]);
        assert!(near("llama", names).is_empty());
    }
}
