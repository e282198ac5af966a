//! Golden data: a model, the tokens fed to it, and what must come out.

use std::io;
use std::path::{Path, PathBuf};

use kinglet_quantize::checkpoint::{Checkpoint, CheckpointError, Tensor as CheckpointTensor};

use crate::metrics::widen;
use crate::npy;
use crate::tensor::{Tensor, Tensors};

/// A directory of golden data.
pub struct Fixture {
    dir: PathBuf,
}

impl Fixture {
    /// The directory `name` under this crate's `data`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name) }
    }

    /// Any directory laid out in the same way.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Path of one of the fixture's files.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The ids fed one after another.
    ///
    /// # Errors
    ///
    /// When `tokens.json` cannot be read or is no list of ids.
    pub fn tokens(&self) -> io::Result<Vec<u32>> {
        Ok(serde_json::from_slice(&std::fs::read(self.path("tokens.json"))?)?)
    }

    /// An array of logits, `[tokens, vocab]`.
    ///
    /// # Errors
    ///
    /// As [`npy::read`].
    pub fn logits(&self, file: &str) -> io::Result<Tensor> {
        npy::read(&self.path(file))
    }

    /// A state after the last token, in the layout of [`crate::oracle::Oracle::state`].
    ///
    /// # Errors
    ///
    /// As [`npy::read_npz`].
    pub fn state(&self, file: &str) -> io::Result<Tensors> {
        npy::read_npz(&self.path(file))
    }
}

/// Every tensor of a checkpoint, widened to f64.
///
/// # Errors
///
/// When the file cannot be read as a checkpoint.
pub fn load(path: &Path) -> Result<Tensors, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut values = Vec::new();
    let mut widened = |tensor: CheckpointTensor<'_>| {
        tensor.read_all(&mut values);
        Tensor::new(tensor.shape().to_vec(), widen(&values))
    };
    Ok(checkpoint.tensors().map(|tensor| (tensor.name().to_owned(), widened(tensor))).collect())
}
