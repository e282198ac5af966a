//! The RWKV recurrence on int8 weights: `no_std`, no `alloc`, the same bits on every target.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod block;
pub mod cpu;
pub mod crc32;
pub mod engine;
pub mod kernels;
pub mod math;
pub mod matrix;
pub mod model;
pub mod quantized;
pub mod reduce;
mod rwkv7;
pub mod sampler;
pub mod scalar;
pub mod shape;
pub mod state;
pub mod tensors;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tokenizer;
mod workspace;
