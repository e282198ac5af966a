//! The model, in a flash region of its own.
//!
//! A board's `memory.x` says where, by the symbol `_kinglet_model`. The image has only what the
//! compiler takes from the file: the lengths of the buffers, and which model they are for.

use kinglet::engine::Requirements;
use kinglet::format::model::{Header, Model, ModelError};

use crate::Error;

/// The file that is flashed.
#[cfg(not(given_model))]
const FILE: &[u8] = kinglet_stories::MODEL;
#[cfg(given_model)]
const FILE: &[u8] = include_bytes!(env!("KINGLET_MODEL"));

/// Its header.
pub const HEADER: Header = match Header::parse(FILE) {
    Ok(header) => header,
    Err(ModelError::Disabled { .. }) => {
        panic!("KINGLET_MODEL needs a feature of kinglet-boards: see `kinglet info`")
    }
    Err(_) => panic!("KINGLET_MODEL is no model file, or a damaged one: see `kinglet info`"),
};

/// Its length in bytes.
pub const LEN: usize = FILE.len();

/// What an engine needs that computes a token at a time.
pub const NEEDS: Requirements = Requirements::of::<f32>(&HEADER.shape, 1);

/// Bytes that are checked in a piece: 20,000 instructions of a Cortex-M4.
const PIECE: usize = 4096;

/// The bytes where the board has its model.
#[cfg(target_os = "none")]
pub fn flashed() -> &'static [u8] {
    unsafe extern "C" {
        static _kinglet_model: [u8; LEN];
    }
    // SAFETY: the board's memory map has as much readable memory there, which nothing writes.
    unsafe { &_kinglet_model }
}

/// Opens the model of `bytes`, which [`check`] then reads.
///
/// # Errors
///
/// When flash is empty, the header is damaged, or the model is another one.
#[inline(never)]
pub fn open(bytes: &[u8]) -> Result<Model<'_>, Error> {
    let at = bytes.as_ptr().addr();
    if bytes.first_chunk() == Some(&[0xFF; 8]) {
        return Err(Error::Erased { at });
    }
    let model = Model::open(bytes).map_err(|error| Error::Model { at, error })?;
    match model.header().content_hash == HEADER.content_hash {
        true => Ok(model),
        false => Err(Error::OtherModel { at }),
    }
}

/// Checks every byte of the model; `between` runs after each piece.
///
/// # Errors
///
/// Names the first section that is damaged.
#[inline(never)]
pub fn check(model: &Model<'_>, mut between: impl FnMut()) -> Result<(), Error> {
    let mut verifier = model.verifier();
    while !verifier.poll(PIECE).map_err(|error| damaged(model, error))?.is_complete() {
        between();
    }
    Ok(())
}

/// [`check`] among other tasks, which run after each piece.
///
/// # Errors
///
/// As [`check`].
pub async fn check_in_pieces(model: &Model<'_>) -> Result<(), Error> {
    let mut verifier = model.verifier();
    while !verifier.poll(PIECE).map_err(|error| damaged(model, error))?.is_complete() {
        embassy_futures::yield_now().await;
    }
    Ok(())
}

fn damaged(model: &Model<'_>, error: ModelError) -> Error {
    Error::Model { at: model.bytes().as_ptr().addr(), error }
}
