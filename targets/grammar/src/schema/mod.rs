//! JSON Schema to rules.
//!
//! A schema becomes a pattern of the texts that are written for it, each of which satisfies it; not
//! every value that satisfies it has a text. The subset is a table in the crate's README. Whatever
//! is outside of it is an error that names the keyword and its place, never a looser grammar.
//!
//! ```text
//! text -> value        JSON, its members in order
//!      -> document     every schema in it has a place
//!      -> facts        what the keywords of schemas that hold together ask for, by alternatives
//!      -> rules        a rule for each set of places that hold together
//! ```

mod document;
mod error;
mod exclude;
mod facts;
mod format;
mod number;
mod pattern;
mod read;
mod text;
mod value;
mod write;

pub use error::SchemaError;

use crate::rules::Rules;
use document::Document;
use read::Reader;
use value::Value;

/// White space between the parts of objects and arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhiteSpace {
    /// None, which is the shortest text and the smallest table.
    #[default]
    None,
    /// Up to so many spaces, tabs and ends of lines wherever JSON allows them within the value.
    UpTo(u32),
}

/// How values are written where a schema leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// White space.
    pub white_space: WhiteSpace,
    /// Digits at most of an integer, or of the integer part of a number, on a side on which the
    /// schema does not bound it: 1 to 18.
    pub digits: u32,
    /// Decimals at most: 0 to 15.
    pub decimals: u32,
}

impl Default for Options {
    /// No white space; 15 digits, which a double holds exactly; 9 decimals.
    fn default() -> Self {
        Self { white_space: WhiteSpace::None, digits: 15, decimals: 9 }
    }
}

/// The rules of the texts that are written for a JSON Schema.
///
/// # Errors
///
/// The schema is not JSON, has a keyword outside of the subset, contradicts itself, or refers to
/// what is not there; an option is outside of its range.
///
/// # Examples
///
/// ```
/// use kinglet_grammar::schema::{Options, SchemaError, rules};
///
/// let schema = r#"{"type": "object", "properties": {"led": {"enum": ["on", "off"]}}}"#;
/// assert!(rules(schema, &Options::default()).is_ok());
/// let error = rules(r#"{"not": {}}"#, &Options::default()).unwrap_err();
/// assert!(matches!(error, SchemaError::Unsupported { keyword, .. } if keyword == "not"));
/// ```
pub fn rules(schema: &str, options: &Options) -> Result<Rules, SchemaError> {
    for (option, found, range, expected) in [
        ("digits", options.digits, 1..=18, "from 1 to 18"),
        ("decimals", options.decimals, 0..=number::PLACES, "from 0 to 15"),
    ] {
        if !range.contains(&found) {
            return Err(SchemaError::Option { option, found, expected });
        }
    }
    let value: Value = serde_json::from_str(schema).map_err(|error| {
        // serde_json puts the place behind its sentence.
        let problem = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        SchemaError::Json {
            line: error.line(),
            column: error.column(),
            problem: problem.strip_suffix(&place).unwrap_or(&problem).to_owned(),
        }
    })?;
    write::rules(&Reader { document: Document::new(&value), options: *options })
}

#[cfg(test)]
mod tests;
