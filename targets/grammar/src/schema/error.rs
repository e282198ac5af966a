//! Why a schema has no grammar.

/// Why a JSON Schema has no grammar. Places in the schema are JSON pointers, `#` being its root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The text is no JSON, or a key comes twice.
    #[error("the schema is not JSON that can be used: {problem} (line {line}, column {column})")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A keyword, or a value of a keyword, that is outside of the subset.
    #[error("`{keyword}` at {at} is not supported: {advice}")]
    Unsupported {
        /// The schema that has the keyword.
        at: String,
        /// The keyword.
        keyword: String,
        /// What to do instead.
        advice: String,
    },
    /// A keyword whose value is not what JSON Schema asks for.
    #[error("`{keyword}` at {at} is {found}; it must be {expected}")]
    Invalid {
        /// The schema that has the keyword.
        at: String,
        /// The keyword.
        keyword: String,
        /// What the value is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Keywords that no value satisfies together.
    #[error("no value satisfies the schema at {at}: {reason}")]
    Contradiction {
        /// The schema.
        at: String,
        /// Which keywords disagree.
        reason: String,
    },
    /// A reference that leads nowhere, outside of the document, or back without a value between.
    #[error("`$ref` at {at} is `{reference}`, {reason}")]
    Reference {
        /// The schema that refers.
        at: String,
        /// The reference.
        reference: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// A pattern that is not a regular expression, or is outside of the subset.
    #[error("`pattern` at {at} is `{pattern}`: {reason}")]
    Pattern {
        /// The schema that has the pattern.
        at: String,
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// Schemas of a `oneOf` that are not known to exclude each other.
    #[error(
        "`oneOf` at {at} is not supported: a value of schema {first} may satisfy schema {second} \
         too; make a required property constant in each, or use `anyOf`"
    )]
    Overlap {
        /// The schema that has the `oneOf`.
        at: String,
        /// The place in the list of one schema.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// A choice that multiplies beyond a limit.
    #[error("the schema at {at} has more than {limit} alternatives; {advice}")]
    TooMany {
        /// The schema.
        at: String,
        /// The limit.
        limit: usize,
        /// What to do.
        advice: &'static str,
    },
    /// Options that are outside of their ranges.
    #[error("the option `{option}` is {found}; it must be {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: u32,
        /// Its range.
        expected: &'static str,
    },
}
