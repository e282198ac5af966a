//! `kinglet quantize`: from a checkpoint to a model file.
#![expect(clippy::print_stdout, reason = "the report is the output")]

use anyhow::{Context, Result, bail};
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Hex, Options, Report, convert};

use crate::args::QuantizeArgs;
use crate::model::read;
use crate::terminal;

pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    if same_file(&args.checkpoint, &args.output) {
        bail!("the output would replace the checkpoint itself; give another -o");
    }
    let vocabulary = match &args.vocab {
        None => checkpoint
            .vocabulary()
            .context("the checkpoint's own vocabulary; give another with `--vocab FILE`")?,
        Some(path) => Some(named_vocabulary(path)?),
    };
    let options = Options { vocabulary: vocabulary.as_ref(), licence: args.licence.as_deref() };
    let all = checkpoint.tensors().map(|tensor| tensor.elements() as u64).sum();
    let bar = terminal::progress(
        all,
        "{bar:30} {percent}% · {human_pos} of {human_len} weights · {per_sec} · {eta} left",
    );
    let report = convert(&checkpoint, &args.output, &options, &mut |done, _| {
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.with_context(|| format!("{}", args.checkpoint.display()))?;
    print(&report, args);
    if vocabulary.is_none() {
        terminal::note(
            "note: the checkpoint brings no vocabulary and no --vocab was given; `run` and \
             `perplexity` need one in the file",
        );
    }
    Ok(())
}

/// The vocabulary that `--vocab` names.
fn named_vocabulary(name: &std::path::Path) -> Result<Vocabulary> {
    match name.to_str() {
        Some("bytes") => Ok(Vocabulary::bytes(0)),
        Some("bytes+1") => Ok(Vocabulary::bytes(1)),
        _ => Vocabulary::read(&read(name)?).with_context(|| format!("{}", name.display())),
    }
}

fn same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn print(report: &Report, args: &QuantizeArgs) {
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
        "{}: {} bytes, {:.3} bits per weight, SNR {:.1} dB, {:.1} s",
        args.output.display(),
        report.file_len,
        8.0 * bytes as f64 / weights,
        10.0 * (signal / noise).log10(),
        report.elapsed.as_secs_f64(),
    );
    println!("content hash {}", Hex(&report.content_hash));
}
