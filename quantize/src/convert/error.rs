//! Why a conversion did not happen.
//!
//! Each message says what was found, what was expected, and what to do where there is something to
//! do. Names of tensors come from files, so they are quoted and cut.

use std::io;
use std::path::{Path, PathBuf};

use kinglet::format::shape::{Architecture, ShapeError};

use crate::checkpoint::{CheckpointError, Tensor};

/// Why a checkpoint was not converted. No output file is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The file is no readable checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tensors make up something that this version does not run.
    #[error("this is {found}; expected an RWKV-4, 5, 6, 7 or 7a checkpoint")]
    Architecture {
        /// What it is.
        found: Foreign,
    },
    /// A dimension is outside what the runtime accepts.
    #[error("the checkpoint's shape is impossible: {0}")]
    Shape(ShapeError),
    /// A tensor is missing.
    #[error("tensor {tensor} is missing; the checkpoint is incomplete")]
    Missing {
        /// Its official name.
        tensor: String,
    },
    /// A layer has no tensors, and a later one has.
    #[error("layer {layer} is missing, layer {last} is there; the checkpoint is incomplete")]
    MissingLayer {
        /// The first layer without tensors, from 0.
        layer: usize,
        /// The last layer with tensors.
        last: usize,
    },
    /// A tensor is not part of the architecture.
    #[error("tensor {} is not part of {architecture}", tensor.escape_debug())]
    Unknown {
        /// Its name in the checkpoint.
        tensor: String,
        /// The architecture that the other tensors make up.
        architecture: Architecture,
    },
    /// A tensor has another shape than the rest of the model implies.
    #[error("tensor {tensor} has shape {found:?}, expected {expected:?}")]
    Dims {
        /// Its official name.
        tensor: String,
        /// Its shape in the checkpoint.
        found: Vec<usize>,
        /// The shape that the model needs.
        expected: Vec<usize>,
    },
    /// The container states a dimension that the tensors do not have.
    #[error(
        "{key} is {value}, but the tensors make up a model with {found}; use the weights and the \
         metadata of one model"
    )]
    Declared {
        /// The key in the container's metadata.
        key: String,
        /// What it states.
        value: f64,
        /// What the tensors say.
        found: usize,
    },
    /// A parameter per head does not say by its shape what a head is.
    #[error("tensor {tensor} has shape {found:?}, expected [heads, head size]")]
    PerHead {
        /// Its official name.
        tensor: String,
        /// Its shape in the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor {tensor} holds {found} at row {row}, column {column}; expected finite values")]
    NonFinite {
        /// Its official name.
        tensor: String,
        /// The value.
        found: f32,
        /// Row, as the checkpoint stores it (rows and columns exchanged for low-rank matrices).
        row: usize,
        /// Column.
        column: usize,
    },
    /// A row table holds more than its scales can.
    #[error(
        "tensor {tensor} has a row with {largest:e} in it as it is stored (LN0 included); its rows hold \
         at most {most:e}"
    )]
    Range {
        /// Its official name.
        tensor: String,
        /// The largest magnitude: infinite or NaN where f32 has no number for it.
        largest: f32,
        /// The largest that rows of such weights hold.
        most: f32,
    },
    /// The model could not be computed for its calibration.
    #[error("the calibration failed; the model can be quantized without one")]
    Calibration {
        /// What the engine says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A choice of bits has nothing to be measured with.
    #[error("a choice of bits is measured with an engine, and there is none; pass a calibration")]
    NoCalibration,
    /// A limit on the KL divergence is none.
    #[error("the limit on the KL divergence is {found}; expected a number above 0, such as 2e-3")]
    KlLimit {
        /// The limit.
        found: f64,
    },
    /// The file cannot be so small.
    #[error(
        "the model file takes {least} bytes or more, all matrices and tables of four bits; the limit \
         is {size}: raise it, or take a smaller model"
    )]
    Size {
        /// The limit.
        size: u64,
        /// The smallest size that there can be.
        least: u64,
    },
    /// The file holds no tuned state.
    #[error("holds no tuned state; expected tensors blocks.N.att.time_state")]
    NoState,
    /// A file with a tuned state holds a tensor that is not the model's.
    #[error(
        "tensor {} is not part of the model's tuned state, which is blocks.N.att.time_state of \
         each layer of RWKV-5, 6 or 7", tensor.escape_debug()
    )]
    NotState {
        /// Its name in the file.
        tensor: String,
    },
    /// A tuned state is of a model with another number of layers.
    #[error("the tuned state has {found} layers; the model has {expected}")]
    StateLayers {
        /// Layers of the state.
        found: usize,
        /// Layers of the model.
        expected: usize,
    },
    /// A tuned state is of another model.
    #[error("the tuned state has {found} elements; the model's has {expected}")]
    StateLength {
        /// Elements of the state.
        found: usize,
        /// Elements of the model's state.
        expected: usize,
    },
    /// A source could not be read again for its checksum.
    #[error("{}: cannot be read", path.display())]
    Source {
        /// The file's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The vocabulary does not fit the model.
    #[error("the vocabulary has token id {found}, but the model has {vocab} token ids")]
    Vocabulary {
        /// Largest id of the vocabulary.
        found: usize,
        /// Token ids of the model.
        vocab: usize,
    },
    /// Options of the sampler that a model file cannot state.
    #[error(
        "the sampler's options `{stated}` cannot be kept in a model file; expected numbers in \
         their range with at most 7 digits"
    )]
    Sampling {
        /// The options as they would be stated.
        stated: String,
    },
    /// The output could not be written.
    #[error("cannot write {}", path.display())]
    Output {
        /// The output's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ConvertError {
    pub(crate) fn dims(tensor: &Tensor<'_>, expected: &[usize]) -> Self {
        Self::Dims {
            tensor: tensor.name().to_owned(),
            found: tensor.shape().to_vec(),
            expected: expected.to_vec(),
        }
    }

    pub(crate) fn output(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Output { path: path.to_owned(), source }
    }
}

/// What a checkpoint is that is not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Foreign {
    /// Rescaled and transposed for one device.
    #[error(
        "a file that the Python package `rwkv` has already converted for one strategy; use the \
         original checkpoint"
    )]
    ConvertedForStrategy,
    /// RWKV-7b.
    #[error("RWKV-7b, which keeps a growing cache")]
    Rwkv7b,
    /// RWKV-8.
    #[error("RWKV-8, which is not released")]
    Rwkv8,
    /// RWKV-4a or 4b.
    #[error("RWKV-4a or 4b, which add a small attention with a growing cache")]
    TinyAttention,
    /// A tuned state without its model.
    #[error(
        "a tuned state alone; quantize its base checkpoint with this as --tuned-state, or make a state \
         file of it with `kinglet state`"
    )]
    TunedState,
    /// A base checkpoint and its adapter, before [`Checkpoint::merge`].
    ///
    /// [`Checkpoint::merge`]: crate::checkpoint::Checkpoint::merge
    #[error("a base checkpoint and its adapter in one, not merged yet")]
    BaseAndAdapter,
    /// An adapter without its base.
    #[error("an adapter; quantize its base checkpoint with this as --lora")]
    Adapter,
    /// A transformer.
    #[error("a transformer of the Llama family, not RWKV")]
    Llama,
    /// Anything else.
    #[error("not an RWKV checkpoint with the official tensor names")]
    Unknown,
}
