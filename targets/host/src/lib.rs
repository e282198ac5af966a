//! What machines with an operating system share: the model's memory map, the
//! threads that a target's kernels run on, and what the machine can do.

mod cpus;
mod memory;
mod threads;

pub use cpus::default_threads;
pub use memory::{Floats, LockError, ModelFile, ReadBandwidth, ResidentMemory, read_bandwidth};
pub use threads::Threaded;
