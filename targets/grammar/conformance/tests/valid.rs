//! Every text that a grammar allows satisfies the schema, and every text comes to its end.

use std::collections::BTreeMap;

use kinglet::grammar::{Constraint, Grammar, Limits};
use kinglet::tokenizer::Tokenizer;
use kinglet_grammar_conformance::random::Random;
use kinglet_grammar_conformance::{on_threads, schemas, table, vocabulary};
use serde_json::Value;

/// What was counted.
#[derive(Default)]
struct Counts {
    schemas: u64,
    texts: u64,
    bytes: usize,
    largest: usize,
    refused: BTreeMap<String, u64>,
}

/// Draws texts for a range of seeds.
fn check(seeds: std::ops::Range<u64>) {
    let mut all = Counts::default();
    for counts in on_threads(seeds.clone(), draw_all) {
        all.schemas += counts.schemas;
        all.texts += counts.texts;
        all.bytes += counts.bytes;
        all.largest = all.largest.max(counts.largest);
        for (kind, count) in counts.refused {
            *all.refused.entry(kind).or_default() += count;
        }
    }
    println!(
        "{} schemas, {} texts of {} bytes are valid; the largest table has {} bytes; refused:",
        all.schemas, all.texts, all.bytes, all.largest
    );
    for (kind, count) in &all.refused {
        println!("{count:6} {kind}");
    }
    let number = seeds.end - seeds.start;
    assert!(all.schemas * 100 >= number * 95, "{} of {number} have grammars", all.schemas);
}

fn draw_all(seeds: &mut dyn Iterator<Item = u64>) -> Counts {
    let stories = vocabulary::stories();
    let mut counts = Counts::default();
    for seed in seeds {
        let schema = schemas::schema(seed);
        let table = match table(&schema.to_string()) {
            Ok(table) => table,
            Err(error) => {
                let kind: String = error.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                *counts.refused.entry(kind).or_default() += 1;
                continue;
            }
        };
        let grammar = Grammar::open(&table).unwrap_or_else(|error| panic!("{seed}: {error:?}"));
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{schema}: {error}"));
        let mut random = Random::new(!seed);
        counts.schemas += 1;
        if seed % 500 == 0 {
            println!("seed {seed}");
        }
        counts.largest = counts.largest.max(table.len());
        for round in [seed % 3, 3] {
            if round == 3 && !seed.is_multiple_of(5) {
                continue;
            }
            let text = draw(grammar, stories, &mut random, round);
            let value: Value = serde_json::from_slice(&text).unwrap_or_else(|error| {
                panic!("{schema} wrote {}: {error}", String::from_utf8_lossy(&text))
            });
            if let Err(error) = validator.validate(&value) {
                panic!("{seed}: {schema} wrote {}: {error}", String::from_utf8_lossy(&text));
            }
            counts.texts += 1;
            counts.bytes += text.len();
        }
    }
    counts
}

/// A text by random tokens that the grammar allows: all with the same probability, or with a
/// random preference for some; with short limits or longer ones.
fn draw(
    grammar: Grammar<'_>,
    tokenizer: Tokenizer<'_>,
    random: &mut Random,
    round: u64,
) -> Vec<u8> {
    let shortest = grammar.start().shortest(&grammar);
    let limits = match round {
        0 => Limits { bytes: shortest, tokens: u32::MAX },
        1 => Limits { bytes: u32::MAX, tokens: shortest + 20 },
        2 => Limits { bytes: shortest + 40, tokens: u32::MAX },
        _ => Limits { bytes: shortest + 200, tokens: u32::MAX },
    };
    let mut constraint = Constraint::new(grammar, tokenizer, limits).expect("limits that suffice");
    let mut text = Vec::new();
    let mut logits = vec![0.0_f32; tokenizer.vocab_len()];
    while !constraint.is_over() {
        for logit in &mut logits {
            *logit = random.bits() as f32 / u64::MAX as f32;
        }
        constraint.mask(&mut logits).expect("finite logits");
        let (token, logit) = logits
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .expect("a vocabulary that is not empty");
        assert!(
            *logit > f32::NEG_INFINITY,
            "no token may follow {}",
            String::from_utf8_lossy(&text)
        );
        let token = token as u32;
        constraint.accept(token).expect("a token that is allowed");
        text.extend(tokenizer.token(token).unwrap_or_default());
    }
    text
}

#[test]
fn texts_are_valid() {
    check(0..500);
}

#[test]
#[ignore = "10,000 schemas"]
fn texts_of_many_schemas_are_valid() {
    check(0..10_000);
}
