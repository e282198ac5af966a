//! Encoding and decoding of text on one thread; bytes are those of the text.
//!
//! The vocabularies of the official models are not in the repository: `KINGLET_WORLD_VOCAB` names
//! `rwkv_vocab_v20230424.txt`, `KINGLET_20B_TOKENIZER` names `20B_tokenizer.json`. Without them only
//! the vocabulary of the stories and a part of the NeoX tokenizer are measured.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinglet::tokenizer::Tokenizer;
use kinglet_quantize::vocabulary::Vocabulary;

/// Length of a text, bytes: more than the caches nearest to the core hold.
const LEN: usize = 1 << 20;

/// Prose, code and text without spaces, each repeated to the same length.
fn texts() -> [(&'static str, String); 3] {
    let repeated = |text: &str| text.repeat(LEN.div_ceil(text.len()));
    [
        ("prose", repeated(include_str!("../../README.md"))),
        ("code", repeated(include_str!("../../runtime/src/rwkv/v7.rs"))),
        (
            "chinese",
            repeated("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏，闰余成岁，律吕调阳。\n"),
        ),
    ]
}

fn vocabularies() -> Vec<(&'static str, Vec<u8>)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let named = |variable| std::env::var_os(variable).map(PathBuf::from);
    [
        ("stories", Some(root.join("models/stories/stories.vocab.txt"))),
        ("world", named("KINGLET_WORLD_VOCAB")),
        ("neox-4096", Some(root.join("quantize/tests/data/neox_4096.tokenizer.json"))),
        ("neox", named("KINGLET_20B_TOKENIZER")),
    ]
    .into_iter()
    .filter_map(|(name, path)| {
        let file = std::fs::read(path?).expect("a vocabulary");
        let section = Vocabulary::read(&file).and_then(|vocabulary| vocabulary.pack());
        Some((name, section.expect("a vocabulary")))
    })
    .collect()
}

fn encode(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("encode");
    for (vocabulary, section) in vocabularies() {
        let tokenizer = Tokenizer::parse(&section).expect("a section");
        for (name, text) in texts() {
            bench.throughput(Throughput::BytesDecimal(text.len() as u64));
            bench.bench_function(format!("{vocabulary}/{name}"), |bench| {
                bench.iter(|| {
                    tokenizer
                        .encode(black_box(text.as_bytes()))
                        .flatten()
                        .fold(0, u32::wrapping_add)
                });
            });
        }
    }
}

fn decode(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("decode");
    for (vocabulary, section) in vocabularies() {
        let tokenizer = Tokenizer::parse(&section).expect("a section");
        for (name, text) in texts() {
            let ids: Vec<u32> = tokenizer.encode(text.as_bytes()).flatten().collect();
            let mut decoded = Vec::with_capacity(text.len());
            bench.throughput(Throughput::BytesDecimal(text.len() as u64));
            bench.bench_function(format!("{vocabulary}/{name}"), |bench| {
                bench.iter(|| {
                    decoded.clear();
                    for &id in &ids {
                        decoded.extend_from_slice(tokenizer.token(id).unwrap_or_default());
                    }
                    decoded.len()
                });
            });
        }
    }
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
