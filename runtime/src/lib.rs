//! The RWKV recurrence on int8 weights: `no_std`, no `alloc`, the same bits on every target.
#![no_std]
#![forbid(unsafe_code)]

pub mod math;
