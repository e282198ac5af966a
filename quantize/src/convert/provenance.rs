//! Where a model file comes from, as its provenance section says it.

use kinglet::sampler::SamplerOptions;

use crate::checkpoint::{Checkpoint, Role, Source};

use super::Options;
use super::error::ConvertError;
use super::report::Hex;
use super::writer::sha256_of;

/// The provenance section: lines of `key: value`.
pub(super) fn provenance(
    checkpoint: &Checkpoint,
    options: &Options<'_>,
) -> Result<String, ConvertError> {
    checkpoint.verify()?;
    let version = env!("CARGO_PKG_VERSION");
    let licence = options.licence.unwrap_or("not stated; see where the checkpoint came from");
    let mut text = String::new();
    for source in checkpoint.sources() {
        match source.role() {
            Role::Base => text += &source_lines("source", source)?,
            Role::Adapter { alpha } => {
                text += &source_lines("adapter", source)?;
                if let Some(alpha) = alpha {
                    text += &format!("adapter-alpha: {alpha}\n");
                }
            }
        }
    }
    for source in options.state.iter().flat_map(|state| state.sources()) {
        text += &source_lines("state", source)?;
    }
    if let Some(id) = checkpoint.end_of_turn() {
        text += &format!("end-of-turn: {id}\n");
    }
    text += &format!(
        "quantizer: kinglet-quantize {version}\nlicence: {}\n",
        licence.replace(['\n', '\r'], " "),
    );
    Ok(text)
}

/// The line of the provenance that states options of the sampler, as
/// [`SamplerOptions::for_model`] reads it.
pub(super) fn sampling_line(options: &SamplerOptions) -> Result<String, ConvertError> {
    let SamplerOptions { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay } =
        options;
    let stated = format!(
        "sampling: temperature={temperature} top-k={top_k} top-p={top_p} min-p={min_p} \
         presence={presence} frequency={frequency} penalty-decay={penalty_decay}"
    );
    // What is read again is what was meant: each number as it is, and in its range.
    match SamplerOptions::default().stated_in(&stated) {
        Some(read) if read == *options => Ok(stated + "\n"),
        _ => Err(ConvertError::Sampling { stated }),
    }
}

/// Name and SHA-256 of a source. The hash of a directory is that of its tensors' files, in the
/// order of their names, as `cat` would join them.
fn source_lines(key: &str, source: &Source) -> Result<String, ConvertError> {
    let hash = sha256_of(source.files())
        .map_err(|(path, error)| ConvertError::Source { path, source: error })?;
    // `.` and `..` have no name of their own.
    let full = source.path().canonicalize();
    let named = source.path().file_name().or(full.as_ref().ok().and_then(|path| path.file_name()));
    let name = match source.name() {
        Some(name) => name.into(),
        None => named.unwrap_or_default().to_string_lossy(),
    };
    Ok(format!("{key}: {}\n{key}-sha256: {}\n", name.escape_debug(), Hex(&hash)))
}
