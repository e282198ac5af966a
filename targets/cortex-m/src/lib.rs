//! Kernels for Arm Cortex-M, on one core and without an allocator.
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
//! assert!(["dsp", "plain"].contains(&name));
//! ```
//!
//! * [`Dsp`] for cores with the DSP extension (M4, M7, M33, M55): weights are
//!   widened four at a time by SXTB16 and multiplied two at a time by SMLAD.
//! * [`QuadScalar`], named `plain`, for the others (M0+, M3), and for any 32-bit core with few
//!   registers.
//!
//! Both compute four rows at a time (`quads`), because four sums, four weights and the
//! addresses are what thirteen registers hold. Both skip zeros in sparse products by first
//! listing the inputs that are not zero.
//!
//! The M55 takes [`Dsp`] too. The code that the compiler makes of [`QuadScalar`] with
//! Helium switched on (`-C target-feature=+mve`, integers only, because its
//! floats flush to zero) needs 1.4 times the instructions in dense products.
//!
//! On other machines [`Dsp`] is the same algorithm with the instructions
//! emulated, so that it can be tested there.
#![no_std]

#[cfg(test)]
extern crate std;

mod dsp;
#[cfg(all(dsp, target_abi = "eabihf"))]
mod f16_fpu;
mod fpu;
mod quad_scalar;
mod quads;
#[cfg(all(dsp, target_abi = "eabihf"))]
mod wkv7_fpu;

pub use dsp::Dsp;
pub use quad_scalar::QuadScalar;

/// The kernel set that suits the target that this is compiled for.
#[cfg(dsp)]
pub type Best = Dsp;
/// The kernel set that suits the target that this is compiled for.
#[cfg(not(dsp))]
pub type Best = QuadScalar;

#[cfg(test)]
mod tests;
