//! Rules: what every notation is read into, and what is compiled.

use regex_syntax::hir::ClassUnicode;

/// A rule of [`Rules`], by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub usize);

/// Texts, as a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// No text at all.
    Never,
    /// These bytes; none of them for the empty text.
    Bytes(Vec<u8>),
    /// One character of a class, in UTF-8.
    Class(ClassUnicode),
    /// All of these, one after another.
    Concat(Vec<Self>),
    /// One of these.
    Alternate(Vec<Self>),
    /// A pattern, over and over.
    Repeat {
        /// The pattern.
        node: Box<Self>,
        /// How often at least.
        least: u32,
        /// How often at most; without a limit if absent.
        most: Option<u32>,
    },
    /// The texts of a rule, which may contain itself.
    Rule(RuleId),
    /// The texts that both patterns have. Neither may reach a rule that contains itself.
    Both(Box<Self>, Box<Self>),
}

/// Rules by their place; each may refer to all.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Names, for messages.
    pub names: Vec<String>,
    /// What each rule is.
    pub bodies: Vec<Node>,
    /// The rule that a whole text is.
    pub root: RuleId,
}
