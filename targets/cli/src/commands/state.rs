//! `kinglet state`: a tuned state becomes a state file of a model.

use std::io::Write;

use anyhow::{Context, Result};
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{Hex, TunedState};
use serde_json::json;

use crate::args::StateArgs;
use crate::support::input;
use crate::support::model::{LoadedModel, tokenizer};
use crate::support::output::{self, Kind, Output};
use crate::support::state_file::SavedState;
use crate::support::stdout::outln;
use crate::support::terminal;

pub(crate) fn run(args: &StateArgs) -> Result<()> {
    input::refuse_checkpoint(&args.state)?;
    let checkpoint = Checkpoint::open(&args.state)?;
    let files = checkpoint.inputs();
    output::refuse_overwrite(files.iter().chain(&args.model.model), "--output", &args.output)?;
    output::refuse_foreign(Kind::State, "--output", &args.output, args.force)?;
    let opened = LoadedModel::new(&args.model)?;
    let model = opened.model()?;
    let state = TunedState::read(&checkpoint, model.shape())
        .with_context(|| format!("{}, for {}", args.state.display(), opened.name()))?;
    for note in state.notes() {
        terminal::note(&format!("note: {note}"));
    }
    // The token that every text begins with, so that the file starts one as a model does that
    // has the state in it; most vocabularies have 0 for it.
    let next = match tokenizer(&model, opened.name()) {
        Ok(tokenizer) => tokenizer.end_of_text(),
        Err(_) => Some(0),
    };
    let state = SavedState { values: state.values().to_vec(), next, ..SavedState::default() };
    let mut file = Output::create(&args.output)?;
    file.write_all(&state.bytes(args.state_type.state_type, model.header())?)?;
    file.finish()?;
    let output = args.output.display().to_string();
    if args.json {
        let json = json!({
            "model": opened.name(),
            "output": output,
            "state_type": args.state_type.state_type.name(),
            "next_token": state.next,
            "content_hash": Hex(&model.header().content_hash).to_string(),
        });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
    } else {
        terminal::note(&format!("{output}: a state of {}", opened.name()));
    }
    Ok(())
}
