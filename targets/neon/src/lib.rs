//! Kernels for AArch64.
//!
//! | set                | instructions            | cores with it                    |
//! |--------------------|-------------------------|----------------------------------|
//! | `aarch64-neon`     | NEON                    | all: Cortex-A53, A72             |
//! | `aarch64-dotprod`  | `sdot`                  | Cortex-A55, A76; Neoverse N1     |
//! | `aarch64-i8mm`     | `smmla` beside `sdot`   | Cortex-A510, A715; Neoverse V1   |
//!
//! A value of a set is the proof that the CPU has its instructions: [`KernelSet`] asks
//! at run time. On other architectures the crate is empty.
#![no_std]
#![cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod dense;
mod detect;
mod fold;
mod intrinsics;
mod sets;
mod sparse;

pub use sets::{Dotprod, I8mm, KernelSet, Neon};

#[cfg(test)]
mod tests;
