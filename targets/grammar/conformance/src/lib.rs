//! Grammars of random JSON Schemas, against a validator and another engine of constraints.
//!
//! ```sh
//! cargo test --release                       # 500 schemas
//! cargo test --release -- --include-ignored  # 10,000 schemas
//! ```
//!
//! Each test prints what it counted (`--nocapture`).
#![forbid(unsafe_code)]

pub mod random;
pub mod schemas;
pub mod vocabulary;

use kinglet_grammar::schema::{self, rules};
use kinglet_grammar::{Options, compile};

/// The table of a schema.
///
/// # Errors
///
/// The message, if the schema is refused.
pub fn table(schema: &str) -> Result<Vec<u8>, String> {
    let rules = rules(schema, &schema::Options::default()).map_err(|error| error.to_string())?;
    let mut options = Options::default();
    options.depth = 32;
    compile(&rules, &options).map_err(|error| error.to_string())
}
