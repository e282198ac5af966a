//! Reads RWKV checkpoints and writes Kinglet model files.

pub mod checkpoint;
mod convert;
pub mod evaluate;
mod export;
mod files;
pub mod int8;
mod multiversion;
pub mod reference;
pub mod synthetic;
pub mod vocabulary;

pub use convert::error::ConvertError;
pub use convert::recognize::shape;
pub use convert::tuned_state::TunedState;
pub use convert::{Hex, Note, Options, Progress, Report, TensorReport, convert};
pub use evaluate::{metrics, quality};
pub use export::export;
pub use files::{Partial, abandon, write_beside};
