//! Weights of four bits by error feedback: the same bytes whatever computes them, and a smaller loss.

use std::path::Path;

use kinglet::format::model::Section;
use kinglet::kernels::scalar::Scalar;
use kinglet_quantize::calibrate::Calibration;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{Bits, Options};
use kinglet_tests::fixture::Fixture;
use kinglet_tests::metrics::mean_kl_divergence;
use kinglet_tests::quantized::{ModelBytes, Plain, reference};

fn calibrated(checkpoint: &Path, threads: usize, texts: &[Vec<u32>]) -> ModelBytes {
    let runner = Plain(threads);
    let calibration = Some(Calibration { texts, runner: &runner });
    let options = Options { bits: Bits::Four, calibration, ..Options::default() };
    let checkpoint = Checkpoint::open(checkpoint).unwrap();
    let (model, report) = ModelBytes::convert(&checkpoint, &options);
    assert!(report.tensors.iter().all(|tensor| tensor.bits() == 4));
    model
}

/// Every version: dense and sparse matrices, stacked and low-rank ones, tables of layers.
#[test]
fn every_architecture_is_calibrated_to_the_same_bytes() {
    for name in ["v4", "v5_0", "v5_1", "v5_2", "v6", "v7", "v7a"] {
        let fixture = Fixture::named(&format!("golden/{name}"));
        let texts = [fixture.tokens().unwrap()];
        let one = calibrated(&fixture.path("model.pth"), 1, &texts);
        let two = calibrated(&fixture.path("model.pth"), 2, &texts);
        assert!(one.bytes() == two.bytes(), "{name}");
        let model = one.model().unwrap();
        let provenance = String::from_utf8_lossy(model.section(Section::Provenance));
        assert!(provenance.contains("error feedback from 64 tokens of a text"), "{provenance}");
        // An export of it stays as it is.
        let folder = tempfile::tempdir().unwrap();
        let export = folder.path().join("weights.safetensors");
        kinglet_quantize::export(&model, &export).unwrap();
        let again = calibrated(&export, 1, &texts);
        let hashes = [&model, &again.model().unwrap()].map(|model| model.header().content_hash);
        assert_eq!(hashes[0], hashes[1], "{name}");
    }
}

/// On texts that the model tells, and measured on another.
#[test]
fn the_shipped_model_loses_less_by_error_feedback() {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stories/stories.pth");
    let tokens = story();
    let vocab = 1024;
    let logits = |model: &ModelBytes| reference(model.model().unwrap(), &tokens).0;
    let convert = |bits| {
        let options = Options { bits, ..Options::default() };
        ModelBytes::convert(&Checkpoint::open(&checkpoint).unwrap(), &options).0
    };
    let exact = logits(&convert(Bits::Eight));
    let nearest = mean_kl_divergence(&logits(&convert(Bits::Four)), &exact, vocab);
    let fed = mean_kl_divergence(&logits(&calibrated(&checkpoint, 1, &[])), &exact, vocab);
    assert!(fed < 0.9 * nearest, "{fed} {nearest}");
}

/// Tokens that the model tells, with a seed that its calibration does not take.
fn story() -> Vec<u32> {
    let model = ModelBytes::new(kinglet_stories::MODEL);
    kinglet_tests::quantized::with_engine(model.model().unwrap(), Scalar, 1, 1, |engine| {
        kinglet_quantize::quality::samples(engine, 1, 256, 7).unwrap().remove(0)
    })
}
