extern crate std;

use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::format::crc32::crc32;
use crate::sampler::{Sampler, SamplerOptions};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::layout::{Header, Kind};

/// A table, written as the specification says, with no care for its size.
#[derive(Clone, Debug, Default)]
struct Builder {
    depth: u8,
    start: u16,
    /// `[state]`: bytes and frames of the shortest text.
    ends: Vec<(u16, u8)>,
    /// Begin, return.
    calls: Vec<(u16, u16)>,
    /// State, byte, target.
    transitions: Vec<(u16, u8, u16)>,
}

impl Builder {
    fn table(&self, width: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.transitions.iter().map(|&(_, byte, _)| byte).collect();
        bytes.sort_unstable();
        bytes.dedup();
        let class = |byte: u8| bytes.iter().position(|&b| b == byte).map_or(0, |at| at as u8 + 1);
        let stride = bytes.len() as u16 + 1;
        let states = self.ends.len() as u16;
        let mut cells = vec![(0u8, 0u16); usize::from(stride * states)];
        for &(state, byte, target) in &self.transitions {
            cells[usize::from(state * stride) + usize::from(class(byte))] = (class(byte), target);
        }
        let mut table = Vec::new();
        table.extend(b"kgrm");
        table.extend([0, width, bytes.len() as u8, self.depth]);
        for field in [states, self.calls.len() as u16, cells.len() as u16, self.start] {
            table.extend(field.to_le_bytes());
        }
        table.extend([0; 8]);
        table.extend((0..=255).map(class));
        table.extend((0..states).flat_map(|state| (state * stride).to_le_bytes()));
        for (bytes, _) in &self.ends {
            table.extend(&bytes.to_le_bytes()[..usize::from(width)]);
        }
        if !self.calls.is_empty() {
            table.extend(self.ends.iter().map(|(_, frames)| frames));
        }
        for (begin, after) in &self.calls {
            table.extend(begin.to_le_bytes());
            table.extend(after.to_le_bytes());
        }
        for (label, target) in cells {
            table.push(label);
            table.extend(&target.to_le_bytes()[..usize::from(width)]);
        }
        seal(&mut table);
        table
    }
}

