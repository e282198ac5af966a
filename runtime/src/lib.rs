//! The RWKV recurrence on int8 weights: `no_std`, no `alloc`, the same bits on every target.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod block;
mod channel_mix;
pub mod cpu;
pub mod crc32;
pub mod engine;
mod heads;
pub mod kernels;
pub mod math;
pub mod matrix;
pub mod model;
pub mod quantized;
pub mod reduce;
mod rwkv4;
mod rwkv5;
mod rwkv6;
mod rwkv7;
mod rwkv7a;
pub mod sampler;
pub mod scalar;
pub mod shape;
pub mod tensors;
pub mod text;
pub mod tokenizer;
mod workspace;
