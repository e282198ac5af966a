//! Models of four and eight bits: within their limit, computed as the oracle does, the same bytes
//! whatever measures them.

use std::path::PathBuf;

use kinglet::format::model::{Model, Section};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::WeightType;
use kinglet_host::Threaded;
use kinglet_quantize::calibrate::Calibration;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Bits, ConvertError, Limit, Note, Options, Report, convert};
use kinglet_tests::fixture::Fixture;
use kinglet_tests::metrics::{cosines, relative_mean_abs_diff};
use kinglet_tests::oracle::Oracle;
use kinglet_tests::quantized::{ModelBytes, Plain, dequantized, forward, reference, with_engine};

const FIXTURES: [&str; 7] = ["v4", "v5_0", "v5_1", "v5_2", "v6", "v7", "v7a"];

struct Source {
    checkpoint: PathBuf,
    tokens: Vec<u32>,
}

impl Source {
    fn named(name: &str) -> Self {
        let fixture = Fixture::named(&format!("golden/{name}"));
        Self { checkpoint: fixture.path("model.pth"), tokens: fixture.tokens().unwrap() }
    }

    /// The model of some bits, on its fixture's tokens: three quarters to calibrate with, the others
    /// to measure on.
    fn quantize(&self, bits: Bits, threads: usize) -> (ModelBytes, Report) {
        let (runner, texts) = (Plain(threads), [self.tokens.clone()]);
        let calibration = Some(Calibration { texts: &texts, runner: &runner });
        let vocabulary = Vocabulary::bytes(0);
        let vocabulary = Some(&vocabulary).filter(|_| self.has_bytes());
        let options = Options { bits, calibration, vocabulary, ..Options::default() };
        ModelBytes::convert(&self.open(), &options)
    }

    fn open(&self) -> Checkpoint {
        Checkpoint::open(&self.checkpoint).unwrap()
    }

    /// Whether the model has an id for every byte.
    fn has_bytes(&self) -> bool {
        kinglet_quantize::shape(&self.open()).unwrap().vocab >= 256
    }

    fn len(&self, bits: Bits) -> u64 {
        self.quantize(bits, 1).1.file_len
    }

    /// Halfway between int4 and int8.
    fn half(&self) -> u64 {
        self.len(Bits::Four).midpoint(self.len(Bits::Eight))
    }
}

fn of(report: &Report, weights: WeightType) -> usize {
    report.tensors.iter().filter(|tensor| tensor.weights == weights).count()
}

/// Where the file says that it comes from.
fn stated(model: &Model<'_>) -> String {
    String::from_utf8_lossy(model.section(Section::Provenance)).into_owned()
}

/// Every version, with tables of layers: the size is kept, both types are there, the core computes
/// what the oracle does, and neither threads nor blocks change a bit.
#[test]
fn every_architecture_fits_a_size() {
    for name in FIXTURES {
        let source = Source::named(name);
        let size = source.half();
        let (bytes, report) = source.quantize(Bits::Auto(Limit::Size(size)), 1);
        assert!(report.file_len <= size, "{name}: {} {size}", report.file_len);
        assert_eq!(report.file_len, bytes.bytes().len() as u64);
        let [int4, int8] = [WeightType::Int4, WeightType::Int8].map(|w| of(&report, w));
        assert!(int4 > 0 && int8 > 0, "{name}: {int4} {int8}");
        let mix = report.mix.expect("what was measured");
        assert!(mix.kl < mix.int4_kl, "{name}: {mix:?}");
        assert!(report.tensors.iter().all(|tensor| tensor.int4_kl.is_some()), "{name}");

        if ["v4", "v7a"].contains(&name) {
            let again = source.quantize(Bits::Auto(Limit::Size(size)), 3).0;
            assert!(bytes.bytes() == again.bytes(), "{name}: threads");
        }
        let model = bytes.model().unwrap();
        let line = format!("int4 in groups of 32 for {int4} of {} matrices", int4 + int8);
        assert!(stated(&model).contains(&line), "{name}: {}", stated(&model));
        assert_eq!(kinglet_quantize::content_hash(&model), report.content_hash);
        let expected = Oracle::new(dequantized(&model)).unwrap().forward(&source.tokens);
        let (logits, _) = reference(model, &source.tokens);
        assert!(relative_mean_abs_diff(&logits, &expected) <= 1e-3, "{name}");
        let cosines = cosines(&logits, &expected, model.shape().vocab);
        assert!(cosines.into_iter().all(|cosine| cosine >= 0.9999), "{name}");
        let run = |chunk, threads| {
            with_engine(model, Threaded::new(Scalar, threads), 1, chunk, |engine| {
                forward(engine, &source.tokens, chunk).unwrap()
            })
        };
        assert!(run(1, 1) == run(16, 2), "{name}: blocks");
    }
}

