//! Grammars that text is held to: read, compiled, and asked about each token.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kinglet::grammar::{Accepted, Constraint, ConstraintError, Grammar, Limits};
use kinglet::sampler::Sampler;
use kinglet::tokenizer::Tokenizer;
use kinglet_grammar::gbnf::GbnfError;
use kinglet_grammar::schema::{self, SchemaError, WhiteSpace};
use kinglet_grammar::{Error, Options, compile, from_gbnf, from_regex};
use kinglet_talk::grammar::{MaskCache, OwnedGrammar, Vocabulary};

use crate::args::{HeldArgs, Notation};
use crate::support::input;

/// How a compiled grammar begins.
pub(crate) const MAGIC: &[u8] = b"kgrm";

/// Longest grammar, compiled or not.
pub(crate) const MAX_GRAMMAR: u64 = 16 << 20;

/// How a grammar is compiled, where nothing else is said.
pub(crate) const DEPTH: u8 = 16;

/// Compiles a grammar, which errors call `name`.
pub(crate) fn table(
    notation: Notation,
    text: &str,
    name: &str,
    depth: u8,
    white_space: u32,
) -> Result<Vec<u8>> {
    let mut options = Options::default();
    options.depth = depth;
    let table = match notation {
        Notation::Regex => from_regex(text.trim_end_matches(['\r', '\n']), &options),
        Notation::Gbnf => from_gbnf(text, &options),
        Notation::JsonSchema => {
            let white_space = match white_space {
                0 => WhiteSpace::None,
                most => WhiteSpace::UpTo(most),
            };
            let ways = schema::Options { white_space, ..schema::Options::default() };
            let rules = schema::rules(text, &ways).map_err(|error| of_schema(&error, name))?;
            compile(&rules, &options).map_err(Error::from)
        }
    };
    table.map_err(|error| match &error {
        Error::Gbnf(GbnfError { line, column, rule, problem, .. }) => {
            let rule = rule.as_ref().map_or(String::new(), |rule| format!("in rule `{rule}`: "));
            anyhow!("{name}:{line}:{column}: {rule}{problem}")
        }
        // A pattern's error shows the pattern, with a mark below the place.
        _ => anyhow!("{name}: {error}"),
    })
}

fn of_schema(error: &SchemaError, name: &str) -> anyhow::Error {
    match error {
        SchemaError::Json { line, column, problem } => {
            anyhow!("{name}:{line}:{column}: no JSON that can be used: {problem}")
        }
        _ => anyhow!("{name}: {error}"),
    }
}

/// The grammar that the command line names.
pub(crate) fn held(args: &HeldArgs) -> Result<Option<OwnedGrammar>> {
    let table = match (&args.grammar, &args.json_schema) {
        (Some(path), _) => return read(path, Notation::Gbnf).map(Some),
        (None, Some(text)) if text.trim_start().starts_with('{') => {
            table(Notation::JsonSchema, text, "--json-schema", DEPTH, 0)?
        }
        (None, Some(path)) => return read(Path::new(path), Notation::JsonSchema).map(Some),
        (None, None) => return Ok(None),
    };
    Ok(Some(OwnedGrammar::new(table)?))
}

/// Reads a grammar that may be compiled already.
pub(crate) fn read(path: &Path, notation: Notation) -> Result<OwnedGrammar> {
    let name = path.display().to_string();
    let bytes = input::read(path, MAX_GRAMMAR, "a grammar")?;
    if bytes.starts_with(MAGIC) {
        let table = OwnedGrammar::new(bytes);
        return table.map_err(|error| {
            anyhow!("{name}: {error}; compile it again with `kinglet grammar FILE -o {name}`")
        });
    }
    let text = text(bytes, &name)?;
    if notation == Notation::Gbnf && text.trim_start().starts_with('{') {
        bail!("{name} is JSON, no GBNF; a JSON Schema is for --json-schema {name}");
    }
    Ok(OwnedGrammar::new(table(notation, &text, &name, DEPTH, 0)?)?)
}

/// The text of a grammar.
pub(crate) fn text(bytes: Vec<u8>, name: &str) -> Result<String> {
    let text = String::from_utf8(bytes).with_context(|| format!("{name} is not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// A text under way that is held to a grammar.
pub(crate) struct Held<'a> {
    constraint: Constraint<'a>,
    masks: MaskCache,
}

impl<'a> Held<'a> {
    /// Begins a text of at most `tokens` tokens, which may end with that of the end of a turn.
    pub(crate) fn new(
        grammar: &'a OwnedGrammar,
        tokenizer: Tokenizer<'a>,
        end_of_turn: Option<u32>,
        tokens: usize,
    ) -> Result<Self> {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let limits = Limits { tokens, ..Limits::NONE };
        let constraint = Constraint::new(grammar.view(), tokenizer, limits);
        let mut constraint = constraint.map_err(|error| explain(&error))?;
        if let Some(token) = end_of_turn {
            constraint.end_with(token)?;
        }
        let masks = MaskCache::new(Vocabulary::new(&tokenizer).into());
        Ok(Self { constraint, masks })
    }

    /// Draws the next token.
    pub(crate) fn sample(
        &mut self,
        sampler: &mut Sampler<Vec<f32>>,
        logits: &mut [f32],
    ) -> Result<u32> {
        Ok(self.masks.sample(&self.constraint, sampler, logits)?)
    }

    /// Takes a token that was drawn; whether it ends the text, of which it is then no part.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool> {
        Ok(self.constraint.accept(token)? == Accepted::End)
    }

    /// Whether the text is complete, and nothing may follow.
    pub(crate) fn is_over(&self) -> bool {
        self.constraint.is_over()
    }
}

/// The error with what to do about it.
pub(crate) fn explain(error: &ConstraintError) -> anyhow::Error {
    match error {
        ConstraintError::TooShort { shortest, .. } => {
            anyhow!("{error}; give -n {shortest} or more")
        }
        ConstraintError::NoToken { .. } => {
            anyhow!("{error}; leave that character out of the grammar, or give another model")
        }
        _ => anyhow!("{error}"),
    }
}

/// The shortest text of a grammar; of those the first by its bytes.
pub(crate) fn shortest(grammar: &Grammar<'_>) -> Vec<u8> {
    let mut position = grammar.start();
    let mut text = Vec::new();
    while !position.may_end(grammar) {
        let left = position.shortest(grammar);
        let next = (0..=u8::MAX).find_map(|byte| {
            let mut next = position;
            let nearer = next.advance(grammar, byte) && next.shortest(grammar) < left;
            nearer.then_some((byte, next))
        });
        // There always is one: the table was proven.
        let Some((byte, next)) = next else { break };
        text.push(byte);
        position = next;
    }
    text
}
