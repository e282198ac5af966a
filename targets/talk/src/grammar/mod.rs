//! Answers held to a grammar: tables that programs own, and the tokens that may follow, cached.

mod masks;
mod vocabulary;

use std::sync::Arc;

use kinglet::grammar::{Grammar, GrammarError};

pub use self::masks::{Mask, MaskCache};
pub use self::vocabulary::Vocabulary;

/// A compiled grammar with its table, cheap to copy.
///
/// # Examples
///
/// ```
/// use kinglet_talk::grammar::OwnedGrammar;
///
/// let table = kinglet_grammar::from_regex("yes|no", &Default::default())?;
/// let grammar = OwnedGrammar::new(table)?;
/// assert!(grammar.view().reads(b'y'));
/// assert!(OwnedGrammar::new(*b"root ::= \"yes\"").is_err()); // not compiled
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedGrammar(Arc<[u8]>);

impl OwnedGrammar {
    /// Takes a table that [`Grammar::open`] takes.
    ///
    /// # Errors
    ///
    /// As `Grammar::open`.
    pub fn new(table: impl Into<Arc<[u8]>>) -> Result<Self, GrammarError> {
        let table = table.into();
        Grammar::open(&table)?;
        Ok(Self(table))
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &[u8] {
        &self.0
    }

    /// The grammar in it. Takes constant time.
    ///
    /// # Panics
    ///
    /// Never: the table was opened before.
    #[must_use]
    pub fn view(&self) -> Grammar<'_> {
        Grammar::reopen(&self.0).expect("a table that was opened before")
    }
}
