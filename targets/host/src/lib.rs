//! What machines with an operating system share: the model's memory map, and
//! the threads that a target's kernels run on.

mod map;
mod threaded;
mod vectors;

pub use map::ModelFile;
pub use threaded::Threaded;
pub use vectors::{Part, Portable, Vectors};
