//! Why a program of a board ends.

use core::fmt;

use kinglet::engine::{BufferError, StepError};
use kinglet::format::model::ModelError;
use kinglet::sampler::SampleError;
use kinglet_cortex_m::EngineError;

/// Why a program of a board ends.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Flash is as it was erased where the model is to be.
    Erased {
        /// The address.
        at: usize,
    },
    /// The bytes at the model's address are not a model, or a damaged one.
    Model {
        /// The address.
        at: usize,
        /// What is wrong with them.
        error: ModelError,
    },
    /// A sound model, but not the one whose header sized this image's buffers.
    OtherModel {
        /// The address.
        at: usize,
    },
    /// The buffers were taken before.
    Buffers,
    /// There is no engine.
    Engine(EngineError),
    /// A token cannot be computed.
    Step(StepError),
    /// The model's tokenizer cannot be read.
    Tokenizer,
    /// No token can be drawn.
    Sample(SampleError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "flash the model again, as the board's README.md says";
        match self {
            Self::Erased { at } => write!(f, "flash is empty at {at:#010x}: {AGAIN}"),
            Self::Model { at, error } => write!(f, "model at {at:#010x}: {error}; {AGAIN}"),
            Self::OtherModel { at } => write!(
                f,
                "model at {at:#010x}: not the one that this image was built for; build it with \
                 KINGLET_MODEL=/path/to/that/file, or flash the other model"
            ),
            Self::Buffers => f.write_str("the buffers are in use: they are taken once"),
            Self::Engine(error) => error.fmt(f),
            Self::Step(error) => error.fmt(f),
            Self::Tokenizer => f.write_str(
                "the model's tokenizer cannot be read: one of byte pairs takes the feature `bpe`",
            ),
            Self::Sample(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<BufferError> for Error {
    fn from(error: BufferError) -> Self {
        Self::Engine(EngineError::Buffer(error))
    }
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<SampleError> for Error {
    fn from(error: SampleError) -> Self {
        Self::Sample(error)
    }
}
