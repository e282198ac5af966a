//! Shapes that models come in, and how long their files are.
//!
//! A length is computed from the table of tensors as the quantizer lays them out, so that `fit`
//! answers before anything is downloaded.

use kinglet::format::layout::layout;
use kinglet::format::model::{HEADER_LEN, RECORD_LEN};
use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet::format::tensors::{self, Storage, TensorSpec};
use kinglet::kernels::matrix::{ALIGN, GROUPS};
use kinglet::kernels::weights::WeightType;

/// A shape that a model may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The name for `--shape`, where it has one.
    pub(crate) id: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Bytes of the packed tokenizer.
    pub(crate) tokenizer: u64,
    /// Whether there is a model of it to be had.
    pub(crate) is_to_have: bool,
}

/// The packed World vocabulary, `rwkv_vocab_v20230424.txt`.
pub(crate) const WORLD: u64 = 1_001_496;
/// The packed vocabulary of bytes: its header.
const BYTES: u64 = 32;
/// The packed vocabulary of the shipped model.
const STORIES: u64 = 12_177;

/// An RWKV-7 with heads of 64 channels, or one head where it is narrower, and a
/// channel mix four times as wide. `ranks` is decay, iclr, value, gate.
const fn rwkv7(
    name: &'static str,
    [layers, width, vocab]: [usize; 3],
    [decay, iclr, value, gate]: [usize; 4],
    tokenizer: u64,
) -> Known {
    let head_size = if width < 64 { width } else { 64 };
    let shape = Shape {
        architecture: Architecture::Rwkv7,
        layers,
        width,
        head_size,
        ffn: 4 * width,
        vocab,
        ranks: Ranks { decay, iclr, value, gate, ..Ranks::NONE },
    };
    Known { id: None, name, shape, tokenizer, is_to_have: false }
}

/// An official shape.
const fn named(id: &'static str, known: Known) -> Known {
    Known { id: Some(id), ..known }
}

/// One of which `kinglet pull` gets a model, or that of the model that ships.
const fn to_have(id: &'static str, known: Known) -> Known {
    Known { is_to_have: true, ..named(id, known) }
}

/// The smallest first: sizes for microcontrollers, the shipped model, and the
/// official sizes of RWKV-7 World and G1.
pub(crate) const KNOWN: &[Known] = &[
    rwkv7("2 x 32, bytes", [2, 32, 257], [32, 32, 32, 32], BYTES),
    rwkv7("4 x 64, bytes", [4, 64, 257], [32, 32, 32, 32], BYTES),
    rwkv7("6 x 64, bytes", [6, 64, 257], [32, 32, 32, 32], BYTES),
    rwkv7("3 x 128, bytes", [3, 128, 257], [32, 32, 32, 32], BYTES),
    to_have("stories", rwkv7("stories (6 x 128)", [6, 128, 1024], [32, 32, 32, 32], STORIES)),
    rwkv7("6 x 192, bytes", [6, 192, 257], [32, 32, 32, 32], BYTES),
    rwkv7("8 x 256, bytes", [8, 256, 257], [32, 32, 32, 64], BYTES),
    rwkv7("12 x 384, bytes", [12, 384, 257], [64, 64, 32, 96], BYTES),
    to_have("rwkv7-0.1b", rwkv7("0.1B", [12, 768, 65536], [64, 64, 32, 128], WORLD)),
    to_have("rwkv7-0.4b", rwkv7("0.4B", [24, 1024, 65536], [64, 64, 32, 128], WORLD)),
    to_have("rwkv7-1.5b", rwkv7("1.5B", [24, 2048, 65536], [96, 96, 64, 256], WORLD)),
    to_have("rwkv7-2.9b", rwkv7("2.9B", [32, 2560, 65536], [96, 96, 64, 320], WORLD)),
    to_have("rwkv7-7.2b", rwkv7("7.2B", [32, 4096, 65536], [128, 128, 96, 480], WORLD)),
    named("rwkv7-13.3b", rwkv7("13.3B", [61, 4096, 65536], [192, 192, 128, 384], WORLD)),
];

/// The shape that a name stands for: `rwkv7-0.4b`, or `0.4B`.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    // `kinglet pull` calls them g1-0.1b and so on.
    let name = name.strip_prefix("g1-").unwrap_or(name);
    let is = |known: &&Known| {
        let id = known.id.unwrap_or_default();
        let short = id.strip_prefix("rwkv7-").unwrap_or(id);
        [id, short].iter().any(|known| !known.is_empty() && known.eq_ignore_ascii_case(name))
    };
    KNOWN.iter().find(is)
}

impl Known {
    /// Bytes of the file that a token reads, nothing skipped: all but the other rows of the
    /// embedding.
    pub(crate) fn read_per_token(&self, weights: WeightType) -> u64 {
        let shape = &self.shape;
        let tensors = (0..tensors::tensor_count(shape)).map(|index| {
            let (layer, spec) = tensors::tensor(shape, index);
            if !has(layer, spec) {
                return 0;
            }
            let len = layout(spec, shape, weights, scale_group(spec, GROUPS[0])).len();
            if spec.storage == Storage::Embedding { len / spec.rows.of(shape) as u64 } else { len }
        });
        tensors.sum()
    }

