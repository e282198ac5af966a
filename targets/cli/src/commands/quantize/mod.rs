//! `kinglet quantize`: from a checkpoint to a model file.
//!
//! The quantizer says what is wrong; here it is said which option helps. Where output and report
//! go is checked before a tensor is read, because a conversion may take minutes.

mod calibration;
mod print;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kinglet::sampler::SamplerOptions;
use kinglet_quantize::checkpoint::{Checkpoint, CheckpointError, Problem};
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{ConvertError, Options, Report, TunedState, convert, shape};

use self::report::Texts;
use crate::args::QuantizeArgs;
use crate::support::input;
use crate::support::output::{self, Kind, Output};
use crate::support::terminal;

pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let bits = args.bits()?;
    calibration::check(args, bits)?;
    for path in [&args.checkpoint].into_iter().chain(&args.lora).chain(&args.tuned_state) {
        input::refuse_checkpoint(path)?;
    }
    let mut checkpoint = Checkpoint::open(&args.checkpoint)?;
    if let Some(name) = &args.pulled {
        checkpoint.set_source_name(name);
    }
    if !args.lora.is_empty() || checkpoint.is_base_and_adapter() {
        merge(&mut checkpoint, args)?;
    } else if args.alpha.is_some() {
        bail!("--alpha is for a LoRA adapter, and there is none; pass its file as --lora");
    }
    let state = args.tuned_state.as_deref().map(Checkpoint::open).transpose()?;
    let inputs = inputs(&checkpoint, state.as_ref(), args);
    output::refuse_overwrite(&inputs, "--output", &args.output)?;
    output::refuse_foreign(Kind::Model, "--output", &args.output, args.force)?;
    if let Some(report) = &args.report {
        output::refuse_overwrite(inputs.iter().chain([&args.output]), "--report", report)?;
        output::refuse_foreign(Kind::Json, "--report", report, args.force)?;
    }
    let state = state.map(|file| tuned_state(&checkpoint, args, &file)).transpose()?;
    let vocabulary = match &args.vocab {
        None => own_vocabulary(&checkpoint)?,
        Some(name) => named_vocabulary(name)?,
    };
    let texts = match &args.calibration {
        None => Vec::new(),
        Some(_) => {
            let model =
                shape(&checkpoint).with_context(|| args.checkpoint.display().to_string())?;
            calibration::texts(args, vocabulary.as_ref(), model.vocab)?
        }
    };
    let options = Options {
        bits,
        calibration: calibration::calibration(args, bits, &texts),
        vocabulary: vocabulary.as_ref(),
        state: state.as_ref(),
        licence: args.licence.as_deref(),
        sampling: sampling(&checkpoint, args)?,
    };
    match &args.report {
        None => convert_and_print(&checkpoint, args, &options).map(|_| ()),
        Some(path) => with_report(&checkpoint, args, &options, path),
    }
}

/// The sampler's options that the model file is to state, where any is given: with them those of
/// its kind.
fn sampling(checkpoint: &Checkpoint, args: &QuantizeArgs) -> Result<Option<SamplerOptions>> {
    if !args.sampler.is_any() {
        return Ok(None);
    }
    let shape = shape(checkpoint).with_context(|| args.checkpoint.display().to_string())?;
    Ok(Some(args.sampler.options(SamplerOptions::for_vocab(shape.vocab))))
}

/// Converts, compares the model with the checkpoint, and writes the report to `path`.
fn with_report(
    checkpoint: &Checkpoint,
    args: &QuantizeArgs,
    options: &Options<'_>,
    path: &Path,
) -> Result<()> {
    let model = shape(checkpoint).with_context(|| args.checkpoint.display().to_string())?;
    let texts = Texts::read(args.text.as_deref(), options.vocabulary, model.vocab)?;
    let mut file = Output::create(path)?;
    let converted = convert_and_print(checkpoint, args, options)?;
    report::write(&mut file, args, checkpoint, &converted, &texts)?;
    Ok(file.finish()?)
}

