//! What the SIMD targets share: what kernels are written against, [`Vectors`], and
//! [`OneThread`] to run them.
#![no_std]

#[cfg(test)]
extern crate std;

mod one_thread;
mod vectors;

pub use one_thread::OneThread;
pub use vectors::{Part, Portable, Vectors};
