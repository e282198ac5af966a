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
            match model.tensor(index) {
                None => 0,
                Some(Tensor::Embedding(table)) => {
                    layout(spec, shape, table.weights().weight_type(), 0).len()
                        / table.rows() as u64
                }
                Some(Tensor::Matrix(matrix)) => {
                    layout(spec, shape, matrix.weights().weight_type(), matrix.group()).len()
                }
                Some(Tensor::Sparse(matrix)) => {
                    layout(spec, shape, matrix.weights().weight_type(), matrix.group()).len()
                }
                Some(_) => layout(spec, shape, WeightType::Int8, 0).len(),
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
