//! What a build leaves out is refused by name. `.ci/run core` runs this with
//! several choices of features.

use kinglet::format::crc32::crc32;
use kinglet::format::model::{HEADER_LEN, Header, Model, ModelError};
use kinglet::format::shape::Architecture;
use kinglet::tokenizer::layout::{self, Kind, NO_ID};
use kinglet::tokenizer::{Tokenizer, TokenizerError};

/// Number in a model file, feature, and whether it is on.
const ARCHITECTURES: [(u32, &str, bool); 7] = [
    (4, "rwkv4", cfg!(feature = "rwkv4")),
    (0x50, "rwkv5", cfg!(feature = "rwkv5")),
    (0x51, "rwkv5", cfg!(feature = "rwkv5")),
    (0x52, "rwkv5", cfg!(feature = "rwkv5")),
    (6, "rwkv6", cfg!(feature = "rwkv6")),
    (7, "rwkv7", cfg!(feature = "rwkv7")),
    (0x7A, "rwkv7a", cfg!(feature = "rwkv7a")),
];

static STORIES: &[u8] = kinglet_stories::MODEL;

/// The shipped model, whose header says it were of another architecture.
fn of_architecture(code: u32) -> Vec<u8> {
    let mut bytes = STORIES.to_vec();
    bytes[16..20].copy_from_slice(&code.to_le_bytes());
    let crc = crc32(&bytes[..HEADER_LEN - 4]);
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn architectures_without_their_feature_are_refused_by_its_name() {
    for (code, feature, on) in ARCHITECTURES {
        let architecture = Architecture::from_code(code).unwrap();
        assert_eq!((architecture.feature(), architecture.enabled()), (feature, on));
        match Header::parse(&of_architecture(code)) {
            Err(error @ ModelError::Disabled { architecture: found }) => {
                assert!(!on && found == architecture, "{error}");
                let said = error.to_string();
                assert!(said.contains(architecture.name()), "{said}");
                assert!(said.ends_with(&format!("build with the feature `{feature}`")), "{said}");
            }
            // The shape of RWKV-7 is not that of others, 7a excepted for its rank.
            other => assert!(on && other.is_ok() == (code == 7), "{code:#x}: {other:?}"),
        }
    }
}

#[test]
fn the_header_of_a_model_left_out_is_refused_in_a_constant() {
    const HEADER: Result<Header, ModelError> = Header::parse(STORIES);
    let on = cfg!(feature = "rwkv7");
    assert_eq!(HEADER.is_ok(), on);
    assert_eq!(Model::open(STORIES).is_ok(), on);
}

#[test]
fn byte_pairs_without_their_feature_are_refused_by_its_name() {
    let kind = Kind::BytePair {
        cells: 0,
        strings: 0,
        raw_cells: 0,
        normalized_cells: 0,
        silent: 0,
        end_of_text: NO_ID,
        log2_slots: 0,
        nfc: true,
    };
    let header = layout::Header { kind, max_token_len: 1, vocab_len: 1 };
    let mut section = header.to_bytes().to_vec();
    section.resize(header.section_len() as usize, 0);
    let parsed = Tokenizer::parse(&section);
    assert_eq!(parsed.is_ok(), cfg!(feature = "bpe"));
    match parsed {
        Err(error) => {
            assert_eq!(error, TokenizerError::BytePairs);
            assert!(error.to_string().ends_with("build with the feature `bpe`"), "{error}");
        }
        // No token is in the tables, so that the first byte has none.
        Ok(tokenizer) => {
            assert!(tokenizer.encode(b"a").next().is_some_and(|token| token.is_err()));
        }
    }
}
