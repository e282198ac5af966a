//! The state file: where a sequence stands, kept for later.
//!
//! A prompt is computed once, its state saved, and every later text starts from
//! there: with the numbers that an uninterrupted run would have had, on any target.
//!
//! # The format, version 1.1
//!
//! All numbers are little-endian: a header of 64 bytes, then the state, then optional sections.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 8]` | magic, `KGLSTATE` |
//! | 8 | u16 | major version, 1: a reader refuses a newer one |
//! | 10 | u16 | minor version, 1 where there are sections, otherwise 0: a reader accepts a newer one |
//! | 12 | u32 | length of the header, 64 |
//! | 16 | `[u8; 32]` | content hash of the model |
//! | 48 | u32 | type of the elements: 1 is f32, 2 is f16 |
//! | 52 | u32 | number of elements |
//! | 56 | u32 | next token, or `0xFFFF_FFFF` for none |
//! | 60 | u32 | CRC-32 of bytes 0 to 59 and of all bytes from 64 on |
//! | 64 | `[f32]` or `[f16]` | the state, of [`Shape::state_len`](crate::format::shape::Shape::state_len): `[layer]` of the architecture's layer state |
//!
//! **Sections** follow the elements up to the end of the file, at most 8, each kind once and in
//! ascending order: kind u32, length u32, and the bytes, without padding. A reader skips kinds
//! that it does not know.
//!
//! | kind | content |
//! |---|---|
//! | 1 | unfinished bytes: the end of the text so far that is no whole character, at most 3 bytes |
//! | 2 | the sampler's generator and counts, a [snapshot](crate::sampler::Sampler::snapshot) |
//! | 3 | CRC-32 (u32) of the model's start state section, 0 where it has none |
//! | 4 | the text of a session, in the program's own form |
//!
//! The next token is one that the sequence has reached but the state has not
//! taken in: feeding it gives the logits with which the text goes on, so that
//! they need not be stored.
//!
//! The type is that in which the engine keeps the state: f16 is not a shorter way to
//! write f32. An engine of the other type would go on with other numbers than the
//! uninterrupted run, so the file is refused there.
//!
//! The content hash ties a state to the weights that made it; a tuned start state is no weight,
//! so section 3 tells whether the model starts from the same one. A reader checks
//! everything before it uses anything, and accepts finite values only.
//!
//! # In pieces
//!
//! [`StateFile`] has a whole file in memory. Firmware that has no room for that, or must not block,
//! writes a state by a [`StateEncoder`] and loads one by a [`StateDecoder`], in pieces of any size.

mod decoder;
mod elements;
mod encoder;
mod error;
mod file;
mod header;
mod kept;
mod sections;
mod summary;
#[cfg(test)]
mod tests;

pub use self::decoder::StateDecoder;
pub(crate) use self::decoder::StatePiece;
pub use self::encoder::StateEncoder;
pub use self::error::StateFileError;
pub use self::file::StateFile;
pub use self::header::{HEADER_LEN, MAGIC, MAJOR, MINOR};
pub use self::kept::KeptSections;
pub use self::sections::{MAX_SECTIONS, Sections, StateSection};
pub use self::summary::StateSummary;
