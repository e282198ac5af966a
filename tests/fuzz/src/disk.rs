//! Files for readers that open paths. `TMPDIR` says where; memory is the fastest.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

/// A folder of this process.
pub fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("kinglet-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for files");
        folder
    })
}

/// Writes a file of the folder and returns its path; no map of an earlier one may be open.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    if let Some(parent) = path.parent() {
        let _ = fs::create_dir(parent);
    }
    fs::write(&path, bytes).expect("room for a file");
    path
}
