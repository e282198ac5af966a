//! Characters and their places.

use super::error::{GbnfError, Problem};

/// A line and a column, both from 1 on; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

pub(super) struct Scanner<'a> {
    rest: &'a str,
    place: Place,
    /// The rule that is being read, for errors; empty between rules.
    pub(super) rule: String,
}

pub(super) const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { rest: text, place: Place { line: 1, column: 1 }, rule: String::new() }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        // The line ends after `\n`, and after `\r` that stands alone.
        if c == '\n' || c == '\r' && !self.rest.starts_with('\n') {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(c)
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest.starts_with(text);
        if is_there {
            for _ in text.chars() {
                self.bump();
            }
        }
        is_there
    }

    pub(super) const fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Goes beyond spaces, tabs and comments, and beyond line ends if they may be here.
    pub(super) fn skip_blanks(&mut self, may_end_line: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => {}
                '\r' | '\n' if may_end_line => {}
                '#' => {
                    while self.peek().is_some_and(|c| !matches!(c, '\r' | '\n')) {
                        self.bump();
                    }
                    continue;
                }
                _ => return,
            }
            self.bump();
        }
    }

    pub(super) fn name(&mut self) -> Option<String> {
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        self.take(name);
        if name.is_empty() { None } else { Some(name.to_owned()) }
    }

    /// A number in decimal, if there is one.
    pub(super) fn number(&mut self) -> Result<Option<u32>, GbnfError> {
        let place = self.place;
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let digits = &self.rest[..end];
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse();
        let problem = Problem::Number { digits: digits.to_owned() };
        self.take(digits);
        number.map(Some).map_err(|_| self.error(place, problem))
    }

    /// Whether a range goes on here: `-`, unless it is the last character of its class.
    pub(super) fn is_range(&self) -> bool {
        self.rest.starts_with('-') && !self.rest.starts_with("-]")
    }

    /// A character of a literal or class, which is there, or an escape.
    pub(super) fn character(&mut self) -> Result<u32, GbnfError> {
        let place = self.place;
        let c = self.bump().unwrap_or_default();
        if c != '\\' {
            return Ok(u32::from(c));
        }
        let digits = match self.bump() {
            Some('n') => return Ok(u32::from('\n')),
            Some('r') => return Ok(u32::from('\r')),
            Some('t') => return Ok(u32::from('\t')),
            Some(c @ ('\\' | '"' | '[' | ']' | '-')) => return Ok(u32::from(c)),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(c) => return Err(self.error(place, Problem::Escape { found: c })),
            None => return Err(self.expected("the rest of an escape")),
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|c| c.to_digit(16));
            let Some(digit) = digit else {
                return Err(self.expected(match digits {
                    2 => "two hexadecimal digits after `\\x`",
                    4 => "four hexadecimal digits after `\\u`",
                    _ => "eight hexadecimal digits after `\\U`",
                }));
            };
            code = code << 4 | digit;
            self.bump();
        }
        Ok(code)
    }

    /// An error about what is here.
    pub(super) fn expected(&self, expected: &'static str) -> GbnfError {
        self.error(self.place, Problem::Expected { found: self.peek(), expected })
    }

    pub(super) fn error(&self, place: Place, problem: Problem) -> GbnfError {
        let rule = Some(self.rule.clone()).filter(|rule| !rule.is_empty());
        GbnfError { line: place.line, column: place.column, rule, problem }
    }
}
