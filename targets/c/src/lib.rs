//! The C interface of Kinglet, in `include/kinglet.h`: `no_std`, no allocation,
//! no global state.
//!
//! This library is linked from Rust, by its tests and by an integrator's own
//! static library. The static library that C programs link, with its panic
//! handler, is the crate in `static/`.
//!
//! # How it is sound
//!
//! * A handle (`KingletModel` and its siblings) is memory of the caller, big
//!   enough for the Rust value that a function puts there, with a tag in front.
//!   A function that is given a handle checks null, alignment and tag.
//! * Buffers come as pointer and length; null, misaligned and too short ones are
//!   refused with a status, and so are buffers and handles that overlap, before
//!   there are references to them.
//! * The rest cannot be checked and is the caller's promise, as the header says:
//!   the pointers point to that many bytes, which live and stay untouched as long
//!   as the handle made from them is used.
//! * A panic does not unwind into C: every function is `extern "C"`, which aborts
//!   where a build unwinds at all.
#![no_std]

#[cfg(test)]
extern crate std;

mod engine;
mod grammar;
mod handle;
mod kernels;
mod limits;
mod memory;
mod model;
mod panic;
mod pieces;
mod sampler;
mod sequence;
mod status;
mod step;
mod text;

pub use engine::*;
pub use grammar::*;
pub use limits::*;
pub use model::*;
pub use panic::PanicMessage;
pub use pieces::*;
pub use sampler::*;
pub use status::*;
pub use step::*;
pub use text::*;
