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

/// The wkv of RWKV-5 and 6 for one channel: five operations for each element of the state, the
/// norm and the gate.
pub(crate) const fn wkv5(head_size: usize) -> usize {
    5 * head_size + 50
}

/// The wkv of RWKV-7 for one channel: seven operations for each element of the state, the decay,
/// the norm and the gate.
pub(crate) const fn wkv7(head_size: usize) -> usize {
    7 * head_size + 100
}

/// The region of a loop over `elements` of `cost` operations each.
pub(crate) const fn region(phase: Phase, cost: usize, elements: usize) -> Region {
    Region { phase, operations: cost * elements }
}
