//! The content hash of a model file: SHA-256 over architecture, shape and weights.
//!
//! ```text
//! SHA-256 of  bytes 16 to 71 of the header                 architecture and shape
//!             the directory, every offset zeroed
//!             SHA-256 of each of Vectors, Embedding, Layers, Head and, in RWKV-7a, DeepEmbed
//! ```
//!
//! Models that compute the same numbers have the same hash, and a state file names its model by
//! it. Opening a model does not compute it, because that reads the whole file.

use kinglet::format::model::{HEADER_LEN, Model, RECORD_LEN, Section};
use kinglet::format::shape::Architecture;
use sha2::{Digest, Sha256};

/// Sections whose bytes the hash covers, besides the directory.
const HASHED: [Section; 4] = [Section::Vectors, Section::Embedding, Section::Layers, Section::Head];

/// Computes the content hash of a model, which its header states.
pub fn content_hash(model: &Model<'_>) -> [u8; 32] {
    let mut sha = Sha256::new();
    let header: [u8; HEADER_LEN] = model.header().emit();
    sha.update(&header[16..72]);
    for record in model.section(Section::Directory).as_chunks::<RECORD_LEN>().0 {
        let mut record = *record;
        record[24..32].fill(0);
        sha.update(record);
    }
    let deep_embed = model.shape().architecture == Architecture::Rwkv7a;
    for section in HASHED.into_iter().chain(deep_embed.then_some(Section::DeepEmbed)) {
        sha.update(Sha256::digest(model.section(section)));
    }
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_has_the_hash_that_its_header_states() {
        let model = Model::open(kinglet_stories::MODEL).unwrap();
        assert_eq!(content_hash(&model), model.header().content_hash);
    }

    #[test]
    fn another_weight_makes_another_hash() {
        let mut bytes = kinglet_stories::MODEL.to_vec();
        bytes.resize(bytes.len() + 64, 0);
        let start = bytes.as_ptr().align_offset(64);
        bytes.copy_within(..kinglet_stories::MODEL.len(), start);
        let model = &mut bytes[start..start + kinglet_stories::MODEL.len()];
        let layers = Model::open(model).unwrap().header().section(Section::Layers).offset as usize;
        model[layers + 100] ^= 1;
        let model = Model::open(model).unwrap();
        assert_ne!(content_hash(&model), model.header().content_hash);
    }
}
