//! How `quantize` tells what it wrote: totals, what is unusual, and what to do next.
//!
//! A line for each of hundreds of tensors would scroll the result away, so that is for `-v`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use kinglet::format::model::{Model, Section};
use kinglet_host::ModelFile;
use kinglet_quantize::{Hex, Limit, Mix, Report, TensorReport};
use serde_json::{Value, json};

use crate::args::QuantizeArgs;
use crate::support::numbers::grouped;
use crate::support::sampling::sampling_json;
use crate::support::stdout::Stdout;
use crate::support::terminal::{self, IgnoreBrokenPipe};
use crate::support::traffic::parameters;

/// A tensor is unusual where its rounding error is this many times the median of all.
const UNUSUAL: f64 = 2.0;
/// Most unusual tensors that are named.
const MAX_NAMED: usize = 5;

/// Prints what was converted; `read` is the bytes of the checkpoint's tensors.
pub(super) fn print(report: &Report, args: &QuantizeArgs, read: u64) -> Result<()> {
    let is_told = !terminal::is_quiet() && !args.unsaid;
    if !(args.json || args.verbose || is_told) {
        return Ok(());
    }
    let file = ModelFile::open(&args.output);
    let file = file.with_context(|| format!("cannot read {}", args.output.display()))?;
    let model = Model::open(file.bytes())?;
    let totals = Totals::new(report, &model, read);
    let mut out = IgnoreBrokenPipe::new(Stdout::lock());
    if args.json {
        let json = serde_json::to_string_pretty(&totals.json(report, &model, args))?;
        return Ok(writeln!(out, "{json}")?);
    }
    if args.verbose {
        print_tensors(&mut out, &report.tensors)?;
    }
    if is_told {
        totals.print(&mut out, report, args)?;
        if args.pulled.is_none() && !model.section(Section::Tokenizer).is_empty() {
            let name = args.output.display();
            terminal::note(&format!("next: kinglet run -m {name} \"Once upon a time\""));
        }
    }
    Ok(())
}

/// What all tensors come to.
struct Totals {
    /// As `info` counts them.
    parameters: u64,
    bits_per_weight: f64,
    snr_db: f64,
    bytes_per_second: f64,
}

impl Totals {
    fn new(report: &Report, model: &Model<'_>, read: u64) -> Self {
        let tensors = &report.tensors;
        let weights: f64 = tensors.iter().map(|t| t.rows as f64 * t.cols as f64).sum();
        let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
        let signal: f64 = tensors.iter().map(|tensor| tensor.signal).sum();
        let noise: f64 = tensors.iter().map(|tensor| tensor.noise).sum();
        Self {
            parameters: parameters(model),
            bits_per_weight: 8.0 * bytes as f64 / weights,
            snr_db: 10.0 * (signal / noise).log10(),
            bytes_per_second: read as f64 / report.elapsed.as_secs_f64(),
        }
    }

    fn print(&self, out: &mut impl Write, report: &Report, args: &QuantizeArgs) -> io::Result<()> {
        writeln!(
            out,
            "{}, {} layers of width {}, {} parameters",
            report.shape.architecture,
            report.shape.layers,
            report.shape.width,
            grouped(self.parameters),
        )?;
        writeln!(
            out,
            "{}: {} bytes, {:.3} bits per weight, SNR {:.1} dB, {:.1} s, {:.2} GB/s",
            args.output.display(),
            grouped(report.file_len),
            self.bits_per_weight,
            self.snr_db,
            report.elapsed.as_secs_f64(),
            self.bytes_per_second / 1e9,
        )?;
        print_mix(out, report)?;
        let unusual = unusual(&report.tensors);
        for tensor in unusual.iter().take(MAX_NAMED) {
            writeln!(
                out,
                "unusual: {}, groups of {}, SNR {:.1} dB",
                tensor.name,
                tensor.group,
                tensor.snr_db()
            )?;
        }
        if let more @ 1.. = unusual.len().saturating_sub(MAX_NAMED) {
            writeln!(out, "unusual: {more} more; -v shows every tensor")?;
        }
        writeln!(out, "content hash {}", Hex(&report.content_hash))
    }

    fn json(&self, report: &Report, model: &Model<'_>, args: &QuantizeArgs) -> Value {
        let tensor = |tensor: &TensorReport| {
            json!({
                "name": tensor.name,
                "rows": tensor.rows,
                "cols": tensor.cols,
                "bits": tensor.bits(),
                "group": tensor.group,
                "bits_per_weight": tensor.bits_per_weight(),
                "snr_db": tensor.snr_db(),
                "int4_kl": tensor.int4_kl,
            })
        };
        json!({
            "checkpoint": args.checkpoint.display().to_string(),
            "model": args.output.display().to_string(),
            "architecture": report.shape.architecture.name(),
            "layers": report.shape.layers,
            "width": report.shape.width,
            "parameters": self.parameters,
            "file_bytes": report.file_len,
            "bits_per_weight": self.bits_per_weight,
            "snr_db": self.snr_db,
            "int8": Share::of(&report.tensors, 8).json(),
            "int4": Share::of(&report.tensors, 4).json(),
            "mix": report.mix.as_ref().map(mix_json),
            "seconds": report.elapsed.as_secs_f64(),
            "content_hash": Hex(&report.content_hash).to_string(),
            "sampling": sampling_json(&kinglet::SamplerOptions::for_model(model)),
            "notes": report.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "unusual": unusual(&report.tensors).iter().map(|t| &t.name).collect::<Vec<_>>(),
            "tensors": report.tensors.iter().map(tensor).collect::<Vec<_>>(),
        })
    }
}

