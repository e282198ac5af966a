//! Threads: the pool, and kernels that run on it.

mod contention;
pub(crate) mod pool;
mod spin;
mod sync;
mod threaded;

pub use threaded::Threaded;
