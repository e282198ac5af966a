//! What int8 costs: distances between logits, and the comparison of a model with its checkpoint.

pub mod metrics;
pub mod quality;
