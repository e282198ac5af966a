//! The parts that machines with an operating system share: threads, the model's memory map, and facts
//! about the machine.
//!
//! * [`Threaded`] runs the kernels of a SIMD target on a pool of threads.
//! * [`ModelFile`] maps a model file, so that it is read in place.
//! * [`PageBuffer`] is memory for states and workspaces: page-aligned, in huge pages.
//! * [`default_threads`], [`total_memory`], [`ResidentMemory`] and [`ReadBandwidth`] ask and measure the
//!   machine.
//!
//! Programs that link no standard library take `OneThread` of the crate `kinglet-simd`.
//!
//! ```
//! use kinglet::kernels::{ChunksOf, Kernels, Phase, Region};
//! use kinglet::kernels::scalar::Scalar;
//! use kinglet_host::{PageBuffer, Threaded, default_threads};
//!
//! // A set of `kinglet_desktop` or `kinglet_neon` is faster; this one runs anywhere.
//! let kernels = Threaded::new(Scalar, default_threads());
//! let mut buffer = PageBuffer::<f32>::new(1 << 20)?;
//! // The core cuts its own slices; here 1024 rows, each on any thread.
//! kernels.for_parts(
//!     (0..1024, ChunksOf::new(&mut buffer, 1024)),
//!     Region { phase: Phase::Wkv, operations: 1 << 20 },
//!     #[inline(always)]
//!     |(range, rows)| range.zip(rows.iter()).for_each(|(row, values)| values.fill(row as f32)),
//! );
//! assert_eq!((buffer[0], buffer[1 << 19], buffer[(1 << 20) - 1]), (0.0, 512.0, 1023.0));
//! # std::io::Result::Ok(())
//! ```

mod cpus;
mod memory;
mod threads;

pub use cpus::default_threads;
pub use memory::{
    LockError, ModelFile, PageBuffer, ReadBandwidth, ResidentMemory, read_bandwidth, total_memory,
};
pub use threads::Threaded;
