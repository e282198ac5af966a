//! The folder of states: what clients have kept outlives the server.
//!
//! A state is a file `NAME.state`, the program's own, written before the client is told that it is
//! kept, whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{ApiError, ServeError};
use crate::model::Served;
use crate::states::{Kept, States, check_name};

const ENDING: &str = ".state";

/// Where states are kept beside the memory, if anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Folder(Option<PathBuf>);

impl Folder {
    /// Reads the states that are there; other files are left alone.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, a file in it is no state of this model, or there is no room
    /// for them.
    pub(crate) fn open(
        path: Option<&Path>,
        served: &Served,
        states: &mut States,
    ) -> Result<Self, ServeError> {
        let Some(path) = path else { return Ok(Self(None)) };
        for entry in fs::read_dir(path).map_err(|error| failed(path, error))? {
            let file = entry.map_err(|error| failed(path, error))?.path();
            let name = file.file_name().and_then(|name| name.to_str());
            let name = name.and_then(|name| name.strip_suffix(ENDING));
            let Some(name) = name.filter(|name| check_name(name).is_ok()) else { continue };
            let bytes = fs::read(&file).map_err(|error| failed(&file, error))?;
            let kept = Kept::open(served, &bytes).and_then(|kept| states.put(name, kept));
            kept.map_err(|error| failed(&file, io::Error::other(error.to_string())))?;
        }
        Ok(Self(Some(path.to_owned())))
    }

    /// Writes a state.
    pub(crate) fn write(&self, served: &Served, name: &str, kept: &Kept) -> Result<(), ApiError> {
        check_name(name)?;
        let Some(folder) = &self.0 else { return Ok(()) };
        let write = || {
            let mut file = NamedTempFile::with_prefix_in(".kinglet-", folder)?;
            file.write_all(
                &kept.file(served).map_err(|error| io::Error::other(error.to_string()))?,
            )?;
            // A rename may reach the disk before the bytes do.
            file.as_file().sync_all()?;
            file.persist(folder.join(format!("{name}{ENDING}"))).map_err(|error| error.error)?;
            // The rename itself is on disk with the folder; some systems cannot open one.
            if let Ok(folder) = File::open(folder) {
                let _ = folder.sync_all();
            }
            Ok::<(), io::Error>(())
        };
        write().map_err(|error| ApiError::internal(format!("the state is not on disk: {error}")))
    }

    /// Removes a state.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ApiError> {
        check_name(name)?;
        let Some(folder) = &self.0 else { return Ok(()) };
        match fs::remove_file(folder.join(format!("{name}{ENDING}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ApiError::internal(format!("the state is still on disk: {error}")))
            }
            _ => Ok(()),
        }
    }
}

fn failed(path: &Path, error: io::Error) -> ServeError {
    ServeError::State { path: path.to_owned(), error }
}