/// A tensor of a mix has the bytes that a model of one type has.
#[test]
fn int8_tensors_are_those_of_int8() {
    let source = Source::named("v7");
    let (mixed, report) = source.quantize(Bits::Auto(Limit::Size(source.half())), 1);
    let (int8, _) = source.quantize(Bits::Eight, 1);
    let [mixed, int8] = [&mixed, &int8].map(|bytes| dequantized(&bytes.model().unwrap()));
    for tensor in report.tensors.iter().filter(|tensor| tensor.weights == WeightType::Int8) {
        assert_eq!(mixed[&tensor.name].data, int8[&tensor.name].data, "{}", tensor.name);
    }
}

/// What is said to be the smallest size is one that can be had.
#[test]
fn a_size_that_is_too_small_is_refused_with_the_least() {
    let source = Source::named("v7a");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.kinglet");
    let (runner, texts) = (Plain(1), [source.tokens.clone()]);
    let calibration = Some(Calibration { texts: &texts, runner: &runner });
    let refused = |limit| {
        let options = Options { bits: Bits::Auto(limit), calibration, ..Options::default() };
        let error = convert(&source.open(), &out, &options, &mut |_, _| ()).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        error
    };
    let ConvertError::Size { size: 10, least } = refused(Limit::Size(10)) else {
        panic!("another error");
    };
    assert!(matches!(refused(Limit::Size(least - 1)), ConvertError::Size { .. }));
    let options =
        Options { bits: Bits::Auto(Limit::Size(least)), calibration, ..Options::default() };
    let (_, report) = ModelBytes::convert(&source.open(), &options);
    assert!(report.file_len <= least && least - report.file_len < 16, "{least}");
    assert_eq!(of(&report, WeightType::Int8), 0);
    for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(refused(Limit::Kl(none)), ConvertError::KlLimit { .. }), "{none}");
    }
    let options = Options { bits: Bits::Auto(Limit::Kl(1.0)), ..Options::default() };
    let error = convert(&source.open(), &out, &options, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, ConvertError::NoCalibration), "{error}");
}

/// The larger the limit, the smaller the file, from all int8 to all int4.
#[test]
fn a_limit_on_the_divergence_is_kept() {
    let source = Source::named("v6");
    let mut before = u64::MAX;
    for limit in [1e-12, 1e-1, 1.0, 1e3] {
        let (bytes, report) = source.quantize(Bits::Auto(Limit::Kl(limit)), 1);
        let mix = report.mix.unwrap();
        assert!(mix.kl <= limit, "{mix:?}");
        assert!(report.file_len <= before, "{limit}");
        before = report.file_len;
        let all = match limit {
            1e-12 => WeightType::Int8,
            1e3 => WeightType::Int4,
            _ => continue,
        };
        assert_eq!(of(&report, all), report.tensors.len(), "{limit}");
        let is_mixed = stated(&bytes.model().unwrap()).contains("int4");
        assert_eq!(is_mixed, all == WeightType::Int4);
    }
}

/// A file that has room for int8 is int8, and the same model.
#[test]
fn a_size_with_room_is_int8() {
    let source = Source::named("v5_2");
    let (_, int8) = source.quantize(Bits::Eight, 1);
    let (_, report) = source.quantize(Bits::Auto(Limit::Size(int8.file_len + 64)), 1);
    assert_eq!(report.content_hash, int8.content_hash);
    assert_eq!((report.mix, report.file_len), (None, int8.file_len));
    assert_eq!(report.parameters, int8.parameters);
}

#[test]
fn a_short_calibration_is_noted() {
    let note = |bits| Source::named("v7").quantize(bits, 1).1.notes;
    assert!(note(Bits::Four).contains(&Note::ShortCalibration { tokens: 64 }));
    assert!(!note(Bits::Eight).iter().any(|n| matches!(n, Note::ShortCalibration { .. })));
}
