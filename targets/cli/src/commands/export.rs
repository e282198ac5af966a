//! `kinglet export`: what the weights really are.

use anyhow::Result;

use crate::args::ExportArgs;
use crate::support::model::LoadedModel;
use crate::support::{output, terminal};

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    output::refuse_overwrite(&args.model.model, "--output", &args.output)?;
    let opened = LoadedModel::new(&args.model)?;
    let tensors = kinglet_quantize::export(&opened.model()?, &args.output)?;
    terminal::note(&format!("{}: {tensors} tensors, f32", args.output.display()));
    Ok(())
}
