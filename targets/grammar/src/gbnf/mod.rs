//! GBNF, the notation of llama.cpp, to rules.
//!
//! ```text
//! text     = { rule }
//! rule     = name "::=" choices line-end
//! choices  = sequence { "|" sequence }
//! sequence = { item { "*" | "+" | "?" | "{" number [ "," [ number ] ] "}" } }
//! item     = literal | class | "." | name | "(" choices ")"
//! ```
//!
//! Spaces, tabs and comments from `#` to the end of the line stand anywhere between these; line
//! ends only in parentheses, after `::=` and after `|`. An item is a character or more, never a
//! token of a vocabulary: `<think>`, `<[1000]>` and their negations are refused.
//!
//! As in llama.cpp, `.` and negated classes have every character but U+0000.

mod error;
mod scanner;

use std::collections::HashMap;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

pub use self::error::{GbnfError, Problem};
use self::scanner::{Place, Scanner};
use crate::rules::{Node, RuleId, Rules};

/// Parentheses in parentheses.
const NESTING: usize = 200;

/// Reads rules, of which `root` is the text.
///
/// # Errors
///
/// Line, column and rule of what is no GBNF, of a rule that is missing or there twice, and of what
/// a grammar over characters cannot have.
///
/// # Examples
///
/// ```
/// let rules = kinglet_grammar::gbnf::rules("root ::= \"on\" | \"off\"")?;
/// assert_eq!(rules.names, ["root"]);
///
/// let error = kinglet_grammar::gbnf::rules("root ::= [a-z").unwrap_err();
/// assert_eq!(error.to_string(), "line 1, column 14, in rule `root`: found the end of the text, expected `]`");
/// # Ok::<(), kinglet_grammar::gbnf::GbnfError>(())
/// ```
pub fn rules(text: &str) -> Result<Rules, GbnfError> {
    let mut parser =
        Parser { scanner: Scanner::new(text), rules: Vec::new(), ids: HashMap::new(), depth: 0 };
    parser.scanner.skip_blanks(true);
    while parser.scanner.peek().is_some() {
        parser.rule()?;
    }
    parser.finish()
}

/// A rule that was met.
struct Entry {
    name: String,
    body: Option<Node>,
    /// Where it is defined, or was referred to first.
    place: Place,
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    rules: Vec<Entry>,
    ids: HashMap<String, usize>,
    depth: usize,
}

