//! The model: in the image, or at an address outside it.

#[cfg(not(external_model))]
use kinglet::model::Aligned;
use kinglet::model::{Header, ModelError};

/// The file that the image holds or, with a model outside, that its buffers are made for.
const FILE: &[u8] = include_bytes!(env!("KINGLET_MODEL"));

/// Its header: a damaged one does not compile.
pub(crate) const HEADER: Header = match Header::parse(FILE) {
    Ok(header) => header,
    Err(error) => panic!("{}", refusal(&error)),
};

/// Why a file does not go into an image, for the compiler to say.
const fn refusal(error: &ModelError) -> &'static str {
    match error {
        ModelError::Magic { .. } => "KINGLET_MODEL is not a Kinglet model",
        ModelError::TooShort { .. } | ModelError::SectionBounds { .. } => {
            "KINGLET_MODEL is cut short: sections end beyond the file"
        }
        ModelError::HeaderCrc { .. } => "KINGLET_MODEL has a damaged header",
        ModelError::Version { .. } => "KINGLET_MODEL is of a newer version of the format",
        _ => "KINGLET_MODEL is not a model file that this version reads: see `kinglet info`",
    }
}

#[cfg(not(external_model))]
#[unsafe(link_section = ".model")]
static MODEL: Aligned<[u8; FILE.len()]> = Aligned(*include_bytes!(env!("KINGLET_MODEL")));

/// The model's bytes.
#[cfg(not(external_model))]
pub(crate) fn bytes() -> &'static [u8] {
    &MODEL.0
}

/// The model's bytes.
#[cfg(external_model)]
pub(crate) fn bytes() -> &'static [u8] {
    unsafe extern "C" {
        static _kinglet_model: [u8; FILE.len()];
    }
    // SAFETY: the builder of the image promises that readable memory which
    // nothing writes lies there, as much as the file is long.
    unsafe { &_kinglet_model }
}

/// Where the bytes are, in words.
pub(crate) const PLACE: &str =
    if cfg!(external_model) { "outside the image" } else { "in the image" };
