//! From a checkpoint to a model file.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use kinglet::matrix::{ROW_GROUP, TILE_ROWS, layout};
use kinglet::model::{Header, Record, Section};
use kinglet::shape::{Architecture, Shape};
use kinglet::tensors::{self, Storage, TensorName, TensorSpec};
use rayon::prelude::*;

use crate::architecture::{self, LN0};
use crate::checkpoint::{Checkpoint, Role, Source, Tensor};
use crate::error::ConvertError;
use crate::int8::{self, Errors, Packed, multiplier};
use crate::tuned::{self, TunedState};
use crate::vocabulary::Vocabulary;
use crate::writer::{Writer, sha256_of};

/// About how many values are decoded at a time: 8 MB of f32.
const CHUNK: usize = 1 << 21;
/// Epsilon of LayerNorm.
const LN_EPS: f64 = 1e-5;

/// What a conversion adds to the weights.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// The vocabulary to pack into the file.
    pub vocabulary: Option<&'a Vocabulary>,
    /// The state to start from, in place of one that the checkpoint may have.
    pub state: Option<&'a TunedState>,
    /// A line on the weights' licence for the provenance.
    pub licence: Option<&'a str>,
}

/// Called with the number of weights done and of all weights.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// How one tensor was quantized.
#[derive(Clone, Debug)]
pub struct TensorReport {
    /// Official name.
    pub name: String,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Inputs that share a scale.
    pub group: usize,
    /// Bytes in the file.
    pub bytes: u64,
    /// Sum of the squared weights.
    pub signal: f64,
    /// Sum of the squared rounding errors.
    pub noise: f64,
    /// Largest magnitude of a weight.
    pub largest: f32,
}

impl TensorReport {
    /// Bits in the file per weight of the checkpoint.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / (self.rows as f64 * self.cols as f64)
    }

    /// Root mean square of the rounding errors over that of the weights; 0 for a tensor of zeros.
    pub fn relative_error(&self) -> f64 {
        if self.signal == 0.0 { 0.0 } else { (self.noise / self.signal).sqrt() }
    }

    /// Largest magnitude over the root mean square of the weights; 1 for a tensor of zeros.
    pub fn outlier_ratio(&self) -> f64 {
        let weights = self.rows as f64 * self.cols as f64;
        if self.signal == 0.0 {
            1.0
        } else {
            f64::from(self.largest) / (self.signal / weights).sqrt()
        }
    }

    /// Signal-to-noise ratio in decibels; infinite where nothing was lost.
    pub fn snr_db(&self) -> f64 {
        10.0 * (self.signal / self.noise).log10()
    }
}

/// What a conversion did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model's dimensions.
    pub shape: Shape,
    /// SHA-256 over architecture, shape and weights.
    pub content_hash: [u8; 32],
    /// Quantized tensors, in file order.
    pub tensors: Vec<TensorReport>,
    /// Values of the checkpoint's tensors that the model uses.
    pub parameters: u64,
    /// Length of the model file in bytes.
    pub file_len: u64,
    /// Time the conversion took.
    pub elapsed: Duration,
}

