//! Memory: the model's file, buffers, and how much and how fast it is.

mod bandwidth;
mod model_file;
mod page_buffer;
mod resident;
mod total;

pub use bandwidth::{ReadBandwidth, read_bandwidth};
pub use model_file::{LockError, ModelFile};
pub use page_buffer::PageBuffer;
pub use resident::ResidentMemory;
pub use total::total_memory;
