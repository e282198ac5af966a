//! Additions, subtractions, multiplications and conversions of f32 in assembly, for
//! microcontrollers without an FPU: in the place of the compiler's, with the same bits, in a third
//! to a half of the instructions.
//!
//! A program that links this crate has them, wherever its code or a library's computes with f32:
//!
//! ```
//! use kinglet_soft_float as _;
//! ```
//!
//! | functions | computed |
//! |---|---|
//! | `__aeabi_fadd`, `__addsf3` | a + b |
//! | `__aeabi_fsub`, `__subsf3`; `__aeabi_frsub` | a - b; b - a |
//! | `__aeabi_fmul`, `__mulsf3` | a * b |
//! | `__aeabi_i2f`, `__floatsisf` | the float nearest to an i32 |
//!
//! They come before those of the compiler's library, which is linked last. ARMv6-M and ARMv8-M's
//! baseline, ARMv7-M and ARMv8-M's main extension, and RV32IM have them, each in a file of assembly.
//! On any other target, and on all with an FPU, the crate is empty but for its self-test.
//!
//! Results are those of IEEE 754, rounded to nearest even, subnormals kept. Every NaN that comes
//! out is 0x7FC00000, whichever went in. Exceptions are not reported.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod check;
#[cfg(any(assembly, test))]
mod ieee;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod tests;

#[cfg(isa = "armv6m")]
core::arch::global_asm!(include_str!("armv6m.s"), options(raw));
#[cfg(isa = "armv7m")]
core::arch::global_asm!(include_str!("armv7m.s"), options(raw));
#[cfg(isa = "riscv32")]
core::arch::global_asm!(include_str!("riscv32.s"), options(raw));

/// What the assembly leaves to Rust. Its names are public only for the linker, and so that
/// optimization across crates, which does not read assembly, keeps them.
#[cfg(assembly)]
mod special {
    use crate::ieee;

    // SAFETY: no other library has this name.
    #[unsafe(no_mangle)]
    extern "C" fn __kinglet_soft_float_add(a: u32, b: u32) -> u32 {
        ieee::add(a, b)
    }

    // SAFETY: no other library has this name.
    #[unsafe(no_mangle)]
    extern "C" fn __kinglet_soft_float_mul(a: u32, b: u32) -> u32 {
        ieee::mul(a, b)
    }
}
