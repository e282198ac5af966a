//! Files: a model's dimensions and tensors, the model file, the state file.

pub mod crc32;
pub mod layout;
pub mod model;
pub mod shape;
mod spec;
pub mod state_file;
pub mod tensors;
pub(crate) mod weights;
