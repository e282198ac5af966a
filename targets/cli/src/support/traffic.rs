//! The bytes of a model's file that a token reads.

use kinglet::format::layout::layout;
use kinglet::format::model::{Model, Tensor};
use kinglet::format::tensors;
use kinglet::kernels::weights::WeightType;

use crate::args::StateType;

/// Values of all tensors, without padding.
pub(crate) fn parameters(model: &Model<'_>) -> u64 {
    let shape = model.shape();
    (0..tensors::tensor_count(shape))
        .filter(|&index| model.tensor(index).is_some())
        .map(|index| {
            let (_, spec) = tensors::tensor(shape, index);
            spec.rows.of(shape) as u64 * spec.cols.of(shape) as u64
        })
        .sum()
}

/// Bytes of the file that one token reads, nothing skipped: all tensors, but of
/// the embedding one row.
pub(crate) fn read_per_token(model: &Model<'_>) -> u64 {
    let shape = model.shape();
    (0..tensors::tensor_count(shape))
        .map(|index| {
            let (_, spec) = tensors::tensor(shape, index);
            let Some(tensor) = model.tensor(index) else { return 0 };
            let group = match tensor {
                Tensor::Matrix(matrix) => matrix.group(),
                Tensor::Sparse(matrix) => matrix.group(),
                _ => 0,
            };
            let weights = tensor.weight_type().unwrap_or(WeightType::Int8);
            let len = layout(spec, shape, weights, group).len();
            match tensor {
                Tensor::Embedding(table) => len / table.rows() as u64,
                _ => len,
            }
        })
        .sum()
}

/// Bytes that decoding one token reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Traffic {
    /// All vectors and matrices, one row of the embedding, and the state.
    pub(crate) dense: u64,
    /// The same without the weights that zero activations spare.
    pub(crate) read: u64,
}

impl Traffic {
    /// Of sparse matrices the values of inputs that are not zero count, and all
    /// scales: a group of inputs is rarely all zeros.
    pub(crate) fn new(model: &Model<'_>, zeros: f64, state: StateType) -> Self {
        let state = model.shape().state_len() * state.size();
        let dense = read_per_token(model) + state as u64;
        let spared: u64 = (0..tensors::tensor_count(model.shape()))
            .map(|index| match model.tensor(index) {
                Some(Tensor::Sparse(matrix)) => {
                    (matrix.weights().bytes().len() as f64 * zeros) as u64
                }
                _ => 0,
            })
            .sum();
        Self { dense, read: dense - spared }
    }
}
