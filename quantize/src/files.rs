//! Output files: written apart from the target, then put in its place, so that nothing is
//! lost and nothing half-written is left.
//!
//! On Linux a file has no name while it is written: it goes with the process, whatever ends it.
//! Elsewhere, and in folders that do not have such files, it is written beside the target, and
//! what a killed process left there is removed by the next one. A file that is replaced keeps its
//! permissions and its owner.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

/// Before the process's number in the name of a partial file.
const PREFIX: &str = ".kinglet-";
const SUFFIX: &str = ".partial";

/// Where a file named `target` is written: behind the symbolic links that lead to it,
/// so that those stay, and only where nothing or an ordinary file is, for a rename
/// over a device or a pipe would take it away from everybody.
fn resolve(target: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target.to_owned()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_file() => writable(target.to_owned(), &metadata),
        Ok(_) => {
            let metadata = fs::metadata(target)?;
            let found = match () {
                () if metadata.is_file() => return writable(fs::canonicalize(target)?, &metadata),
                () if metadata.is_dir() => "a directory",
                () => "a device, a pipe or a socket",
            };
            let message = format!("it is {found}; give the path of a file");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

/// The place of a file that is there, which its owner may have protected from being written: a
/// rename would replace it all the same.
fn writable(place: PathBuf, metadata: &fs::Metadata) -> io::Result<PathBuf> {
    if metadata.permissions().readonly() {
        let message = "it is read-only; make it writable or give another path";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(place)
}

/// The partial files of the process that have a name. Whoever makes one or renames it has this locked.
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

/// A file that is being written, to take the place of another. Dropped before
/// [`persist`](Self::persist), it leaves nothing behind.
#[derive(Debug)]
pub struct Partial {
    storage: Storage,
    target: PathBuf,
}

#[derive(Debug)]
enum Storage {
    /// Without a name, in the folder of the target.
    #[cfg(target_os = "linux")]
    Unnamed { file: File, folder: PathBuf },
    /// The entry in the list is dropped after the file, which is removed first.
    Named { file: NamedTempFile, listed: Listed },
}

/// Who may read a file that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whoever the process lets read its files.
    Usual,
    /// The owner alone.
    Private,
}

impl Partial {
    /// An empty file that will take the place of `target`.
    ///
    /// # Errors
    ///
    /// When none can be made in that folder; that `target` is neither a file nor free to become
    /// one, or is read-only.
    pub fn new(target: &Path) -> io::Result<Self> {
        Self::create(target, Access::Usual)
    }

    /// [`new`](Self::new), for what only its owner shall read unless the file that it replaces
    /// says otherwise: a conversation.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn private(target: &Path) -> io::Result<Self> {
        Self::create(target, Access::Private)
    }

    fn create(target: &Path, access: Access) -> io::Result<Self> {
        let target = resolve(target)?;
        let folder = folder(&target).to_owned();
        remove_stale(&folder);
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed(&folder, access) {
            return Ok(Self { storage: Storage::Unnamed { file, folder }, target });
        }
        Self::named(target, &folder, access)
    }

    /// A file with a name of its own in `folder`.
    fn named(target: PathBuf, folder: &Path, access: Access) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        let mut partials = partials();
        // With the permissions that any other new file gets, not a private temporary's.
        let create = |path: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            #[cfg(unix)]
            if access == Access::Private {
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            }
            let _ = access;
            options.open(path)
        };
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
        Ok(Self { storage: Storage::Named { file, listed }, target })
    }

    fn file(&self) -> &File {
        match &self.storage {
            #[cfg(target_os = "linux")]
            Storage::Unnamed { file, .. } => file,
            Storage::Named { file, .. } => file.as_file(),
        }
    }

    /// Another handle to the file.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file().try_clone()
    }

    /// Puts the file, whose bytes are on the disk then, in the place of its target.
    ///
    /// # Errors
    ///
    /// When the system does not write or rename it.
    pub fn persist(self) -> io::Result<()> {
        keep_access(self.file(), &self.target);
        self.file().sync_all()?;
        match self.storage {
            #[cfg(target_os = "linux")]
            Storage::Unnamed { file, folder } => link(&file, &folder, &self.target),
            // The file goes before its entry, should this end early.
            Storage::Named { file, listed } => {
                let renaming = partials();
                let persisted = file.persist(self.target);
                drop(renaming);
                drop(listed);
                persisted.map(drop).map_err(|error| error.error)
            }
        }
    }
}