/// A SHA-256 in hexadecimal.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Converts a checkpoint into the model file `out`.
///
/// Beyond the checkpoint's memory map, memory is bounded by the int8 form of
/// the largest tensor and some tens of megabytes. The same checkpoint and
/// options give the same bytes. `out` is replaced when all is written, or left
/// as it was.
///
/// # Errors
/// When the checkpoint is not a whole, finite RWKV model, the vocabulary does
/// not fit it, or the output cannot be written.
pub fn convert(
    checkpoint: &Checkpoint,
    out: &Path,
    options: &Options<'_>,
    progress: Progress<'_>,
) -> Result<Report, ConvertError> {
    let start = std::time::Instant::now();
    let shape = architecture::shape(checkpoint)?;
    if let Some(vocabulary) = options.vocabulary
        && vocabulary.vocab_len() > shape.vocab
    {
        let found = vocabulary.vocab_len() - 1;
        return Err(ConvertError::Vocabulary { found, vocab: shape.vocab });
    }
    let start_state = start_state(checkpoint, &shape, options)?;
    let failed = ConvertError::output(out);
    let provenance = std::thread::scope(|scope| {
        let provenance = scope.spawn(|| provenance(checkpoint, options));
        let mut converted = Conversion::new(checkpoint, shape, out, progress)?;
        let sections = [Section::Vectors, Section::Embedding, Section::Layers, Section::Head];
        sections.into_iter().try_for_each(|section| converted.section(section))?;
        let provenance = provenance.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, ConvertError>((converted, provenance?))
    });
    let (mut conversion, provenance) = provenance?;
    let tail = |writer: &mut Writer| -> io::Result<()> {
        if let Some(state) = &start_state {
            writer.section(Section::StartState, bytemuck::cast_slice(state))?;
        }
        if let Some(vocabulary) = options.vocabulary {
            writer.section(Section::Tokenizer, &vocabulary.pack().map_err(io::Error::other)?)?;
        }
        writer.section(Section::Provenance, provenance.as_bytes())
    };
    tail(&mut conversion.writer).map_err(&failed)?;
    if shape.architecture == Architecture::Rwkv7a {
        conversion.section(Section::DeepEmbed)?;
    }
    let (Header { content_hash, .. }, file_len) = conversion.writer.finish().map_err(&failed)?;
    Ok(Report {
        shape,
        content_hash,
        tensors: conversion.reports,
        parameters: conversion.parameters,
        file_len,
        elapsed: start.elapsed(),
    })
}

/// The state that the model starts from, where it is not zero.
fn start_state<'a>(
    checkpoint: &Checkpoint,
    shape: &Shape,
    options: &Options<'a>,
) -> Result<Option<Cow<'a, [f32]>>, ConvertError> {
    let Some(state) = options.state else {
        let tuned = tuned::is_tuned(checkpoint);
        return tuned.then(|| tuned::values(checkpoint, shape).map(Cow::Owned)).transpose();
    };
    let (found, expected) = (state.values().len(), shape.state_len());
    if found != expected {
        return Err(ConvertError::StateLength { found, expected });
    }
    Ok(Some(Cow::Borrowed(state.values())))
}

/// The provenance section: lines of `key: value`.
fn provenance(checkpoint: &Checkpoint, options: &Options<'_>) -> Result<String, ConvertError> {
    let version = env!("CARGO_PKG_VERSION");
    let licence = options.licence.unwrap_or("not stated; see where the checkpoint came from");
    let mut text = String::new();
    for source in checkpoint.sources() {
        match source.role() {
            Role::Base => text += &source_lines("source", source)?,
            Role::Adapter { alpha } => {
                text += &source_lines("adapter", source)?;
                if let Some(alpha) = alpha {
                    text += &format!("adapter-alpha: {alpha}\n");
                }
            }
        }
    }
    for source in options.state.iter().flat_map(|state| state.sources()) {
        text += &source_lines("state", source)?;
    }
    text += &format!(
        "quantizer: kinglet-quantize {version}\nlicence: {}\n",
        licence.replace(['\n', '\r'], " "),
    );
    Ok(text)
}

/// Name and SHA-256 of a source. The hash of a directory is that of its tensors' files, in the
/// order of their names, as `cat` would join them.
fn source_lines(key: &str, source: &Source) -> Result<String, ConvertError> {
    let hash = sha256_of(source.files())
        .map_err(|(path, error)| ConvertError::Source { path, source: error })?;
    // `.` and `..` have no name of their own.
    let full = source.path().canonicalize();
    let named = source.path().file_name().or(full.as_ref().ok().and_then(|path| path.file_name()));
    let name = named.unwrap_or_default().to_string_lossy();
    Ok(format!("{key}: {}\n{key}-sha256: {}\n", name.escape_debug(), Hex(&hash)))
}