fn seal(table: &mut [u8]) {
    table[16..20].fill(0);
    let crc = crc32(table);
    table[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// `x`, or `[` and any number of such texts and `]`.
fn nested(depth: u8) -> Builder {
    Builder {
        depth,
        start: 0,
        // Before a text, inside brackets, after it; a call's beginning is the start.
        ends: vec![(1, 0), (1, 0), (0, 0)],
        calls: vec![(0, 1)],
        transitions: vec![(0, b'x', 2), (0, b'[', 1), (1, b'x', 3), (1, b'[', 3), (1, b']', 2)],
    }
}

/// `(` `(` ... `x` ... `)` `)`, where the inner text has to be there.
fn wrapped(depth: u8) -> Builder {
    Builder {
        depth,
        start: 0,
        ends: vec![(1, 0), (2, 1), (1, 0), (0, 0)],
        calls: vec![(0, 2)],
        transitions: vec![(0, b'x', 3), (0, b'(', 1), (1, b'x', 4), (1, b'(', 4), (2, b')', 3)],
    }
}

fn reads(grammar: &Grammar<'_>, text: &[u8]) -> Option<bool> {
    let mut position = grammar.start();
    let is_prefix = text.iter().all(|&byte| position.advance(grammar, byte));
    is_prefix.then(|| position.may_end(grammar))
}

#[test]
fn a_rule_may_contain_itself() {
    for width in [1, 2] {
        let table = nested(3).table(width);
        let grammar = Grammar::open(&table).unwrap();
        for text in ["x", "[]", "[xx]", "[[x[]]x]", "[[[]]]", "[[[x]]]"] {
            assert_eq!(reads(&grammar, text.as_bytes()), Some(true), "{text}");
        }
        for text in ["[", "[x", "[[]", "[[["] {
            assert_eq!(reads(&grammar, text.as_bytes()), Some(false), "{text}");
        }
        for text in ["xx", "[]x", "]", "[x]]", "y", "[[[[["] {
            assert_eq!(reads(&grammar, text.as_bytes()), None, "{text}");
        }
    }
}

#[test]
fn what_could_not_be_ended_is_not_begun() {
    let table = wrapped(2).table(1);
    let grammar = Grammar::open(&table).unwrap();
    assert_eq!(reads(&grammar, b"((x))"), Some(true));
    // A third one needs a third frame, and has no other way on.
    assert_eq!(reads(&grammar, b"(("), Some(false));
    assert_eq!(reads(&grammar, b"((("), None);
    let mut position = grammar.start();
    for (byte, shortest) in b"((x))".iter().zip([2, 3, 2, 1, 0]) {
        assert!(position.advance(&grammar, *byte));
        assert_eq!(position.shortest(&grammar), shortest);
    }
    assert_eq!(position.shortest_more(&grammar), None);
}

#[test]
fn a_forged_table_is_refused() {
    let good = nested(3).table(1);
    assert!(Grammar::open(&good).is_ok());
    let refuse = |table: &[u8]| Grammar::open(table).unwrap_err();
    for len in 0..good.len() {
        assert!(matches!(refuse(&good[..len]), GrammarError::Length { .. }), "{len}");
    }
    for at in 0..good.len() {
        let mut table = good.clone();
        table[at] ^= 1;
        assert!(Grammar::open(&table).is_err(), "{at}");
    }
    let with = |at: usize, byte: u8| {
        let mut table = good.clone();
        table[at] = byte;
        seal(&mut table);
        refuse(&table)
    };
    assert_eq!(with(0, b'K'), GrammarError::Magic);
    assert_eq!(with(4, 1), GrammarError::Layout { found: 1 });
    assert_eq!(with(5, 3), GrammarError::Field { offset: 5 });
    assert_eq!(with(6, 0), GrammarError::Field { offset: 6 });
    assert_eq!(with(7, 33), GrammarError::Field { offset: 7 });
    assert_eq!(with(7, 0), GrammarError::Field { offset: 7 });
    assert_eq!(with(14, 3), GrammarError::Field { offset: 14 });
    assert_eq!(with(22, 1), GrammarError::Field { offset: 20 });
    assert_eq!(with(24 + 9, 4), GrammarError::Class { byte: 9 });
    let changed = |change: fn(&mut Builder)| {
        let mut builder = nested(3);
        change(&mut builder);
        refuse(&builder.table(1))
    };
    assert_eq!(changed(|b| b.calls[0].1 = 3), GrammarError::Call { call: 0 });
    assert_eq!(changed(|b| b.transitions[0].2 = 4), GrammarError::Cell { cell: 3 });
    assert_eq!(changed(|b| _ = b.transitions.pop()), GrammarError::DeadEnd { state: 1 });
    // A call that calls itself before it reads anything.
    assert_eq!(changed(|b| b.transitions[0].2 = 3), GrammarError::DeadEnd { state: 0 });
    assert_eq!(changed(|b| b.start = 3), GrammarError::Field { offset: 14 });
    let mut builder = wrapped(2);
    builder.ends[1].1 = 0;
    assert_eq!(refuse(&builder.table(1)), GrammarError::DeadEnd { state: 1 });
}

const OPENED: Result<Grammar<'_>, GrammarError> = Grammar::open(b"kgrm");

#[test]
fn a_table_is_opened_in_a_constant() {
    assert_eq!(OPENED.unwrap_err(), GrammarError::Length { found: 4, expected: 24 });
}

/// Bytes from id 1 on, and the given strings after them: in a greedy section, whose trie is not
/// needed to know a token's bytes.
fn vocabulary(strings: &[&[u8]]) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = vec![vec![]];
    all.extend((0..=255).map(|byte| vec![byte]));
    all.extend(strings.iter().map(|string| string.to_vec()));
    let mut starts = vec![0u32];
    for string in &all {
        starts.push(starts[starts.len() - 1] + string.len() as u32);
    }
    let kind = Kind::Greedy { cells: 0, strings: *starts.last().unwrap() };
    let header = Header { kind, max_token_len: 16, vocab_len: all.len() as u32 };
    let mut section = header.to_bytes().to_vec();
    section.extend(starts.iter().step_by(16).flat_map(|start| start.to_le_bytes()));
    let relative = |(id, start): (usize, &u32)| (start - starts[id / 16 * 16]) as u16;
    section.extend(starts.iter().enumerate().map(relative).flat_map(u16::to_le_bytes));
    section.extend(all.concat());
    section
}

const STRINGS: [&[u8]; 10] =
    [b"[]", b"[[", b"]]", b"x]", b"[x", b"xx", b"[x]", b"]x", b"[[[[", b"xy"];

#[test]
fn a_byte_that_is_no_token_is_refused() {
    let table = nested(3).table(1);
    let grammar = Grammar::open(&table).unwrap();
    let section = vocabulary(&STRINGS);
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert!(Constraint::new(grammar, tokenizer, Limits::NONE).is_ok());
    let mut without = section.clone();
    // The string of `]` becomes one of `[`.
    let strings = without.len() - STRINGS.concat().len() - 256;
    without[strings + usize::from(b']')] = b'[';
    let tokenizer = Tokenizer::parse(&without).unwrap();
    let error = Constraint::new(grammar, tokenizer, Limits::NONE).unwrap_err();
    assert_eq!(error, ConstraintError::NoToken { byte: b']' });
}

#[test]
fn a_text_ends_where_it_may() {
    let table = nested(3).table(1);
    let grammar = Grammar::open(&table).unwrap();
    let section = vocabulary(&[b"x", b"]\n"]);
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let mut constraint = Constraint::new(grammar, tokenizer, Limits::NONE).unwrap();
    constraint.end_with(1 + 10).unwrap();
    assert!(!constraint.allows(0) && !constraint.allows(11) && !constraint.allows(258));
    let refused = ConstraintError::NotAllowed { token: 0 };
    assert_eq!(constraint.accept(0), Err(refused));
    assert_eq!(constraint.accept(1 + u32::from(b'x')), Ok(Accepted::Text));
    assert!(constraint.is_over() && constraint.allows(0) && constraint.allows(11));
    assert_eq!(constraint.accept(11), Ok(Accepted::End));
    assert!(constraint.is_over() && !constraint.allows(0));
    constraint.restart();
    assert!(!constraint.is_over() && constraint.allows(257));
    let limits = Limits { bytes: 0, ..Limits::NONE };
    let error = Constraint::new(grammar, tokenizer, limits).unwrap_err();
    assert_eq!(error, ConstraintError::TooShort { limits, shortest: 1 });
}

#[test]
fn a_suspended_constraint_goes_on_where_it_was() {
    let table = nested(3).table(1);
    let section = vocabulary(&STRINGS);
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let limits = Limits { tokens: 6, ..Limits::NONE };
    let mut constraint =
        Constraint::new(Grammar::open(&table).unwrap(), tokenizer, limits).unwrap();
    constraint.end_with(11).unwrap();
    constraint.accept(258).unwrap();
    let copy = table.clone();
    let resumed = constraint.clone().suspend();
    let resumed = resumed.resume(Grammar::reopen(&copy).unwrap(), tokenizer);
    assert_eq!(resumed.left(), &Limits { tokens: 5, ..Limits::NONE });
    assert!((0..267).all(|token| resumed.allows(token) == constraint.allows(token)));
    assert!(!resumed.is_ended());
    let error = Grammar::reopen(&copy[1..]).unwrap_err();
    assert_eq!(error, GrammarError::Magic);
}

fn limits() -> impl Strategy<Value = Limits> {
    let most = || prop_oneof![Just(u32::MAX), 1u32..20];
    (most(), most()).prop_map(|(bytes, tokens)| Limits { bytes, tokens })
}

proptest! {
    /// Whatever is drawn, something may follow until the text is over, and then it is of the
    /// grammar and within the limits.
    #[test]
    fn no_text_comes_to_a_dead_end(
        is_wrapped in any::<bool>(),
        depth in 1u8..=32,
        limits in limits(),
        draws in proptest::collection::vec(any::<u32>(), 200),
    ) {
        let builder = if is_wrapped { wrapped(depth) } else { nested(depth) };
        let table = builder.table(2);
        let grammar = Grammar::open(&table).unwrap();
        let section = vocabulary(&STRINGS);
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let mut constraint = Constraint::new(grammar, tokenizer, limits).unwrap();
        let (mut text, mut tokens) = (Vec::new(), 0);
        for draw in draws {
            if constraint.is_over() {
                break;
            }
            let mut logits = vec![0.0; tokenizer.vocab_len()];
            constraint.mask(&mut logits).unwrap();
            for (id, &logit) in logits.iter().enumerate() {
                prop_assert_eq!(constraint.allows(id as u32), logit == 0.0);
            }
            let allowed: Vec<u32> = (0..logits.len())
                .filter(|&id| logits[id] == 0.0)
                .map(|id| id as u32)
                .collect();
            prop_assert!(!allowed.is_empty());
            let token = allowed[draw as usize % allowed.len()];
            if constraint.accept(token).unwrap() == Accepted::End {
                prop_assert_eq!(reads(&grammar, &text), Some(true));
                break;
            }
            tokens += 1;
            text.extend(tokenizer.token(token).unwrap());
            prop_assert!(reads(&grammar, &text).is_some());
            prop_assert!(text.len() as u64 <= u64::from(limits.bytes) && tokens <= limits.tokens);
        }
        if constraint.may_end() {
            prop_assert_eq!(reads(&grammar, &text), Some(true));
        }
    }

    #[test]
    fn a_draw_is_that_of_masked_logits(
        logits in proptest::collection::vec(-4.0f32..4.0, 267),
        prefix in 0usize..4,
        greedy in any::<bool>(),
        presence in prop_oneof![Just(0.0f32), Just(1.5)],
        seed in any::<u64>(),
        piece in 0usize..300,
    ) {
        let table = nested(2).table(1);
        let grammar = Grammar::open(&table).unwrap();
        let section = vocabulary(&STRINGS);
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let mut constraint = Constraint::new(grammar, tokenizer, Limits::NONE).unwrap();
        let temperature = if greedy { 0.0 } else { 0.9 };
        let options = SamplerOptions { temperature, presence, top_p: 0.9, ..Default::default() };
        let mut sampler = Sampler::with_counts(options, seed, vec![0.0; 267]).unwrap();
        for &byte in &b"[[]x"[..prefix] {
            constraint.accept(1 + u32::from(byte)).unwrap();
            sampler.accept(1 + u32::from(byte));
        }
        let mut direct = sampler.clone();
        let token = constraint.sample(&mut direct, &mut logits.clone()).unwrap();
        prop_assert!(constraint.allows(token));
        let mut masked = logits.clone();
        for start in (0..267).step_by(piece + 1) {
            constraint.mask_range(&mut masked, start..start + piece + 1).unwrap();
        }
        let (mut in_pieces, mut from) = (logits, 0);
        while from < 267 {
            let next = constraint.mask_piece(&mut in_pieces, from, piece).unwrap();
            prop_assert!(next > from && next - from <= piece.max(1));
            from = next;
        }
        prop_assert_eq!(&in_pieces, &masked);
        prop_assert_eq!(sampler.sample(&mut masked).unwrap(), token);
        prop_assert_eq!(sampler.sample(&mut vec![0.0; 267]), direct.sample(&mut vec![0.0; 267]));
    }
}
