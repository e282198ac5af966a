//! Packed tokenizer sections of every kind, and the text that they encode: the length of the
//! section in two bytes, the section, the text.
#![no_main]

use kinglet::Tokenizer;
use kinglet::tokenizer::TokenizerError;
use kinglet_fuzz::{memory, mutate, text};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

// A section of another length than its header says is refused at once: mostly it is made fit.
fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let size = mutate::split_parts(data, size, seed);
    let (section, rest) = mutate::split(&data[..size]);
    let Err(TokenizerError::Length { expected, .. }) = Tokenizer::parse(section) else {
        return size;
    };
    if seed % 32 == 31 || expected + rest.len() as u64 + 2 > data.len() as u64 {
        return size;
    }
    let Ok(len) = u16::try_from(expected) else { return size };
    let (mut section, rest) = (section.to_vec(), rest.to_vec());
    section.resize(usize::from(len), 0);
    data[..2].copy_from_slice(&len.to_le_bytes());
    data[2..2 + section.len()].copy_from_slice(&section);
    let size = 2 + section.len() + rest.len();
    data[2 + section.len()..size].copy_from_slice(&rest);
    size
});

fuzz_target!(|data: &[u8]| {
    let (section, rest) = mutate::split(data);
    memory::within(0, || {
        let Ok(tokenizer) = Tokenizer::parse(section) else { return };
        text::decode_all(&tokenizer);
        text::exercise(&tokenizer, &rest[..rest.len().min(512)]);
    });
});
