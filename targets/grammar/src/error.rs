//! Why rules have no table.

use std::fmt;

/// Why a grammar has no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no regular expression that can be compiled.
    #[error(transparent)]
    Regex(#[from] crate::regex::RegexError),
    /// It is no GBNF that can be compiled.
    #[error(transparent)]
    Gbnf(#[from] crate::gbnf::GbnfError),
    /// It is no JSON Schema that can be compiled.
    #[error(transparent)]
    Schema(#[from] crate::schema::SchemaError),
    /// Its rules cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Why rules could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A place that is none of the rules, or names that are not one for each.
    #[error("the rules name rule {rule}, but there are {rules}")]
    NoRule {
        /// The place.
        rule: usize,
        /// The number of rules.
        rules: usize,
    },
    /// No text at all follows the rules.
    #[error(
        "rule `{rule}` allows no text at all: every way through it runs in a circle or is empty"
    )]
    Empty {
        /// The root.
        rule: String,
    },
    /// A rule begins with itself.
    #[error(
        "{} begins with itself, {}: begin with what is repeated instead, as in `list ::= item (\",\" item)*`",
        Named(rules),
        Circle(rules)
    )]
    LeftRecursion {
        /// The rules of the circle, in ascending order.
        rules: Vec<String>,
    },
    /// One byte is not enough to tell what comes next.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// One side of an intersection contains itself.
    #[error(
        "rule `{rule}` contains itself and is in an intersection, which only rules without recursion can be"
    )]
    RecursiveBoth {
        /// The rule.
        rule: String,
    },
    /// Patterns in patterns, or rules in rules.
    #[error("rule `{rule}` is nested more than {limit} deep: divide it")]
    Nesting {
        /// The rule in which the limit was met.
        rule: String,
        /// The limit.
        limit: usize,
    },
    /// Compiling takes more steps than [`Options::budget`](crate::Options).
    #[error(
        "the grammar needs more than {limit} steps to compile: lower the bounds of its repetitions, or raise the budget"
    )]
    Budget {
        /// The limit.
        limit: u64,
    },
    /// The table is larger than its layout allows.
    #[error(
        "the grammar needs {found} {what}, and a table has at most {limit}: lower the bounds of its repetitions"
    )]
    Size {
        /// States, cells or classes.
        what: &'static str,
        /// How many there would be.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The shortest text needs more frames than the table has.
    #[error("the shortest text needs a depth of {found}, and the depth is limited to {limit}")]
    Depth {
        /// Frames of the shortest text.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

/// A place where one byte is not enough to tell what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The rule that contains itself.
    pub rule: String,
    /// A text that leads there.
    pub after: Vec<u8>,
    /// The byte.
    pub byte: u8,
    /// What the byte could be.
    pub kind: ConflictKind,
}

/// What a byte could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictKind {
    /// The rule begins with it, and so does something else that is allowed here.
    Begin,
    /// The rule may go on with it, and so may what follows the rule.
    End,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, after, byte, kind } = self;
        write!(f, "after `{}`, ", after.escape_ascii())?;
        let byte = [*byte];
        let byte = byte.escape_ascii();
        match kind {
            ConflictKind::Begin => write!(
                f,
                "`{byte}` may begin rule `{rule}`, which contains itself, or something else: let \
                 them begin differently, or write once what they begin with"
            ),
            ConflictKind::End => write!(
                f,
                "rule `{rule}`, which contains itself, may go on with `{byte}` or end before it: \
                 let what follows the rule begin differently, or allow it in one of both places"
            ),
        }
    }
}

impl std::error::Error for Conflict {}

impl From<Conflict> for CompileError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(Box::new(conflict))
    }
}

struct Named<'a>(&'a [String]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}`", self.0.first().map_or("", String::as_str))
    }
}

struct Circle<'a>(&'a [String]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] | [_] => f.write_str("before it reads anything"),
            [_, others @ ..] => {
                f.write_str("by way of")?;
                for (i, name) in others.iter().enumerate() {
                    write!(f, "{} `{name}`", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}
