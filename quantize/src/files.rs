//! Output files: written beside the target, then renamed, so that nothing is
//! lost and nothing half-written is left.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

/// Where a file named `target` is written: behind the symbolic links that lead to it,
/// so that those stay, and only where nothing or an ordinary file is, for a rename
/// over a device or a pipe would take it away from everybody.
fn place(target: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target.to_owned()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_file() => Ok(target.to_owned()),
        Ok(_) => {
            let metadata = fs::metadata(target)?;
            let found = match () {
                () if metadata.is_file() => return fs::canonicalize(target),
                () if metadata.is_dir() => "a directory",
                () => "a device, a pipe or a socket",
            };
            let message = format!("it is {found}; give the path of a file");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

/// The partial files of the process. Whoever makes one or renames it has this locked.
static PARTIALS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn partials() -> MutexGuard<'static, Vec<PathBuf>> {
    // A list of paths is whole whatever panicked.
    PARTIALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every [`Partial`] file of the process, for a program that a signal is about to
/// end, when nothing is dropped any more. From then on, threads that begin or end such a
/// file wait for the end of the process.
pub fn abandon() {
    let partials = partials();
    for path in partials.iter() {
        // There is nobody left to tell.
        let _ = fs::remove_file(path);
    }
    mem::forget(partials);
}

/// A path in the list of partial files, taken out when dropped.
#[derive(Debug)]
struct Listed(PathBuf);

impl Drop for Listed {
    fn drop(&mut self) {
        partials().retain(|path| *path != self.0);
    }
}

/// A file that is being written beside the one that it will replace. Dropped before
/// [`persist`](Self::persist), it leaves nothing behind.
#[derive(Debug)]
pub struct Partial {
    file: NamedTempFile,
    /// Dropped after the file, which is removed first.
    listed: Listed,
    target: PathBuf,
}

impl Partial {
    /// An empty file in the folder of `target`.
    ///
    /// # Errors
    /// When none can be made there; that `target` is neither a file nor free to become one.
    pub fn new(target: &Path) -> io::Result<Self> {
        let target = place(target)?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".kinglet-").suffix(".partial");
        let mut partials = partials();
        // With the permissions that any other new file gets, not a private temporary's.
        let create = |path: &Path| File::options().write(true).create_new(true).open(path);
        let file = builder.make_in(folder, create).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let message = format!("folder {} does not exist", folder.display());
                io::Error::new(io::ErrorKind::NotFound, message)
            }
            _ => error,
        })?;
        let listed = Listed(file.path().to_owned());
        partials.push(listed.0.clone());
        drop(partials);
        Ok(Self { file, listed, target })
    }

    /// Another handle to the file.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }

    /// Puts the file, whose bytes are on the disk then, in the place of its target.
    ///
    /// # Errors
    /// When the system does not write or rename it.
    pub fn persist(self) -> io::Result<()> {
        // The file goes before its entry, should this end early.
        let Self { listed, file, target } = self;
        file.as_file().sync_all()?;
        let renaming = partials();
        let persisted = file.persist(target);
        drop(renaming);
        drop(listed);
        persisted.map(drop).map_err(|error| error.error)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Partial {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Lets `f` write a file, which then takes the place of `target`; when `f`
/// fails, `target` stays as it was.
///
/// # Errors
/// What `f` says, or the system about creating, flushing or renaming the file; that
/// `target` is neither a file nor free to become one.
pub fn write_beside<E: From<io::Error>>(
    target: &Path,
    f: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let partial = Partial::new(target)?;
    let path = partial.file.path();
    let permissions = partial.file.as_file().metadata()?.permissions();
    f(path)?;
    // `f` may have put another file there, with permissions of its own.
    fs::set_permissions(path, permissions)?;
    partial.persist()?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn write(target: &Path) -> io::Result<()> {
        write_beside(target, |path| fs::write(path, "new"))
    }

    #[test]
    fn replaces_only_files() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, found) in
            [(&*socket, "a device, a pipe or a socket"), (folder.path(), "a directory")]
        {
            let error = write(path).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {found}; give the path of a file"));
        }
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    }

    #[test]
    fn writes_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, dangling] =
            ["file", "link", "dangling"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        symlink("file", &link).unwrap();
        symlink("nowhere", &dangling).unwrap();
        write(&link).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(write(&dangling).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn errors_name_the_folder_and_no_partial_file() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        let error = write(&nowhere.join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), format!("folder {} does not exist", nowhere.display()));
    }

    #[test]
    fn what_is_listed_is_what_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let listed = || partials().iter().filter(|path| path.starts_with(folder.path())).count();
        let (first, second) = (Partial::new(&target).unwrap(), Partial::new(&target).unwrap());
        assert_eq!((listed(), fs::read_dir(folder.path()).unwrap().count()), (2, 2));
        drop(first);
        assert_eq!((listed(), target.exists()), (1, false));
        second.persist().unwrap();
        assert_eq!((listed(), fs::read_dir(folder.path()).unwrap().count()), (0, 1));
        write_beside(&target, |path| {
            assert!(partials().iter().any(|listed| listed == path));
            fs::write(path, "new")
        })
        .unwrap();
        assert_eq!((listed(), fs::read_to_string(&target).unwrap().as_str()), (0, "new"));
    }
}
