//! Files of earlier versions open, and go on with the bits that they had: `data/compat`.

use std::path::{Path, PathBuf};

use kinglet::f16;
use kinglet::format::crc32::Crc32;
use kinglet::format::model::{Model, Section};
use kinglet::format::shape::Architecture;
use kinglet::format::state_file::StateFile;
use kinglet::kernels::scalar::Scalar;
use kinglet::num::state_dtype::StateElement;
use kinglet::tokenizer::Tokenizer;
use kinglet_tests::quantized::{ModelBytes, forward, with_states};

/// The text that follows the states' prompt.
const CONTINUATION: &[u8] = b", and the day is long";

const V7: &str = "72dc72b856c08e1dea870bf7fcc8dc6fdc8279ae33278821f2ef09bbeeb07527";
const V4: &str = "4c9d7274f9a176fc0b0c7cbb3be40daf40c5735ab4eb74d16f226985a104eaf8";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/compat/0.1.0").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a model file of 0.1.0, with its checksums and its content hash.
fn model_file(name: &str, architecture: Architecture, content_hash: &str) -> ModelBytes {
    let bytes = ModelBytes::new(&std::fs::read(path(name)).unwrap());
    let model = bytes.model().unwrap();
    assert_eq!(model.shape().architecture, architecture);
    assert_eq!(hex(&model.header().content_hash), content_hash);
    bytes
}

/// The CRC-32 of the logits after a state's next token and after each of [`CONTINUATION`].
fn continued<S: StateElement>(model: &Model<'_>, state: &str) -> u32 {
    let file = std::fs::read(path(state)).unwrap();
    let mut elements = vec![S::zeroed(); model.shape().state_len()];
    let next = StateFile::<S>::read(model.header(), &file, &mut elements).unwrap();

    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let continuation = tokenizer.encode(CONTINUATION).map(|token| token.unwrap());
    let tokens: Vec<u32> = next.into_iter().chain(continuation).collect();
    assert_eq!(tokens.len(), 1 + CONTINUATION.len());

    let crc = |batch| {
        with_states::<_, S, _>(*model, Scalar, 1, batch, |engine| {
            engine.load_elements(0, &elements).unwrap();
            let logits = forward(engine, &tokens, batch).unwrap();
            let add = |crc: Crc32, logit: &f32| crc.update(&logit.to_le_bytes());
            logits.iter().fold(Crc32::new(), add).finish()
        })
    };
    assert_eq!(crc(1), crc(8));
    crc(1)
}

#[test]
fn a_model_and_states_of_rwkv_7_of_version_0_1_0_go_on() {
    let file = model_file("v7.kinglet", Architecture::Rwkv7, V7);
    let model = file.model().unwrap();
    assert_eq!(continued::<f32>(&model, "v7.f32.state"), 0x222a_8109);
    assert_eq!(continued::<f16>(&model, "v7.f16.state"), 0xe6f6_e65c);
}

#[test]
fn a_model_and_a_state_of_rwkv_4_of_version_0_1_0_go_on() {
    let file = model_file("v4.kinglet", Architecture::Rwkv4, V4);
    let model = file.model().unwrap();
    assert_eq!(continued::<f32>(&model, "v4.f32.state"), 0xf21a_c44e);
}

/// The model that 0.1.0 shipped is the one that ships.
#[test]
fn the_shipped_model_of_version_0_1_0_opens() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    model.verify().unwrap();
    assert_eq!(model.header().content_hash, kinglet_stories::CONTENT_HASH);
    assert_eq!(
        hex(&kinglet_stories::CONTENT_HASH),
        "669872725807d46aa0065ee85387f83ad184dd993b4b181701f951c61195917c"
    );
}