/// A conversion under way.
struct Conversion<'a> {
    checkpoint: &'a Checkpoint,
    shape: Shape,
    out: &'a Path,
    writer: Writer,
    reports: Vec<TensorReport>,
    parameters: u64,
    all: u64,
    progress: Progress<'a>,
}

impl<'a> Conversion<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        shape: Shape,
        out: &'a Path,
        progress: Progress<'a>,
    ) -> Result<Self, ConvertError> {
        let writer = Writer::new(out, shape).map_err(ConvertError::output(out))?;
        let all = checkpoint.tensors().map(|tensor| tensor.elements() as u64).sum();
        let reports = Vec::new();
        Ok(Self { checkpoint, shape, out, writer, reports, parameters: 0, all, progress })
    }

    /// Writes all tensors of a section.
    fn section(&mut self, section: Section) -> Result<(), ConvertError> {
        self.write(|writer| writer.begin(section))?;
        for index in 0..tensors::tensor_count(&self.shape) {
            let (layer, spec) = tensors::tensor(&self.shape, index);
            if Section::of(layer, spec) == section
                && layer.is_none_or(|layer| layer >= spec.first_layer)
            {
                self.tensor(index, layer, spec)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, f: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<(), ConvertError> {
        f(&mut self.writer).map_err(ConvertError::output(self.out))
    }

    fn tensor(
        &mut self,
        index: usize,
        layer: Option<usize>,
        spec: &'static TensorSpec,
    ) -> Result<(), ConvertError> {
        let name = TensorName { layer, name: spec.stored_name() }.to_string();
        let tensor = self.require(&name)?;
        self.parameters += tensor.elements() as u64 / spec.part.map_or(1, |part| part.count as u64);
        match (spec.storage, layer) {
            (Storage::Vector, _) => self.vector(index, spec, &tensor)?,
            (Storage::Rows, None) => self.embedding(index, spec, &tensor)?,
            (Storage::Rows, Some(layer)) => self.deep_embed(index, spec, &tensor, layer)?,
            _ => self.matrix(index, spec, &tensor, TensorName { layer, name: spec.name })?,
        }
        (self.progress)(self.parameters, self.all);
        Ok(())
    }

    fn require(&self, name: &str) -> Result<Tensor<'a>, ConvertError> {
        let missing = || ConvertError::Missing { tensor: name.to_owned() };
        self.checkpoint.tensor(name).ok_or_else(missing)
    }

    fn record(&self, spec: &TensorSpec, group: usize, multiplier: f32) -> Record {
        Record {
            storage: Some(spec.storage),
            rows: spec.rows.of(&self.shape) as u32,
            cols: spec.cols.of(&self.shape) as u32,
            group: group as u32,
            multiplier,
            offset: 0,
        }
    }

    fn vector(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
    ) -> Result<(), ConvertError> {
        let values = finite_values(tensor)?;
        let record = self.record(spec, 0, 1.0);
        self.write(|writer| writer.tensor(index, record, &[bytemuck::cast_slice(&values)]))
    }

    fn matrix(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        name: TensorName,
    ) -> Result<(), ConvertError> {
        let view = if spec.transposed { tensor.transposed() } else { *tensor };
        let (rows, inputs) = (spec.rows.of(&self.shape), view.columns());
        // Matrices that are stacked in one tensor follow one another row by row.
        let first = spec.part.map_or(0, |part| part.index * rows);
        let range = first..first + rows;
        let mut largest = 0.0f32;
        for_chunks(&view, range.clone(), |chunk| {
            largest = largest.max(chunk.largest);
            Ok(())
        })?;
        let multiplier = multiplier(largest);
        let mut errors = Errors::default();
        for_chunks(&view, range.clone(), |chunk| {
            errors.measure(chunk.values, inputs, multiplier);
            Ok(())
        })?;
        let group = errors.group(spec.storage, inputs);
        let mut packed = Packed::new(spec.storage, rows, inputs, group, multiplier);
        for_chunks(&view, range, |chunk| {
            packed.put_rows(chunk.first - first, chunk.values);
            Ok(())
        })?;
        self.packed(index, spec, &packed, group, multiplier)?;
        self.report(name.to_string(), spec, group, &errors, largest);
        Ok(())
    }

    /// Weight and bias of LayerNorm ln0.
    fn ln0(&self) -> Result<[Vec<f32>; 2], ConvertError> {
        let [weight, bias] = LN0.map(|name| finite_values(&self.require(name)?));
        Ok([weight?, bias?])
    }

    /// The embedding, through LayerNorm ln0.
    fn embedding(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
    ) -> Result<(), ConvertError> {
        let [weight, bias] = self.ln0()?;
        self.parameters += (weight.len() + bias.len()) as u64;
        let width = tensor.columns();
        self.row_table(index, spec, tensor, |_, rows| {
            let mut folded = vec![0.0; rows.len()];
            rows.par_chunks(width).zip(folded.par_chunks_mut(width)).for_each(|(row, folded)| {
                let normed = layer_norm(row, &weight, &bias);
                folded.iter_mut().zip(normed).for_each(|(folded, x)| *folded = x as f32);
            });
            Ok(folded)
        })
    }

    /// The DeepEmbed table of a layer, with the embedding's share added:
    /// `s_emb + LN0(emb) s_emb_x^T`, in f64, rounded once.
    fn deep_embed(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        layer: usize,
    ) -> Result<(), ConvertError> {
        let [weight, bias] = self.ln0()?;
        let embedding = self.require("emb.weight")?;
        let share = finite_values(&self.require(&architecture::deep_embed_share(layer))?)?;
        self.parameters += share.len() as u64;
        let width = embedding.columns();
        let share: Vec<f64> = share.into_iter().map(f64::from).collect();
        self.row_table(index, spec, tensor, |first, rows| {
            let count = rows.len() / tensor.columns();
            let mut embedded = Vec::with_capacity(count * width);
            for_chunks(&embedding, first..first + count, |chunk| {
                for row in chunk.values.chunks(width) {
                    embedded.extend(layer_norm(row, &weight, &bias));
                }
                Ok(())
            })?;
            Ok(add_product(rows, &embedded, &share, width))
        })
    }

    /// A row table: consecutive rows, after `f` has made of them what is stored.
    fn row_table(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        f: impl Fn(usize, &[f32]) -> Result<Vec<f32>, ConvertError>,
    ) -> Result<(), ConvertError> {
        let (rows, cols) = (tensor.rows(), tensor.columns());
        let (mut errors, mut largest) = (Errors::default(), 0.0f32);
        let mut packed = Packed::new(spec.storage, rows, cols, ROW_GROUP, 1.0);
        for_chunks(tensor, 0..rows, |chunk| {
            let stored = f(chunk.first, chunk.values)?;
            errors.measure(&stored, cols, 1.0);
            largest = largest.max(int8::largest(&stored));
            packed.put_rows(chunk.first, &stored);
            Ok(())
        })?;
        self.packed(index, spec, &packed, ROW_GROUP, 1.0)?;
        let name = tensor.name().to_owned();
        self.report(name, spec, ROW_GROUP, &errors, largest);
        Ok(())
    }

    fn packed(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        packed: &Packed,
        group: usize,
        multiplier: f32,
    ) -> Result<(), ConvertError> {
        let record = self.record(spec, group, multiplier);
        let (values, scales) = packed.parts();
        self.write(|writer| writer.tensor(index, record, &[values, scales]))
    }

    fn report(
        &mut self,
        name: String,
        spec: &TensorSpec,
        group: usize,
        errors: &Errors,
        largest: f32,
    ) {
        self.reports.push(TensorReport {
            name,
            rows: spec.rows.of(&self.shape),
            cols: spec.cols.of(&self.shape),
            group,
            bytes: layout(spec, &self.shape, group).len(),
            signal: errors.signal,
            noise: errors.noise_of(group),
            largest,
        });
    }
}

/// LayerNorm of an embedding row.
fn layer_norm(row: &[f32], weight: &[f32], bias: &[f32]) -> impl Iterator<Item = f64> {
    let len = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / len;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / len;
    let rstd = 1.0 / (variance + LN_EPS).sqrt();
    row.iter().zip(weight).zip(bias).map(move |((&x, &weight), &bias)| {
        (f64::from(x) - mean) * rstd * f64::from(weight) + f64::from(bias)
    })
}

/// `rows + x share^T`, rounded once.
///
/// * `rows`: `[row][cols]`
/// * `x`: `[row][width]`
/// * `share`: `[cols][width]`
fn add_product(rows: &[f32], x: &[f64], share: &[f64], width: usize) -> Vec<f32> {
    /// Rows that use a row of `share` while it is in the cache.
    const TOGETHER: usize = 8;
    let cols = share.len() / width;
    let mut sums = vec![0.0; rows.len()];
    let blocks = sums.par_chunks_mut(TOGETHER * cols).zip(rows.par_chunks(TOGETHER * cols));
    blocks.zip(x.par_chunks(TOGETHER * width)).for_each(|((sums, rows), x)| {
        for (column, share) in share.chunks(width).enumerate() {
            for (row, x) in x.chunks(width).enumerate() {
                let at = row * cols + column;
                sums[at] = (f64::from(rows[at]) + dot(x, share)) as f32;
            }
        }
    });
    sums
}

/// The sum of products, in eight sums that do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a8, a), (b8, b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
}

