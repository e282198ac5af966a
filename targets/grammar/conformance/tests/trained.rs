//! Texts by a trained model, held to random schemas, satisfy them.

use kinglet::grammar::{Constraint, Grammar, Limits};
use kinglet::{Cpu, Engine, Model, Requirements, Sampler, SamplerOptions, Scalar};
use kinglet_grammar_conformance::{on_threads, schemas, table, vocabulary};
use serde_json::Value;

/// Bytes beyond the shortest text.
const BYTES: u32 = 60;

fn check(seeds: std::ops::Range<u64>) {
    let counts = on_threads(seeds, write_all);
    let checked: u64 = counts.iter().map(|counts| counts.0).sum();
    let tokens: u64 = counts.iter().map(|counts| counts.1).sum();
    println!("{checked} schemas, a text each, {tokens} tokens, are valid");
    assert!(checked > 0);
}

/// How many schemas and tokens.
fn write_all(seeds: &mut dyn Iterator<Item = u64>) -> (u64, u64) {
    let model = Model::open(kinglet_stories::MODEL).expect("the model that ships");
    let tokenizer = vocabulary::stories();
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine =
        Cpu::single(model, Scalar, &mut state, &mut workspace).expect("buffers that suffice");
    let mut logits = vec![0.0; needs.logits];
    let (mut checked, mut tokens) = (0, 0);
    for seed in seeds {
        let schema = schemas::schema(seed);
        let Ok(table) = table(&schema.to_string()) else { continue };
        let grammar = Grammar::open(&table).expect("a table");
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{schema}: {error}"));
        let limits = Limits { bytes: grammar.start().shortest(&grammar) + BYTES, tokens: u32::MAX };
        let mut constraint = Constraint::new(grammar, tokenizer, limits).expect("limits");
        let mut sampler = Sampler::new(SamplerOptions::default(), seed).expect("options");
        engine.reset(0).expect("a sequence");
        let (mut text, mut token) = (Vec::new(), 0);
        while !constraint.is_over() {
            engine.step(0, token, &mut logits).expect("a step");
            token = constraint.sample(&mut sampler, &mut logits).expect("a token that may follow");
            constraint.accept(token).expect("a token that is allowed");
            text.extend(tokenizer.token(token).unwrap_or_default());
            tokens += 1;
        }
        let value: Value = serde_json::from_slice(&text).unwrap_or_else(|error| {
            panic!("{schema} wrote {}: {error}", String::from_utf8_lossy(&text))
        });
        if let Err(error) = validator.validate(&value) {
            panic!("{seed}: {schema} wrote {}: {error}", String::from_utf8_lossy(&text));
        }
        checked += 1;
    }
    (checked, tokens)
}

#[test]
fn texts_are_valid() {
    check(0..100);
}

#[test]
#[ignore = "10,000 schemas"]
fn texts_of_many_schemas_are_valid() {
    check(0..10_000);
}
