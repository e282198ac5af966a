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
#[cfg(all(dsp, target_abi = "eabihf"))]
mod wkv7_fpu;

pub use dsp::Dsp;
pub use engine::{Engine, EngineError, EngineF16};
pub use helium::Helium;
pub use quad_scalar::QuadScalar;

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
