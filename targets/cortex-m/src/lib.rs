//! Kernels for Arm Cortex-M.
//!
//! * [`Dsp`] for cores with the DSP extension (M4, M7, M33, M55): weights are
//!   widened four at a time by SXTB16 and multiplied two at a time by SMLAD.
//! * [`Plain`] for the others (M0+, M3), and for any 32-bit core with few registers.
//!
//! Both compute four rows at a time, because four sums, four weights and the
//! addresses are what thirteen registers hold; both skip zeros in sparse
//! products by first listing the inputs that are not.
//!
//! The M55 takes [`Dsp`] too. What the compiler vectorises of [`Plain`] with
//! Helium switched on (`-C target-feature=+mve`, integers only, because its
//! floats flush to zero) needs 1.4 times the instructions in dense products.
//!
//! On other machines [`Dsp`] is the same algorithm with the instructions
//! emulated, so that it can be tested there.
#![no_std]

#[cfg(test)]
extern crate std;

mod dsp;
mod fpu;
mod plain;
mod quads;

pub use dsp::Dsp;
pub use plain::Plain;

/// The kernel set that suits the target that this is compiled for.
#[cfg(dsp)]
pub type Best = Dsp;
/// The kernel set that suits the target that this is compiled for.
#[cfg(not(dsp))]
pub type Best = Plain;

#[cfg(test)]
mod tests;
