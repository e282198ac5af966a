#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod compile;
mod error;
pub mod rules;
pub mod schema;

pub use compile::compile;
pub use error::{CompileError, Conflict, ConflictKind};

/// How rules are compiled.
///
/// # Examples
///
/// ```
/// let mut options = kinglet_grammar::Options::default();
/// options.depth = 8;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How deep rules that contain themselves may be nested in a text, at most 32.
    pub depth: u8,
    /// Steps, each of them a state or a part of one, after which compiling is given up.
    pub budget: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth: 16, budget: 20_000_000 }
    }
}
