//! `kinglet export`: what the weights really are.

use anyhow::Result;

use crate::args::ExportArgs;
use crate::support::model::Opened;
use crate::support::{output, terminal};

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    output::keep(&args.model.model, "--output", &args.output)?;
    let opened = Opened::new(&args.model)?;
    let tensors = kinglet_quantize::export(&opened.model()?, &args.output)?;
    terminal::note(&format!("{}: {tensors} tensors, f32", args.output.display()));
    Ok(())
}
