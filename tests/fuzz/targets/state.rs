//! State files of versions 1.0 and 1.1, with checksums that fit, for engines of both types.
#![no_main]

use kinglet::StateFile;
use kinglet::format::state_file::StateSection;
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

/// What is read is written again as it was, as far as this version knows its parts.
fn check<S: StateElement>(data: &[u8]) {
    let model = &*state::MODEL;
    let Ok(file) = StateFile::<S>::parse(model, data) else { return };
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
