//! A model file as read-only memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A model file that is mapped into memory: its pages are read when they are
/// first used, shared between processes, and given back when memory is short.
///
/// The file must not be changed while it is mapped: the model would change with
/// it, and a file cut short ends the process with a bus error.
#[derive(Debug)]
pub struct ModelFile(Mmap);

impl ModelFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or mapped, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let kind = std::fs::metadata(path)?;
        if kind.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
        }
        map(&file).map(Self)
    }

    /// The bytes of the file; page-aligned, hence aligned as a model must be.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only, and its bytes are only ever read as integers
    // and floats, for which every value is valid. Offsets are checked against the
    // map's length. That nobody changes the file is asked of the user.
    unsafe { Mmap::map(file) }
}
