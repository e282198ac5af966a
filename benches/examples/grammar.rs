//! Work to count instructions of: what a grammar adds to each token, with the World vocabulary.
//! Everything that counts happens in [`counted`], so that a counter may be switched on by the name
//! of that function.
//!
//! `grammar GRAMMAR` draws a text of at most [`TOKENS`] tokens under one of [`GRAMMARS`] from
//! logits of no model, beginning with an empty cache; `grammar GRAMMAR tokens` says how many it
//! has, `grammar list` which grammars there are. `grammar token` computes a token of the shape
//! rwkv7-0.1b. `benches/grammar.py` runs them all.
#![expect(clippy::print_stdout, reason = "names and numbers are the output")]

use std::env;
use std::error::Error;
use std::hint::black_box;

use kinglet::engine::{Cpu, Engine, workspace_len};
use kinglet::format::model::Model;
use kinglet::grammar::{Constraint, Grammar, Limits};
use kinglet::sampler::{Pcg32, SampleError, Sampler, SamplerOptions};
use kinglet::tokenizer::Tokenizer;
use kinglet_desktop::KernelSet;
use kinglet_grammar::{compile, from_gbnf, from_regex, schema};
use kinglet_host::Threaded;
use kinglet_quantize::synthetic::{OFFICIAL, SyntheticModel};
use kinglet_quantize::vocabulary::Vocabulary as Packed;
use kinglet_talk::grammar::{MaskCache, Vocabulary};

/// Most tokens of a text.
const TOKENS: u32 = 256;

/// Names, notations and texts.
const GRAMMARS: [(&str, &str, &str); 5] = [
    (
        "led",
        "schema",
        r#"{"type": "object", "properties": {"led": {"enum": ["on", "off"]}}, "required": ["led"],
            "additionalProperties": false}"#,
    ),
    ("date", "regex", r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"),
    (
        "tools",
        "schema",
        r#"{"anyOf": [
            {"type": "object", "properties": {"name": {"const": "get_weather"}, "arguments": {
                "type": "object", "properties": {"city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"]}}, "required": ["city", "unit"],
                "additionalProperties": false}}, "required": ["name", "arguments"],
                "additionalProperties": false},
            {"type": "object", "properties": {"name": {"const": "set_light"}, "arguments": {
                "type": "object", "properties": {"on": {"type": "boolean"},
                "level": {"type": "integer", "minimum": 0, "maximum": 100}},
                "required": ["on", "level"], "additionalProperties": false}},
                "required": ["name", "arguments"], "additionalProperties": false},
            {"type": "object", "properties": {"name": {"const": "search"}, "arguments": {
                "type": "object", "properties": {"query": {"type": "string"}},
                "required": ["query"], "additionalProperties": false}},
                "required": ["name", "arguments"], "additionalProperties": false}]}"#,
    ),
    (
        "person",
        "schema",
        r#"{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}}},
            "required": ["name", "age", "tags"], "additionalProperties": false}"#,
    ),
    (
        "json",
        "gbnf",
        r#"
            root   ::= object | array | string | number | "true" | "false" | "null"
            object ::= "{" (string ":" root ("," string ":" root)*)? "}"
            array  ::= "[" (root ("," root)*)? "]"
            string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
            number ::= "-"? ("0" | [1-9] [0-9]{0,8}) ("." [0-9]{1,8})?
        "#,
    ),
];

/// What a grammar adds to a token: the logits of all that may not come next become -inf.
#[inline(never)]
fn counted(
    masks: &mut MaskCache,
    constraint: &Constraint<'_>,
    logits: &mut [f32],
) -> Result<bool, SampleError> {
    masks.mask(constraint).apply(logits)?;
    Ok(constraint.is_over())
}

/// A token of a model.
#[inline(never)]
fn counted_token(engine: &mut dyn Engine, logits: &mut [f32]) -> Result<(), Box<dyn Error>> {
    Ok(engine.step(0, 7, logits)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, counts) = match arguments[..] {
        ["list"] => {
            GRAMMARS.iter().for_each(|(name, ..)| println!("{name}"));
            return Ok(());
        }
        ["token", kernel] => return token(kernel),
        [name] => (name, false),
        [name, "tokens"] => (name, true),
        _ => return Err("usage: grammar NAME [tokens], grammar token KERNEL, grammar list".into()),
    };
    let table = table(name)?;
    let tokens = kinglet_world::tokens().map(<[u8]>::to_vec);
    let packed = Packed::from_tokens(std::iter::once(Vec::new()).chain(tokens).collect())?;
    let section = packed.pack()?;
    let tokenizer = Tokenizer::parse(&section)?;
    let limits = Limits { tokens: TOKENS, ..Limits::NONE };
    let mut constraint = Constraint::new(Grammar::open(&table)?, tokenizer, limits)?;
    let mut masks = MaskCache::new(Vocabulary::new(&tokenizer).into());
    let mut sampler = Sampler::new(SamplerOptions::default(), 1)?;
    let mut noise = Pcg32::new(1);
    let mut logits = vec![0.0; tokenizer.vocab_len()];
    let (mut drawn, mut is_over) = (0, constraint.is_over());
    while !is_over {
        logits.fill_with(|| noise.next_u32() as f32 / (1u64 << 30) as f32);
        counted(&mut masks, &constraint, &mut logits)?;
        let token = sampler.sample(&mut logits)?;
        constraint.accept(token)?;
        drawn += 1;
        is_over = constraint.is_over();
    }
    if counts {
        println!("{drawn} {}", table.len());
    }
    Ok(())
}

fn table(name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let known = GRAMMARS.iter().find(|(known, ..)| *known == name);
    let &(_, notation, text) = known.ok_or("no such grammar; `grammar list` shows them")?;
    let options = kinglet_grammar::Options::default();
    Ok(match notation {
        "regex" => from_regex(text, &options)?,
        "gbnf" => from_gbnf(text, &options)?,
        _ => compile(&schema::rules(text, &schema::Options::default())?, &options)?,
    })
}

fn token(kernel: &str) -> Result<(), Box<dyn Error>> {
    let set = KernelSet::by_name(kernel).ok_or("this machine does not have that kernel set")?;
    let (_, shape) = OFFICIAL[0];
    let synthetic = SyntheticModel::new(&shape, 0.5, 1)?;
    let model = Model::open(synthetic.bytes())?;
    let mut state = vec![0.0; shape.state_len()];
    let mut workspace = vec![0.0; workspace_len(&shape, 1)];
    let mut logits = vec![0.0; shape.vocab];
    let mut engine = Cpu::new(model, Threaded::new(set, 1), 1, &mut state, &mut workspace)?;
    engine.step(0, 0, &mut logits)?;
    counted_token(&mut engine, &mut logits)?;
    black_box(&logits);
    Ok(())
}
