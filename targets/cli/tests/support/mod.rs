//! What the tests of the program share: running it, and folders for its files.
#![allow(dead_code, reason = "no test uses all of it")]

#[cfg(feature = "pull")]
pub(crate) mod hub;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn kinglet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).output().expect("the program starts")
}

/// The standard output of a command that must work.
#[track_caller]
pub(crate) fn succeed(args: &[&str]) -> String {
    let output = kinglet(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What the program says when it refuses `args`.
#[track_caller]
pub(crate) fn refusal(args: &[&str]) -> String {
    let output = kinglet(args);
    assert_eq!(output.status.code(), Some(2), "{args:?} was accepted");
    assert!(output.stdout.is_empty(), "{args:?} wrote to the standard output");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// An empty folder of a test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.file(name), bytes).expect("a file for the test");
        self.file(name)
    }

    pub(crate) fn copy(&self, from: &str, name: &str) -> String {
        self.write(name, fs::read(from).expect("a file to copy"))
    }

    /// Names and contents of all files.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), fs::read(path).expect("a file")))
            .collect();
        files.sort();
        files
    }
}

pub(crate) fn golden(file: &str) -> String {
    format!("{}/../../tests/data/golden/{file}", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn stories(file: &str) -> String {
    format!("{}/../../models/stories/{file}", env!("CARGO_MANIFEST_DIR"))
}
