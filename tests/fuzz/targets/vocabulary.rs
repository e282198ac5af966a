//! Vocabulary files of every form; what is read is packed, and encodes text.
#![no_main]

use kinglet::Tokenizer;
use kinglet_fuzz::{memory, text};
use kinglet_quantize::vocabulary::Vocabulary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| memory::within((64 << 20) + 256 * data.len(), || {
    let Ok(vocabulary) = Vocabulary::read(data) else { return };
    let Ok(section) = vocabulary.pack() else { return };
    let tokenizer = Tokenizer::parse(&section).expect("what was packed");
    assert_eq!(tokenizer.vocab_len(), vocabulary.vocab_len());
    for id in 0..(vocabulary.vocab_len() as u32).min(1 << 12) {
        assert_eq!(tokenizer.token(id), vocabulary.token(id), "{id}");
    }
    text::exercise(&tokenizer, &data[..data.len().min(256)]);
    text::exercise(&tokenizer, "Où est l'e\u{301}te\u{301}? 12 \u{FB01}\n\n".as_bytes());
}));
