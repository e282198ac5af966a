//! Threads: the pool, and kernels that run on it.

mod contention;
pub(crate) mod pool;
mod threaded;

pub use threaded::Threaded;
