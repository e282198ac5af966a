//! The files that checkpoints come in, a module for each.

mod bytes;
pub(super) mod ggml_blocks;
pub(super) mod gguf;
pub(super) mod hugging_face;
mod pickle;
pub(super) mod pth;
pub(super) mod rwkv_cpp;
pub(super) mod safetensors;
pub(super) mod web_rwkv;
