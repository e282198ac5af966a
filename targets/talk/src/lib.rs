#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod branch;
mod error;
pub mod grammar;
mod prompt;
pub mod saved;
pub mod schedule;
mod session;
pub mod template;

pub use branch::Branch;
pub use error::{SaveError, TalkError, TemplateError};
pub use prompt::{Prompt, encode};
pub use session::{
    Finish, Piece, Progress, Reading, Session, SessionOptions, Settings, Stats, THOUGHT_END, Turn,
};
pub use template::{Choice, Template, Thinking, choose};