/// Consecutive rows of a tensor.
struct Chunk<'a> {
    /// Index of the first row.
    first: usize,
    /// `[row][columns]`
    values: &'a [f32],
    /// Largest magnitude among them.
    largest: f32,
}

/// Calls `f` with chunks of `rows`, each of a multiple of 16 rows, after checking
/// that they are finite.
fn for_chunks(
    tensor: &Tensor<'_>,
    rows: Range<usize>,
    mut f: impl FnMut(Chunk<'_>) -> Result<(), ConvertError>,
) -> Result<(), ConvertError> {
    let cols = tensor.columns().max(1);
    let step = (CHUNK / cols).next_multiple_of(TILE_ROWS);
    let mut values = Vec::new();
    for first in rows.clone().step_by(step) {
        let range = first..rows.end.min(first + step);
        values.resize(range.len() * tensor.columns(), 0.0);
        let largest = read(tensor, range, &mut values);
        if !largest.is_finite() {
            let at = values.iter().position(|x| !x.is_finite()).unwrap_or(0);
            return Err(ConvertError::NonFinite {
                tensor: tensor.name().to_owned(),
                found: values[at],
                row: first + at / cols,
                column: at % cols,
            });
        }
        f(Chunk { first, values: &values, largest })?;
    }
    Ok(())
}

/// Reads `rows` into `out`, a few for each thread at a time; returns the largest
/// magnitude, which is not finite when a value is not.
fn read(tensor: &Tensor<'_>, rows: Range<usize>, out: &mut [f32]) -> f32 {
    /// Rows of a transposed matrix, which are columns of the file, come 64 at a time.
    const ROWS: usize = 64;
    let parts = out.par_chunks_mut(ROWS * tensor.columns().max(1)).enumerate();
    let largest = parts.map(|(part, out)| {
        let first = rows.start + part * ROWS;
        tensor.read_rows(first..rows.end.min(first + ROWS), out);
        int8::largest(out)
    });
    // As bits, for f32::max would drop a NaN.
    f32::from_bits(largest.map(f32::to_bits).max().unwrap_or(0))
}

/// All values of a tensor, which must be finite.
pub(crate) fn finite_values(tensor: &Tensor<'_>) -> Result<Vec<f32>, ConvertError> {
    let mut all = Vec::with_capacity(tensor.elements());
    for_chunks(tensor, 0..tensor.rows(), |chunk| {
        all.extend_from_slice(chunk.values);
        Ok(())
    })?;
    Ok(all)
}
