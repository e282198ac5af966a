//! Kernels for x86-64: AVX2, AVX-VNNI and AVX-512 VNNI, chosen at run time.
//!
//! | set                  | instructions                  | processors                       |
//! |----------------------|-------------------------------|----------------------------------|
//! | `x86-64-avx2`        | VPMADDWD on 256 bits          | Haswell, Zen and later           |
//! | `x86-64-avx-vnni`    | VPDPBUSD on 256 bits          | Alder Lake and later, no AVX-512 |
//! | `x86-64-avx512-vnni` | VPDPBUSD on 512 bits          | Cascade Lake, Zen 4 and later    |
//! | `scalar`             | none beyond x86-64            | all                              |
//!
//! ```
//! use kinglet::kernels::Kernels;
//! use kinglet_desktop::KernelSet;
//! use kinglet_host::Threaded;
//!
//! // The kernels of the engine: the fastest set of this machine, on two threads.
//! let kernels = Threaded::new(KernelSet::best(), 2);
//! assert!(KernelSet::names().any(|name| name == kernels.name()));
//! ```
//!
//! One algorithm is written once over three small traits: how wide a register is (`simd`), how
//! its bytes are multiplied (`dot_product`), and how they hold weights (`weight_type`). Every set sums the same integers and does the
//! same float operations in the same order, so all have the bits of the core's scalar
//! reference. To add a set: a dot product flavour, unless one fits, and a line in `sets`.
//!
//! * `dense`: GEMV and GEMM with the tiles of a dense matrix.
//! * `sparse`: products with the mostly zero input of the channel mix.
//! * `cpuid`: which instructions the CPU has and the operating system lets programs use.
//!
//! **Unsigned weights.** VPDPBUSD multiplies unsigned by signed bytes, and the cheap way to
//! spread bytes over 16-bit lanes is also without sign, so all sets read a weight of eight bits
//! as `w + 128`: one exclusive or, with the zero point 128. Weights of four bits are stored as
//! `w + 8`: a mask, and a shift for every second block. Each sum is then the zero point times
//! the sum of q over the group too large. This correction is the same for every row, and the
//! sums of q come with the activations.
//!
//! **Two steps.** Four weights of a row meet four 16-bit activations in two dot products: with
//! VPDPBUSD by the high, then the low bytes (`q = 256 h + l`), with VPMADDWD of the even, then
//! the odd inputs. `pack` lays the activations out so that each step broadcasts 32 bits.
//!
//! On other architectures the crate compiles, and [`KernelSet`] is the scalar reference alone.

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
#[cfg(target_arch = "x86_64")]
mod weight_type;

pub use kernel_set::KernelSet;
#[cfg(target_arch = "x86_64")]
pub use sets::{Avx2, Avx512Vnni, AvxVnni};
