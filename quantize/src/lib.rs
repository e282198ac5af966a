//! Reads RWKV checkpoints and writes Kinglet model files.

pub mod checkpoint;
