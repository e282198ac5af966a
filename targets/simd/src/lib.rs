//! The parts that Kinglet's SIMD targets share.
//!
//! The core asks a target for whole products ([`Kernels`](kinglet::kernels::Kernels)). A SIMD
//! target writes less: [`SimdKernels`], which computes *some rows* of a product on one thread.
//! The step from rows to products is made once for all targets: by [`OneThread`] without an
//! operating system, by `Threaded` of the crate `kinglet-host` on a pool of threads.
//!
//! | layer                                    | crate                            | unit of work     |
//! |------------------------------------------|----------------------------------|------------------|
//! | `Cpu`, the engine                        | `kinglet`                        | a batch          |
//! | `Kernels`: `OneThread` or `Threaded`     | `kinglet-simd` or `kinglet-host` | a whole product  |
//! | [`SimdKernels`]: a set of [`kernel_set!`]| `kinglet-desktop`, `kinglet-neon`| [`OutputRows`]   |
//!
//! Rows are the unit because an output row depends on no other: any cut into rows gives the
//! same bits. Cuts are at tiles of 16 rows, the unit in which weights are stored.
//!
//! The crate takes no memory and calls no system, so that a static library for C links it.
//!
//! # A product, by hand
//!
//! ```
//! use half::f16;
//! use kinglet::kernels::{Kernels, Product};
//! use kinglet::kernels::matrix::{Matrix, Weights};
//! use kinglet::kernels::activations::Quantized;
//! use kinglet_simd::{OneThread, Scalar};
//!
//! // 16 rows by 32 inputs, all weights 2, one group of 32 with the scale 0.5 to a row.
//! let (weights, scales) = ([2; 16 * 32], [f16::from_f32(0.5); 16]);
//! let weights = Weights::Int8(&weights);
//! let matrix = Matrix::new(16, 32, 32, 1.0, weights, &scales).unwrap();
//! // One token: all q 3, with the scale 0.25.
//! let input = Quantized::new(32, &[3; 32], &[96], &[0.25]).unwrap();
//! let mut output = [0.0; 16];
//! OneThread(Scalar).products(&mut [Product { matrix, input, output: &mut output }]);
//! assert_eq!(output, [2.0 * 3.0 * 32.0 * 0.5 * 0.25; 16]);
//! ```
#![no_std]

#[cfg(test)]
extern crate std;

mod fp_mode;
mod kernel_set;
mod one_thread;
mod output_rows;
mod simd_kernels;

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
pub use fp_mode::fp_mode_is_ieee;
pub use kinglet::kernels::scalar::Scalar;
pub use one_thread::OneThread;
pub use output_rows::OutputRows;
pub use simd_kernels::SimdKernels;

// Named by `kernel_set!`.
#[doc(hidden)]
pub use kinglet::{
    kernels::activations::Quantized, kernels::matrix::Matrix, kernels::matrix::SparseMatrix,
};
