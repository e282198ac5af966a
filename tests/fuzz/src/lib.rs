//! What the fuzz targets share: bounded memory, checksums that are set right, files on disk, and
//! ways to use whatever a parser has accepted.
//!
//! A target fails where anything panics, where memory asked for exceeds what [`memory::within`]
//! allows, and where a property that it states does not hold. Times are bounded by libFuzzer.

pub mod checkpoint;
pub mod disk;
pub mod memory;
pub mod model;
pub mod mutate;
pub mod session;
pub mod state;
pub mod text;
