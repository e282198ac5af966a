//! Why a text is no GBNF that can be compiled.

use std::fmt;

/// What is wrong with a grammar, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GbnfError {
    /// The line, from 1 on.
    pub line: usize,
    /// The column, from 1 on, in characters.
    pub column: usize,
    /// The rule in which it is.
    pub rule: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Something else must stand here.
    Expected {
        /// The character that stands here; `None` at the end of the text.
        found: Option<char>,
        /// What must stand here.
        expected: &'static str,
    },
    /// A rule is used, but nowhere defined.
    Undefined {
        /// Its name.
        name: String,
    },
    /// A rule is defined a second time.
    Twice {
        /// The line where it was defined first.
        line: usize,
    },
    /// No rule is called `root`.
    NoRoot,
    /// A token of a vocabulary.
    Token {
        /// As it is written.
        text: String,
    },
    /// An escape that there is not.
    Escape {
        /// The character after the backslash.
        found: char,
    },
    /// No character has this number.
    Character {
        /// The number.
        code: u32,
    },
    /// A range ends before it begins.
    Range {
        /// The first character.
        first: u32,
        /// The last character.
        last: u32,
    },
    /// A class has no character.
    EmptyClass,
    /// More than the least number of times is less than it.
    Bounds {
        /// How often at least.
        least: u32,
        /// How often at most.
        most: u32,
    },
    /// A number above 4,294,967,295.
    Number {
        /// Its digits.
        digits: String,
    },
    /// Too many parentheses in parentheses.
    Nesting {
        /// How many there may be.
        limit: usize,
    },
}

impl fmt::Display for GbnfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)?;
        if let Some(rule) = &self.rule {
            write!(f, ", in rule `{rule}`")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected { found, expected } => {
                match found {
                    None => f.write_str("found the end of the text")?,
                    Some('\r' | '\n') => f.write_str("found the end of the line")?,
                    Some(found) => write!(f, "found `{found}`")?,
                }
                write!(f, ", expected {expected}")
            }
            Self::Undefined { name } => write!(f, "no rule is called `{name}`"),
            Self::Twice { line } => {
                write!(f, "the rule is defined in line {line} already: join both with `|`")
            }
            Self::NoRoot => f.write_str("no rule is called `root`, which is the whole text"),
            Self::Token { text } => write!(
                f,
                "`{text}` is a token of one vocabulary, and a grammar here is of characters: \
                 write the text of the token as a literal"
            ),
            Self::Escape { found } => write!(
                f,
                "found the escape `\\{found}`, expected \
                 `\\n`, `\\r`, `\\t`, `\\\\`, `\\\"`, `\\[`, `\\]`, `\\-`, `\\x`, `\\u` or `\\U`"
            ),
            Self::Character { code } => write!(f, "U+{code:04X} is no character"),
            Self::Range { first, last } => {
                write!(f, "the range ends before it begins: U+{first:04X} to U+{last:04X}")
            }
            Self::EmptyClass => f.write_str("the class has no character"),
            Self::Bounds { least, most } => {
                write!(
                    f,
                    "found at least {least} and at most {most} times, expected at most as many or more"
                )
            }
            Self::Number { digits } => {
                write!(f, "found the number {digits}, expected at most {}", u32::MAX)
            }
            Self::Nesting { limit } => {
                write!(
                    f,
                    "there are more than {limit} parentheses in each other: make rules of them"
                )
            }
        }
    }
}

impl std::error::Error for GbnfError {}
