//! Kernels for AArch64, chosen at run time.
//!
//! | set                | instructions            | cores with it                    |
//! |--------------------|-------------------------|----------------------------------|
//! | `aarch64-neon`     | NEON                    | all: Cortex-A53, A72             |
//! | `aarch64-dotprod`  | `sdot`                  | Cortex-A55, A76; Neoverse N1     |
//! | `aarch64-i8mm`     | `smmla` beside `sdot`   | Cortex-A510, A715; Neoverse V1   |
//!
//! ```
//! # #[cfg(all(target_arch = "aarch64", target_endian = "little"))] {
//! use kinglet::kernels::Kernels;
//! use kinglet_host::Threaded;
//! use kinglet_neon::KernelSet;
//!
//! // The kernels of the engine: the fastest set of this machine, on two threads.
//! let kernels = Threaded::new(KernelSet::best(), 2);
//! assert!(KernelSet::names().any(|name| name == kernels.name()));
//! # }
//! ```
//!
//! A value of a set is the proof that the CPU has its instructions: `KernelSet` asks at run
//! time. On other architectures the crate is empty.
//!
//! * `sets`: the exact integer sums of a group, where sets differ. To add a set, implement `Dense`
//!   and `Sparse` for it and add a line to `KernelSet`.
//! * `dense`, `sparse`: the loops over rows, tokens and groups, which all sets share.
//! * `fold`: from a group's integers to f32, in the order of the numbers' contract.
//! * `packing`: the types of weights, as the signed bytes that the instructions multiply.
//! * `intrinsics`: the NEON intrinsics as safe functions that inline anywhere.
//! * `detect`: which instructions the CPU has.
//!
//! Every set sums the same integers and shares the float operations, so all have the bits of
//! the core's scalar reference.
#![no_std]
#![cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod dense;
mod detect;
mod fold;
mod intrinsics;
mod packing;
mod sets;
mod sparse;

pub use sets::{Dotprod, I8mm, KernelSet, Neon};

#[cfg(test)]
mod tests;
