//! Writes the Unicode tables of the core's byte-level BPE:
//!
//! ```text
//! cargo run -p kinglet-quantize --example unicode_tables > runtime/src/tokenizer/bpe/tables.rs
//! rustfmt runtime/src/tokenizer/bpe/tables.rs
//! ```
//!
//! The classes are those of the regular expressions, the normalization is that of the crate, that
//! Hugging Face's `tokenizers` uses, so that the core splits and normalizes as it does.
#![expect(clippy::print_stdout, reason = "the tables are the output")]

use std::fmt::Debug;

use regex_syntax::hir::{Class, HirKind};
use unicode_normalization_alignments::char::{
    canonical_combining_class, compose, decompose_canonical,
};
use unicode_normalization_alignments::{UNICODE_VERSION, UnicodeNormalization};

/// Hangul syllables, which compose and decompose by arithmetic.
const HANGUL: std::ops::RangeInclusive<char> = '\u{AC00}'..='\u{D7A3}';
/// Hangul vowels and finals, which end a syllable.
const HANGUL_SECONDS: [std::ops::RangeInclusive<char>; 2] =
    ['\u{1161}'..='\u{1175}', '\u{11A8}'..='\u{11C2}'];

fn characters() -> impl Iterator<Item = char> {
    '\0'..=char::MAX
}

/// The ranges of a class of characters.
fn class(pattern: &str) -> Vec<(char, char)> {
    let hir = regex_syntax::parse(pattern).expect("a class");
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { panic!("{pattern} is no class") };
    class.ranges().iter().map(|range| (range.start(), range.end())).collect()
}

/// The first characters of the runs that have one value, each packed with it: `first << 8 | value`.
fn runs(value: impl Fn(char) -> u8) -> Vec<u32> {
    let mut runs = Vec::new();
    let mut last = None;
    for c in characters() {
        let value = value(c);
        if last != Some(value) {
            runs.push((c as u32) << 8 | u32::from(value));
            last = Some(value);
        }
    }
    runs
}

fn classes() -> Vec<u32> {
    let mut values = vec![0; char::MAX as usize + 1];
    for (value, pattern) in [(1, r"\p{L}"), (2, r"\p{N}"), (3, r"\s")] {
        for (first, last) in class(pattern) {
            values[first as usize..=last as usize].fill(value);
        }
    }
    runs(|c| values[c as usize])
}

fn decomposition(c: char) -> Vec<char> {
    let mut parts = Vec::new();
    decompose_canonical(c, |part| parts.push(part));
    parts
}

/// Characters that have a decomposition, but for Hangul.
fn decomposed() -> impl Iterator<Item = (char, Vec<char>)> {
    characters()
        .filter(|c| !HANGUL.contains(c))
        .map(|c| (c, decomposition(c)))
        .filter(|(c, parts)| *parts != [*c])
}

/// All `[first, second, composed]`, sorted, but for Hangul.
fn compositions() -> Vec<[u32; 3]> {
    // A composed character is its decomposition's last character after the composition of those
    // before it.
    let mut triples: Vec<_> = decomposed()
        .filter_map(|(c, parts)| {
            let (&last, rest) = parts.split_last()?;
            let first: Vec<char> = rest.iter().copied().nfc().map(|(c, _)| c).collect();
            let [first] = first[..] else { return None };
            (compose(first, last) == Some(c)).then_some([first as u32, last as u32, c as u32])
        })
        .collect();
    triples.sort_unstable();
    triples
}

/// The combining class; of the others, 255 for those that are not always themselves in NFC.
fn marks(compositions: &[[u32; 3]]) -> Vec<u32> {
    let seconds: Vec<u32> = compositions.iter().map(|[_, second, _]| *second).collect();
    runs(|c| match canonical_combining_class(c) {
        0 => {
            let changes = !std::iter::once(c).nfc().map(|(c, _)| c).eq([c]);
            let ends =
                seconds.contains(&(c as u32)) || HANGUL_SECONDS.iter().any(|r| r.contains(&c));
            if changes || ends { 255 } else { 0 }
        }
        ccc => ccc,
    })
}

fn print<T: Debug>(doc: &str, name: &str, kind: &str, values: &[T]) {
    println!("\n/// {doc}");
    println!("pub(super) static {name}: [{kind}; {}] = {values:?};", values.len());
}

fn main() {
    let (major, minor, _) = UNICODE_VERSION;
    println!("//! Unicode tables; `quantize/examples/unicode_tables.rs` writes them.");
    println!("//!");
    println!("//! Classes as in Unicode 16, normalization as in Unicode {major}.{minor}.");
    print(
        "Runs of characters of one class: `first << 8 | class`, 0 other, 1 `\\p{L}`, 2 `\\p{N}`, 3 `\\s`.",
        "CLASSES",
        "u32",
        &classes(),
    );
    let compositions = compositions();
    print(
        "Runs with one canonical combining class: `first << 8 | class`; 255 is class 0 of characters that NFC may change or join to the one before.",
        "MARKS",
        "u32",
        &marks(&compositions),
    );
    let (mut keys, mut parts) = (Vec::new(), Vec::new());
    for (c, decomposition) in decomposed() {
        keys.push((c as u32) << 13 | parts.len() as u32);
        parts.extend(decomposition.into_iter().map(u32::from));
    }
    keys.push(u32::MAX << 13 | parts.len() as u32);
    print(
        "Characters with a canonical decomposition: `character << 13 | start in PARTS`.",
        "DECOMPOSITIONS",
        "u32",
        &keys,
    );
    print("The full decompositions.", "PARTS", "u32", &parts);
    let small = |triple: &[u32; 3]| triple.iter().all(|&c| c <= 0xFFFF);
    let narrow: Vec<_> = compositions.iter().filter(|triple| small(triple)).collect();
    let wide: Vec<_> = compositions.iter().filter(|triple| !small(triple)).collect();
    print("Compositions: first, second, composed.", "COMPOSITIONS", "[u16; 3]", &narrow);
    print("Compositions beyond 16 bits.", "WIDE_COMPOSITIONS", "[u32; 3]", &wide);
}
