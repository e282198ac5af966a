//! Kernels for x86-64: AVX2, AVX-VNNI and AVX-512 VNNI, chosen at run time.
//!
//! One algorithm, written once over two small traits: how wide a register is,
//! and how its bytes are multiplied. Every set sums the same integers and does
//! the same float operations in the same order, so all have the bits of the
//! core's scalar reference.
//!
//! **Unsigned weights.** VPDPBUSD multiplies unsigned by signed bytes, and the
//! cheap way to spread bytes over 16-bit lanes is also without sign, so all
//! sets read a weight as `w + 128` (one exclusive or). What is too much,
//! `128 * sum of q over the group`, is the same for every row; the sums of q
//! come with the activations.
//!
//! **Two steps.** Four weights of a row meet four 16-bit activations in two
//! multiplications: with VPDPBUSD by the high, then the low bytes
//! (`q = 256 h + l`), with VPMADDWD of the even, then the odd inputs. `pack`
//! lays the activations out so that each step broadcasts 32 bits.

#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(target_arch = "x86_64")]
mod cpuid;
#[cfg(target_arch = "x86_64")]
mod dense;
#[cfg(target_arch = "x86_64")]
mod dot_product;
mod kernel_set;
#[cfg(target_arch = "x86_64")]
mod sets;
#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(target_arch = "x86_64")]
mod sparse;

pub use kernel_set::KernelSet;
#[cfg(target_arch = "x86_64")]
pub use sets::{Avx2, Avx512Vnni, AvxVnni};
