//! The model: in the image, or at an address outside it.

#[cfg(not(external_model))]
use kinglet::format::model::Aligned;
use kinglet::format::model::{Header, ModelError};
use kinglet::format::shape::Architecture;

/// The file that the image holds or, with a model outside, that its buffers are made for.
#[cfg(shipped_model)]
const FILE: &[u8] = kinglet_stories::MODEL;
#[cfg(not(shipped_model))]
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
        ModelError::Disabled { architecture } => left_out(*architecture),
        _ => "KINGLET_MODEL is not a model file that this version reads: see `kinglet info`",
    }
}

/// The architecture's code is not in the image.
const fn left_out(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Rwkv4 => "KINGLET_MODEL is of RWKV-4: build with --features rwkv4",
        Architecture::Rwkv6 => "KINGLET_MODEL is of RWKV-6: build with --features rwkv6",
        Architecture::Rwkv7 => "KINGLET_MODEL is of RWKV-7: build with --features rwkv7",
        Architecture::Rwkv7a => "KINGLET_MODEL is of RWKV-7a: build with --features rwkv7a",
        _ => "KINGLET_MODEL is of RWKV-5: build with --features rwkv5",
    }
}

#[cfg(not(external_model))]
#[unsafe(link_section = ".model")]
static MODEL: Aligned<[u8; FILE.len()]> = match FILE.first_chunk() {
    Some(bytes) => Aligned(*bytes),
    None => panic!("the chunk is the whole file"),
};

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