/// Converts, with a progress bar, and prints what rounding costs each tensor.
fn convert_and_print(
    checkpoint: &Checkpoint,
    args: &QuantizeArgs,
    options: &Options<'_>,
) -> Result<Report> {
    let all = checkpoint.tensors().map(|tensor| tensor.elements() as u64).sum();
    let bar =
        terminal::progress(all, "{bar:30} {percent}% · {human_pos} of {human_len} weights{left}");
    let report = convert(checkpoint, &args.output, options, &mut |done, _| {
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| explain(error, args))?;
    let read = checkpoint.tensors().map(|tensor| tensor.byte_len() as u64).sum();
    print::print(&report, args, read)?;
    for note in &report.notes {
        terminal::note(&format!("note: {note}"));
    }
    if options.vocabulary.is_none() {
        terminal::note(
            "note: the checkpoint brings no vocabulary and no --vocab was given; `run` and \
             `perplexity` need one in the file",
        );
    }
    Ok(report)
}

/// The error with the file that it is about, where it does not say so itself.
fn explain(error: ConvertError, args: &QuantizeArgs) -> anyhow::Error {
    let checkpoint = args.checkpoint.display().to_string();
    let about = match &error {
        ConvertError::Checkpoint(_) | ConvertError::Source { .. } | ConvertError::Output { .. } => {
            return error.into();
        }
        ConvertError::Vocabulary { .. } => {
            let vocabulary = args
                .vocab
                .as_ref()
                .map_or(checkpoint.clone(), |path| format!("{}, for {checkpoint}", path.display()));
            return anyhow::anyhow!(
                "{vocabulary}: {error}; pass the vocabulary that the model was trained with as \
                 --vocab"
            );
        }
        ConvertError::NonFinite { .. } if !args.lora.is_empty() => {
            let adapters: Vec<_> =
                args.lora.iter().map(|path| path.display().to_string()).collect();
            let alpha = args.alpha.map_or(String::new(), |alpha| format!(", --alpha {alpha:?}"));
            format!("{checkpoint}, merged with {}{alpha}", adapters.join(" and "))
        }
        _ => checkpoint,
    };
    anyhow::Error::from(error).context(about)
}

/// Merges the adapter into the checkpoint.
fn merge(checkpoint: &mut Checkpoint, args: &QuantizeArgs) -> Result<()> {
    let files = args.lora.iter().map(|path| Checkpoint::open(path));
    let merged = checkpoint.merge(files.collect::<Result<_, _>>()?, args.alpha).map_err(advise)?;
    terminal::note(&format!("merged: {merged}"));
    if args.alpha.is_some() && !merged.is_scaled() {
        terminal::note("note: --alpha is for LoRA only; the adapter has another kind, without one");
    }
    Ok(())
}

/// The error with what to do about it.
fn advise(error: CheckpointError) -> anyhow::Error {
    let next = match error.problem() {
        Problem::AlphaMissing { .. } => {
            "pass `--alpha N`, the lora_alpha of its training; for PiSSA pass the file of its \
             start as well: `--lora init_pissa.pth`"
        }
        Problem::BaseAndAdapter { .. } => "pass `--alpha N`, the lora_alpha of its training",
        Problem::AdapterWithBase { .. } => {
            "pass it as the checkpoint, without --lora, and LoRA's `--alpha N`"
        }
        Problem::StartMissing => "pass it as well, with a second --lora",
        Problem::AdapterConfig { .. } => {
            "merge it into the model with the program that trained it, and quantize what it saves"
        }
        Problem::PissaStartAlone { .. } => "pass the trained file as well, with a second --lora",
        Problem::NoAdapter { state: true } => "pass a tuned state as --tuned-state",
        Problem::NoAdapter { .. } => {
            "a whole checkpoint is quantized by itself, a tuned state is passed as --tuned-state"
        }
        Problem::AdapterTarget { .. }
        | Problem::Shape { .. }
        | Problem::NotInBase { .. }
        | Problem::ReplacementShape { .. } => "pass the base checkpoint that it was trained on",
        Problem::AdaptedTwice { .. } => "merge one adapter at a time",
        _ => "save the adapter again",
    };
    anyhow::anyhow!("{error}; {next}")
}

/// The tuned state that the model shall start from.
fn tuned_state(
    checkpoint: &Checkpoint,
    args: &QuantizeArgs,
    file: &Checkpoint,
) -> Result<TunedState> {
    let shape = shape(checkpoint).with_context(|| format!("{}", args.checkpoint.display()))?;
    TunedState::read(file, &shape).with_context(|| {
        let (state, checkpoint) = (file.path().display(), args.checkpoint.display());
        if file.path() == args.checkpoint {
            state.to_string()
        } else {
            format!("{state}, for {checkpoint}")
        }
    })
}

/// The files that the command reads or that belong to those.
fn inputs(
    checkpoint: &Checkpoint,
    state: Option<&Checkpoint>,
    args: &QuantizeArgs,
) -> Vec<PathBuf> {
    let mut inputs = checkpoint.inputs();
    inputs.extend(state.into_iter().flat_map(Checkpoint::inputs));
    inputs.extend(args.vocab.iter().filter(|name| BuiltIn::of(name).is_none()).cloned());
    inputs.extend(args.text.clone());
    let none = Path::new(calibration::NONE);
    inputs.extend(args.calibration.iter().filter(|path| *path != none).cloned());
    inputs
}

/// The vocabulary that the checkpoint brings, or that its number of outputs tells.
fn own_vocabulary(checkpoint: &Checkpoint) -> Result<Option<Vocabulary>> {
    let own = checkpoint.vocabulary();
    let own = own.context("the checkpoint's own vocabulary; give another with `--vocab FILE`")?;
    let outputs = shape(checkpoint).map(|shape| shape.vocab);
    if own.is_some() || !outputs.is_ok_and(|outputs| outputs == kinglet_world::OUTPUTS) {
        return Ok(own);
    }
    terminal::note(
        "note: the model gets the World vocabulary, for it has 65,536 outputs; --vocab FILE gives \
         another, --vocab none none",
    );
    world().map(Some)
}

/// The vocabulary that `--vocab` names.
fn named_vocabulary(name: &Path) -> Result<Option<Vocabulary>> {
    match BuiltIn::of(name) {
        Some(BuiltIn::Bytes(first)) => Ok(Some(Vocabulary::bytes(first))),
        Some(BuiltIn::World) => world().map(Some),
        Some(BuiltIn::Nothing) => Ok(None),
        None => Vocabulary::read(&input::read(name, input::MAX_TEXT, "a vocabulary")?)
            .map(Some)
            .with_context(|| format!("{}", name.display())),
    }
}

/// The vocabulary of the World and G1 models. Id 0 ends a text.
fn world() -> Result<Vocabulary> {
    let tokens = kinglet_world::tokens().map(<[u8]>::to_vec);
    Ok(Vocabulary::from_tokens(std::iter::once(Vec::new()).chain(tokens).collect())?)
}

/// What `--vocab` names that is no file.
enum BuiltIn {
    /// A token for each byte; the id of byte 0.
    Bytes(u16),
    World,
    Nothing,
}

impl BuiltIn {
    fn of(name: &Path) -> Option<Self> {
        match name.to_str() {
            Some("bytes") => Some(Self::Bytes(0)),
            Some("bytes+1") => Some(Self::Bytes(1)),
            Some("world") => Some(Self::World),
            Some("none") => Some(Self::Nothing),
            _ => None,
        }
    }
}
