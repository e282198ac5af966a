//! `kinglet grammar`: a grammar becomes a table that programs, C and firmware hold text to.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use kinglet::grammar::Grammar;
use serde_json::json;

use crate::args::{GrammarArgs, Notation};
use crate::support::grammar::{MAX_GRAMMAR, shortest, table, text};
use crate::support::input;
use crate::support::output::{self, Kind, Output};
use crate::support::stdout::outln;
use crate::support::terminal::{self, visible};

/// Longest shortest text that is shown, bytes.
const MOST_SHOWN: usize = 200;

pub(crate) fn run(args: &GrammarArgs) -> Result<()> {
    output::refuse_overwrite(&args.file, "--output", &args.output)?;
    output::refuse_foreign(Kind::Grammar, "--output", &args.output, args.force)?;
    let (notation, source, name) = match (&args.regex, &args.file) {
        (Some(pattern), _) => (Notation::Regex, pattern.clone(), "--regex".to_owned()),
        (None, Some(file)) => {
            let notation = notation(args.kind, file)?;
            let bytes = match file.as_os_str() == "-" {
                true => input::standard_input("a grammar")?,
                false => input::read(file, MAX_GRAMMAR, "a grammar")?,
            };
            let name = input::shown(file);
            (notation, text(bytes, &name)?, name)
        }
        (None, None) => bail!("there is no grammar; give a file or --regex PATTERN"),
    };
    if args.white_space > 0 && notation != Notation::JsonSchema {
        bail!("--white-space is for a JSON Schema; other grammars say where it may be");
    }
    let table = table(notation, &source, &name, args.depth, args.white_space)?;
    let grammar = Grammar::open(&table)?;
    let mut file = Output::create(&args.output)?;
    file.write_all(&table)?;
    file.finish()?;
    let shortest = String::from_utf8_lossy(&shortest(&grammar)).into_owned();
    let output = args.output.display().to_string();
    let (bytes, states, calls) = (table.len(), grammar.states(), grammar.calls());
    if args.json {
        let json = json!({
            "output": output,
            "bytes": bytes,
            "states": states,
            "calls": calls,
            "frames": grammar.depth(),
            "shortest": shortest,
        });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
        return Ok(());
    }
    let calls = match calls {
        0 => String::new(),
        calls => format!(" · {calls} calls, at most {} frames", grammar.depth()),
    };
    let shown = match shortest.len() {
        0 => "the text may be empty".to_owned(),
        len @ ..=MOST_SHOWN => format!("shortest text {} ({len} bytes)", visible(&shortest)),
        len => format!("shortest text of {len} bytes"),
    };
    terminal::note(&format!("{output}: {bytes} bytes · {states} states{calls} · {shown}"));
    Ok(())
}

/// The notation of a file.
fn notation(given: Option<Notation>, file: &Path) -> Result<Notation> {
    if let Some(notation) = given {
        return Ok(notation);
    }
    match file.extension().and_then(|end| end.to_str()) {
        Some("gbnf") => Ok(Notation::Gbnf),
        Some("json" | "schema") => Ok(Notation::JsonSchema),
        _ => bail!(
            "{}: the end of the name does not tell the notation; give --kind gbnf, json-schema or \
             regex",
            input::shown(file)
        ),
    }
}
