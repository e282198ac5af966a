//! Tokenizers: text to tokens and back, through the text stream and stops.

use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::stop::StopMatcher;
use kinglet::tokenizer::text_stream::TextStream;

/// Encodes `text` and decodes what comes out. Encoding ends; what is decoded is shown once, whole
/// characters at a time.
pub fn exercise(tokenizer: &Tokenizer<'_>, text: &[u8]) {
    let mut encode = tokenizer.encode(text);
    // Normalization makes at most 18 bytes of one.
    let most = 18 * text.len() + 1;
    let mut tokens = 0;
    let mut stream = TextStream::new();
    let stops: [&[u8]; 3] = [b"\n\n", b"\nUser", b"er"];
    let mut matcher = StopMatcher::new(&stops);
    let (mut shown, mut pushed) = (0, 0);
    for token in encode.by_ref() {
        let Ok(token) = token else { break };
        tokens += 1;
        assert!(tokens <= most, "encoding does not end");
        // Tables have ids of 24 bits. A forged one may name an id that the vocabulary does not have,
        // which an engine refuses.
        assert!((token as usize) < tokenizer.vocab_len().max(1 << 24), "token {token}");
        let bytes = tokenizer.token(token).unwrap_or_default();
        assert!(stream.push(bytes).map(str::len).sum::<usize>() <= 3 * (bytes.len() + 3));
        assert!(stream.pending().len() < 4);
        pushed += bytes.len();
        if matcher.push(bytes, |bytes| shown += bytes.len()).is_some() {
            shown = pushed;
        }
        assert!(shown + matcher.held_bytes().len() == pushed || shown == pushed);
    }
    assert!(encode.position() <= text.len());
    assert!(encode.next().is_none(), "an iterator that goes on after its end");
    stream.finish();
}

/// The bytes of every id, and of some beyond.
pub fn decode_all(tokenizer: &Tokenizer<'_>) {
    let len = tokenizer.vocab_len() as u32;
    for id in (0..len.min(1 << 11)).chain([len.wrapping_sub(1), len, u32::MAX]) {
        if let Some(bytes) = tokenizer.token(id) {
            std::hint::black_box(bytes.len());
        }
    }
    assert_eq!(tokenizer.token(u32::MAX), None);
}