/// How much of a model has weights of some bits.
struct Share {
    tensors: usize,
    bytes: u64,
}

impl Share {
    fn of(tensors: &[TensorReport], bits: u32) -> Self {
        let tensors = tensors.iter().filter(|tensor| tensor.bits() == bits);
        Self { tensors: tensors.clone().count(), bytes: tensors.map(|tensor| tensor.bytes).sum() }
    }

    fn json(&self) -> Value {
        json!({ "tensors": self.tensors, "bytes": self.bytes })
    }
}

/// What the bits of each tensor were chosen by.
pub(super) fn mix_json(mix: &Mix) -> Value {
    let (size, max_kl) = match mix.limit {
        Limit::Size(size) => (Some(size), None),
        Limit::Kl(most) => (None, Some(most)),
    };
    json!({
        "size": size,
        "max_kl": max_kl,
        "kl": mix.kl,
        "kl_all_int4": mix.int4_kl,
        "tokens": mix.tokens,
    })
}

/// How many tensors have which bits, where they were chosen.
fn print_mix(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Some(mix) = &report.mix else { return Ok(()) };
    let [int4, int8] = [4, 8].map(|bits| Share::of(&report.tensors, bits));
    writeln!(
        out,
        "int4: {} of {} matrices and tables, {} bytes; int8: {}, {} bytes",
        int4.tensors,
        report.tensors.len(),
        grouped(int4.bytes),
        int8.tensors,
        grouped(int8.bytes),
    )?;
    writeln!(
        out,
        "KL divergence from int8 {:.2e} nats at {} tokens; all in int4 {:.2e}",
        mix.kl,
        grouped(mix.tokens as u64),
        mix.int4_kl,
    )
}

/// Tensors that rounding costs much more than the others, the worst first.
fn unusual(tensors: &[TensorReport]) -> Vec<&TensorReport> {
    let mut errors: Vec<_> = tensors.iter().map(TensorReport::relative_error).collect();
    errors.sort_by(f64::total_cmp);
    let median = errors.get(errors.len() / 2).copied().unwrap_or_default();
    let mut unusual: Vec<_> =
        tensors.iter().filter(|tensor| tensor.relative_error() > UNUSUAL * median).collect();
    unusual.sort_by(|a, b| b.relative_error().total_cmp(&a.relative_error()));
    unusual
}

/// A line for each tensor.
fn print_tensors(out: &mut impl Write, tensors: &[TensorReport]) -> io::Result<()> {
    let width = tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    let is_measured = tensors.iter().any(|tensor| tensor.int4_kl.is_some());
    let title = if is_measured { "  int4 costs" } else { "" };
    writeln!(
        out,
        "{:width$}  {:>13}  {:>4}  {:>5}  {:>6}  {:>7}{title}",
        "tensor", "shape", "type", "group", "bits", "SNR"
    )?;
    for tensor in tensors {
        let shape = format!("{} x {}", tensor.rows, tensor.cols);
        let cost = tensor.int4_kl.map_or_else(String::new, |kl| format!("  {kl:>10.1e}"));
        writeln!(
            out,
            "{:width$}  {shape:>13}  int{}  {:>5}  {:>6.3}  {:>3.1} dB{cost}",
            tensor.name,
            tensor.bits(),
            tensor.group,
            tensor.bits_per_weight(),
            tensor.snr_db(),
        )?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use kinglet::kernels::weights::WeightType;

    use super::*;

    #[test]
    fn a_tensor_that_loses_much_is_unusual() {
        let tensor = |name: &str, noise| TensorReport {
            name: name.to_owned(),
            rows: 16,
            cols: 16,
            weights: WeightType::Int8,
            group: 32,
            bytes: 300,
            signal: 1.0,
            noise,
            largest: 1.0,
            int4_kl: None,
        };
        let mut tensors = vec![tensor("a", 1e-4), tensor("b", 1.2e-4), tensor("c", 0.9e-4)];
        assert!(unusual(&tensors).is_empty());
        tensors.extend([tensor("d", 9e-4), tensor("e", 1e-2)]);
        let names: Vec<_> = unusual(&tensors).iter().map(|t| t.name.clone()).collect();
        assert_eq!(names, ["e", "d"]);
        assert!(unusual(&[]).is_empty());
    }
}
