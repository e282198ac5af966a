//! The commands: a file for each, and a function `run` in it that `main` calls.

pub(crate) mod bench;
#[cfg(all(feature = "chat", any(unix, windows)))]
pub(crate) mod chat;
pub(crate) mod digest;
#[cfg(feature = "quantizer")]
pub(crate) mod export;
pub(crate) mod fit;
#[cfg(all(feature = "grammar", any(unix, windows)))]
pub(crate) mod grammar;
pub(crate) mod info;
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) mod list;
pub(crate) mod logits;
#[cfg(feature = "manual")]
pub(crate) mod manual;
pub(crate) mod perplexity;
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) mod pull;
#[cfg(feature = "quantizer")]
pub(crate) mod quantize;
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) mod rm;
pub(crate) mod run;
#[cfg(all(feature = "serve", any(unix, windows)))]
pub(crate) mod serve;
#[cfg(feature = "quantizer")]
pub(crate) mod state;
pub(crate) mod tokenize;
