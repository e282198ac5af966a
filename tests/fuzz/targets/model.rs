//! Model files with checksums that fit: opened, verified, read through, hashed and run.
#![no_main]

use kinglet::format::tensors::tensor_count;
use kinglet::num::state_dtype::f16;
use kinglet::{Model, Section, Tokenizer};
use kinglet_fuzz::model::{Aligned, run, seal, section};
use kinglet_fuzz::{memory, mutate, text};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};

// Most bytes are weights, which change numbers only: most mutations go elsewhere.
fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let part = match seed % 8 {
        _ if size < 512 => None,
        0 => None,
        1 | 2 => Some(16..72),
        3 => Some(112..496),
        4 | 5 => section(&data[..size], Section::Directory),
        6 => section(&data[..size], Section::Vectors),
        _ => section(&data[..size], Section::Tokenizer),
    };
    let size = match part {
        Some(range) => {
            mutate::in_place(data, range);
            size
        }
        None => mutate::any(data, size),
    };
    seal(&mut data[..size]);
    size
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let file = Aligned::new(data);
    // Opening and verifying allocate nothing; an engine's memory is `run`'s to check.
    let model = memory::within(0, || {
        let model = Model::open(file.bytes()).ok()?;
        let _ = (model.verify_with(crc32fast::hash), model.provenance(), model.start_state());
        let count = tensor_count(model.shape());
        let stored = (0..count).filter(|&index| model.tensor(index).is_some()).count();
        assert!(stored > 0 && model.tensor(count).is_none());
        Some(model)
    });
    let Some(model) = model else { return Corpus::Keep };
    memory::within(4 * data.len() + (1 << 20), || {
        run::<f32>(model, 2);
        if data.len().is_multiple_of(4) {
            run::<f16>(model, 1);
        }
    });
    if let Ok(tokenizer) = Tokenizer::parse(model.section(Section::Tokenizer)) {
        assert!(tokenizer.vocab_len() <= model.shape().vocab);
        text::exercise(&tokenizer, b"Once upon a time");
    }
    Corpus::Keep
});
