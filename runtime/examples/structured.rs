//! Text that keeps a grammar, whatever the model prefers: here the model writes a date.
//!
//! The grammar is a table that was compiled before, of 400 bytes:
//!
//!     kinglet grammar --regex '[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' -o date.grammar

use std::io::{self, Write};

use kinglet::grammar::{Constraint, Grammar, Limits};
use kinglet::{
    Cpu, Engine, Model, Requirements, Sampler, SamplerOptions, Scalar, Section, Tokenizer,
};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(kinglet_stories::MODEL)?;
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer))?;
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut logits = vec![0.0; needs.logits];
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
    let mut sampler = Sampler::new(SamplerOptions::for_model(&model), 42)?;

    let date = Grammar::open(include_bytes!("date.grammar"))?;
    let mut constraint = Constraint::new(date, tokenizer, Limits::NONE)?;

    let mut text = String::from("Lily was born on ");
    engine.step(0, 0, &mut logits)?;
    for token in tokenizer.encode(text.clone().as_bytes()) {
        engine.step(0, token?, &mut logits)?;
    }
    while !constraint.is_over() {
        let token = constraint.sample(&mut sampler, &mut logits[..tokenizer.vocab_len()])?;
        constraint.accept(token)?;
        text += core::str::from_utf8(tokenizer.token(token).unwrap_or_default())?;
        engine.step(0, token, &mut logits)?;
    }
    writeln!(io::stdout(), "{text}")?;

    let numbers = text.trim_start_matches("Lily was born on ").split('-').map(str::parse::<u32>);
    let numbers: Vec<_> = numbers.collect::<Result<_, _>>()?;
    assert!(matches!(numbers[..], [1000..3000, 1..=12, 1..=31]), "{text}");
    Ok(())
}
