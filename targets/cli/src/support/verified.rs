//! Large model files that were verified: each once, and again where it has changed.
//!
//! Checking the CRC of a file of gigabytes takes as long as reading it. A line for each verified
//! file, in the user's cache folder, has its length, its time of change and its path. Where the
//! list cannot be kept, a file is verified each time.

use std::fs::{self, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Files that are remembered; the oldest are forgotten.
const MAX_KNOWN: usize = 200;

/// Whether the file at `path` was verified as it is.
pub(crate) fn is_known(path: &Path) -> bool {
    let (Some(line), Some(list)) = (line(path), list()) else { return false };
    fs::read_to_string(list).is_ok_and(|known| known.lines().any(|known| known == line))
}

/// Remembers that the file at `path` was verified as it is. Failing to is no error.
pub(crate) fn remember(path: &Path) {
    let (Some(line), Some(list)) = (line(path), list()) else { return };
    let Some(folder) = list.parent() else { return };
    let known = fs::read_to_string(&list).unwrap_or_default();
    let name = line.splitn(3, ' ').nth(2);
    let others = known.lines().filter(|known| known.splitn(3, ' ').nth(2) != name);
    let mut lines: Vec<&str> = others.collect();
    lines.push(&line);
    let first = lines.len().saturating_sub(MAX_KNOWN);
    let _ = fs::create_dir_all(folder);
    if let Ok(mut file) = kinglet_quantize::Partial::private(&list) {
        let _ = writeln!(file, "{}", lines[first..].join("\n")).and_then(|()| file.persist());
    }
}

/// The line for a file: length, time of change in nanoseconds, path.
fn line(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let metadata = fs::metadata(&path).ok()?;
    let name = path.to_str().filter(|name| !name.contains('\n'))?;
    Some(format!("{} {} {name}", metadata.len(), changed(&metadata)?))
}

fn changed(metadata: &Metadata) -> Option<u128> {
    Some(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos())
}

/// Where the list is: `$XDG_CACHE_HOME/kinglet/verified`, or under `~/.cache`.
fn list() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("kinglet").join("verified"))
}
