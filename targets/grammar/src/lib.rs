#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod compile;
mod error;
pub mod gbnf;
pub mod regex;
pub mod rules;
pub mod schema;

pub use compile::compile;
pub use error::{CompileError, Conflict, ConflictKind, Error};

/// Compiles a regular expression, which is of the whole text, to a table.
///
/// # Errors
///
/// As [`regex::rules`] and [`compile`].
///
/// # Examples
///
/// ```
/// use kinglet::grammar::Grammar;
///
/// let table = kinglet_grammar::from_regex(r"\d{4}-\d\d-\d\d", &Default::default())?;
/// let grammar = Grammar::open(&table)?;
/// let mut position = grammar.start();
/// assert!(b"2026-12-01".iter().all(|&byte| position.advance(&grammar, byte)));
/// assert!(position.may_end(&grammar));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_regex(pattern: &str, options: &Options) -> Result<Vec<u8>, Error> {
    Ok(compile(&regex::rules(pattern)?, options)?)
}

/// Compiles GBNF, the notation of llama.cpp, to a table.
///
/// # Errors
///
/// As [`gbnf::rules`] and [`compile`].
///
/// # Examples
///
/// ```
/// let list = r#"
///     root ::= ("- " item "\n")+
///     item ::= [^\n]+
/// "#;
/// let table = kinglet_grammar::from_gbnf(list, &Default::default())?;
/// assert!(table.len() < 512);
/// # Ok::<(), kinglet_grammar::Error>(())
/// ```
pub fn from_gbnf(text: &str, options: &Options) -> Result<Vec<u8>, Error> {
    Ok(compile(&gbnf::rules(text)?, options)?)
}

/// Compiles a JSON Schema to a table.
///
/// # Errors
///
/// As [`schema::rules`] and [`compile`].
///
/// # Examples
///
/// ```
/// use kinglet::grammar::Grammar;
///
/// let schema = r#"{
///     "type": "object",
///     "properties": {"led": {"enum": ["on", "off"]}},
///     "required": ["led"]
/// }"#;
/// let table =
///     kinglet_grammar::from_json_schema(schema, &Default::default(), &Default::default())?;
/// let grammar = Grammar::open(&table)?;
/// let mut position = grammar.start();
/// assert!(br#"{"led":"off"}"#.iter().all(|&byte| position.advance(&grammar, byte)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_json_schema(
    text: &str,
    written: &schema::Options,
    options: &Options,
) -> Result<Vec<u8>, Error> {
    Ok(compile(&schema::rules(text, written)?, options)?)
}

/// How rules are compiled.
///
/// # Examples
///
/// ```
/// let mut options = kinglet_grammar::Options::default();
/// options.depth = 8;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How deep rules that contain themselves may be nested in a text, from 1 to 32; taken to be the
    /// nearer of these if it is neither.
    pub depth: u8,
    /// Steps, each of them a state or a part of one, after which compiling is given up.
    pub budget: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth: 16, budget: 40_000_000 }
    }
}
