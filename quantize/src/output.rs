//! Output files: written beside the target, then renamed, so that nothing is
//! lost and nothing half-written is left.

use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// An empty file in the folder of `target`.
pub(crate) fn beside(target: &Path) -> io::Result<NamedTempFile> {
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
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Lets `f` write a file, which then takes the place of `target`; when `f`
/// fails, `target` stays as it was.
///
/// # Errors
/// What `f` says, or the system about creating, flushing or renaming the file.
pub fn write_beside<E: From<io::Error>>(
    target: &Path,
    f: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let file = beside(target)?;
    let permissions = file.as_file().metadata()?.permissions();
    let path = file.into_temp_path();
    f(&path)?;
    // `f` may have put another file there, with permissions of its own.
    std::fs::set_permissions(&path, permissions)?;
    path.persist(target).map_err(|error| error.error)?;
    Ok(())
}
