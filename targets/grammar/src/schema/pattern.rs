//! ECMAScript's regular expressions as patterns of characters.
//!
//! A pattern is rewritten in the syntax of `regex-syntax`, where escapes and classes mean the same
//! as in ECMAScript, and read by that crate. It matches anywhere in a string, so whatever is not
//! anchored may have any characters before and behind it.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use super::text::{all, any_number, class, empty};
use crate::rules::Node;

/// The strings in which a pattern matches.
///
/// # Errors
///
/// A sentence that says what is wrong with the pattern.
pub(super) fn search(pattern: &str) -> Result<Node, String> {
    let mut nodes = Vec::new();
    for part in parts(&parse(pattern)?)? {
        let any = || any_number(Node::Class(all()));
        let mut concat = Vec::new();
        if !part.start {
            concat.push(any());
        }
        concat.push(part.node);
        if !part.end {
            concat.push(any());
        }
        nodes.push(Node::Concat(concat));
    }
    Ok(Node::Alternate(nodes))
}

/// The strings that a pattern without anchors matches as a whole.
pub(super) fn whole(pattern: &str) -> Result<Node, String> {
    node(&parse(pattern)?)
}

fn parse(pattern: &str) -> Result<Hir, String> {
    let translated = Translator { rest: pattern }.translate()?;
    ParserBuilder::new().nest_limit(100).build().parse(&translated).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    })
}

/// A pattern that is held to the start or the end of the string, or to neither.
struct Part {
    start: bool,
    node: Node,
    end: bool,
}

/// The alternatives of a pattern, its anchors taken off.
fn parts(hir: &Hir) -> Result<Vec<Part>, String> {
    if hir.properties().look_set().is_empty() {
        return Ok(vec![Part { start: false, node: node(hir)?, end: false }]);
    }
    match hir.kind() {
        HirKind::Look(Look::Start) => Ok(vec![Part { start: true, node: empty(), end: false }]),
        HirKind::Look(Look::End) => Ok(vec![Part { start: false, node: empty(), end: true }]),
        HirKind::Look(_) => Err("word boundaries are not supported".to_owned()),
        HirKind::Capture(capture) => parts(&capture.sub),
        HirKind::Alternation(hirs) => Ok(hirs
            .iter()
            .map(parts)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect()),
        HirKind::Concat(hirs) => {
            let mut all = vec![Part { start: false, node: empty(), end: false }];
            for hir in hirs {
                let mut next = Vec::new();
                let right = parts(hir)?;
                for a in &all {
                    for b in &right {
                        next.extend(join(a, b)?);
                    }
                }
                if next.len() > 1000 {
                    return Err("anchors in too many alternatives".to_owned());
                }
                all = next;
            }
            Ok(all)
        }
        _ => Err("an anchor is repeated; put `^` first and `$` last".to_owned()),
    }
}

/// One part behind the other; nothing if an anchor stands where text must be.
fn join(a: &Part, b: &Part) -> Result<Option<Part>, String> {
    for (anchored, other) in [(b.start, &a.node), (a.end, &b.node)] {
        if anchored && *other != empty() {
            return if may_be_empty(other) {
                Err("an anchor stands beside what may be empty; put `^` first and `$` last"
                    .to_owned())
            } else {
                Ok(None)
            };
        }
    }
    let node = match (&a.node, &b.node) {
        (node, other) | (other, node) if *other == empty() => node.clone(),
        (a, b) => Node::Concat(vec![a.clone(), b.clone()]),
    };
    Ok(Some(Part { start: a.start || b.start, node, end: a.end || b.end }))
}

/// Whether the empty text is one of a pattern's.
fn may_be_empty(node: &Node) -> bool {
    match node {
        Node::Never | Node::Class(_) | Node::Rule(_) => false,
        Node::Bytes(bytes) => bytes.is_empty(),
        Node::Concat(nodes) => nodes.iter().all(may_be_empty),
        Node::Alternate(nodes) => nodes.iter().any(may_be_empty),
        Node::Repeat { node, least, .. } => *least == 0 || may_be_empty(node),
        Node::Both(a, b) => may_be_empty(a) && may_be_empty(b),
    }
}

