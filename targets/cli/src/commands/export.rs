//! `kinglet export`: what the weights really are.

use anyhow::Result;
use serde_json::json;

use crate::args::ExportArgs;
use crate::support::model::LoadedModel;
use crate::support::output::{self, Kind};
use crate::support::stdout::outln;
use crate::support::terminal;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let chosen = args.model.chosen();
    output::refuse_overwrite(&chosen.model, "--output", &args.output)?;
    output::refuse_foreign(Kind::Safetensors, "--output", &args.output, args.force)?;
    let opened = LoadedModel::new(&chosen)?;
    let tensors = kinglet_quantize::export(&opened.model()?, &args.output)?;
    if args.json {
        let output = args.output.display().to_string();
        let json = json!({ "model": opened.name(), "output": output, "tensors": tensors });
        outln!("{}", serde_json::to_string_pretty(&json)?)?;
    } else {
        terminal::note(&format!("{}: {tensors} tensors, f32", args.output.display()));
    }
    Ok(())
}
