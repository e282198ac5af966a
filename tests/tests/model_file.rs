//! Model files that are damaged, and states and weights that are not finite.

use kinglet::engine::{Engine, StateError, StepError};
use kinglet::format::model::{HEADER_LEN, Header, Model, ModelError, Section};
use kinglet::kernels::scalar::Scalar;
use kinglet_tests::fixture::Fixture;
use kinglet_tests::quantized::{ModelBytes, with_engine};

fn small() -> Vec<u8> {
    let fixture = Fixture::named("golden/v7_dummy");
    ModelBytes::quantize(&fixture.path("model.pth")).0.bytes().to_vec()
}

#[test]
fn every_flipped_bit_of_the_header_is_found() {
    let mut bytes = small();
    for at in 0..HEADER_LEN {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(Header::parse(&bytes).is_err(), "byte {at}, bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(Header::parse(&bytes).is_ok());
}

#[test]
fn every_truncation_is_found() {
    let bytes = ModelBytes::new(&small());
    let whole = bytes.bytes();
    for len in 0..whole.len() {
        assert!(Model::open(&whole[..len]).is_err(), "the first {len} bytes");
    }
    assert!(Model::open(whole).is_ok());
}

#[test]
fn damage_in_any_section_is_found() {
    let bytes = small();
    let header = Header::parse(&bytes).unwrap();
    for section in Section::ALL {
        let entry = header.section(section);
        let step = (entry.len as usize / 50).max(1);
        for at in (0..entry.len as usize).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[entry.offset as usize + at] ^= 0x10;
            let damaged = ModelBytes::new(&damaged);
            assert!(damaged.model().is_err(), "{section}, byte {at}");
        }
    }
}

/// Wherever the header puts a section, with a checksum that fits, opening the file and reading
/// it through gives an error or a model, never a panic.
#[test]
fn no_section_entry_panics() {
    let bytes = small();
    let file = bytes.len() as u64;
    let header = Header::parse(&bytes).unwrap();
    let offsets = [0, 1, 63, 64, 512, file & !63, file - 1, file, file + 1, (file + 64) & !63];
    let far = [u64::from(u32::MAX), 1 << 32, 1 << 40, u64::MAX - 63, u64::MAX - 64, u64::MAX];
    for section in Section::ALL {
        for offset in offsets.into_iter().chain(far) {
            for len in [0, 1, 64, file, file + 1, u64::MAX - offset, u64::MAX] {
                let mut header = header;
                let entry = &mut header.sections[section as usize];
                (entry.offset, entry.len) = (offset, len);
                let mut hostile = bytes.clone();
                hostile[..HEADER_LEN].copy_from_slice(&header.emit());
                let hostile = ModelBytes::new(&hostile);
                let opened = Model::open(hostile.bytes());
                if offset > file || len > file - offset {
                    let expected = ModelError::SectionBounds { section, offset, len, file };
                    assert_eq!(opened.err(), Some(expected));
                } else if let Ok(model) = opened {
                    assert_eq!(model.section(section).len() as u64, len);
                    let _ = (model.verify(), model.start_state(), model.provenance());
                }
            }
        }
    }
}

/// A writer may say where an absent section would be.
#[test]
fn an_absent_section_may_lie_anywhere_in_the_file() {
    let bytes = small();
    let mut header = Header::parse(&bytes).unwrap();
    for offset in [0, 1, HEADER_LEN as u64, bytes.len() as u64] {
        let entry = &mut header.sections[Section::StartState as usize];
        assert_eq!(entry.len, 0);
        entry.offset = offset;
        let mut moved = bytes.clone();
        moved[..HEADER_LEN].copy_from_slice(&header.emit());
        assert_eq!(ModelBytes::new(&moved).model().map(|_| ()), Ok(()), "offset {offset}");
    }
}

/// Whatever stands in the directory, opening it and reading it through gives
/// an error or a model, never a panic.
#[test]
fn no_directory_panics() {
    let bytes = small();
    let header = Header::parse(&bytes).unwrap();
    let directory = header.section(Section::Directory);
    for at in 0..directory.len as usize {
        for value in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[directory.offset as usize + at] = value;
            let damaged = ModelBytes::new(&damaged);
            if let Ok(model) = Model::open(damaged.bytes()) {
                let count = kinglet::format::tensors::tensor_count(model.shape());
                assert!((0..count).filter_map(|index| model.tensor(index)).count() > 0);
            }
        }
    }
}

/// Nobody checks a record beyond those that the shape asks for.
#[test]
fn records_beyond_the_last_tensor_are_no_tensors() {
    let mut bytes = small();
    let mut header = Header::parse(&bytes).unwrap();
    header.shape.layers -= 1;
    bytes[..HEADER_LEN].copy_from_slice(&header.emit());
    let count = kinglet::format::tensors::tensor_count(&header.shape);
    let directory = header.section(Section::Directory).offset as usize;
    for record in bytes[directory..][count * 32..][..32 * 8].as_chunks_mut::<32>().0 {
        record[24..].copy_from_slice(&(1u64 << 40).to_le_bytes());
    }
    let bytes = ModelBytes::new(&bytes);
    let model = Model::open(bytes.bytes()).unwrap();
    assert!(model.tensor(count - 1).is_some());
    for beyond in (count..count + 8).chain([usize::MAX]) {
        assert!(model.tensor(beyond).is_none(), "tensor {beyond}");
    }
}

