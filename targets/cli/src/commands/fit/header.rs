//! `fit --header`: the numbers of a model for firmware in C, which reserves memory before there is
//! a model, and tells at boot whether the one in its flash is the one that it was built for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use kinglet::engine::Requirements;
use kinglet::format::model::{Model, Section};
use kinglet::num::state_dtype::f16;
use kinglet::tokenizer::Tokenizer;
use kinglet_quantize::Hex;

use crate::args::{FitArgs, StateType};
use crate::support::output::{self, HEADER, Kind, Output};
use crate::support::terminal;

/// `KINGLET_MAX_BATCH` of the C library.
const MAX_BATCH: usize = 256;

/// Refuses a file that is not to be written, before there is work.
pub(super) fn check(args: &FitArgs, path: &Path) -> Result<()> {
    if args.batch > MAX_BATCH {
        bail!("--batch {}: the C library computes at most {MAX_BATCH} tokens together", args.batch);
    }
    output::refuse_overwrite(&args.model.chosen().model, "--header", path)?;
    output::refuse_foreign(Kind::Header, "--header", path, args.force)
}

/// Writes the header of a model, which is called `name`.
pub(super) fn write(args: &FitArgs, path: &Path, name: &str, model: &Model<'_>) -> Result<()> {
    let text = text(args, path, name, model)?;
    let mut file = Output::create(path)?;
    file.write_all(text.as_bytes())?;
    file.finish()?;
    terminal::note(&format!("{}: the numbers of {name} for C", path.display()));
    Ok(())
}

fn text(args: &FitArgs, path: &Path, name: &str, model: &Model<'_>) -> Result<String> {
    let (shape, is_f16) = (model.shape(), args.state.state_type == StateType::F16);
    let needs = if is_f16 {
        Requirements::checked::<f16>(shape, args.batch)
    } else {
        Requirements::checked::<f32>(shape, args.batch)
    };
    let needs = needs.ok_or_else(|| anyhow!("{name}: no memory is as large as its buffers"))?;
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).ok();
    let drawable = tokenizer.map_or(shape.vocab, |it| shape.vocab.min(it.vocab_len()));
    let hash = &model.header().content_hash;
    let init = if is_f16 { "kinglet_engine_init_f16" } else { "kinglet_engine_init" };

    let mut out = format!("{HEADER}{}.", comment(&file_name(Path::new(name))));
    write!(
        out,
        "
   Written by `{}`; not to be edited. */

#ifndef KINGLET_MODEL_H
#define KINGLET_MODEL_H

/* Bytes of the model's file, whose address is a multiple of KINGLET_MODEL_ALIGN. */
#define KINGLET_MODEL_SIZE {}

/* Bytes of the buffers of {init} with this batch. */
#define KINGLET_MODEL_BATCH {}
#define KINGLET_MODEL_STATE_F16 {}
#define KINGLET_MODEL_STATE_SIZE {}
#define KINGLET_MODEL_WORKSPACE_SIZE {}

/* Bytes of the logits of a token, of a sampler's counts for penalties, and of a saved state. */
#define KINGLET_MODEL_LOGITS_SIZE {}
#define KINGLET_MODEL_COUNTS_SIZE {}
#define KINGLET_MODEL_STATE_FILE_SIZE {}

/* KingletModelInfo.vocab and .drawable. */
#define KINGLET_MODEL_VOCAB {}
#define KINGLET_MODEL_DRAWABLE {drawable}

/* KingletModelInfo.content_hash, to be compared at boot. */
#define KINGLET_MODEL_HASH \\
    \"{}\"
#define KINGLET_MODEL_HASH_BYTES \\
    {{ {} }}

#endif
",
        comment(&command(args, path)),
        model.bytes().len(),
        args.batch,
        u8::from(is_f16),
        needs.state_bytes,
        needs.workspace_bytes(),
        needs.logits_bytes(),
        4 * drawable,
        needs.state_file_bytes,
        shape.vocab,
        Hex(hash),
        bytes(hash),
    )?;
    Ok(out)
}

/// The command with names of files and not their folders, which are of one machine.
fn command(args: &FitArgs, path: &Path) -> String {
    let mut command = String::from("kinglet fit");
    if let Some(model) = &args.model.chosen().model {
        command += &format!(" -m {}", file_name(model));
    }
    if args.state.state_type == StateType::F16 {
        command += " --state-type f16";
    }
    if args.batch != 1 {
        command += &format!(" --batch {}", args.batch);
    }
    command + &format!(" --header {}", file_name(path))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A text that neither ends a comment nor its line.
fn comment(text: &str) -> String {
    text.replace("*/", "* /").replace("/*", "/ *").replace(char::is_control, "?")
}

/// The initializer's elements, eight a line.
fn bytes(hash: &[u8]) -> String {
    let line = |bytes: &[u8]| {
        bytes.iter().map(|byte| format!("0x{byte:02x}")).collect::<Vec<_>>().join(", ")
    };
    hash.chunks(8).map(line).collect::<Vec<_>>().join(", \\\n      ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_comment() {
        assert_eq!(comment("a*/b\n/*c"), "a* /b?/ *c");
        assert!(!comment("**//").contains("*/"));
    }
}
