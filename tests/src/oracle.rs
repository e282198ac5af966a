//! The forward pass that models are compared with.

pub use kinglet_quantize::reference::{Error, Version};

/// The reference over weights in memory.
pub type Oracle = kinglet_quantize::reference::Reference<'static>;