#[test]
fn a_newer_major_version_is_refused_by_name() {
    let mut bytes = small();
    bytes[8] = 2;
    assert_eq!(Header::parse(&bytes), Err(ModelError::Version { major: 2, minor: 0 }));
    let message = Header::parse(&bytes).unwrap_err().to_string();
    assert!(message.contains("2.0 is newer"), "{message}");
}

#[test]
fn a_newer_minor_version_is_read() {
    let mut bytes = small();
    bytes[10] = 9;
    let crc = kinglet::format::crc32::crc32(&bytes[..HEADER_LEN - 4]);
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    assert!(Header::parse(&bytes).is_ok());
}

#[test]
fn misaligned_bytes_are_refused() {
    let mut shifted = vec![0; 16];
    shifted.extend(small());
    let shifted = ModelBytes::new(&shifted);
    let error = Model::open(&shifted.bytes()[16..]).unwrap_err();
    assert_eq!(error, ModelError::Misaligned { remainder: 16 });
}

/// `bytes` with its checksums made to fit again, as a hostile writer would.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut header = Header::parse(bytes).unwrap();
    for section in Section::ALL {
        let entry = header.section(section);
        let content = &bytes[entry.offset as usize..][..entry.len as usize];
        header.sections[section as usize].crc = kinglet::format::crc32::crc32(content);
    }
    let mut bytes = bytes.to_vec();
    bytes[..HEADER_LEN].copy_from_slice(&header.emit());
    bytes
}

#[test]
fn weights_that_are_not_finite_are_refused_and_reported() {
    let mut bytes = small();
    let vectors = Header::parse(&bytes).unwrap().section(Section::Vectors).offset as usize;
    bytes[vectors..vectors + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let bytes = ModelBytes::new(&resealed(&bytes));
    let error = bytes.model().unwrap_err();
    assert!(matches!(error, ModelError::Tensor { .. }), "{error}");
    // Who does not verify learns it from the step.
    let model = Model::open(bytes.bytes()).unwrap();
    let mut logits = vec![0.0; model.shape().vocab];
    let result = with_engine(model, Scalar, 1, 1, |engine| engine.step(0, 1, &mut logits));
    assert_eq!(result, Err(StepError::NonFinite));
}

#[test]
fn int8_values_and_scales_out_of_bounds_are_refused() {
    let bytes = small();
    let header = Header::parse(&bytes).unwrap();
    let head = header.section(Section::Head);
    let mut value = bytes.clone();
    value[head.offset as usize] = 0x80;
    assert!(ModelBytes::new(&resealed(&value)).model().is_err());
    let mut scale = bytes.clone();
    let last = (head.offset + head.len) as usize;
    // The last scales of the section, padding or not, are within its last 64 bytes.
    scale[last - 64..last].copy_from_slice(&[0xFF; 64]);
    assert!(ModelBytes::new(&resealed(&scale)).model().is_err());
}

#[test]
fn states_that_are_not_finite_are_refused() {
    let bytes = ModelBytes::new(&small());
    let model = bytes.model().unwrap();
    let mut state = vec![0.0; model.shape().state_len()];
    state[7] = f32::INFINITY;
    with_engine(model, Scalar, 1, 1, |engine| {
        assert_eq!(engine.load_state(0, &state), Err(StateError::NonFinite { index: 7 }));
        let short = engine.load_state(0, &state[1..]);
        assert!(matches!(short, Err(StateError::Len { .. })), "{short:?}");
        assert_eq!(engine.reset(1), Err(StateError::Sequence { found: 1, sequences: 1 }));
    });
}

/// A finite state that overflows on the way is reported, in every element.
#[test]
fn a_state_that_overflows_is_reported() {
    let bytes = ModelBytes::new(&small());
    let model = bytes.model().unwrap();
    let shape = *model.shape();
    for at in (0..shape.state_len()).step_by(97) {
        let mut state = vec![0.0; shape.state_len()];
        state[at] = f32::MAX;
        let mut logits = vec![0.0; shape.vocab];
        let result = with_engine(model, Scalar, 1, 1, |engine| {
            engine.load_state(0, &state).unwrap();
            (0..4).try_for_each(|token| engine.step(0, token, &mut logits))
        });
        match result {
            Ok(()) => assert!(logits.iter().all(|logit| logit.is_finite()), "element {at}"),
            Err(error) => assert_eq!(error, StepError::NonFinite),
        }
    }
}

#[test]
fn wrong_arguments_are_refused_before_anything_changes() {
    let bytes = ModelBytes::new(&small());
    let model = bytes.model().unwrap();
    let vocab = model.shape().vocab;
    let mut logits = vec![0.0; vocab];
    with_engine(model, Scalar, 1, 2, |engine| {
        let token = engine.step(0, vocab as u32, &mut logits);
        assert_eq!(token, Err(StepError::Token { found: vocab as u32, vocab }));
        assert_eq!(
            engine.step(1, 0, &mut logits),
            Err(StepError::Sequence { found: 1, sequences: 1 })
        );
        let short = engine.step(0, 0, &mut logits[1..]);
        assert_eq!(short, Err(StepError::Logits { found: vocab - 1, needed: vocab }));
        assert_eq!(engine.forward(&[], &mut []), Err(StepError::Batch { found: 0, largest: 2 }));
        let mut state = vec![1.0; model.shape().state_len()];
        engine.store_state(0, &mut state).unwrap();
        assert!(state.iter().all(|x| x.to_bits() == 0));
    });
}
