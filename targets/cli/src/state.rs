//! `kinglet state`: a tuned state becomes a state file of a model.

use anyhow::{Context, Result};
use kinglet::state::StateFile;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::{TunedState, write_beside};

use crate::args::StateArgs;
use crate::model::{Opened, tokenizer};
use crate::{output, terminal};

pub(crate) fn run(args: &StateArgs) -> Result<()> {
    let checkpoint = Checkpoint::open(&args.state)?;
    let files = checkpoint.inputs();
    output::keep(files.iter().chain(&args.model.model), "--output", &args.output)?;
    let opened = Opened::new(&args.model)?;
    let model = opened.model()?;
    let header = model.header();
    let state = TunedState::read(&checkpoint, model.shape())
        .with_context(|| format!("{}, for {}", args.state.display(), opened.name()))?;
    let mut bytes = vec![0; StateFile::<f32>::len(model.shape())];
    // The token that every text begins with, so that the file starts one as a model does that
    // has the state in it; most vocabularies have 0 for it.
    let first = match tokenizer(&model, opened.name()) {
        Ok(tokenizer) => tokenizer.end_of_text(),
        Err(_) => Some(0),
    };
    StateFile::write(header, state.values(), first, &mut bytes)?;
    write_beside(&args.output, |partial| std::fs::write(partial, &bytes))
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    terminal::note(&format!("{}: a state of {}", args.output.display(), opened.name()));
    Ok(())
}
