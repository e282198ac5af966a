//! The files that commands write.
//!
//! Three rules: what a command reads is never what it writes over, a file of another kind is not
//! replaced unasked, and a file is whole or not there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use kinglet::format::{model, state_file};
use kinglet_quantize::Partial;

/// How a header with the numbers of a model begins.
pub(crate) const HEADER: &str = "/* A Kinglet model: ";

/// What a command writes. A file that is there and not of that kind is somebody's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A model file.
    #[cfg_attr(not(feature = "quantizer"), expect(dead_code, reason = "no command writes it"))]
    Model,
    /// A state file.
    State,
    /// Weights as safetensors.
    #[cfg_attr(not(feature = "quantizer"), expect(dead_code, reason = "no command writes it"))]
    Safetensors,
    /// A NumPy array.
    Npy,
    /// A picture.
    #[cfg(feature = "decay")]
    Svg,
    /// A report in JSON.
    #[cfg_attr(not(feature = "quantizer"), expect(dead_code, reason = "no command writes it"))]
    Json,
    /// A compiled grammar.
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    Grammar,
    /// A header for C.
    Header,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Model => "a model file",
            Self::State => "a state file",
            Self::Safetensors => "a safetensors file",
            Self::Npy => "an .npy file",
            #[cfg(feature = "decay")]
            Self::Svg => "an SVG picture",
            Self::Json => "a JSON file",
            #[cfg(all(feature = "grammar", any(unix, windows)))]
            Self::Grammar => "a compiled grammar",
            Self::Header => "a header that `kinglet fit` wrote",
        }
    }

    /// Whether a file that begins with `bytes` may be one.
    fn begins(self, bytes: &[u8]) -> bool {
        match self {
            Self::Model => bytes.starts_with(&model::MAGIC),
            Self::State => bytes.starts_with(&state_file::MAGIC),
            Self::Safetensors => bytes.get(8) == Some(&b'{'),
            Self::Npy => bytes.starts_with(b"\x93NUMPY"),
            #[cfg(feature = "decay")]
            Self::Svg => bytes.starts_with(b"<svg") || bytes.starts_with(b"<?xml"),
            Self::Json => bytes.trim_ascii_start().starts_with(b"{"),
            #[cfg(all(feature = "grammar", any(unix, windows)))]
            Self::Grammar => bytes.starts_with(super::grammar::MAGIC),
            Self::Header => bytes.starts_with(HEADER.as_bytes()),
        }
    }
}

/// Refuses `-` as a file to write: what a command writes there takes its place whole.
pub(crate) fn refuse_standard_output(option: &str, output: &Path) -> Result<()> {
    if output.as_os_str() == "-" {
        bail!(
            "{option} -: this is no output for a pipe, because it is written whole or not at all; \
             give a file, or ./- for one of that name"
        );
    }
    Ok(())
}

/// Refuses to replace a file that is not of the kind written, unless `force` says so.
pub(crate) fn refuse_foreign(kind: Kind, option: &str, output: &Path, force: bool) -> Result<()> {
    let mut front = [0; 64];
    let Some(len) = (!force).then(|| front_of(output, &mut front)).flatten() else {
        return Ok(());
    };
    // Nothing is lost with an empty file.
    if len > 0 && !kind.begins(&front[..len]) {
        bail!(
            "{option} {} is there and not {}; give another {option}, or --force to replace it",
            output.display(),
            kind.name()
        );
    }
    Ok(())
}

/// Reads the front of a regular file; how much it has.
fn front_of(path: &Path, front: &mut [u8]) -> Option<usize> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut len = 0;
    while let Ok(read @ 1..) = file.read(&mut front[len..]) {
        len += read;
    }
    Some(len)
}

/// A file that takes its place when it is finished, and leaves nothing behind before.
/// Its errors name it.
pub(crate) struct Output {
    partial: Partial,
    path: PathBuf,
}

impl Output {
    /// Starts the file, so that a path that cannot be written stops the work before it starts.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let partial = Partial::new(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { partial, path: path.to_owned() })
    }

    /// [`create`](Self::create), for a file that holds a conversation: a new one is its owner's
    /// alone to read.
    pub(crate) fn private(path: &Path) -> io::Result<Self> {
        let partial = Partial::private(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { partial, path: path.to_owned() })
    }

    /// Puts the file in its place.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.partial.persist().map_err(|error| cannot_write(&self.path, &error))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.write(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.partial.flush().map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
}

/// Refuses `output`, which `option` names, where writing it would replace one of `inputs`, and
/// standard output.
pub(crate) fn refuse_overwrite<'a>(
    inputs: impl IntoIterator<Item = &'a PathBuf>,
    option: &str,
    output: &Path,
) -> Result<()> {
    refuse_standard_output(option, output)?;
    let resolved = resolve(output);
    if let Some(input) = inputs.into_iter().find(|input| resolve(input) == resolved) {
        bail!(
            "{option} {} would replace {}, which the command needs; give another {option}",
            output.display(),
            input.display()
        );
    }
    Ok(())
}

/// Where a path leads, by one name for all paths that lead there; the file need not exist.
fn resolve(path: &Path) -> PathBuf {
    let existing = path.canonicalize();
    existing.unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            folder.canonicalize().map_or_else(|_| path.to_owned(), |folder| folder.join(name))
        }
        _ => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_any_of_its_names() {
        let folder = std::env::current_dir().unwrap();
        let inputs = ["Cargo.toml", "src/not-there"].map(PathBuf::from);
        for other in ["src/../Cargo.toml", "./src/not-there", "src/../src/not-there"] {
            for other in [Path::new(other), &folder.join(other)] {
                let error = refuse_overwrite(&inputs, "-o", other).unwrap_err().to_string();
                assert!(error.contains("would replace"), "{error}");
            }
        }
        for free in ["src/Cargo.toml", "not-there", "no/such/folder"] {
            assert!(refuse_overwrite(&inputs, "-o", Path::new(free)).is_ok(), "{free}");
        }
    }

    #[test]
    fn a_hyphen_is_no_file() {
        let error = refuse_overwrite(&[PathBuf::from("-")], "-o", Path::new("-")).unwrap_err();
        assert!(error.to_string().contains("./- for one of that name"), "{error}");
        assert!(refuse_overwrite(&[], "-o", Path::new("./-")).is_ok());
    }

    #[test]
    fn a_file_of_another_kind_is_not_replaced() {
        for kind in [Kind::State, Kind::Npy] {
            let error = refuse_foreign(kind, "-o", Path::new("Cargo.toml"), false).unwrap_err();
            assert!(error.to_string().contains("--force"), "{error}");
            assert!(refuse_foreign(kind, "-o", Path::new("Cargo.toml"), true).is_ok());
            assert!(refuse_foreign(kind, "-o", Path::new("not-there"), false).is_ok());
        }
    }
}
