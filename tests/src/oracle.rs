//! The forward pass that models are compared with.

pub use kinglet_quantize::reference::{Error, Reference as Oracle, Version};
