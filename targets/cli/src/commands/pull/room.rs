//! Whether there is room for a model, before anything of it is downloaded.

use std::path::Path;

use anyhow::{Result, bail};
use kinglet_host::total_memory;

use super::source::Source;
use crate::catalogue::{ENTRIES, Entry};
use crate::support::numbers::size;
use crate::support::ram::system_share;

/// Whether this machine has the RAM for a model; `None` where it is not known.
pub(super) fn fits(entry: &Entry) -> Option<bool> {
    total_memory().map(|total| entry.ram() + system_share(total) <= total)
}

/// Refuses a model of the list that this machine has too little RAM for.
pub(super) fn check_memory(source: &Source) -> Result<()> {
    let (Some(entry), Some(total)) = (source.entry, total_memory()) else { return Ok(()) };
    if fits(entry) != Some(false) {
        return Ok(());
    }
    let smaller = ENTRIES.iter().filter(|other| fits(other) == Some(true));
    let largest = smaller.filter(|other| other.shape.architecture == entry.shape.architecture);
    let advice = largest.max_by_key(|other| other.model_len()).map_or(String::new(), |other| {
        format!("; {} is the largest of its kind that fits", other.name)
    });
    bail!(
        "{} takes {} of RAM, and this machine has {}{advice}; --force gets it all the same",
        entry.name,
        size(entry.ram()),
        size(total)
    );
}

/// Refuses what the disk has no room for: the rest of the download, and the model beside it.
pub(super) fn check_disk(
    part: &Path,
    left: Option<u64>,
    all: Option<u64>,
    source: &Source,
) -> Result<()> {
    // Two bytes for a weight become one and its scales.
    let model = source.entry.map(Entry::model_len).or(all.map(|all| all / 32 * 17));
    let (Some(left), Some(model)) = (left, model) else { return Ok(()) };
    let folder = part.parent().unwrap_or(part);
    // Where the system does not say, writing will.
    let Ok(free) = fs4::available_space(folder) else { return Ok(()) };
    if left.saturating_add(model) > free {
        bail!(
            "{} takes {}, {} for the download and {} for the model, and {} has {} free; set \
             KINGLET_MODELS to a folder with room, or --force tries it",
            source.name,
            size(left.saturating_add(model)),
            size(left),
            size(model),
            folder.display(),
            size(free)
        );
    }
    Ok(())
}
