//! The tokens that may follow are those of llguidance, but for differences that are listed here.
//!
//! Both walk the same random texts over a real vocabulary. llguidance leaves open what is closed
//! here where a schema says nothing (items behind a prefix), so schemas of this test say it.

use std::collections::BTreeMap;

use kinglet::grammar::{Constraint, Grammar, Limits};
use kinglet::tokenizer::Tokenizer;
use kinglet_grammar_conformance::random::Random;
use kinglet_grammar_conformance::{on_threads, schemas, table, vocabulary};
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

/// Tokens of a walk at most.
const STEPS: usize = 40;

/// Why a token may follow there and not here, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// Numbers have at most 15 digits before the point, 9 behind it and 2 in the exponent here.
    Digits,
    /// An integer, or a number of a range, has no `-0` here.
    MinusZero,
    /// U+007F is written as it is here, and escaped there.
    Delete,
    /// A control character has one escape here, and there also `\u00` and its digits.
    Escape,
    /// A format's texts are a part of those there.
    Format,
    /// `\s` is ECMAScript's here, which has U+FEFF and not U+0085; there it is Unicode's, which has
    /// U+0085 and not U+FEFF.
    WhiteSpace,
    /// Of a range of decimals, some that are shorter than a bound and begin like it have no end
    /// there: 4.6 where 4.609 is the most.
    ShortDecimal,
    /// None of these.
    Unexplained,
}

struct Walk<'a> {
    grammar: Grammar<'a>,
    has_format: bool,
    has_white_space: bool,
}

impl Walk<'_> {
    /// The class of a difference: `bytes` behind `text`, allowed there alone or here alone.
    fn class(&self, text: &[u8], bytes: &[u8], is_here: bool) -> Difference {
        let mut position = self.grammar.start();
        let all: Vec<u8> = text.iter().chain(bytes).copied().collect();
        let refused = all.iter().position(|&byte| !position.advance(&self.grammar, byte));
        if is_here {
            // The token ends the character U+0085, or has it.
            let near = &all[text.len().saturating_sub(1)..];
            return if bytes.contains(&0x7f) {
                Difference::Delete
            } else if self.has_white_space && near.windows(2).any(|pair| pair == b"\xc2\x85") {
                Difference::WhiteSpace
            } else if !is_in_string(text) && ends_decimal(text, bytes) {
                Difference::ShortDecimal
            } else {
                Difference::Unexplained
            };
        }
        // Where no byte is refused it is the end.
        let at = refused.unwrap_or(all.len());
        let (before, byte) = (&all[..at], all.get(at).copied().unwrap_or(b','));
        let in_string = is_in_string(before);
        let start = before.iter().rposition(|byte| !b"0123456789.+-eE".contains(byte));
        let number = match start {
            _ if in_string => &[],
            Some(start) => &before[start + 1..],
            None => before,
        };
        let digits = number.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let whole = number.iter().take_while(|byte| b"-0123456789".contains(byte)).count();
        let is_zero = number.starts_with(b"-") && number.iter().all(|byte| b"-0.".contains(byte));
        if is_zero && b"0,]}".contains(&byte) {
            return Difference::MinusZero;
        }
        if byte.is_ascii_digit() && !number.is_empty() {
            let in_exponent = number.iter().any(|byte| b"eE".contains(byte));
            let most = if in_exponent {
                2
            } else if number.contains(&b'.') {
                // A bound with an integer part of seven digits, the longest of these schemas,
                // leaves eight decimals.
                8
            } else {
                15
            };
            if digits >= most {
                return Difference::Digits;
            }
        }
        if byte == b'.' && whole >= 15 {
            return Difference::Digits;
        }
        if in_string && ESCAPES.iter().any(|escape| before.ends_with(escape)) {
            return Difference::Escape;
        }
        // The byte that is refused is one of the character's three.
        let near = &all[at.saturating_sub(2)..all.len().min(at + 3)];
        if in_string && self.has_white_space && near.windows(2).any(|pair| pair == b"\xef\xbb") {
            return Difference::WhiteSpace;
        }
        if in_string && self.has_format {
            return Difference::Format;
        }
        Difference::Unexplained
    }
}

/// Whether a token ends a number that has decimals.
fn ends_decimal(text: &[u8], bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| b"0123456789.-".contains(byte);
    let start = text.iter().rposition(|byte| !is_part(byte)).map_or(0, |start| start + 1);
    let more = bytes.iter().take_while(|byte| is_part(byte)).count();
    text[start..].iter().chain(&bytes[..more]).any(|&byte| byte == b'.')
        && bytes.get(more).is_none_or(|byte| b",]}".contains(byte))
}

/// Beginnings of an escape.
const ESCAPES: [&[u8]; 6] = [b"\\", b"\\u", b"\\u0", b"\\u00", b"\\u000", b"\\u001"];

/// Whether JSON that begins like this is in a string.
fn is_in_string(text: &[u8]) -> bool {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    in_string
}

/// Says what is not said: arrays with a prefix and objects with properties have nothing else.
fn say_all(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            if members.contains_key("prefixItems") && !members.contains_key("items") {
                members.insert("items".to_owned(), json!(false));
            }
            members.values_mut().for_each(say_all);
        }
        Value::Array(values) => values.iter_mut().for_each(say_all),
        _ => {}
    }
}

