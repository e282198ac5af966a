//! Takes a checkpoint's tensors one by one, so that what is left over shows.
//!
//! A layer of the reference takes what its equations name, with the shape that they give it, and
//! what nobody took is an error in the end. It shares no table of names or shapes with the
//! conversion, so that a fault there is not repeated here. Matrices of a checkpoint stay in the
//! file, as a large model in f64 is four times as large.

use std::collections::BTreeMap;

use super::math::{Matrix, Weights, widen};
use super::tensor::{Tensor, Tensors};
use super::{Error, Version};
use crate::checkpoint::{self, Checkpoint};

/// A tensor, in memory or in a checkpoint.
pub(super) enum Stored<'a> {
    Held(Tensor),
    File(checkpoint::Tensor<'a>),
}

impl<'a> Stored<'a> {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Held(tensor) => &tensor.shape,
            Self::File(tensor) => tensor.shape(),
        }
    }

    fn values(self) -> Vec<f64> {
        match self {
            Self::Held(tensor) => tensor.data,
            Self::File(tensor) => {
                let mut values = Vec::new();
                tensor.read_all(&mut values);
                widen(&values)
            }
        }
    }

    /// Part `index` of a stack of matrices.
    fn matrix(&self, index: usize, rows: usize, cols: usize) -> Matrix<'a> {
        let weights = match self {
            Self::Held(tensor) => {
                Weights::Held(tensor.data[index * rows * cols..][..rows * cols].to_vec())
            }
            Self::File(tensor) => Weights::Stored(*tensor, index * rows),
        };
        Matrix { rows, cols, weights }
    }
}

/// The tensors that no layer has taken yet.
pub(super) struct Source<'a> {
    tensors: BTreeMap<String, Stored<'a>>,
}

impl<'a> Source<'a> {
    pub(super) fn held(tensors: Tensors) -> Self {
        let held = tensors.into_iter().map(|(name, tensor)| (name, Stored::Held(tensor)));
        Self { tensors: held.collect() }
    }

    pub(super) fn stored(checkpoint: &'a Checkpoint) -> Self {
        let stored = checkpoint.tensors().map(|t| (t.name().to_owned(), Stored::File(t)));
        Self { tensors: stored.collect() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Length of one dimension of a tensor that is still there.
    pub(super) fn dim(&self, name: &str, axis: usize) -> Result<usize, Error> {
        let tensor = self.tensors.get(name).ok_or_else(|| Error::Missing(name.to_owned()))?;
        tensor
            .shape()
            .get(axis)
            .copied()
            .ok_or_else(|| shape_error(name, tensor, format!("at least {} dimensions", axis + 1)))
    }

    /// H of a parameter `[H, N]`, or of a vector of H values.
    pub(super) fn heads(&self, name: &str) -> Result<usize, Error> {
        let tensor = self.tensors.get(name).ok_or_else(|| Error::Missing(name.to_owned()))?;
        Ok(match *tensor.shape() {
            [heads, n] if n != 1 => heads,
            ref shape => shape.iter().product(),
        })
    }

    fn take(&mut self, name: &str) -> Result<Stored<'a>, Error> {
        self.tensors.remove(name).ok_or_else(|| Error::Missing(name.to_owned()))
    }

    /// A vector, stored with any number of dimensions of which one is not 1.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f64>, Error> {
        let tensor = self.take(name)?;
        let shape = tensor.shape();
        let dimensions = shape.iter().filter(|&&n| n != 1).count();
        if shape.iter().product::<usize>() == length && dimensions <= 1 {
            return Ok(tensor.values());
        }
        Err(shape_error(name, &tensor, format!("{length} values in one dimension")))
    }

    /// Per-head parameters `[H, N]`, flat.
    pub(super) fn per_head(
        &mut self,
        name: &str,
        heads: usize,
        head_size: usize,
    ) -> Result<Vec<f64>, Error> {
        Ok(self.matrix(name, heads, head_size)?.read_all())
    }

    pub(super) fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Matrix<'a>, Error> {
        let tensor = self.take(name)?;
        if tensor.shape() == [rows, cols] {
            return Ok(tensor.matrix(0, rows, cols));
        }
        Err(shape_error(name, &tensor, format!("[{rows}, {cols}]")))
    }

    /// A matrix whose shape says the sizes, rather than the other way round.
    pub(super) fn any_matrix(&mut self, name: &str) -> Result<Matrix<'a>, Error> {
        let (rows, cols) = (self.dim(name, 0)?, self.dim(name, 1)?);
        self.matrix(name, rows, cols)
    }

    /// A stack of matrices `[count, rows, cols]`.
    pub(super) fn matrices<const COUNT: usize>(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<[Matrix<'a>; COUNT], Error> {
        let tensor = self.take(name)?;
        if tensor.shape() != [COUNT, rows, cols] {
            return Err(shape_error(name, &tensor, format!("[{COUNT}, {rows}, {cols}]")));
        }
        Ok(core::array::from_fn(|index| tensor.matrix(index, rows, cols)))
    }

    /// Drops a tensor that the checkpoint may hold and the model does not use.
    pub(super) fn ignore(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// One more than the largest block index.
    pub(super) fn layers(&self) -> Result<usize, Error> {
        let index = |name: &String| name.strip_prefix("blocks.")?.split('.').next()?.parse().ok();
        let last: Option<usize> = self.tensors.keys().filter_map(index).max();
        last.map(|last| last + 1).ok_or_else(|| Error::Missing("blocks.0".to_owned()))
    }

    /// Takes the tuned start state, if there is one.
    pub(super) fn take_time_states(&mut self) -> Tensors {
        let all = core::mem::take(&mut self.tensors);
        let (states, rest): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(name, _)| name.ends_with(".time_state"));
        self.tensors = rest;
        let held = |stored: Stored<'_>| Tensor::new(stored.shape().to_vec(), stored.values());
        states.into_iter().map(|(name, stored)| (name, held(stored))).collect()
    }

    /// Tells the versions apart by the tensors that each added.
    pub(super) fn version(&self) -> Result<Version, Error> {
        self.refuse_relatives()?;
        let some = |part: &str| self.tensors.keys().any(|name| name.contains(part));
        let decay = "blocks.0.att.time_decay";
        Ok(if some(".att.r_k") {
            if some(".ffn.s_emb.") { Version::V7a } else { Version::V7 }
        } else if some(".time_maa") {
            Version::V6
        } else if !some(".ln_x.") {
            Version::V4
        } else if self
            .tensors
            .get(decay)
            .is_some_and(|decay| matches!(decay.shape()[..], [_, n] if n > 1))
        {
            Version::V5_2
        } else if some(".gate.weight") {
            Version::V5_1
        } else {
            Version::V5_0
        })
    }

    fn refuse_relatives(&self) -> Result<(), Error> {
        for (part, what) in [
            ("_strategy", "a checkpoint converted by the rwkv package"),
            (".qkv.", "RWKV-7b, whose cache grows,"),
            (".enn.", "RWKV-8"),
        ] {
            if let Some(name) = self.tensors.keys().find(|name| name.contains(part)) {
                return Err(Error::Unsupported { name: name.clone(), what });
            }
        }
        Ok(())
    }

    /// Checks that every tensor has been taken.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        match self.tensors.pop_first() {
            Some((name, _)) => Err(Error::Unknown(name)),
            None => Ok(()),
        }
    }
}

fn shape_error(name: &str, tensor: &Stored<'_>, expected: String) -> Error {
    Error::Shape { name: name.to_owned(), found: tensor.shape().to_vec(), expected }
}
