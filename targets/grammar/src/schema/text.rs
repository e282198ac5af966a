//! The texts of JSON's strings: one spelling for each string, so that equal strings are equal bytes.
//!
//! A character is written as it is, in UTF-8, but for the quotation mark, the backslash and the
//! control characters below U+0020, which JSON wants escaped: by two characters where it has such
//! an escape, by `\u00` and two small hexadecimal digits otherwise. Surrogates do not occur.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use crate::rules::Node;

/// The empty text.
pub(super) fn empty() -> Node {
    Node::Bytes(Vec::new())
}

/// These bytes.
pub(super) fn bytes(text: &str) -> Node {
    Node::Bytes(text.as_bytes().to_vec())
}

/// A pattern or nothing.
pub(super) fn optional(node: Node) -> Node {
    Node::Repeat { node: Box::new(node), least: 0, most: Some(1) }
}

/// A pattern as often as one likes.
pub(super) fn any_number(node: Node) -> Node {
    Node::Repeat { node: Box::new(node), least: 0, most: None }
}

/// A class of characters from ranges, both ends included.
pub(super) fn class(ranges: impl IntoIterator<Item = (char, char)>) -> ClassUnicode {
    ClassUnicode::new(ranges.into_iter().map(|(from, to)| ClassUnicodeRange::new(from, to)))
}

/// Characters that JSON wants escaped.
fn escaped() -> ClassUnicode {
    class([('\0', '\u{1f}'), ('"', '"'), ('\\', '\\')])
}

/// All characters.
pub(super) fn all() -> ClassUnicode {
    class([('\0', char::MAX)])
}

/// Appends a character as it stands in a string.
fn push(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\0'..='\u{1f}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
        _ => text.push(character),
    }
}

/// A string's content as JSON has it between the quotation marks.
pub(super) fn content(string: &str) -> String {
    let mut text = String::with_capacity(string.len());
    string.chars().for_each(|character| push(&mut text, character));
    text
}

/// A string with its quotation marks.
pub(super) fn quoted(string: &str) -> String {
    format!("\"{}\"", content(string))
}

/// A character of a class, as it stands in a string.
pub(super) fn character(class: &ClassUnicode) -> Node {
    let mut plain = class.clone();
    plain.difference(&escaped());
    let mut special = class.clone();
    special.intersect(&escaped());
    let mut nodes = Vec::new();
    if !plain.ranges().is_empty() {
        nodes.push(Node::Class(plain));
    }
    for range in special.iter() {
        for character in range.start()..=range.end() {
            nodes.push(bytes(&content(character.encode_utf8(&mut [0; 4]))));
        }
    }
    match nodes.len() {
        0 => Node::Never,
        1 => nodes.remove(0),
        _ => Node::Alternate(nodes),
    }
}

/// A pattern of characters as the content of a string.
pub(super) fn in_string(node: Node) -> Node {
    let each = |nodes: Vec<Node>| nodes.into_iter().map(in_string).collect();
    match node {
        Node::Bytes(bytes) => match core::str::from_utf8(&bytes) {
            Ok(text) => Node::Bytes(content(text).into_bytes()),
            // A part of a character, which is never one that is escaped.
            Err(_) => Node::Bytes(bytes),
        },
        Node::Class(class) => character(&class),
        Node::Concat(nodes) => Node::Concat(each(nodes)),
        Node::Alternate(nodes) => Node::Alternate(each(nodes)),
        Node::Repeat { node, least, most } => {
            Node::Repeat { node: Box::new(in_string(*node)), least, most }
        }
        Node::Both(a, b) => Node::Both(Box::new(in_string(*a)), Box::new(in_string(*b))),
        Node::Never | Node::Rule(_) => node,
    }
}

/// The contents of all strings but these; `any` is a character of a string.
///
/// The names are a trie: where a text leaves it, or ends within it at no name, it is another.
pub(super) fn other_than(names: &[Vec<char>], any: &Node) -> Node {
    let mut nodes = Vec::new();
    if !names.iter().any(Vec::is_empty) {
        nodes.push(empty());
    }
    let mut firsts: Vec<char> = names.iter().filter_map(|name| name.first().copied()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let mut left = all();
    left.difference(&class(firsts.iter().map(|&first| (first, first))));
    nodes.push(Node::Concat(vec![character(&left), any_number(any.clone())]));
    for first in firsts {
        let rests: Vec<Vec<char>> = names
            .iter()
            .filter(|name| name.first() == Some(&first))
            .map(|name| name[1..].to_vec())
            .collect();
        let one = character(&class([(first, first)]));
        nodes.push(Node::Concat(vec![one, other_than(&rests, any)]));
    }
    Node::Alternate(nodes)
}
