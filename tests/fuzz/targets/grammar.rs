//! Compiled grammars, and texts held to them: the length of the table in two bytes, the table, and
//! bytes that choose tokens.
//!
//! No table makes anything panic or go on for ever. One without calls that is accepted has no dead
//! end: from every place some byte leads nearer to an end, and within its limits a text is completed.
//! Where parts call others, what may follow a part can be a byte of its own as well; the compiler
//! refuses such grammars, `Grammar::open` does not, and a text may then come to a place where nothing
//! is allowed.
#![no_main]

use kinglet::grammar::{Accepted, Constraint, Grammar, Limits, Position};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::layout::{Header, Kind};
use kinglet_fuzz::{memory, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// A token for each byte, from 1 on.
const VOCABULARY: Header =
    Header { kind: Kind::Bytes { offset: 1 }, max_token_len: 1, vocab_len: 257 };
/// The most bytes that choose.
const CHOICES: usize = 128;
const CHECKSUM: std::ops::Range<usize> = 16..20;

// A wrong checksum hides every change: mostly it is set right.
fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let size = mutate::split_parts(data, size, seed);
    let len = mutate::split(&data[..size]).0.len();
    if seed % 32 < 31 && len >= CHECKSUM.end {
        let table = &mut data[2..2 + len];
        table[CHECKSUM].fill(0);
        let checksum = crc32fast::hash(table);
        table[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
    size
});

fuzz_target!(|data: &[u8]| {
    let (table, choices) = mutate::split(data);
    let choices = &choices[..choices.len().min(CHOICES)];
    memory::within(0, || {
        let Ok(grammar) = Grammar::open(table) else { return };
        let has_calls = grammar.depth() > 0;
        let mut position = grammar.start();
        for &byte in choices {
            let mut next = position;
            if next.advance(&grammar, byte) {
                position = next;
            }
        }
        if !has_calls {
            complete(&grammar, position);
        }
        hold(grammar, choices, has_calls);
    });
});

/// Goes to the end by bytes that lead nearer to it.
fn complete(grammar: &Grammar<'_>, mut position: Position) {
    while !position.may_end(grammar) {
        let shortest = position.shortest(grammar);
        position = (0..=255)
            .find_map(|byte| {
                let mut next = position;
                (next.advance(grammar, byte) && next.shortest(grammar) < shortest).then_some(next)
            })
            .expect("a byte that leads nearer to the end");
    }
}

/// Draws tokens as the bytes choose, within limits, and then the first that is allowed.
fn hold(grammar: Grammar<'_>, choices: &[u8], has_calls: bool) {
    let section = VOCABULARY.to_bytes();
    let tokenizer = Tokenizer::parse(&section).expect("a vocabulary of bytes");
    let shortest = grammar.start().shortest(&grammar);
    let Some((&more, choices)) = choices.split_first().filter(|_| shortest < 1000) else { return };
    let most = shortest + u32::from(more);
    let limits = if more % 2 == 0 {
        Limits { bytes: most, ..Limits::NONE }
    } else {
        Limits { tokens: most, ..Limits::NONE }
    };
    let mut constraint =
        Constraint::new(grammar, tokenizer, limits).expect("every byte is a token");
    let mut choices = choices.iter();
    let mut len = 0;
    while !constraint.is_over() {
        let mut logits = [0.0; 257];
        let half = constraint.mask_piece(&mut logits, 0, usize::from(more)).expect("zeros");
        constraint.mask_range(&mut logits, half..257).expect("zeros");
        let allowed = |id: usize| logits[id] == 0.0;
        let wanted = choices.next().map_or(1, |&byte| usize::from(byte) + 1);
        assert_eq!(allowed(wanted), constraint.allows(wanted as u32));
        let found =
            Some(wanted).filter(|&id| allowed(id)).or_else(|| (0..257).find(|&id| allowed(id)));
        let Some(token) = found else {
            assert!(has_calls, "nothing is allowed and the text is not over");
            return;
        };
        match constraint.accept(token as u32).expect("what is not masked") {
            Accepted::Text => len += 1,
            Accepted::End => assert!(constraint.may_end()),
        }
        assert!(len <= most);
    }
    assert!(constraint.may_end());
}
