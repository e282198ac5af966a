//! Reads RWKV checkpoints and writes Kinglet model files.

mod architecture;
pub mod checkpoint;
mod content_hash;
mod convert;
mod error;
mod export;
pub mod int8;
pub mod metrics;
mod output;
pub mod quality;
pub mod reference;
pub mod synthetic;
mod tuned;
mod vectors;
pub mod vocabulary;
mod writer;

pub use self::content_hash::content_hash;
pub use architecture::shape;
pub use convert::{Hex, Options, Progress, Report, TensorReport, convert};
pub use error::ConvertError;
pub use export::export;
pub use output::{Partial, abandon, write_beside};
pub use tuned::TunedState;
