//! Files that commands read whole.
//!
//! The length is looked at before anything is read, and only regular files are: a pipe or a device
//! could go on for ever.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Longest text, vocabulary or list of tokens.
pub(crate) const MAX_TEXT: u64 = 1 << 30;

/// Reads the file at `path`, of at most `most` bytes, for a purpose that `what` names.
pub(crate) fn read(path: &Path, most: u64, what: &str) -> Result<Vec<u8>> {
    refuse_standard_input(path, what)?;
    let name = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {name}"))?;
    if metadata.is_dir() {
        bail!("cannot read {name}: it is a directory; give a file with {what}");
    }
    if !metadata.is_file() {
        bail!("cannot read {name}: it is no regular file; copy {what} to a file first");
    }
    if metadata.len() > most {
        bail!("{name} has {} bytes; {what} has at most {most}", metadata.len());
    }
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    // The file may grow meanwhile.
    bounded(file, most).with_context(|| format!("cannot read {name}"))
}

/// Reads a text: the file at `path`, or standard input where that is `-`.
pub(crate) fn text(path: &Path, what: &str) -> Result<Vec<u8>> {
    if path.as_os_str() == "-" { standard_input(what) } else { read(path, MAX_TEXT, what) }
}

/// Refuses `-` for what is read from files alone.
pub(crate) fn refuse_standard_input(path: &Path, what: &str) -> Result<()> {
    if path.as_os_str() == "-" {
        bail!(
            "{what} cannot come from standard input; give a file, or ./- for one of the name `-`"
        );
    }
    Ok(())
}

/// Refuses a checkpoint from standard input: its end is read before its beginning.
#[cfg(feature = "quantizer")]
pub(crate) fn refuse_checkpoint(path: &Path) -> Result<()> {
    refuse_standard_input(path, "a checkpoint, whose end is read before its beginning,")
}

/// What to call the text at `path`.
pub(crate) fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

/// Reads standard input, of at most [`MAX_TEXT`] bytes.
pub(crate) fn standard_input(what: &str) -> Result<Vec<u8>> {
    bounded(io::stdin().lock(), MAX_TEXT).with_context(|| format!("{what} on standard input"))
}

fn bounded(input: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {most} bytes")));
    }
    Ok(bytes)
}