/// A pattern without anchors.
fn node(hir: &Hir) -> Result<Node, String> {
    let each = |hirs: &[Hir]| hirs.iter().map(node).collect::<Result<Vec<_>, _>>();
    Ok(match hir.kind() {
        HirKind::Empty => empty(),
        HirKind::Literal(literal) => Node::Bytes(literal.0.to_vec()),
        HirKind::Class(Class::Unicode(class)) => Node::Class(class.clone()),
        HirKind::Class(Class::Bytes(bytes)) => {
            Node::Class(bytes.to_unicode_class().ok_or("a class has bytes that are no characters")?)
        }
        HirKind::Look(_) => return Err("an anchor stands within the pattern".to_owned()),
        HirKind::Repetition(repetition) => Node::Repeat {
            node: Box::new(node(&repetition.sub)?),
            least: repetition.min,
            most: repetition.max,
        },
        HirKind::Capture(capture) => node(&capture.sub)?,
        HirKind::Concat(hirs) => Node::Concat(each(hirs)?),
        HirKind::Alternation(hirs) => Node::Alternate(each(hirs)?),
    })
}

/// Rewrites ECMAScript's syntax in that of `regex-syntax`.
struct Translator<'a> {
    rest: &'a str,
}

/// An escape: a character, or a class.
enum Escape {
    One(char),
    Class(ClassUnicode),
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let mut rest = self.rest.chars();
        let character = rest.next()?;
        self.rest = rest.as_str();
        Some(character)
    }

    fn accept(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn translate(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(character) = self.next() {
            match character {
                '\\' => match self.escape(false)? {
                    Escape::One(one) => push_class(&mut text, &class([(one, one)])),
                    Escape::Class(class) => push_class(&mut text, &class),
                },
                '[' => {
                    let class = self.class()?;
                    push_class(&mut text, &class);
                }
                '.' => {
                    let mut class = line_ends();
                    class.negate();
                    push_class(&mut text, &class);
                }
                '(' if self.accept("?") => {
                    for look in ["=", "!", "<=", "<!"] {
                        if self.accept(look) {
                            return Err(format!("`(?{look}` looks around, which is not supported"));
                        }
                    }
                    if self.accept("<") {
                        while self.next().ok_or("the name of a group is not closed")? != '>' {}
                    } else if !self.accept(":") {
                        return Err("`(?` must be followed by `:` or a name".to_owned());
                    }
                    text.push_str("(?:");
                }
                '(' => text.push_str("(?:"),
                ']' => text.push_str("\\]"),
                '}' if !text.ends_with(|last: char| last.is_ascii_digit() || last == ',') => {
                    text.push_str("\\}");
                }
                _ => text.push(character),
            }
        }
        Ok(text)
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Result<Escape, String> {
        let character = self.next().ok_or("it ends with a backslash")?;
        let one = |one| Ok(Escape::One(one));
        match character {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                let mut class = match character.to_ascii_lowercase() {
                    'd' => class([('0', '9')]),
                    'w' => class([('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')]),
                    _ => white_space(),
                };
                if character.is_ascii_uppercase() {
                    class.negate();
                }
                Ok(Escape::Class(class))
            }
            'p' | 'P' => {
                let end = self.rest.find('}').filter(|_| self.rest.starts_with('{'));
                let end = end.ok_or("`\\p` must be followed by a property in braces")?;
                let (property, rest) = self.rest.split_at(end + 1);
                self.rest = rest;
                let hir = regex_syntax::parse(&format!("\\{character}{property}"))
                    .map_err(|_| format!("there is no property of characters `{property}`"))?;
                match hir.kind() {
                    HirKind::Class(Class::Unicode(class)) => Ok(Escape::Class(class.clone())),
                    _ => Err(format!("`{property}` is no class of characters")),
                }
            }
            't' => one('\t'),
            'n' => one('\n'),
            'v' => one('\u{b}'),
            'f' => one('\u{c}'),
            'r' => one('\r'),
            'b' if in_class => one('\u{8}'),
            '0' if !self.rest.starts_with(|next: char| next.is_ascii_digit()) => one('\0'),
            'c' if self.rest.starts_with(|next: char| next.is_ascii_alphabetic()) => {
                let letter = self.next().unwrap_or_default();
                one(char::from_u32(u32::from(letter) % 32).unwrap_or_default())
            }
            'x' => self.hexadecimal(2).and_then(one),
            'u' if self.accept("{") => {
                let end = self.rest.find('}').ok_or("`\\u{` is not closed")?;
                let character = self.hexadecimal(end)?;
                self.accept("}");
                one(character)
            }
            'u' => self.hexadecimal(4).and_then(one),
            'b' | 'B' => Err("word boundaries are not supported".to_owned()),
            '1'..='9' | 'k' => Err("references to groups are not supported".to_owned()),
            _ if character.is_alphanumeric() => Err(format!("there is no escape `\\{character}`")),
            _ => one(character),
        }
    }

    /// A character by hexadecimal digits.
    fn hexadecimal(&mut self, digits: usize) -> Result<char, String> {
        let wrong = || format!("`{}` does not begin with {digits} hexadecimal digits", self.rest);
        let text = self.rest.get(..digits).ok_or_else(wrong)?;
        let number = Some(text)
            .filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or_else(wrong)?;
        let character = char::from_u32(number)
            .ok_or_else(|| format!("U+{number:04X} is no character; write it as it is"))?;
        self.rest = &self.rest[digits..];
        Ok(character)
    }

    /// A class, its opening bracket read.
    fn class(&mut self) -> Result<ClassUnicode, String> {
        let negated = self.accept("^");
        let mut class = ClassUnicode::empty();
        loop {
            if self.accept("]") {
                break;
            }
            let first = self.element()?;
            match first {
                Escape::One(from) if self.rest.starts_with('-') && !self.rest.starts_with("-]") => {
                    self.accept("-");
                    match self.element()? {
                        Escape::One(to) if from <= to => {
                            class.push(ClassUnicodeRange::new(from, to));
                        }
                        Escape::One(to) => {
                            return Err(format!("the range `{from}-{to}` is the wrong way round"));
                        }
                        Escape::Class(_) => {
                            return Err("a range ends with a class".to_owned());
                        }
                    }
                }
                Escape::One(one) => class.push(ClassUnicodeRange::new(one, one)),
                Escape::Class(other) => class.union(&other),
            }
        }
        if negated {
            class.negate();
        }
        Ok(class)
    }

    /// An element of a class.
    fn element(&mut self) -> Result<Escape, String> {
        match self.next().ok_or("a class is not closed")? {
            '\\' => self.escape(true),
            other => Ok(Escape::One(other)),
        }
    }
}

/// Appends a class by its code points, which no syntax touches.
fn push_class(text: &mut String, class: &ClassUnicode) {
    if class.ranges().is_empty() {
        // A class that has nothing.
        text.push_str("[^\\x{0}-\\x{10FFFF}]");
        return;
    }
    text.push('[');
    for range in class.iter() {
        let (from, to) = (u32::from(range.start()), u32::from(range.end()));
        text.push_str(&format!("\\x{{{from:X}}}-\\x{{{to:X}}}"));
    }
    text.push(']');
}

/// Characters that `.` does not match.
fn line_ends() -> ClassUnicode {
    class([('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')])
}

/// ECMAScript's white space.
fn white_space() -> ClassUnicode {
    class([
        ('\t', '\r'),
        (' ', ' '),
        ('\u{a0}', '\u{a0}'),
        ('\u{1680}', '\u{1680}'),
        ('\u{2000}', '\u{200a}'),
        ('\u{2028}', '\u{2029}'),
        ('\u{202f}', '\u{202f}'),
        ('\u{205f}', '\u{205f}'),
        ('\u{3000}', '\u{3000}'),
        ('\u{feff}', '\u{feff}'),
    ])
}
