#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

/// Bytes at an address that is a multiple of 64.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// The model file `stories.kinglet`, at an address that is a multiple of 64.
///
/// A constant may read the bytes, so that firmware sizes its buffers by the model's header. The
/// linker keeps them only where the program reads them at run time, because nothing else refers to
/// this static: firmware whose model lies outside the image takes the header from here for nothing.
pub static MODEL: &[u8] = {
    static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../stories.kinglet"));
    &FILE.0
};

/// The vocabulary of [`MODEL`] in RWKV's text form: a token a line, with its id, its literal and
/// its length in bytes.
///
/// [`MODEL`] holds it in the form that `kinglet::tokenizer::Tokenizer::parse` reads; programs that
/// quantize the checkpoint again need this one.
pub static VOCABULARY: &str = include_str!("../stories.vocab.txt");

/// The content hash of [`MODEL`]: SHA-256 over architecture, shape and weights, as the header has it.
pub const CONTENT_HASH: [u8; 32] =
    *b"\x66\x98\x72\x72\x58\x07\xd4\x6a\xa0\x06\x5e\xe8\x53\x87\xf8\x3a\
    \xd1\x84\xdd\x99\x3b\x4b\x18\x17\x01\xf9\x51\xc6\x11\x95\x91\x7c";

/// The CRC-32 of the logits of 64 tokens, token `i` being `(7919 i + 1) mod 1024`, with an f32
/// state: `kinglet digest` prints it on every machine, and a firmware's self-test compares it.
pub const DIGEST: u32 = 0x5774_c7a9;

/// The [digest](DIGEST) with an f16 state, which `kinglet digest --state-type f16` prints after
/// `f16:`.
pub const DIGEST_F16: u32 = 0x2a6f_0c98;

/// The first tokens of the story that the most probable tokens tell (`kinglet run --temp 0`), the
/// same with a state in f32 and in f16. Token 0 goes in first.
pub const GREEDY_TOKENS: [u32; 16] =
    [742, 694, 308, 670, 45, 665, 705, 308, 522, 450, 551, 282, 47, 293, 533, 671];
