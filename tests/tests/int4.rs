//! Weights of four bits: computed as the oracle does, the same bits however tokens are divided,
//! and files that a reader of format 1.0, or of damaged ones, refuses.

use kinglet::format::model::TensorProblem;
use kinglet::format::model::{HEADER_LEN, Header, Model, ModelError, RECORD_LEN, Record, Section};
use kinglet::format::shape::Architecture;
use kinglet::format::tensors::{Storage, tensor_count};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::WeightType;
use kinglet_host::Threaded;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{Bits, Options};
use kinglet_tests::fixture::Fixture;
use kinglet_tests::metrics::{cosines, relative_mean_abs_diff};
use kinglet_tests::oracle::Oracle;
use kinglet_tests::quantized::{ModelBytes, dequantized, forward, reference, with_engine};

const FIXTURES: [(&str, Architecture); 7] = [
    ("golden/v4", Architecture::Rwkv4),
    ("golden/v5_0", Architecture::Rwkv5_0),
    ("golden/v5_1", Architecture::Rwkv5_1),
    ("golden/v5_2", Architecture::Rwkv5_2),
    ("golden/v6", Architecture::Rwkv6),
    ("golden/v7", Architecture::Rwkv7),
    ("golden/v7a", Architecture::Rwkv7a),
];

fn quantized(fixture: &str) -> (ModelBytes, Vec<u32>) {
    let fixture = Fixture::named(fixture);
    let checkpoint = Checkpoint::open(&fixture.path("model.pth")).unwrap();
    let options = Options { bits: Bits::Four, ..Options::default() };
    (ModelBytes::convert(&checkpoint, &options).0, fixture.tokens().unwrap())
}

/// The core computes what the oracle computes with the dequantized weights.
#[test]
fn computes_with_the_stored_weights() {
    for (name, architecture) in FIXTURES {
        let (bytes, tokens) = quantized(name);
        let model = bytes.model().unwrap();
        assert_eq!(model.shape().architecture, architecture);
        let expected = Oracle::new(dequantized(&model)).unwrap().forward(&tokens);
        let (logits, _) = reference(model, &tokens);
        let difference = relative_mean_abs_diff(&logits, &expected);
        assert!(difference <= 1e-3, "{name}: {difference}");
        let cosines = cosines(&logits, &expected, model.shape().vocab);
        assert!(cosines.into_iter().all(|cosine| cosine >= 0.9999), "{name}");
    }
}

#[test]
fn blocks_and_threads_of_any_number_agree() {
    let bits = |logits: Vec<f32>| logits.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for (name, _) in FIXTURES {
        let (bytes, tokens) = quantized(name);
        let model = bytes.model().unwrap();
        let run = |chunk, threads| {
            let kernels = Threaded::new(Scalar, threads);
            bits(with_engine(model, kernels, 1, chunk, |engine| {
                forward(engine, &tokens, chunk).unwrap()
            }))
        };
        let one = run(1, 1);
        for (chunk, threads) in [(1, 2), (1, 3), (5, 1), (16, 2), (64, 3)] {
            assert!(one == run(chunk, threads), "{name}: chunks of {chunk}, {threads} threads");
        }
    }
}

/// The records of a model, with the index of the first of each storage of four bits.
fn records(bytes: &[u8]) -> (usize, Vec<Record>) {
    let model = Model::open(bytes).unwrap();
    let at = model.header().section(Section::Directory).offset as usize;
    let count = tensor_count(model.shape());
    let records = bytes[at..].as_chunks::<RECORD_LEN>().0[..count].iter();
    (at, records.map(|record| Record::parse(record).unwrap()).collect())
}

/// The storages that format 1.0 knows; its readers refuse others, whatever the minor version.
#[test]
fn a_reader_of_1_0_refuses_every_such_tensor() {
    let (bytes, _) = quantized("golden/v7a");
    let (at, records) = records(bytes.bytes());
    let header = Header::parse(bytes.bytes()).unwrap();
    assert_eq!(header.minor, 1);
    for (i, record) in records.iter().enumerate() {
        let code = bytes.bytes()[at + i * RECORD_LEN + 8];
        let known = matches!(code, 0..=4);
        assert_eq!(known, record.weights == WeightType::Int8, "{record:?}");
        let is_weights = !matches!(record.storage, None | Some(Storage::Vector));
        assert_eq!(known, !is_weights);
    }
}

/// A directory that was changed, with checksums that fit.
fn forged(bytes: &[u8], change: impl FnOnce(&mut Vec<Record>)) -> ModelBytes {
    let (at, mut records) = records(bytes);
    change(&mut records);
    let mut forged = bytes.to_vec();
    for (i, record) in records.iter().enumerate() {
        forged[at + i * RECORD_LEN..][..RECORD_LEN].copy_from_slice(&record.emit());
    }
    let mut header = Header::parse(bytes).unwrap();
    let directory = &mut header.sections[Section::Directory as usize];
    let section = &forged[at..at + directory.len as usize];
    directory.crc = kinglet::format::crc32::crc32(section);
    forged[..HEADER_LEN].copy_from_slice(&header.emit());
    ModelBytes::new(&forged)
}

#[test]
fn forged_files_give_errors() {
    let (bytes, _) = quantized("golden/v7");
    let first = |records: &[Record], storage| {
        records.iter().position(|record| record.storage == Some(storage)).unwrap()
    };
    let problem =
        |change: &dyn Fn(&mut Vec<Record>)| match forged(bytes.bytes(), |records| change(records))
            .model()
            .map(|_| ())
        {
            Err(ModelError::Tensor { problem, .. }) => Some(problem),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        };
    assert_eq!(problem(&|_| ()), None);
    for storage in [Storage::Matrix, Storage::Sparse, Storage::Embedding] {
        // Groups that int8 has.
        let group = problem(&|records| {
            let at = first(records, storage);
            records[at].group = 256;
        });
        assert_eq!(group, Some(TensorProblem::Group), "{storage:?}");
        // Twice the bytes: the next tensor begins before they end.
        let wider = problem(&|records| {
            let at = first(records, storage);
            records[at].weights = WeightType::Int8;
        });
        let beyond = [TensorProblem::Overlap, TensorProblem::Outside].map(Some);
        assert!(beyond.contains(&wider), "{storage:?}: {wider:?}");
        let end = problem(&|records| {
            let at = first(records, storage);
            records[at].offset += 1 << 20;
        });
        assert_eq!(end, Some(TensorProblem::Outside), "{storage:?}");
    }
    let other = problem(&|records| {
        let at = first(records, Storage::Matrix);
        records[at].storage = Some(Storage::Sparse);
    });
    assert_eq!(other, Some(TensorProblem::Storage));
}

/// Bits that are wrong are found by the checksum; any nibble is a weight.
#[test]
fn damage_is_found() {
    let (bytes, _) = quantized("golden/v7_dummy");
    let header = Header::parse(bytes.bytes()).unwrap();
    for section in [Section::Embedding, Section::Layers, Section::Head] {
        let entry = header.section(section);
        for at in (0..entry.len as usize).step_by((entry.len as usize / 40).max(1)) {
            let mut damaged = bytes.bytes().to_vec();
            damaged[entry.offset as usize + at] ^= 0x21;
            let found = ModelBytes::new(&damaged).model().map(|_| ());
            assert!(
                matches!(found, Err(ModelError::SectionCrc { .. })),
                "{section} {at}: {found:?}"
            );
        }
    }
}