/// The folder of a file.
fn folder(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Gives `file` the permissions and the owner of the file that it will replace. Where the system
/// does not let a user do that, the file stays the user's own.
fn keep_access(file: &File, target: &Path) {
    let Ok(metadata) = fs::metadata(target) else { return };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let _ = fchown(file, Some(metadata.uid()), Some(metadata.gid()));
    }
    let _ = file.set_permissions(metadata.permissions());
}

/// Removes the partial files in `folder` whose process is gone.
fn remove_stale(folder: &Path) {
    // Only here is it known which processes are alive.
    if !cfg!(target_os = "linux") || !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let number =
            number.filter(|rest| rest.ends_with(SUFFIX)).and_then(|rest| rest.split_once('-'));
        let Some(process) = number.and_then(|(number, _)| number.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{process}")).exists() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file without a name in `folder`, where its file system has such files.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path, access: Access) -> Option<File> {
    use rustix::fs::{Mode, OFlags};

    // Without it the file could not be given a name.
    if !Path::new("/proc/self/fd").exists() {
        return None;
    }
    let mode = Mode::from_raw_mode(if access == Access::Private { 0o600 } else { 0o666 });
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, mode).ok().map(File::from)
}

/// Gives an unnamed file the name of `target`, which it replaces.
#[cfg(target_os = "linux")]
fn link(file: &File, folder: &Path, target: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd;

    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    // A link replaces nothing, so the file gets a name of its own and is renamed at once.
    let mut partials = partials();
    for number in 0_u32.. {
        let name = format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id());
        let name = folder.join(name);
        match rustix::fs::linkat(CWD, &unnamed, CWD, &name, AtFlags::SYMLINK_FOLLOW) {
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                partials.push(name.clone());
                let renamed = fs::rename(&name, target);
                if renamed.is_err() {
                    let _ = fs::remove_file(&name);
                }
                partials.retain(|path| *path != name);
                return renamed;
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for Partial {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file().seek(position)
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
    let target = resolve(target)?;
    let folder = folder(&target).to_owned();
    remove_stale(&folder);
    let partial = Partial::named(target, &folder, Access::Usual)?;
    let permissions = partial.file().metadata()?.permissions();
    let path = match &partial.storage {
        Storage::Named { file, .. } => file.path(),
        #[cfg(target_os = "linux")]
        Storage::Unnamed { .. } => unreachable!("it has a name"),
    };
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
        // Without a name on Linux, listed elsewhere; nothing is left of either.
        assert_eq!(listed(), fs::read_dir(folder.path()).unwrap().count());
        drop(first);
        assert!(!target.exists());
        second.persist().unwrap();
        assert_eq!((listed(), fs::read_dir(folder.path()).unwrap().count()), (0, 1));
        write_beside(&target, |path| {
            assert!(partials().iter().any(|listed| listed == path));
            fs::write(path, "new")
        })
        .unwrap();
        assert_eq!((listed(), fs::read_to_string(&target).unwrap().as_str()), (0, "new"));
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o640, 0o755] {
            let path = folder.path().join(format!("{mode:o}"));
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut partial = Partial::new(&path).unwrap();
            partial.write_all(b"new").unwrap();
            partial.persist().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
        }
        let private = folder.path().join("private");
        Partial::private(&private).unwrap().persist().unwrap();
        assert_eq!(fs::metadata(&private).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_read_only_file_is_not_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let error = Partial::new(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        // No process has the largest number.
        let stale = folder.path().join(format!("{PREFIX}4294967295-abc{SUFFIX}"));
        let alive = folder.path().join(format!("{PREFIX}{}-abc{SUFFIX}", std::process::id()));
        let other = folder.path().join(".kinglet-notes.partial");
        for path in [&stale, &alive, &other] {
            fs::write(path, "").unwrap();
        }
        drop(Partial::new(&folder.path().join("file")).unwrap());
        assert_eq!([&stale, &alive, &other].map(|path| path.exists()), [false, true, true]);
    }

    #[test]
    fn files_with_and_without_a_name_take_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let named = Partial::named(target.clone(), folder.path(), Access::Usual).unwrap();
        for (mut partial, text) in [(Partial::new(&target).unwrap(), "one"), (named, "two")] {
            partial.write_all(text.as_bytes()).unwrap();
            partial.persist().unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
