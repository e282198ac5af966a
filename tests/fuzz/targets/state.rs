//! State files of versions 1.0 and 1.1, with checksums that fit, for engines of both types, whole
//! and in pieces.
#![no_main]

use kinglet::StateFile;
use kinglet::format::state_file::{HEADER_LEN, StateDecoder, StateSection};
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet_fuzz::{memory, mutate, state};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

const SECTIONS: [StateSection; 4] = [
    StateSection::UnfinishedBytes,
    StateSection::Sampler,
    StateSection::StartState,
    StateSection::Text,
];

fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let size = match seed % 4 {
        0 if size >= 64 => {
            mutate::in_place(data, 8..60);
            size
        }
        1 | 2 if size > 64 + 4 * 24 => mutate::within(data, size, 64 + 4 * 24..size).0,
        _ => mutate::any(data, size),
    };
    if !seed.is_multiple_of(64) {
        state::seal(&mut data[..size]);
    }
    size
});

/// Whether the file is accepted in pieces of `len` bytes, and its next token.
fn in_pieces<S: StateElement>(data: &[u8], len: usize) -> Option<Option<u32>> {
    let (header, rest) = data.split_first_chunk()?;
    let mut decoder = StateDecoder::new::<S>(&state::MODEL, header, data.len()).ok()?;
    let mut done = HEADER_LEN;
    for piece in rest.chunks(len) {
        let Ok(progress) = decoder.check(piece) else {
            assert!(decoder.check(&[]).is_err() && decoder.next_token().is_err());
            return None;
        };
        done += piece.len();
        assert_eq!((progress.done, progress.total), (done, data.len()));
    }
    Some(decoder.next_token().expect("the whole file"))
}

/// What is read is written again as it was, as far as this version knows its parts.
fn check<S: StateElement>(data: &[u8]) {
    let model = &*state::MODEL;
    let parsed = StateFile::<S>::parse(model, data);
    let next = parsed.as_ref().ok().map(|file| file.next_token());
    for len in [1, 5, 64, data.len().max(1)] {
        assert_eq!(in_pieces::<S>(data, len), next, "pieces of {len} bytes");
    }
    let Ok(file) = parsed else { return };
    let mut values = vec![S::zeroed(); model.shape.state_len()];
    let next = StateFile::read(model, data, &mut values).expect("what was parsed");
    assert_eq!(next, file.next_token());
    let present = SECTIONS.map(|section| (section, file.section(section)));
    let sections: Vec<_> =
        present.iter().filter_map(|&(section, bytes)| Some((section, bytes?))).collect();
    let len = StateFile::<S>::len(&model.shape) + StateFile::<S>::sections_len(&sections);
    assert!(len <= data.len());
    let mut again = vec![0; len];
    let written = StateFile::write_sections(model, &values, next, &sections, &mut again);
    assert_eq!(written, Ok(len));
    let again = StateFile::<S>::parse(model, &again).expect("what was written");
    assert_eq!(SECTIONS.map(|section| again.section(section)), present.map(|(_, bytes)| bytes));
    if let Some(snapshot) = file.section(StateSection::Sampler) {
        let options = SamplerOptions { presence: 0.5, ..SamplerOptions::default() };
        let mut sampler = Sampler::with_counts(options, 1, [0.0; 64]).expect("options in range");
        if sampler.restore(snapshot).is_ok() {
            let token = sampler.sample(&mut [0.25; 64]).expect("a candidate");
            sampler.accept(token);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    memory::within(4 * data.len() + 4096, || {
        check::<f32>(data);
        check::<f16>(data);
    });
});
