//! Kernels for Arm Cortex-M, on one core or two and without an allocator.
//!
//! ```
//! use kinglet::kernels::Kernels;
//! use kinglet_cortex_m::{Best, QuadScalar};
//!
//! // The kernels of firmware's engine: the set for its target, where the core has the
//! // instructions and its floats are IEEE; the scalar set in their place.
//! let name = match Best::new() {
//!     Some(kernels) => kernels.name(),
//!     None => QuadScalar::new().expect("floats that are IEEE").name(),
//! };
//! assert!(["helium", "dsp", "plain"].contains(&name));
//! ```
//!
//! [`Engine`] is the whole engine of a firmware, compiled with this crate's profile.
//!
//! * [`Dsp`] for cores with the DSP extension (M4, M7, M33, M55): weights are
//! * [`Helium`] for cores with its vectors (M55, M85): sixteen weights of a row at a time are
//!   gathered, widened, and multiplied eight at a time by VMLAVA. With the feature `helium` it is
//!   [`Best`] for ARMv8-M, because its code is of no use to cores without them.
//! * [`Dsp`] for cores with the DSP extension (M4, M7, M33): weights are
//!   widened four at a time by SXTB16 and multiplied two at a time by SMLAD.
//! * [`QuadScalar`], named `plain`, for the others (M0+, M3), and for any 32-bit core with few
//!   registers.
//!
//! The last two compute four rows at a time (`quads`), because four sums, four weights and the
//! addresses are what thirteen registers hold. All skip zeros in sparse products by first
//! listing the inputs that are not zero.
//!
//! Helium computes integers alone: its vectors of f32 flush subnormals to zero, so floats stay scalar.
//!
//! On other machines [`Helium`] and [`Dsp`] are the same algorithms with the instructions
//! emulated, so that they can be tested there.
//!
//! # Two cores
//!
//! [`TwoCores`] shares every product and the recurrence with a second core that sees the same
//! memory, as on the RP2040 and RP2350. The firmware says how the cores reach each other, a
//! [`Mailbox`], and lets the second one [serve](SecondCore::serve). The bits are those of one core.
//!
//! ```
//! use kinglet::kernels::{ChunksOf, Kernels, Phase, Region};
//! use kinglet_cortex_m::{Mailbox, QuadScalar, SecondCore, TwoCores};
//!
//! struct Events;
//!
//! // Threads in the place of cores. Firmware has `dsb(); sev()` and `wfe()`.
//! impl Mailbox for Events {
//!     fn tell(&self) {}
//!     fn wait(&self) {
//!         std::thread::yield_now();
//!     }
//! }
//!
//! static SECOND: SecondCore<Events> = SecondCore::new(Events);
//!
//! // The second core's program, to be started with a stack of 4 KB and its FPU on.
//! std::thread::spawn(|| {
//!     let _kernels = QuadScalar::new().expect("floats that are IEEE on this core, too");
//!     // SAFETY: no other core serves.
//!     unsafe { SECOND.serve() }
//! });
//!
//! // The first core's: an engine over these kernels.
//! let kernels = QuadScalar::new().expect("floats that are IEEE");
//! // SAFETY: only this core computes with them.
//! let kernels = unsafe { TwoCores::new(kernels, &SECOND) };
//!
//! let mut heads = [1.0; 4];
//! let region = Region { phase: Phase::Wkv, operations: 100_000 };
//! kernels.for_parts(ChunksOf::new(&mut heads, 1), region, |heads| {
//!     heads.into_slice().iter_mut().for_each(|x| *x *= 2.0);
//! });
//! assert_eq!(heads, [2.0; 4]);
//! ```
#![no_std]

#[cfg(test)]
extern crate std;

mod dsp;
mod engine;
#[cfg(all(dsp, target_abi = "eabihf"))]
mod f16_fpu;
#[cfg(any(soft_float, test))]
mod f16_soft;
mod fpu;
mod helium;
mod quad_scalar;
mod quads;
mod two_cores;
#[cfg(all(dsp, target_abi = "eabihf"))]
mod wkv7_fpu;

pub use dsp::Dsp;
pub use engine::{Engine, EngineError, EngineF16};
pub use helium::Helium;
pub use quad_scalar::QuadScalar;
pub use two_cores::{Mailbox, SecondCore, SparseRows, TwoCores};

/// The kernel set that suits the target that this is compiled for.
#[cfg(all(armv8m, feature = "helium"))]
pub type Best = Helium;
/// The kernel set that suits the target that this is compiled for.
#[cfg(all(dsp, not(all(armv8m, feature = "helium"))))]
pub type Best = Dsp;
/// The kernel set that suits the target that this is compiled for.
#[cfg(not(dsp))]
pub type Best = QuadScalar;

#[cfg(test)]
mod tests;
