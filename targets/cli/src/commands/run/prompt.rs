//! The prompt: from the command line, a file or standard input.

use std::io;
use std::path::Path;

use anyhow::{Result, bail};
use kinglet::format::model::MAGIC;

use crate::args::RunArgs;
use crate::support::input;

/// The prompt's bytes: text, or for a vocabulary of bytes whatever standard input has.
pub(super) fn prompt(args: &RunArgs) -> Result<Vec<u8>> {
    if let Some(file) = &args.file {
        return input::text(file, "the prompt");
    }
    match args.prompt.as_deref() {
        None => Ok(Vec::new()),
        Some("-") => input::standard_input("the prompt"),
        Some(text) => {
            if is_model_file(text) {
                bail!("the prompt {text} is a model file; did you mean `-m {text}`?");
            }
            Ok(text.as_bytes().to_vec())
        }
    }
}

/// Whether a prompt is the path of a model file.
fn is_model_file(prompt: &str) -> bool {
    // A path is short, and has no line breaks.
    if prompt.len() > 4096 || prompt.contains('\n') {
        return false;
    }
    let path = Path::new(prompt);
    let named = path.extension().is_some_and(|end| end == "kinglet");
    path.is_file() && (named || begins_like_a_model(path))
}

fn begins_like_a_model(path: &Path) -> bool {
    let mut front = [0; MAGIC.len()];
    let file = std::fs::File::open(path);
    file.is_ok_and(|mut file| io::Read::read_exact(&mut file, &mut front).is_ok()) && front == MAGIC
}