/// Counts of a comparison.
#[derive(Default)]
struct Counts {
    schemas: u64,
    refused_there: u64,
    refused_here: u64,
    states: u64,
    tokens: u64,
    differences: BTreeMap<Difference, u64>,
    unexplained: Vec<String>,
    reasons_there: BTreeMap<String, u64>,
}

fn compare(tokenizer: Tokenizer<'_>, seeds: std::ops::Range<u64>) -> Counts {
    let mut all = Counts::default();
    for counts in on_threads(seeds, |seeds| compare_all(tokenizer, seeds)) {
        all.schemas += counts.schemas;
        all.refused_here += counts.refused_here;
        all.refused_there += counts.refused_there;
        all.states += counts.states;
        all.tokens += counts.tokens;
        all.unexplained.extend(counts.unexplained);
        for (difference, count) in counts.differences {
            *all.differences.entry(difference).or_default() += count;
        }
        for (reason, count) in counts.reasons_there {
            *all.reasons_there.entry(reason).or_default() += count;
        }
    }
    println!(
        "{} schemas that both accept ({} refused here, {} there), {} states, {} tokens",
        all.schemas, all.refused_here, all.refused_there, all.states, all.tokens
    );
    for (reason, count) in &all.reasons_there {
        println!("{count:6} refused there: {reason}");
    }
    for (difference, count) in &all.differences {
        println!("{count:6} {difference:?}");
    }
    for message in all.unexplained.iter().take(40) {
        println!("{message}");
    }
    assert!(all.unexplained.is_empty(), "{} differences", all.unexplained.len());
    all
}

fn compare_all(tokenizer: Tokenizer<'_>, seeds: &mut dyn Iterator<Item = u64>) -> Counts {
    let environment = vocabulary::environment(&tokenizer);
    let mut factory = ParserFactory::new_simple(&environment).expect("a factory");
    factory.quiet();
    let mut counts = Counts::default();
    for seed in seeds {
        let mut schema = schemas::schema(seed);
        say_all(&mut schema);
        let Ok(table) = table(&schema.to_string()) else {
            counts.refused_here += 1;
            continue;
        };
        let mut theirs = schema.clone();
        theirs["x-guidance"] = json!({
            "whitespace_flexible": false, "item_separator": ",", "key_separator": ":",
        });
        let parser = factory.create_parser(TopLevelGrammar::from_json_schema(theirs));
        let parser = match parser {
            Ok(parser) => parser,
            Err(error) => {
                counts.refused_there += 1;
                let reason: String = error.to_string().chars().take(70).collect();
                *counts.reasons_there.entry(reason).or_default() += 1;
                continue;
            }
        };
        counts.schemas += 1;
        let grammar = Grammar::open(&table).expect("a table");
        let has_format = schema.to_string().contains("\"format\":");
        // The pattern `^\s*\S+$` as JSON has it.
        let has_white_space = schema.to_string().contains("\\\\S+$");
        let walk = Walk { grammar, has_format, has_white_space };
        let mut matcher = Matcher::new(Ok(parser));
        let mut constraint = Constraint::new(grammar, tokenizer, Limits::NONE).expect("all bytes");
        let mut random = Random::new(!seed);
        let mut text: Vec<u8> = Vec::new();
        for _ in 0..STEPS {
            let mask = match matcher.compute_mask_or_eos() {
                Ok(mask) => mask,
                Err(error) => {
                    panic!("{seed}: {schema}: {}: {error}", String::from_utf8_lossy(&text))
                }
            };
            counts.states += 1;
            let mut both = Vec::new();
            for token in 0..tokenizer.vocab_len() as u32 {
                let (here, there) = (constraint.allows(token), mask.is_allowed(token));
                counts.tokens += u64::from(here || there);
                if here == there {
                    if here {
                        both.push(token);
                    }
                    continue;
                }
                let bytes = tokenizer.token(token).unwrap_or_default();
                let difference = walk.class(&text, bytes, here);
                *counts.differences.entry(difference).or_default() += 1;
                if difference == Difference::Unexplained {
                    counts.unexplained.push(format!(
                        "{seed}: {schema}\nafter {} {} is allowed {}",
                        text.escape_ascii(),
                        bytes.escape_ascii(),
                        if here { "here alone" } else { "there alone" },
                    ));
                }
            }
            if constraint.is_over() {
                break;
            }
            let token = *random.choose(&both);
            if token == 0 {
                break;
            }
            constraint.accept(token).expect("a token that is allowed");
            matcher.consume_token(token).expect("a token that is allowed there");
            text.extend(tokenizer.token(token).unwrap_or_default());
        }
    }
    counts
}

#[test]
fn masks_are_those_of_llguidance() {
    let counts = compare(vocabulary::stories(), 0..500);
    assert!(counts.schemas > 300);
}

#[test]
#[ignore = "10,000 schemas"]
fn masks_of_many_schemas_are_those_of_llguidance() {
    let counts = compare(vocabulary::stories(), 0..10_000);
    assert!(counts.schemas > 6_000);
}

#[test]
#[ignore = "65,529 tokens at each state"]
fn masks_over_the_world_vocabulary_are_those_of_llguidance() {
    let packed = vocabulary::world();
    let tokenizer = Tokenizer::parse(&packed).expect("the World vocabulary");
    let counts = compare(tokenizer, 0..300);
    assert!(counts.schemas > 150);
}
