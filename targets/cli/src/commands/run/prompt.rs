//! The prompt: from the command line, a file or standard input.

use std::io;
use std::path::Path;

use anyhow::{Result, bail};
use kinglet::format::model::MAGIC;

use crate::args::RunArgs;
use crate::support::{input, models, terminal};

/// The prompt's bytes: text, or for a vocabulary of bytes whatever standard input has.
pub(super) fn prompt(args: &RunArgs) -> Result<Vec<u8>> {
    if let Some(file) = &args.file {
        return input::text(file, "the prompt");
    }
    match args.prompt.as_deref() {
        None => Ok(Vec::new()),
        Some("-") => input::standard_input("the prompt"),
        Some(text) => {
            refuse_file(text)?;
            if args.model.model.is_none() && models::is_known(text) {
                bail!(
                    "the prompt {text} is the name of a model; did you mean `-m {text}`? As a text to \
                     go on with, `--file -` takes it from standard input"
                );
            }
            Ok(text.as_bytes().to_vec())
        }
    }
}

/// Refuses a prompt that is a model's path, and says of another file's that it is taken as text.
fn refuse_file(prompt: &str) -> Result<()> {
    // A path is short, and has no line breaks.
    if prompt.len() > 4096 || prompt.contains('\n') {
        return Ok(());
    }
    let path = Path::new(prompt);
    let named = path.extension().is_some_and(|end| end == "kinglet");
    match path.is_file() {
        true if named || begins_like_a_model(path) => {
            bail!("the prompt {prompt} is a model file; did you mean `-m {prompt}`?")
        }
        true => terminal::note(&format!(
            "the prompt is the text `{prompt}`; --file {prompt} takes that file's"
        )),
        false if named && !prompt.contains(' ') => {
            bail!("the prompt {prompt} names a model file, and there is none; see `-m MODEL`")
        }
        false => {}
    }
    Ok(())
}

fn begins_like_a_model(path: &Path) -> bool {
    let mut front = [0; MAGIC.len()];
    let file = std::fs::File::open(path);
    file.is_ok_and(|mut file| io::Read::read_exact(&mut file, &mut front).is_ok()) && front == MAGIC
}
