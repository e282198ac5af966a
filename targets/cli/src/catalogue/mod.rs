//! The models that `kinglet pull` knows.

mod entries;

use kinglet::engine::Requirements;
use kinglet::format::shape::Shape;
use kinglet::kernels::matrix::GROUPS;
use kinglet::kernels::weights::WeightType;

pub(crate) use self::entries::ENTRIES;
use crate::support::engine::PROMPT_BATCH;
use crate::support::shapes::{WORLD, weights_len};

/// A checkpoint that is published, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The name of the model in the models folder. It stays when a newer checkpoint takes the place.
    pub(crate) name: &'static str,
    /// The name with the version of the data, where the publisher has such.
    pub(crate) version: &'static str,
    /// The model's name for people.
    pub(crate) title: &'static str,
    /// `OWNER/REPO` on the hub.
    pub(crate) repository: &'static str,
    pub(crate) file: &'static str,
    /// Bytes of the file; about, where no source has them all.
    pub(crate) bytes: u64,
    /// SHA-256 of the file.
    pub(crate) sha256: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) shape: Shape,
    /// What it is good for.
    pub(crate) good_for: &'static str,
}

impl Entry {
    /// Bytes of the model file at most.
    pub(crate) fn model_len(&self) -> u64 {
        weights_len(&self.shape, WeightType::Int8, |_| GROUPS[0]) + WORLD
    }

    /// Bytes of RAM that running it takes: the file, a state, and the buffers of a prompt.
    pub(crate) fn ram(&self) -> u64 {
        let needs = Requirements::of::<f32>(&self.shape, PROMPT_BATCH);
        let buffers = needs.state_bytes + needs.workspace_bytes() + needs.logits_bytes();
        self.model_len() + buffers as u64
    }
}

/// The entry that a name means: its short one, the one with the version, or that of its file.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    ENTRIES.iter().find(|entry| {
        let stem = entry.file.rsplit_once('.').map_or(entry.file, |(stem, _)| stem);
        is(entry.name) || is(entry.version) || is(entry.file) || is(stem)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_found_and_stand_for_one_entry() {
        let mut names = HashSet::new();
        for entry in ENTRIES {
            for name in [entry.name, entry.version, entry.file] {
                assert_eq!(find(name).unwrap().file, entry.file, "{name}");
                assert_eq!(find(&name.to_uppercase()).unwrap().file, entry.file, "{name}");
            }
            assert!(names.insert(entry.name) && names.insert(entry.file), "{} twice", entry.name);
            assert!(crate::support::models::is_name(entry.name));
        }
        assert!(find("g1").is_none());
    }

    /// Checkpoints have two bytes for a parameter: a wrong shape or length does not pass.
    #[test]
    fn shapes_are_those_of_the_files() {
        for entry in ENTRIES {
            entry.shape.check().unwrap();
            // A byte for a parameter and the scales, at most a 16th.
            let parameters = (entry.model_len() - WORLD) as f64 / (1.0 + 1.0 / 16.0);
            let ratio = entry.bytes as f64 / 2.0 / parameters;
            assert!((0.99..1.02).contains(&ratio), "{}: {ratio}", entry.name);
            assert!(entry.ram() > entry.model_len());
            assert_eq!(entry.sha256.len(), 64, "{}", entry.name);
            assert!(entry.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        }
    }
}