impl Parser<'_> {
    fn rule(&mut self) -> Result<(), GbnfError> {
        self.scanner.rule.clear();
        let place = self.scanner.place();
        let name = self.scanner.name().ok_or_else(|| match self.scanner.peek() {
            Some('|') => self.scanner.expected(
                "the name of a rule; a line that ends with `|`, or parentheses, go on with the next",
            ),
            _ => self.scanner.expected("the name of a rule"),
        })?;
        self.scanner.rule.clone_from(&name);
        self.scanner.skip_blanks(false);
        if !self.scanner.take("::=") {
            return Err(self.scanner.expected("`::=`"));
        }
        let id = self.id(name, place);
        if self.rules[id].body.is_some() {
            let line = self.rules[id].place.line;
            return Err(self.scanner.error(place, Problem::Twice { line }));
        }
        self.rules[id].place = place;
        self.scanner.skip_blanks(true);
        let body = self.choices()?;
        self.rules[id].body = Some(body);
        match self.scanner.peek() {
            None | Some('\r' | '\n') => self.scanner.skip_blanks(true),
            Some(_) => return Err(self.scanner.expected("an item, `|` or the end of the line")),
        }
        Ok(())
    }

    fn id(&mut self, name: String, place: Place) -> usize {
        *self.ids.entry(name).or_insert_with_key(|name| {
            self.rules.push(Entry { name: name.clone(), body: None, place });
            self.rules.len() - 1
        })
    }

    fn choices(&mut self) -> Result<Node, GbnfError> {
        let mut choices = vec![self.sequence()?];
        while self.scanner.take("|") {
            self.scanner.skip_blanks(true);
            choices.push(self.sequence()?);
        }
        Ok(one_or(choices, Node::Alternate))
    }

    fn sequence(&mut self) -> Result<Node, GbnfError> {
        let mut items = Vec::new();
        loop {
            let item = match self.scanner.peek() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('(') => self.group()?,
                Some('.') => {
                    self.scanner.bump();
                    Node::Class(any_but(ClassUnicode::empty()))
                }
                Some('<' | '!') => return Err(self.token()),
                Some(c) if scanner::is_name(c) => {
                    let place = self.scanner.place();
                    let name = self.scanner.name().unwrap_or_default();
                    Node::Rule(RuleId(self.id(name, place)))
                }
                Some('*' | '+' | '?' | '{') => {
                    let Some(item) = items.pop() else {
                        return Err(self.scanner.expected("an item to repeat"));
                    };
                    self.repetition(item)?
                }
                _ => return Ok(one_or(items, Node::Concat)),
            };
            items.push(item);
            self.scanner.skip_blanks(self.depth > 0);
        }
    }

    fn group(&mut self) -> Result<Node, GbnfError> {
        if self.depth == NESTING {
            let place = self.scanner.place();
            return Err(self.scanner.error(place, Problem::Nesting { limit: NESTING }));
        }
        self.scanner.bump();
        self.depth += 1;
        self.scanner.skip_blanks(true);
        let choices = self.choices()?;
        if !self.scanner.take(")") {
            return Err(self.scanner.expected("an item, `|` or `)`"));
        }
        self.depth -= 1;
        Ok(choices)
    }

    fn repetition(&mut self, item: Node) -> Result<Node, GbnfError> {
        let place = self.scanner.place();
        let (least, most) = match self.scanner.bump() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            _ => self.bounds(place)?,
        };
        Ok(Node::Repeat { node: Box::new(item), least, most })
    }

    /// What is in braces, after the first.
    fn bounds(&mut self, place: Place) -> Result<(u32, Option<u32>), GbnfError> {
        let is_nested = self.depth > 0;
        self.scanner.skip_blanks(is_nested);
        let least = self.scanner.number()?.ok_or_else(|| self.scanner.expected("a number"))?;
        self.scanner.skip_blanks(is_nested);
        let mut most = Some(least);
        if self.scanner.take(",") {
            self.scanner.skip_blanks(is_nested);
            most = self.scanner.number()?;
            self.scanner.skip_blanks(is_nested);
            if !self.scanner.take("}") {
                let expected = if most.is_some() { "`}`" } else { "a number or `}`" };
                return Err(self.scanner.expected(expected));
            }
        } else if !self.scanner.take("}") {
            return Err(self.scanner.expected("`,` or `}`"));
        }
        match most {
            Some(most) if most < least => {
                Err(self.scanner.error(place, Problem::Bounds { least, most }))
            }
            _ => Ok((least, most)),
        }
    }

    fn literal(&mut self) -> Result<Node, GbnfError> {
        self.scanner.bump();
        let mut text = String::new();
        loop {
            match self.scanner.peek() {
                None => return Err(self.scanner.expected("`\"`")),
                Some('"') => {
                    self.scanner.bump();
                    return Ok(Node::Bytes(text.into_bytes()));
                }
                Some(_) => {
                    let place = self.scanner.place();
                    let code = self.scanner.character()?;
                    let no_character = || self.scanner.error(place, Problem::Character { code });
                    text.push(char::from_u32(code).ok_or_else(no_character)?);
                }
            }
        }
    }

    fn class(&mut self) -> Result<Node, GbnfError> {
        let begin = self.scanner.place();
        self.scanner.bump();
        let is_negated = self.scanner.take("^");
        let mut class = ClassUnicode::empty();
        let mut is_empty = true;
        while self.scanner.peek() != Some(']') {
            if self.scanner.peek().is_none() {
                return Err(self.scanner.expected("`]`"));
            }
            is_empty = false;
            let place = self.scanner.place();
            let first = self.scanner.character()?;
            let mut last = first;
            if self.scanner.is_range() {
                self.scanner.bump();
                if self.scanner.peek().is_none() {
                    return Err(self.scanner.expected("the last character of a range"));
                }
                last = self.scanner.character()?;
            }
            if first > last {
                return Err(self.scanner.error(place, Problem::Range { first, last }));
            }
            // Surrogates are no characters, but a range may go beyond them.
            let low = if (0xd800..0xe000).contains(&first) { 0xe000 } else { first };
            let high = if (0xd800..0xe000).contains(&last) { 0xd7ff } else { last };
            let no_character = |code| self.scanner.error(place, Problem::Character { code });
            let low = char::from_u32(low).ok_or_else(|| no_character(first))?;
            let high = char::from_u32(high).ok_or_else(|| no_character(last))?;
            if low > high {
                return Err(no_character(first));
            }
            class.push(ClassUnicodeRange::new(low, high));
        }
        self.scanner.bump();
        if is_empty {
            return Err(self.scanner.error(begin, Problem::EmptyClass));
        }
        let class = if is_negated { any_but(class) } else { class };
        if class.ranges().is_empty() {
            return Err(self.scanner.error(begin, Problem::EmptyClass));
        }
        Ok(Node::Class(class))
    }

    fn token(&mut self) -> GbnfError {
        let place = self.scanner.place();
        let rest = self.scanner.rest();
        let end = rest.find(['>', '\r', '\n']).map_or(rest.len(), |end| end + 1);
        let text = rest.get(..end).unwrap_or(rest).trim_end().to_owned();
        self.scanner.error(place, Problem::Token { text })
    }

    fn finish(self) -> Result<Rules, GbnfError> {
        let mut rules = Rules { names: Vec::new(), bodies: Vec::new(), root: RuleId(0) };
        for Entry { name, body, place } in self.rules {
            let Some(body) = body else {
                let problem = Problem::Undefined { name };
                return Err(GbnfError { rule: None, ..self.scanner.error(place, problem) });
            };
            rules.names.push(name);
            rules.bodies.push(body);
        }
        match rules.names.iter().position(|name| name == "root") {
            Some(root) => rules.root = RuleId(root),
            None => {
                let place = self.scanner.place();
                return Err(GbnfError { rule: None, ..self.scanner.error(place, Problem::NoRoot) });
            }
        }
        Ok(rules)
    }
}

fn one_or(mut nodes: Vec<Node>, many: impl FnOnce(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.swap_remove(0),
        _ => many(nodes),
    }
}

/// Every character but these and U+0000.
fn any_but(mut class: ClassUnicode) -> ClassUnicode {
    class.push(ClassUnicodeRange::new('\0', '\0'));
    class.negate();
    class
}
