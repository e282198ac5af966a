//! `kinglet tokenize`: text to tokens and back.

use std::io::Write;

use anyhow::{Context, Result, bail};
use kinglet::tokenizer::Tokenizer;

use crate::args::TokenizeArgs;
use crate::support::input;
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::stdout::{Stdout, outln};

pub(crate) fn run(args: &TokenizeArgs) -> Result<()> {
    let opened = LoadedModel::new(&args.model)?;
    let model = opened.model()?;
    let tokenizer = tokenizer(&model, opened.name())?;
    let input = match &args.text[..] {
        [text] if text == "-" => input::standard_input("the text")?,
        texts => texts.join(" ").into_bytes(),
    };
    if args.decode { decode(args, &tokenizer, &input) } else { encode(args, &tokenizer, &input) }
}

/// Prints a line for each token: its id and its bytes, escaped.
fn encode(args: &TokenizeArgs, tokenizer: &Tokenizer<'_>, text: &[u8]) -> Result<()> {
    let tokens = tokenizer.encode(text).collect::<Result<Vec<u32>, _>>().context("the text")?;
    if args.json {
        outln!("{}", serde_json::to_string(&tokens)?)?;
        return Ok(());
    }
    for token in tokens {
        let bytes = tokenizer.token(token).unwrap_or_default();
        outln!("{token:>7}  \"{}\"", shown(bytes))?;
    }
    Ok(())
}

/// Bytes as people read them: characters where they are whole ones, escapes elsewhere.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// Writes the bytes of the tokens as they are.
fn decode(args: &TokenizeArgs, tokenizer: &Tokenizer<'_>, ids: &[u8]) -> Result<()> {
    let ids = std::str::from_utf8(ids).context("the token ids are not UTF-8 text")?;
    let separator = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let mut bytes = Vec::new();
    for id in ids.split(separator).filter(|id| !id.is_empty()) {
        let Ok(token) = id.parse::<u32>() else {
            bail!("`{id}` is no token id; give numbers such as 742 694, or a JSON list of them")
        };
        match tokenizer.token(token) {
            Some(text) => bytes.extend(text),
            None if Some(token) == tokenizer.end_of_text() => {}
            None => bail!(
                "token {token} has no text; the vocabulary has the ids below {}",
                tokenizer.vocab_len()
            ),
        }
    }
    if args.json {
        outln!("{}", serde_json::to_string(&String::from_utf8_lossy(&bytes))?)?;
    } else {
        Stdout::lock().write_all(&bytes)?;
    }
    Ok(())
}
