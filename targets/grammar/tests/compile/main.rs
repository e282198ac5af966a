//! What is compiled is held against a recogniser that shares nothing with the compiler.

mod errors;
mod gbnf;
mod oracle;
mod random;
mod regex;
mod sizes;

use kinglet::grammar::{Grammar, Position};

/// Whether a table accepts a text.
fn accepts(table: &[u8], text: &[u8]) -> bool {
    let grammar = Grammar::open(table).expect("a table");
    position(&grammar, text).is_some_and(|position| position.may_end(&grammar))
}

/// Where a text leads, if it is the beginning of one.
fn position(grammar: &Grammar<'_>, text: &[u8]) -> Option<Position> {
    let mut position = grammar.start();
    text.iter().all(|&byte| position.advance(grammar, byte)).then_some(position)
}
