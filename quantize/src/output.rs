//! Output files: written beside the target, then renamed, so that nothing is
//! lost and nothing half-written is left.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

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

/// A file that is being written beside the one that it will replace. Dropped before
/// [`persist`](Self::persist), it leaves nothing behind.
pub(crate) struct Partial {
    file: NamedTempFile,
    target: PathBuf,
}

impl Partial {
    /// An empty file in the folder of `target`.
    pub(crate) fn new(target: &Path) -> io::Result<Self> {
        let target = place(target)?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".kinglet-").suffix(".partial");
        #[cfg(unix)]
        {
            // What any other new file gets, rather than a private temporary's 0600.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        Ok(Self { file: builder.tempfile_in(folder)?, target })
    }

    /// Another handle to the file.
    pub(crate) fn handle(&self) -> io::Result<fs::File> {
        self.file.as_file().try_clone()
    }

    /// Puts the file, whose bytes are on the disk then, in the place of its target.
    pub(crate) fn persist(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(self.target).map(drop).map_err(|error| error.error)
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
    let Partial { file, target } = Partial::new(target)?;
    let permissions = file.as_file().metadata()?.permissions();
    let path = file.into_temp_path();
    f(&path)?;
    // `f` may have put another file there, with permissions of its own.
    fs::set_permissions(&path, permissions)?;
    path.persist(target).map_err(|error| error.error)?;
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
}
