//! Text held to a grammar: a table of bytes read in place, and a small stack.
//!
//! A grammar is compiled ahead, by the crate `kinglet-grammar` or the program's command `grammar`,
//! to a table that firmware, programs and C read where it lies: in flash, a map, a constant. It is
//! an automaton over bytes. One without recursion is a minimal finite automaton; rules that contain
//! themselves, and parts that occur often, are automata of their own that others call, for which a
//! [`Position`] has a stack of [`MAX_DEPTH`] frames. Nothing is allocated, and the same table
//! allows the same tokens on every target.
//!
//! # What is promised
//!
//! [`Grammar::open`] walks the whole table, in a constant too, and proves that from every state
//! some byte leads nearer to the end, until the text may end. Each state has the length of the
//! shortest text that ends it, and the frames that this text needs. A byte after which the frames,
//! or what [`Limits`] leave, would not suffice for an end is not allowed. So there is no dead end:
//! a text within its limits can always be completed, and a limit gives a complete text instead
//! of a cut one. [`Constraint::new`] refuses a vocabulary in which a byte of the grammar is no
//! token, so that whatever byte may follow, a token may.
//!
//! A table that was not compiled so but forged may still have calls of which a text can be in the
//! middle with no byte but those that keep it there. Each byte of it comes to an end as well, and
//! where limits leave nothing to follow, drawing says [`NoCandidate`](crate::sampler::SampleError).
//!
//! # The table
//!
//! Everything is little-endian and byte-packed; no alignment is required. It starts with a header
//! of 24 bytes:
//!
//! | offset | type | field |
//! |-------:|------|-------|
//! |  0 | u8 × 4 | `kgrm` |
//! |  4 | u8  | layout version, 0; others are refused |
//! |  5 | u8  | `W`, bytes of a target and of a shortest text's length: 1 or 2 |
//! |  6 | u8  | the largest class of bytes, at least 1 |
//! |  7 | u8  | most frames on the stack, at most 32; 0 if and only if `A` is 0 |
//! |  8 | u16 | `S`, states, at least 1 |
//! | 10 | u16 | `A`, calls; `S + A` is at most 65,535, and 255 where `W` is 1 |
//! | 12 | u16 | `K`, cells |
//! | 14 | u16 | the state at which a text begins |
//! | 16 | u32 | CRC-32 of the whole table, with zeros in this place |
//! | 20 | u32 | zeros |
//!
//! and is followed, without gaps, by
//!
//! | bytes | table |
//! |------:|-------|
//! | 256 | u8 per byte: its class; 0 for a byte that is in no text |
//! | `2 S` | u16 per state: its base, the cell of class 0 |
//! | `W S` | per state: bytes of the shortest text from here to the end of its automaton; 0 if it may end here |
//! | `S` | u8 per state: frames that this text puts on the stack; absent if `A` is 0 |
//! | `4 A` | per call two u16: the state at which it begins, the state at which it goes on afterwards |
//! | `(1 + W) K` | cells: u8 label, then the target |
//!
//! The transitions are a double array. From state `q` a byte of class `c` (not 0) takes the cell
//! `base(q) + c` if there is one and its label is `c`. A target below `S` is the next state, one
//! from `S` on is the call `target - S`: the state at which it goes on is put on the stack, and the
//! byte is looked up again from the state at which the call begins. If there is no transition, and
//! the state may end, a frame is taken from the stack and the byte is looked up again from there;
//! but not after a call for the same byte. Otherwise the byte is not allowed. A cell that is not
//! used has label 0 and target 0.
//!
//! Of several shortest texts the one that needs the fewest frames counts. The text may end where
//! the shortest texts of the state and of all frames are empty.

mod constraint;
mod position;
mod table;
#[cfg(test)]
mod tests;

pub use constraint::{Accepted, Constraint, ConstraintError, Limits, MAX_ENDS, Suspended};
pub use position::Position;
pub use table::{Grammar, GrammarError};

/// The most frames on the stack of a [`Position`].
pub const MAX_DEPTH: usize = 32;
