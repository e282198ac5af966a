//! The grammar of the examples for boards, which C and firmware have without a compiler, is what its
//! schema compiles to; and what they print, `led_servo.txt`, is what the desktop draws.

use kinglet::grammar::{Constraint, Grammar, Limits};
use kinglet::{
    Cpu, Engine, Model, Requirements, Sampler, SamplerOptions, Scalar, Section, Tokenizer,
};

/// Set to write the table instead of checking it.
const UPDATE: &str = "KINGLET_UPDATE_GRAMMAR";

#[test]
fn the_table_is_what_the_schema_compiles_to() {
    let schema = include_str!("data/led_servo.json");
    let rules = kinglet_grammar::schema::rules(schema, &Default::default()).unwrap();
    let table = kinglet_grammar::compile(&rules, &Default::default()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/led_servo.grammar");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert!(table.len() < 1024, "{} bytes", table.len());
    let committed = std::fs::read(path).unwrap();
    assert!(committed == table, "led_servo.grammar is not current: run this with {UPDATE}=1");
}

/// The text of the grammar that follows a line, with the model that ships and its own options.
fn answer(line: &str, seed: u64) -> String {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let [mut state, mut workspace, mut logits] =
        [needs.state, needs.workspace, needs.logits].map(|len| vec![0.0; len]);
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace).unwrap();
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let grammar = Grammar::open(include_bytes!("data/led_servo.grammar")).unwrap();
    let mut constraint = Constraint::new(grammar, tokenizer, Limits::NONE).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::for_model(&model), seed).unwrap();
    engine.step(0, 0, &mut logits).unwrap();
    for token in tokenizer.encode(line.as_bytes()) {
        engine.step(0, token.unwrap(), &mut logits).unwrap();
    }
    let mut text = Vec::new();
    while !constraint.is_over() {
        let drawable = &mut logits[..tokenizer.vocab_len()];
        let token = constraint.sample(&mut sampler, drawable).unwrap();
        constraint.accept(token).unwrap();
        text.extend(tokenizer.token(token).unwrap());
        engine.step(0, token, &mut logits).unwrap();
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn the_boards_print_what_the_desktop_draws() {
    let printed: Vec<_> = include_str!("data/led_servo.txt").lines().collect();
    assert_eq!(printed.len(), 8);
    // Each is followed by what the board does.
    for texts in printed.chunks(2) {
        let (line, json) = texts[0].split_at(texts[0].find('{').unwrap());
        assert_eq!(answer(line, 7), json, "{line}");
    }
}
