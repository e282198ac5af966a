//! A model file as read-only memory.
//!
//! Mapping costs nothing until a page is read, and pages are shared between processes and given
//! back under pressure. The price is that a file which shrinks while it is mapped has no bytes
//! where the model has some: that is a bus error, which the program turns into a message.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Bytes that [`ModelFile::preload`] reads between two reports.
const PRELOAD_STEP: usize = 16 << 20;
/// Smallest page of any system: a byte read in each of these touches every page.
const PAGE: usize = 4096;

/// A model file that is mapped into memory: its pages are read when they are
/// first used, shared between processes, and given back when memory is short.
///
/// The file must not be changed while it is mapped: the model would change with
/// it, and a file cut short ends the process with a bus error.
#[derive(Debug)]
pub struct ModelFile(Mmap);

impl ModelFile {
    /// Maps the file at `path`. No page is read, so that this takes the same
    /// time for a file of any size.
    ///
    /// The system gets no advice: current Linux reads ahead, and maps what lies
    /// in memory in huge pieces, without any. Asking for
    /// huge pages changed no speed, and reading ahead all of it may wait for the disk.
    ///
    /// # Errors
    ///
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

    /// Reads the whole file into memory, so that the first tokens do not wait
    /// for the disk. `progress` is told how many bytes are done, about every 16 MB.
    ///
    /// The system may still take pages back when memory is short; see [`lock`](Self::lock).
    pub fn preload(&self, mut progress: impl FnMut(usize)) {
        let mut done = 0;
        for piece in self.0.chunks(PRELOAD_STEP) {
            self.read_in(done, piece);
            done += piece.len();
            progress(done);
        }
    }

    /// Gives back the memory of the pages that were read, but for [locked](Self::lock) ones, where
    /// the system can: they are read again when they are used, from its cache if they still are
    /// there. After a pass over the whole file only what is used then counts for the process.
    pub fn release(&self) {
        // SAFETY: the map is of a file and never written, so a page that comes again is the same
        // (its only change would be the file's, against which `open` warns).
        #[cfg(unix)]
        let _ = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }

    /// Reads the pages of `piece`, which lies at `offset`.
    fn read_in(&self, offset: usize, piece: &[u8]) {
        // One call reads and maps them all, where the kernel has it (5.14).
        #[cfg(target_os = "linux")]
        let _ = self.0.advise_range(memmap2::Advice::PopulateRead, offset, piece.len());
        let _ = offset;
        // Else the pages come one by one; and a virtual machine may have to give
        // each a place of its own on the first access.
        let touched = piece.iter().step_by(PAGE).fold(0u8, |sum, byte| sum ^ byte);
        std::hint::black_box(touched);
    }

    /// Reads the whole file into memory and keeps it there until the value is
    /// dropped: no token waits for the disk again.
    ///
    /// # Errors
    ///
    /// When the system does not allow to lock so much, or there is less memory.
    pub fn lock(&self) -> Result<(), LockError> {
        #[cfg(unix)]
        return self.0.lock().map_err(|source| LockError { len: self.0.len(), source });
        #[cfg(not(unix))]
        Err(LockError { len: self.0.len(), source: io::ErrorKind::Unsupported.into() })
    }
}

/// A model file that could not be locked in memory.
#[derive(Debug)]
pub struct LockError {
    /// Bytes of the file.
    len: usize,
    source: io::Error,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.len.div_ceil(1 << 20);
        write!(f, "the model's {mib} MiB could not be locked in memory: ")?;
        match self.source.kind() {
            // Linux says so both when the limit is passed (ENOMEM) and when it is 0 (EPERM).
            io::ErrorKind::OutOfMemory | io::ErrorKind::PermissionDenied => write!(
                f,
                "the limit on locked memory (or the memory) is smaller; raise it with \
                 `ulimit -l {}`, or with `memlock` in /etc/security/limits.conf",
                self.len.div_ceil(1024)
            ),
            io::ErrorKind::Unsupported => write!(f, "it is not supported on this system"),
            // In other cases the limit may be meant too (EAGAIN).
            _ => write!(f, "{}; `ulimit -l` shows how much is allowed", self.source),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only, and its bytes are only ever read as integers
    // and floats, for which every value is valid. Offsets are checked against the
    // map's length. That nobody changes the file is asked of the user.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn maps_and_preloads() {
        let bytes: Vec<u8> = (0..PRELOAD_STEP + 5).map(|i| (i % 251) as u8).collect();
        let file = file(&bytes);
        let map = ModelFile::open(file.path()).unwrap();
        assert!(map.bytes() == bytes);
        assert_eq!(map.bytes().as_ptr().addr() % 64, 0);
        let mut reports = Vec::new();
        map.preload(|done| reports.push(done));
        assert_eq!(reports, [PRELOAD_STEP, PRELOAD_STEP + 5]);
    }

    #[test]
    fn the_bytes_are_the_same_after_a_release() {
        let bytes: Vec<u8> = (0..3 * PAGE + 5).map(|i| (i % 251) as u8).collect();
        let file = file(&bytes);
        let map = ModelFile::open(file.path()).unwrap();
        map.preload(|_| ());
        map.release();
        assert!(map.bytes() == bytes);
    }

    #[test]
    fn refuses_what_is_no_file() {
        let kind = |path: &Path| ModelFile::open(path).unwrap_err().kind();
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(kind(directory.path()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&directory.path().join("none")), io::ErrorKind::NotFound);
        assert_eq!(kind(file(&[]).path()), io::ErrorKind::UnexpectedEof);
        #[cfg(unix)]
        assert_eq!(kind(Path::new("/dev/null")), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_lock_error_says_what_to_do() {
        let text =
            |kind: io::ErrorKind| LockError { len: 3 << 20, source: kind.into() }.to_string();
        assert!(text(io::ErrorKind::OutOfMemory).contains("`ulimit -l 3072`"));
        assert!(text(io::ErrorKind::PermissionDenied).contains("`ulimit -l 3072`"));
        assert!(text(io::ErrorKind::Unsupported).contains("not supported"));
        assert!(text(io::ErrorKind::WouldBlock).contains("ulimit -l"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn locks_a_small_file() {
        // The smallest limit in use is 64 KiB.
        let file = file(&[7; 8192]);
        let map = ModelFile::open(file.path()).unwrap();
        map.lock().unwrap();
        assert_eq!(map.bytes()[8191], 7);
    }
}
