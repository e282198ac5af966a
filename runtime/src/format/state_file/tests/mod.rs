mod pieces;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::header::{CRC, file_crc};
use super::*;
use crate::format::model::Header;
use crate::format::model::{Section, SectionEntry};
use crate::format::shape::{Architecture, Ranks, Shape};
use crate::num::state_dtype::{StateElement, f16};

fn model() -> Header {
    let shape = Shape {
        architecture: Architecture::Rwkv7,
        layers: 2,
        width: 8,
        head_size: 4,
        ffn: 8,
        vocab: 100,
        ranks: Ranks { decay: 1, iclr: 1, value: 1, gate: 1, ..Ranks::NONE },
    };
    Header {
        minor: 0,
        shape,
        content_hash: [0x5A; 32],
        sections: [SectionEntry::default(); Section::ALL.len()],
    }
}

fn state() -> impl Strategy<Value = Vec<f32>> {
    let value = any::<f32>().prop_filter("finite", |value| value.is_finite());
    prop::collection::vec(value, model().shape.state_len())
}

fn file(state: &[f32], next: Option<u32>) -> Vec<u8> {
    let model = model();
    let mut file = vec![0; StateFile::<f32>::len(&model.shape)];
    assert_eq!(StateFile::write(&model, state, next, &mut file), Ok(file.len()));
    file
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn read(bytes: &[u8]) -> Result<(Vec<f32>, Option<u32>), StateFileError> {
    let mut state = vec![7.0; model().shape.state_len()];
    match StateFile::read(&model(), bytes, &mut state) {
        Ok(next) => Ok((state, next)),
        Err(error) => {
            assert!(state.iter().all(|&x| x == 7.0), "an error changed the state");
            Err(error)
        }
    }
}

/// The file with `change` made to it and its CRC set right.
fn forged(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut file = file(&vec![0.25; model().shape.state_len()], None);
    change(&mut file);
    let (header, elements) = file.split_first_chunk_mut().unwrap();
    let crc = file_crc(header, elements);
    header[CRC..].copy_from_slice(&crc.to_le_bytes());
    file
}

proptest! {
    #[test]
    fn an_f16_state_survives(state in state(), next in prop::option::of(0u32..100)) {
        let model = model();
        let state: Vec<f16> = state.iter().map(|x| f16::narrow(*x)).collect();
        let mut words = vec![0u32; StateFile::<f16>::len(&model.shape) / 4];
        let file: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        prop_assert_eq!(file.len(), HEADER_LEN + 2 * state.len());
        prop_assert_eq!(StateFile::write(&model, &state, next, file), Ok(file.len()));
        let mut restored = vec![f16::MAX; state.len()];
        prop_assert_eq!(StateFile::read(&model, file, &mut restored), Ok(next));
        prop_assert_eq!(&restored, &state);
        prop_assert_eq!(StateFile::parse(&model, file).unwrap().values(), Ok(&state[..]));
        let element = [file[HEADER_LEN + 2], file[HEADER_LEN + 3]];
        prop_assert_eq!(f16::from_le_bytes(element), state[1]);

        let written = file.to_vec();
        let len = StateFile::write_with(&model, next, file, |values| {
            values.copy_from_slice(&state);
            Ok::<_, StateFileError>(())
        });
        prop_assert_eq!(len, Ok(written.len()));
        prop_assert_eq!(&*file, &written[..]);
    }

    #[test]
    fn a_state_of_another_type_is_refused(state in state()) {
        let model = model();
        let narrow: Vec<f16> = state.iter().map(|x| f16::narrow(*x)).collect();
        let mut short = vec![0; StateFile::<f16>::len(&model.shape)];
        StateFile::write(&model, &narrow, None, &mut short).unwrap();
        prop_assert_eq!(
            read(&short), Err(StateFileError::Element { found: 2, expected: 1 })
        );
        let error = StateFile::<f16>::parse(&model, &file(&state, None)).unwrap_err();
        prop_assert_eq!(error, StateFileError::Element { found: 1, expected: 2 });
    }

    #[test]
    fn a_flipped_byte_of_an_f16_file_is_refused(state in state(), mask in 1u8..) {
        let model = model();
        let state: Vec<f16> = state.iter().map(|x| f16::narrow(*x)).collect();
        let mut file = vec![0; StateFile::<f16>::len(&model.shape)];
        StateFile::write(&model, &state, Some(3), &mut file).unwrap();
        for at in 0..file.len() {
            file[at] ^= mask;
            prop_assert!(StateFile::<f16>::parse(&model, &file).is_err(), "byte {}", at);
            file[at] ^= mask;
        }
    }

    #[test]
    fn a_state_survives(state in state(), next in prop::option::of(0u32..100)) {
        let file = file(&state, next);
        let (restored, found) = read(&file).unwrap();
        prop_assert_eq!(bits(&restored), bits(&state));
        prop_assert_eq!(found, next);
    }

    #[test]
    fn both_writers_agree(state in state(), next in prop::option::of(0u32..100)) {
        let model = model();
        let mut words = vec![0u32; StateFile::<f32>::len(&model.shape) / 4];
        let out: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let len = StateFile::write_with(&model, next, out, |values: &mut [f32]| {
            values.copy_from_slice(&state);
            Ok::<_, StateFileError>(())
        });
        prop_assert_eq!(len, Ok(out.len()));
        prop_assert_eq!(&*out, &file(&state, next)[..]);
        let values = StateFile::<f32>::parse(&model, out).unwrap().values().unwrap();
        prop_assert_eq!(bits(values), bits(&state));
    }

    #[test]
    fn every_flipped_byte_is_refused(state in state(), mask in 1u8..) {
        let mut file = file(&state, Some(3));
        for at in 0..file.len() {
            file[at] ^= mask;
            prop_assert!(read(&file).is_err(), "byte {}", at);
            file[at] ^= mask;
        }
    }

    #[test]
    fn every_other_length_is_refused(state in state()) {
        let mut file = file(&state, None);
        for len in 0..file.len() {
            prop_assert!(read(&file[..len]).is_err(), "length {}", len);
        }
        file.push(0);
        prop_assert!(read(&file).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..256),
        header in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if header {
            let whole = file(&vec![0.0; model().shape.state_len()], None);
            bytes.splice(..0, whole[..52].iter().copied());
        }
        prop_assert!(read(&bytes).is_err());
    }
}

#[test]
fn refusals_name_their_reason() {
    let put = |at: usize, value: u32| {
        read(&forged(|file| file[at..at + 4].copy_from_slice(&value.to_le_bytes())))
    };
    let len = model().shape.state_len();
    assert_eq!(put(48, 2), Err(StateFileError::Element { found: 2, expected: 1 }));
    assert_eq!(put(56, 100), Err(StateFileError::Token { found: 100, vocab: 100 }));
    assert_eq!(put(16, 0), Err(StateFileError::Model { found: 0, expected: 0x5A5A_5A5A }));
    assert_eq!(
        put(HEADER_LEN + 8, f32::NAN.to_bits()),
        Err(StateFileError::NonFinite { index: 2 })
    );
    assert_eq!(put(8, 2), Err(StateFileError::Version { major: 2, minor: 0 }));
    assert!(put(8, 1 | 7 << 16).is_ok(), "a newer minor version is readable");
    let shorter = forged(|file| file[52..56].copy_from_slice(&1u32.to_le_bytes()));
    assert_eq!(
        read(&shorter),
        Err(StateFileError::Length { found: 64 + 4 * len as u64, expected: 68 })
    );
}

#[test]
fn what_cannot_be_read_again_is_not_written() {
    let model = model();
    let len = model.shape.state_len();
    let mut out = vec![0xEE; StateFile::<f32>::len(&model.shape)];
    let mut write = |state: &[f32], next, room: usize| {
        let result = StateFile::write(&model, state, next, &mut out[..room]);
        assert!(out.iter().all(|&byte| byte == 0xEE), "an error wrote something");
        result
    };
    let room = StateFile::<f32>::len(&model.shape);
    let good = vec![0.0; len];
    let mut bad = good.clone();
    bad[5] = f32::INFINITY;
    assert_eq!(write(&bad, None, room), Err(StateFileError::NonFinite { index: 5 }));
    assert_eq!(
        write(&good, Some(100), room),
        Err(StateFileError::Token { found: 100, vocab: 100 })
    );
    assert_eq!(
        write(&good[1..], None, room),
        Err(StateFileError::Elements { found: len - 1, expected: len })
    );
    assert_eq!(
        write(&good, None, room - 1),
        Err(StateFileError::Buffer { found: room - 1, needed: room })
    );
}

#[test]
fn use_in_place_needs_alignment() {
    let model = model();
    let file = file(&vec![0.5; model.shape.state_len()], None);
    let mut words = vec![0u32; file.len() / 4 + 1];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let shifted = &mut bytes[1..][..file.len()];
    shifted.copy_from_slice(&file);
    let parsed = StateFile::<f32>::parse(&model, shifted).unwrap();
    assert_eq!(parsed.values(), Err(StateFileError::Misaligned { expected: 4 }));
    let written = StateFile::<f32>::write_with(&model, None, shifted, |_| Ok(()));
    assert_eq!(written, Err(StateFileError::Misaligned { expected: 4 }));
}

fn with_sections(sections: Sections<'_>) -> Result<Vec<u8>, StateFileError> {
    let model = model();
    let state = vec![0.25; model.shape.state_len()];
    let extra = StateFile::<f32>::sections_len(sections);
    let mut file = vec![0; StateFile::<f32>::len(&model.shape) + extra];
    let len = StateFile::write_sections(&model, &state, Some(3), sections, &mut file)?;
    assert_eq!(len, file.len());
    Ok(file)
}

#[test]
fn sections_come_back_and_the_state_with_them() {
    let sections = [
        (StateSection::UnfinishedBytes, &b"\xE2\x82"[..]),
        (StateSection::Sampler, &[7; 24]),
        (StateSection::Text, &[]),
    ];
    let file = with_sections(&sections).unwrap();
    let parsed = StateFile::<f32>::parse(&model(), &file).unwrap();
    for (section, bytes) in sections {
        assert_eq!(parsed.section(section), Some(bytes), "{section:?}");
    }
    assert_eq!(parsed.section(StateSection::StartState), None);
    assert_eq!(read(&file), Ok((vec![0.25; model().shape.state_len()], Some(3))));
}

#[test]
fn a_file_without_sections_is_one_of_version_1_0() {
    let written = with_sections(&[]).unwrap();
    assert_eq!(written[10..12], 0u16.to_le_bytes());
    assert_eq!(written, file(&vec![0.25; model().shape.state_len()], Some(3)));
}

#[test]
fn sections_out_of_order_or_cut_are_refused() {
    let twice = [(StateSection::Sampler, &[1u8][..]), (StateSection::Sampler, &[1])];
    assert!(matches!(with_sections(&twice), Err(StateFileError::Sections { .. })));
    let good = with_sections(&[(StateSection::Sampler, &[1, 2, 3, 4])]).unwrap();
    let start = good.len() - 12;
    let damaged: [fn(&mut [u8]); 3] = [
        |section| section[0] = 0,
        |section| section[4] = 5,
        |section| section[4..8].copy_from_slice(&u32::MAX.to_le_bytes()),
    ];
    for damage in damaged {
        let mut file = good.clone();
        damage(&mut file[start..]);
        let (header, rest) = file.split_first_chunk_mut().unwrap();
        let crc = file_crc(header, rest);
        header[CRC..].copy_from_slice(&crc.to_le_bytes());
        let offset = start as u64;
        assert_eq!(read(&file), Err(StateFileError::Sections { offset }));
    }
}

#[test]
fn sections_of_unknown_kinds_are_skipped() {
    let sections = [(StateSection::UnfinishedBytes, &[1u8][..]), (StateSection::Sampler, &[2])];
    let mut file = with_sections(&sections).unwrap();
    let start = file.len() - 9;
    file[start..start + 4].copy_from_slice(&1000u32.to_le_bytes());
    let (header, rest) = file.split_first_chunk_mut().unwrap();
    let crc = file_crc(header, rest);
    header[CRC..].copy_from_slice(&crc.to_le_bytes());
    let parsed = StateFile::<f32>::parse(&model(), &file).unwrap();
    assert_eq!(parsed.section(StateSection::UnfinishedBytes), Some(&[1][..]));
    assert_eq!(parsed.section(StateSection::Sampler), None);
}
