//! Float operations of each loop of the forward pass, by which a kernel set decides between how
//! many threads a region is worth splitting.
//!
//! They are estimates for one element; the results do not depend on them.

use crate::kernels::{Phase, Region};

/// LayerNorm: two sums and the scaling.
pub(crate) const NORM: usize = 8;
/// Token shift of one input: the blend, and quantizing it.
pub(crate) const TOKEN_SHIFT: usize = 8;
/// Keeping an input for the next token shift.
pub(crate) const SAVE_SHIFT: usize = 1;
/// An activation of one exponential, and quantizing it.
pub(crate) const ACTIVATION: usize = 32;
/// tanh of a low-rank token shift, and quantizing it.
pub(crate) const TANH: usize = 40;
/// Squared ReLU, and quantizing it.
pub(crate) const RELU_SQUARED: usize = 6;
/// Gathering the heads of a token, and quantizing it.
pub(crate) const GATHER: usize = 4;
/// Adding to the residual stream.
pub(crate) const RESIDUAL: usize = 1;
/// Reading a value of the embedding.
pub(crate) const EMBEDDING: usize = 1;
/// A product of f32 with a row of DeepEmbed's table.
pub(crate) const DEEP_EMBED: usize = 3;
/// A decay: two exponentials.
pub(crate) const DECAY: usize = 60;
/// RWKV-4's average: five exponentials, besides the sums.
pub(crate) const WKV4: usize = 120;

/// The wkv for each element of the state, of RWKV-5 and 6 and of RWKV-7.
pub(crate) const WKV5_STATE: usize = 5;
pub(crate) const WKV7_STATE: usize = 7;
/// RWKV-7's decay, key and value of one channel.
pub(crate) const WKV7_VECTORS: usize = 70;
/// The norm, bonus and gate of one channel of y: of RWKV-5 and 6 and of RWKV-7.
pub(crate) const WKV5_OUTPUT: usize = 50;
pub(crate) const WKV7_OUTPUT: usize = 30;

/// The wkv of RWKV-5 and 6 for one channel.
pub(crate) const fn wkv5(head_size: usize) -> usize {
    WKV5_STATE * head_size + WKV5_OUTPUT
}

/// The wkv of RWKV-7 for one channel.
pub(crate) const fn wkv7(head_size: usize) -> usize {
    WKV7_STATE * head_size + WKV7_VECTORS + WKV7_OUTPUT
}

/// The region of a loop over `elements` of `cost` operations each.
#[inline]
pub(crate) const fn region(phase: Phase, cost: usize, elements: usize) -> Region {
    Region { phase, operations: cost * elements }
}
