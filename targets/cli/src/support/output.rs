//! The files that commands write.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use kinglet_quantize::Partial;

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

/// Refuses `output`, which `option` names, where writing it would replace one of `inputs`.
pub(crate) fn refuse_overwrite<'a>(
    inputs: impl IntoIterator<Item = &'a PathBuf>,
    option: &str,
    output: &Path,
) -> Result<()> {
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
}
