//! What machines with an operating system share: the model's memory map, the
//! threads that a target's kernels run on, and what the machine can do.

mod bandwidth;
mod contention;
mod cpus;
mod floats;
mod map;
mod memory;
mod pool;
mod threaded;

pub use bandwidth::{ReadBandwidth, read_bandwidth};
pub use cpus::default_threads;
pub use floats::Floats;
pub use map::{LockError, ModelFile};
pub use memory::ResidentMemory;
pub use threaded::Threaded;
