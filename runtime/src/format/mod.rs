//! Files: a model's dimensions and tensors, the model file, the state file.
//!
//! * [`model`]: the model file `.kinglet`, read in place; its format, byte by byte
//! * [`shape`]: a model's dimensions, from which the length of every buffer follows
//! * [`state_file`](mod@state_file): where a sequence stands, kept for later; its format
//! * [`crc32`]: the checksum of both
//! * [`Progress`]: of a check, a save or a load that is done in pieces
//!
//! For writers: [`tensors`] lists the tensors of each architecture in the order of the file, and
//! [`layout`] says how the bytes of a matrix lie.

pub mod crc32;
pub mod layout;
pub mod model;
mod progress;
pub mod shape;
mod spec;
pub mod state_file;
pub mod tensors;
pub(crate) mod weights;

pub use self::progress::Progress;