    /// Bytes of the model file at most: with the smallest scale groups, which
    /// the quantizer chooses where the weights need them.
    pub(crate) fn file_len(&self, weights: WeightType) -> u64 {
        aligned(weights_len(&self.shape, weights, |_| GROUPS[0])) + self.tokenizer
    }
}

/// Bytes of a model file up to the end of its last tensor; `group` says how
/// many inputs share a scale in the tensor of a directory entry.
pub(crate) fn weights_len(
    shape: &Shape,
    weights: WeightType,
    group: impl Fn(usize) -> usize,
) -> u64 {
    let count = tensors::tensor_count(shape);
    let tensors = (0..count).map(|index| {
        let (layer, spec) = tensors::tensor(shape, index);
        if has(layer, spec) {
            layout(spec, shape, weights, scale_group(spec, group(index))).len()
        } else {
            0
        }
    });
    aligned((HEADER_LEN + RECORD_LEN * count) as u64) + tensors.sum::<u64>()
}

fn has(layer: Option<usize>, spec: &TensorSpec) -> bool {
    layer.is_none_or(|layer| layer >= spec.first_layer)
}

fn scale_group(spec: &TensorSpec, group: usize) -> usize {
    if matches!(spec.storage, Storage::Matrix | Storage::Sparse) { group } else { 0 }
}

fn aligned(len: u64) -> u64 {
    len.next_multiple_of(ALIGN as u64)
}

#[cfg(test)]
mod tests {
    use kinglet::format::model::{Model, Section, Tensor};

    use super::*;

    static STORIES: &[u8] = kinglet_stories::MODEL;

    fn stories() -> &'static Known {
        KNOWN.iter().find(|known| known.name.starts_with("stories")).unwrap()
    }

    #[test]
    fn the_length_of_a_real_file_is_told_to_the_byte() {
        let model = Model::open(STORIES).unwrap();
        let len = weights_len(model.shape(), WeightType::Int8, |index| match model.tensor(index) {
            Some(Tensor::Matrix(matrix)) => matrix.group(),
            Some(Tensor::Sparse(matrix)) => matrix.group(),
            _ => 0,
        });
        let head = model.header().section(Section::Head);
        assert_eq!(len, head.offset + head.len);
        let tokenizer = model.header().section(Section::Tokenizer);
        assert_eq!(aligned(len), tokenizer.offset);
        assert_eq!(tokenizer.len, stories().tokenizer);
    }

    #[test]
    fn the_table_has_the_shipped_model() {
        let model = Model::open(STORIES).unwrap();
        assert_eq!(*model.shape(), stories().shape);
        let (most, real) = (stories().file_len(WeightType::Int8) as f64, STORIES.len() as f64);
        assert!(most >= 0.999 * real && most < 1.05 * real, "{most} for {real}");
    }

    #[test]
    fn shapes_have_names() {
        for name in ["rwkv7-0.4b", "RWKV7-0.4B", "0.4b", "0.4B"] {
            assert_eq!(known(name).map(|known| known.name), Some("0.4B"), "{name}");
        }
        assert_eq!(known("stories").map(|known| known.shape.vocab), Some(1024));
        assert!(known("").is_none() && known("rwkv7-3b").is_none());
        // What a token reads of an official model, from measurements of its file.
        let read = known("0.1b").unwrap().read_per_token(WeightType::Int8) as f64;
        assert!((1.0..1.08).contains(&(read / 149e6)), "{read}");
    }

    #[cfg(all(feature = "pull", any(unix, windows)))]
    #[test]
    fn what_is_to_be_had_is_what_pull_gets() {
        let pulled = |known: &Known| {
            crate::catalogue::ENTRIES.iter().any(|entry| entry.shape == known.shape)
        };
        let ships = |known: &Known| known.name == stories().name;
        for known in KNOWN {
            assert_eq!(known.is_to_have, pulled(known) || ships(known), "{}", known.name);
        }
    }

    #[test]
    fn known_shapes_are_possible_and_sorted() {
        assert!(KNOWN.iter().all(|known| known.shape.check().is_ok()));
        assert!(KNOWN.is_sorted_by_key(|known| known.file_len(WeightType::Int8)));
    }

    /// Parameters and state lengths of the official models, from their cards.
    #[test]
    fn official_sizes_are_right() {
        let official = [
            ("0.1B", 191.08e6, 608_256),
            ("0.4B", 450.83e6, 1_622_016),
            ("1.5B", 1527.7e6, 3_244_032),
            ("2.9B", 2948.1e6, 5_406_720),
            ("7.2B", 7199.9e6, 8_650_752),
            ("13.3B", 13270.3e6, 16_490_496),
        ];
        for (name, parameters, state) in official {
            let known = KNOWN.iter().find(|known| known.name == name).unwrap();
            assert_eq!(known.shape.state_len(), state, "{name}");
            // A byte per parameter, a 16th for the scales.
            let bytes_per_parameter = |weights| known.file_len(weights) as f64 / parameters;
            let int8 = bytes_per_parameter(WeightType::Int8);
            assert!((1.06..1.08).contains(&int8), "{name}: {int8}");
            let int4 = bytes_per_parameter(WeightType::Int4);
            assert!((0.56..0.58).contains(&int4), "{name}: {int4}");
        }
    }
}
