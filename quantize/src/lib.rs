//! Reads RWKV checkpoints and writes Kinglet model files.

mod architecture;
pub mod checkpoint;
mod convert;
mod error;
pub mod int8;
pub mod vocabulary;
mod writer;

pub use architecture::shape;
pub use convert::{Hex, Options, Progress, Report, TensorReport, convert};
pub use error::ConvertError;
