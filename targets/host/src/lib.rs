//! What machines with an operating system share: the model's memory map, the
//! threads that a target's kernels run on, and what the machine can do.
//!
//! Without the feature `std` there is only what kernels are written against,
//! [`Vectors`], and [`OneThread`] to run them: enough for a static library that
//! calls no operating system.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
mod bandwidth;
#[cfg(feature = "std")]
mod contention;
#[cfg(feature = "std")]
mod cpus;
#[cfg(feature = "std")]
mod floats;
#[cfg(feature = "std")]
mod map;
#[cfg(feature = "std")]
mod memory;
mod one_thread;
#[cfg(feature = "std")]
mod pool;
#[cfg(feature = "std")]
mod threaded;
mod vectors;

#[cfg(feature = "std")]
pub use bandwidth::{ReadBandwidth, read_bandwidth};
#[cfg(feature = "std")]
pub use cpus::default_threads;
#[cfg(feature = "std")]
pub use floats::Floats;
#[cfg(feature = "std")]
pub use map::{LockError, ModelFile};
#[cfg(feature = "std")]
pub use memory::ResidentMemory;
pub use one_thread::OneThread;
#[cfg(feature = "std")]
pub use threaded::Threaded;
pub use vectors::{Part, Portable, Vectors};
