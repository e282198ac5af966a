//! Options around grammars: of `grammar`, which compiles one, and of commands that hold text to one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse::whole;

/// A grammar that text is held to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HeldArgs {
    /// Holds the text to a grammar: GBNF, or what `kinglet grammar` compiled. With -n the text is
    /// complete all the same: nothing is begun that could not be ended within it
    #[arg(long, value_name = "FILE", conflicts_with = "json_schema")]
    pub(crate) grammar: Option<PathBuf>,
    /// Holds the text to a JSON Schema: a file, or the schema itself if it begins with `{`. A
    /// keyword that is not supported is an error
    #[arg(long, value_name = "FILE|SCHEMA")]
    pub(crate) json_schema: Option<String>,
}

#[derive(Args, Clone, Debug)]
// So that the error says what is accepted, not that `-1` is no option.
#[command(allow_negative_numbers = true)]
pub(crate) struct GrammarArgs {
    /// GBNF (.gbnf) or a JSON Schema (.json, .schema); `-` is standard input, of a --kind
    #[arg(required_unless_present = "regex")]
    pub(crate) file: Option<PathBuf>,
    /// A regular expression of the whole text, instead of a file
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true, conflicts_with_all = ["file", "kind"])]
    pub(crate) regex: Option<String>,
    /// Notation of the file; told by the end of its name if not given
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Notation>,
    /// Table to write, which --grammar, C and firmware read
    #[arg(short, long, value_name = "NAME.grammar")]
    pub(crate) output: PathBuf,
    /// How deep rules that contain themselves may be nested in a text, at most 32
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = depth)]
    pub(crate) depth: u8,
    /// Most spaces, tabs and ends of lines wherever JSON allows them, for a JSON Schema
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u32>)]
    pub(crate) white_space: u32,
    /// Replaces an --output that is there and no compiled grammar
    #[arg(long)]
    pub(crate) force: bool,
    /// Prints what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a grammar is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Notation {
    Gbnf,
    JsonSchema,
    Regex,
}

fn depth(text: &str) -> Result<u8, String> {
    let depth = text.parse().ok().filter(|depth| (1..=32).contains(depth));
    depth.ok_or_else(|| "not a number from 1 to 32".to_owned())
}
