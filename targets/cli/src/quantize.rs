//! `kinglet quantize`: from a checkpoint to a model file.
#![expect(clippy::print_stdout, reason = "the report is the output")]

use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Hex, Options, Report, convert, shape, write_beside};

use crate::args::QuantizeArgs;
use crate::model::read;
use crate::report::{self, Texts};
use crate::terminal;

pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    if same_file(&args.checkpoint, &args.output) {
        bail!("the output would replace the checkpoint itself; give another -o");
    }
    let vocabulary = match &args.vocab {
        None => None,
        Some(path) => Some(
            Vocabulary::from_rwkv_text(&read(path)?)
                .with_context(|| format!("{}", path.display()))?,
        ),
    };
    match &args.report {
        None => convert_and_print(&checkpoint, args, vocabulary.as_ref()).map(|_| ()),
        Some(path) => with_report(&checkpoint, args, vocabulary.as_ref(), path),
    }
}

/// Converts, compares the model with the checkpoint, and writes the report to `path`.
fn with_report(
    checkpoint: &Checkpoint,
    args: &QuantizeArgs,
    vocabulary: Option<&Vocabulary>,
    path: &Path,
) -> Result<()> {
    let others = [Some(&args.checkpoint), Some(&args.output), args.text.as_ref()];
    let mut others = others.into_iter().chain([args.vocab.as_ref()]).flatten();
    if others.any(|other| other == path || same_file(other, path)) {
        bail!("the report would replace {}; give another --report", path.display());
    }
    if path.is_dir() {
        bail!("cannot write {}: it is a directory; give the file's name as well", path.display());
    }
    let model = shape(checkpoint).with_context(|| args.checkpoint.display().to_string())?;
    let texts = Texts::read(args.text.as_deref(), vocabulary, model.vocab)?;
    // The report's file is made first, so that a path that cannot be written stops
    // the work before it starts.
    let mut measured = Ok(());
    let written = write_beside(path, |partial| {
        measured = convert_and_print(checkpoint, args, vocabulary)
            .and_then(|converted| report::write(partial, args, checkpoint, &converted, &texts));
        if measured.is_ok() { Ok(()) } else { Err(io::Error::other("not measured")) }
    });
    measured?;
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Converts, with a progress bar, and prints what int8 costs each tensor.
fn convert_and_print(
    checkpoint: &Checkpoint,
    args: &QuantizeArgs,
    vocabulary: Option<&Vocabulary>,
) -> Result<Report> {
    let options = Options { vocabulary, licence: args.licence.as_deref() };
    let all = checkpoint.tensors().map(|tensor| tensor.elements() as u64).sum();
    let bar = terminal::progress(
        all,
        "{bar:30} {percent}% · {human_pos} of {human_len} weights · {per_sec} · {eta} left",
    );
    let report = convert(checkpoint, &args.output, &options, &mut |done, _| {
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.with_context(|| format!("{}", args.checkpoint.display()))?;
    let read = checkpoint.tensors().map(|tensor| tensor.byte_len() as u64).sum();
    print(&report, args, read);
    if vocabulary.is_none() {
        terminal::note("note: no --vocab given; `run` and `perplexity` need one in the file");
    }
    Ok(report)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Prints what was converted; `read` is the bytes of the checkpoint's tensors.
fn print(report: &Report, args: &QuantizeArgs, read: u64) {
    if !args.quiet {
        let name_width = report.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
        println!(
            "{:name_width$}  {:>13}  {:>5}  {:>6}  {:>6}",
            "tensor", "shape", "group", "bits", "SNR"
        );
        for tensor in &report.tensors {
            let shape = format!("{} x {}", tensor.rows, tensor.cols);
            println!(
                "{:name_width$}  {shape:>13}  {:>5}  {:>6.3}  {:>3.1} dB",
                tensor.name,
                tensor.group,
                tensor.bits_per_weight(),
                tensor.snr_db(),
            );
        }
        println!();
    }
    let weights: f64 = report.tensors.iter().map(|t| t.rows as f64 * t.cols as f64).sum();
    let bytes: u64 = report.tensors.iter().map(|tensor| tensor.bytes).sum();
    let signal: f64 = report.tensors.iter().map(|tensor| tensor.signal).sum();
    let noise: f64 = report.tensors.iter().map(|tensor| tensor.noise).sum();
    println!(
        "{}, {} layers of width {}, {} parameters",
        report.shape.architecture, report.shape.layers, report.shape.width, report.parameters,
    );
    println!(
        "{}: {} bytes, {:.3} bits per weight, SNR {:.1} dB, {:.1} s, {:.2} GB/s",
        args.output.display(),
        report.file_len,
        8.0 * bytes as f64 / weights,
        10.0 * (signal / noise).log10(),
        report.elapsed.as_secs_f64(),
        read as f64 / 1e9 / report.elapsed.as_secs_f64(),
    );
    println!("content hash {}", Hex(&report.content_hash));
}
