//! From a checkpoint to a model file.
//!
//! ```text
//! shape = recognize(tensors)                     version and dimensions, all shapes checked
//! for section in vectors, embedding, layers, head, deep_embed:
//!     for tensor in section, in file order:
//!         vector:     values as f32, all finite
//!         matrix:     measure -> multiplier and group with the least bits for the error -> pack
//!         embedding:  LayerNorm ln0 of each row in f64, rounded once -> pack
//!         DeepEmbed:  s_emb + LN0(emb) s_emb_x^T in f64, rounded once -> pack
//! ```
//!
//! Reading and quantizing go by blocks of rows on all cores, and the writer hashes and writes on a
//! thread of its own, so what is in memory is some blocks and the scales of one tensor. The matrix
//! that the sparse kernel reads is the exception: the file's order is by inputs, so its int8 form
//! is made whole before it is turned.
//!
//! The first error that is reported is that of the first row, whichever thread was faster.

pub(crate) mod error;
mod finite;
pub(crate) mod recognize;
pub(crate) mod tuned_state;
mod writer;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use half::f16;
use kinglet::format::layout::layout;
use kinglet::format::model::{Header, Record, Section};
use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors::{self, Storage, TensorName, TensorSpec};
use kinglet::kernels::matrix::{ROW_GROUP, padded_inputs};
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, Role, Source, Tensor};
use crate::int8::{self, Errors, MAX_IN_TABLE, Measured, Packing, multiplier};
use crate::multiversion::vectorized;
use crate::note::Note;
use crate::threads;
use crate::vocabulary::Vocabulary;
use error::ConvertError;
use finite::{check_finite, finite_values};
use recognize::LN0;
use tuned_state::TunedState;
use writer::{Writer, sha256_of};

/// About how many bytes are given to the writer at a time.
const CHUNK: usize = 4 << 20;
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
    /// What is no error and yet seldom meant, or was told by a guess.
    pub notes: Vec<Note>,
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
/// Reading, quantizing, hashing and writing happen side by side. Beyond the
/// checkpoint's memory map, memory is bounded by the scales of the largest tensor,
/// the int8 form of the largest `ffn.value` and some tens of megabytes. The same checkpoint and
/// options give the same bytes. `out` is replaced when all is written, or left
/// as it was.
///
/// # Errors
/// When the checkpoint is not a whole, finite RWKV model or not as its checksums say, the
/// vocabulary does not fit it, or the output cannot be written.
pub fn convert(
    checkpoint: &Checkpoint,
    out: &Path,
    options: &Options<'_>,
    progress: Progress<'_>,
) -> Result<Report, ConvertError> {
    let start = std::time::Instant::now();
    threads::ensure();
    let shape = recognize::shape(checkpoint)?;
    if let Some(vocabulary) = options.vocabulary
        && vocabulary.vocab_len() > shape.vocab
    {
        let found = vocabulary.vocab_len() - 1;
        return Err(ConvertError::Vocabulary { found, vocab: shape.vocab });
    }
    let start_state = start_state(checkpoint, &shape, options)?;
    let failed = ConvertError::output(out);
    let provenance = std::thread::scope(|scope| {
        // Hashing the checkpoint waits for the disk; on a thread of its own where one is to be had.
        let hashing = std::thread::Builder::new().name("hashing".to_owned());
        // It uses the pool as well: where this thread is the pool, each would wait for the other.
        let hashing = threads::are_apart()
            .then(|| hashing.spawn_scoped(scope, || provenance(checkpoint, options)).ok())
            .flatten();
        let mut converted = Conversion::new(checkpoint, shape, out, progress)?;
        let sections = [Section::Vectors, Section::Embedding, Section::Layers, Section::Head];
        sections.into_iter().try_for_each(|section| converted.section(section))?;
        let provenance = match hashing {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => provenance(checkpoint, options),
        };
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
        notes: notes(checkpoint, &shape, options),
        tensors: conversion.reports,
        parameters: conversion.parameters,
        file_len,
        elapsed: start.elapsed(),
    })
}

/// What is worth saying of what was converted.
fn notes(checkpoint: &Checkpoint, shape: &Shape, options: &Options<'_>) -> Vec<Note> {
    let vocabulary = options.vocabulary.map(Vocabulary::vocab_len);
    let vocabulary = vocabulary.and_then(|found| Note::on_vocabulary(found, shape.vocab));
    let state = options.state.map(TunedState::notes).unwrap_or_default();
    checkpoint.guess().into_iter().chain(vocabulary).chain(state.iter().copied()).collect()
}

/// The state that the model starts from, where it is not zero.
fn start_state<'a>(
    checkpoint: &Checkpoint,
    shape: &Shape,
    options: &Options<'a>,
) -> Result<Option<Cow<'a, [f32]>>, ConvertError> {
    let Some(state) = options.state else {
        let tuned = tuned_state::is_tuned(checkpoint);
        return tuned.then(|| tuned_state::values(checkpoint, shape).map(Cow::Owned)).transpose();
    };
    let (found, expected) = (state.values().len(), shape.state_len());
    if found != expected {
        return Err(ConvertError::StateLength { found, expected });
    }
    Ok(Some(Cow::Borrowed(state.values())))
}

/// The provenance section: lines of `key: value`.
fn provenance(checkpoint: &Checkpoint, options: &Options<'_>) -> Result<String, ConvertError> {
    checkpoint.verify()?;
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
    if let Some(id) = checkpoint.end_of_turn() {
        text += &format!("end-of-turn: {id}\n");
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
    /// A sparse matrix before it is turned.
    tiles: Vec<i8>,
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
        Ok(Self {
            checkpoint,
            shape,
            out,
            writer,
            reports: Vec::new(),
            parameters: 0,
            all,
            progress,
            tiles: Vec::new(),
        })
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
            (Storage::Embedding, None) => self.embedding(index, spec, &tensor)?,
            (Storage::Embedding, Some(layer)) => self.deep_embed(index, spec, &tensor, layer)?,
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
        self.writer.tensor(index, self.record(spec, 0, 1.0));
        self.bytes(bytemuck::cast_slice(&values))
    }

    /// Writes a part of a tensor, which ends at a multiple of 64.
    fn bytes(&mut self, part: &[u8]) -> Result<(), ConvertError> {
        self.write(|writer| {
            writer.write(part)?;
            writer.align()
        })
    }

    fn matrix(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        name: TensorName,
    ) -> Result<(), ConvertError> {
        let view = if spec.transposed { tensor.transposed() } else { *tensor };
        let (count, inputs) = (spec.rows.of(&self.shape), view.columns());
        // Matrices that are stacked in one tensor follow one another row by row.
        let first = spec.part.map_or(0, |part| part.index * count);
        let rows = RowReader { tensor: &view, first, count };
        let name = name.to_string();
        let mut measured = rows.measure(None)?;
        let largest = measured.largest;
        let chosen = multiplier(largest);
        if !measured.fits(chosen) {
            measured = rows.measure(Some(chosen))?;
        }
        let mut errors = measured.errors;
        let storage = spec.storage;
        let group = errors.group(storage, inputs);
        let mut packing = Packing { storage, inputs, group, multiplier: chosen };
        let mut zeros = &[][..];
        if let Some(grid) = self.checkpoint.grid(&name) {
            let (group, multiplier) = (grid.group, grid.multiplier);
            let kept = Packing { group, multiplier, ..packing };
            if kept.is_possible() && rows.lie_on(&kept) {
                (packing, zeros) = (kept, &grid.zeros);
                errors = Errors { signal: errors.signal, ..Errors::default() };
            }
        }
        let Packing { group, multiplier, .. } = packing;
        self.writer.tensor(index, self.record(spec, group, multiplier));
        match storage {
            Storage::Sparse => self.sparse(&packing, &rows, zeros)?,
            _ => self.pack(&packing, &rows, zeros, |_, _| Ok(())).map(drop)?,
        }
        self.report(name, spec, group, &errors, largest);
        Ok(())
    }

    /// Quantizes and writes rows, chunk by chunk, after `f` has changed them: it is given the index
    /// of the first of some rows and their values. `zeros` are the scales of groups of zeros.
    /// Returns what `f` returned, in order.
    fn pack<T: Send>(
        &mut self,
        packing: &Packing,
        rows: &RowReader<'_>,
        zeros: &[(usize, usize, u16)],
        f: impl Fn(usize, &mut [f32]) -> Result<T, ConvertError> + Sync,
    ) -> Result<Vec<T>, ConvertError> {
        let (values_of, scales_of) = (packing.values_per_row(), packing.scales_per_row());
        let mut scales = vec![f16::ZERO; packing.padded(rows.count) * scales_of];
        let step = (CHUNK / values_of.max(1)).next_multiple_of(MAX_TOGETHER);
        let mut results = Vec::new();
        for first in (0..rows.count).step_by(step) {
            let chunk = first..rows.count.min(first + step);
            let mut buffer = self.writer.buffer(packing.padded(chunk.len()) * values_of);
            let values = bytemuck::cast_slice_mut(&mut buffer);
            results.extend(rows.put(
                packing,
                chunk,
                values,
                &mut scales[first * scales_of..],
                &f,
            )?);
            self.write(|writer| writer.put(buffer))?;
        }
        packing.set_scales_of_zeros(zeros, &mut scales);
        self.write(Writer::align)?;
        self.bytes(bytemuck::cast_slice(&scales))?;
        Ok(results)
    }

    /// Quantizes and writes a sparse matrix, in whose file order the last row precedes the second
    /// input: it is quantized whole, then turned chunk by chunk.
    fn sparse(
        &mut self,
        packing: &Packing,
        rows: &RowReader<'_>,
        zeros: &[(usize, usize, u16)],
    ) -> Result<(), ConvertError> {
        let (inputs, padded) = (packing.inputs, packing.padded(rows.count));
        let groups = packing.scales_per_row();
        let mut scales = vec![f16::ZERO; padded * groups];
        let mut tiles = std::mem::take(&mut self.tiles);
        tiles.resize(padded * inputs, 0);
        rows.put(packing, 0..rows.count, &mut tiles, &mut scales, |_, _| Ok(()))?;
        let all = padded_inputs(inputs);
        let step = (CHUNK / padded).next_multiple_of(MAX_TOGETHER);
        for first in (0..all).step_by(step) {
            let mut buffer = self.writer.buffer(step.min(all - first) * padded);
            int8::turn(&tiles, inputs, padded, first, bytemuck::cast_slice_mut(&mut buffer));
            self.write(|writer| writer.put(buffer))?;
        }
        self.tiles = tiles;
        packing.set_scales_of_zeros(zeros, &mut scales);
        self.write(Writer::align)?;
        let scales = int8::turn_scales(&scales, groups, padded);
        self.bytes(bytemuck::cast_slice(&scales))
    }

    /// Weight and bias of LayerNorm ln0; `None` where the model has none.
    fn ln0(&self) -> Result<Option<[Vec<f32>; 2]>, ConvertError> {
        if self.checkpoint.is_without_ln0() {
            return Ok(None);
        }
        let [weight, bias] = LN0.map(|name| finite_values(&self.require(name)?));
        Ok(Some([weight?, bias?]))
    }

    /// The embedding, through LayerNorm ln0.
    fn embedding(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
    ) -> Result<(), ConvertError> {
        let Some([weight, bias]) = self.ln0()? else {
            return self.row_table(index, spec, tensor, |_, _| {});
        };
        self.parameters += (weight.len() + bias.len()) as u64;
        let width = tensor.columns();
        self.row_table(index, spec, tensor, |_, rows| {
            let moments = moments(rows, width);
            for (row, moments) in rows.chunks_mut(width).zip(moments) {
                normalize(row, moments, &weight, &bias);
            }
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
        let ln0 = self.ln0()?;
        let embedding = self.require("emb.weight")?;
        let share = recognize::deep_embed_share(layer);
        if self.checkpoint.is_export() && self.checkpoint.tensor(&share).is_none() {
            return self.row_table(index, spec, tensor, |_, _| {});
        }
        let share = finite_values(&self.require(&share)?)?;
        self.parameters += share.len() as u64;
        let width = embedding.columns();
        let share: Vec<f64> = share.into_iter().map(f64::from).collect();
        // Its values were found finite when the embedding itself was converted.
        let embedding = RowReader { tensor: &embedding, first: 0, count: embedding.rows() };
        self.row_table(index, spec, tensor, |first, rows| {
            let count = rows.len() / tensor.columns();
            embedding.with(first..first + count, |embedded| {
                let normed: Vec<f64> = match &ln0 {
                    None => embedded.iter().copied().map(f64::from).collect(),
                    Some([weight, bias]) => {
                        let moments = moments(embedded, width);
                        let normed = embedded.chunks(width).zip(moments);
                        normed.flat_map(|(row, m)| layer_norm(row, m, weight, bias)).collect()
                    }
                };
                add_product(rows, &normed, &share, width);
            });
        })
    }

    /// A row table: consecutive rows, after `f` has made of them what is stored.
    fn row_table(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        f: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), ConvertError> {
        let inputs = tensor.columns();
        let rows = RowReader { tensor, first: 0, count: tensor.rows() };
        let packing = Packing { storage: spec.storage, inputs, group: ROW_GROUP, multiplier: 1.0 };
        self.writer.tensor(index, self.record(spec, ROW_GROUP, 1.0));
        let grid = self.checkpoint.grid(tensor.name());
        let zeros = grid.map_or(&[][..], |grid| &grid.zeros);
        let measured = self.pack(&packing, &rows, zeros, |first, rows| {
            check_finite(tensor, first, rows)?;
            f(first, rows);
            Ok(measure(rows, inputs, Some(1.0)))
        })?;
        let Measured { errors, largest, .. } = total(&measured);
        let name = tensor.name().to_owned();
        if largest.is_nan() || largest > MAX_IN_TABLE {
            return Err(ConvertError::Range { tensor: name, largest });
        }
        self.report(name, spec, ROW_GROUP, &errors, largest);
        Ok(())
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

/// Mean, and reciprocal of the standard deviation.
type Moments = (f64, f64);

/// The moments of every row of `[row][width]`.
fn moments(rows: &[f32], width: usize) -> Vec<Moments> {
    /// Each row has one sum, in ascending order, whose additions wait for each other; those
    /// of several rows do not.
    const TOGETHER: usize = 4;
    let mut all = Vec::with_capacity(rows.len() / width);
    for rows in rows.chunks(TOGETHER * width) {
        if rows.len() == TOGETHER * width {
            let rows: [&[f32]; TOGETHER] = std::array::from_fn(|i| &rows[i * width..][..width]);
            all.extend(moments_of(rows));
        } else {
            all.extend(rows.chunks(width).flat_map(|row| moments_of([row])));
        }
    }
    all
}

/// The moments of rows of the same length.
fn moments_of<const N: usize>(rows: [&[f32]; N]) -> [Moments; N] {
    let width = rows[0].len();
    let len = width as f64;
    let sums = |f: &dyn Fn(usize, f64) -> f64| {
        let mut sums = [0.0; N];
        for column in 0..width {
            for (i, (sum, row)) in sums.iter_mut().zip(rows).enumerate() {
                *sum += f(i, f64::from(row[column]));
            }
        }
        sums
    };
    let means = sums(&|_, x| x).map(|sum| sum / len);
    let squares = sums(&|i, x| (x - means[i]).powi(2));
    std::array::from_fn(|i| (means[i], 1.0 / (squares[i] / len + LN_EPS).sqrt()))
}

/// LayerNorm of an embedding row.
#[inline(always)]
fn layer_norm(
    row: &[f32],
    (mean, rstd): Moments,
    weight: &[f32],
    bias: &[f32],
) -> impl Iterator<Item = f64> {
    row.iter().zip(weight).zip(bias).map(move |((&x, &weight), &bias)| {
        (f64::from(x) - mean) * rstd * f64::from(weight) + f64::from(bias)
    })
}

vectorized! {
    /// LayerNorm of an embedding row, in place, rounded once.
    fn normalize(row: &mut [f32], moments: Moments, weight: &[f32], bias: &[f32]) {
        let (mean, rstd) = moments;
        for ((x, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
            let normed = (f64::from(*x) - mean) * rstd * f64::from(weight) + f64::from(bias);
            *x = normed as f32;
        }
    }
}

/// `rows + x share^T`, rounded once.
///
/// * `rows`: `[row][cols]`
/// * `x`: `[row][width]`
/// * `share`: `[cols][width]`
fn add_product(rows: &mut [f32], x: &[f64], share: &[f64], width: usize) {
    /// Rows that use a row of `share` while it is in the cache.
    const TOGETHER: usize = 8;
    let cols = share.len() / width;
    for (rows, x) in rows.chunks_mut(TOGETHER * cols).zip(x.chunks(TOGETHER * width)) {
        for (column, share) in share.chunks(width).enumerate() {
            for (row, x) in x.chunks(width).enumerate() {
                let value = &mut rows[row * cols + column];
                *value = (f64::from(*value) + dot(x, share)) as f32;
            }
        }
    }
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

/// Rows of a tensor, which are worked on in blocks, in parallel. A block stays in the cache of
/// the core that decodes it.
struct RowReader<'t> {
    tensor: &'t Tensor<'t>,
    /// Index of the first row.
    first: usize,
    count: usize,
}

impl RowReader<'_> {
    /// Calls `f` with the values of some rows, counted from the first of these: `[row][columns]`.
    fn with<R>(&self, rows: Range<usize>, f: impl FnOnce(&mut [f32]) -> R) -> R {
        thread_local! {
            /// Taken while it is in use: a thread that waits for others inside of `f` may be
            /// given a second block.
            static VALUES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        let mut values = VALUES.take();
        values.resize(rows.len() * self.tensor.columns(), 0.0);
        self.tensor.read_rows(self.first + rows.start..self.first + rows.end, &mut values);
        let result = f(&mut values);
        VALUES.set(values);
        result
    }

    /// The rows of a block.
    fn block(&self, index: usize) -> Range<usize> {
        let step = self.tensor.rows_together();
        index * step..self.count.min((index + 1) * step)
    }

    /// What `f` makes of each block, in order; it is given the index of the block's first row in
    /// the tensor as well.
    fn map<R: Send>(&self, f: impl Fn(usize, &[f32]) -> R + Sync) -> Vec<R> {
        let blocks = (0..self.count.div_ceil(self.tensor.rows_together())).into_par_iter();
        let each = blocks.map(|index| {
            let rows = self.block(index);
            self.with(rows.clone(), |values| f(self.first + rows.start, values))
        });
        each.collect()
    }

    /// Measures all rows, after checking that all values are finite.
    fn measure(&self, multiplier: Option<f32>) -> Result<Measured, ConvertError> {
        let inputs = self.tensor.columns();
        let blocks = self.map(|first, values| {
            let measured = measure(values, inputs, multiplier);
            if !measured.iter().all(|row| row.largest.is_finite()) {
                check_finite(self.tensor, first, values)?;
            }
            Ok::<_, ConvertError>(measured)
        });
        Ok(total(&blocks.into_iter().collect::<Result<Vec<_>, _>>()?))
    }

    /// Whether quantizing loses nothing: all rows are multiples of their steps.
    fn lie_on(&self, packing: &Packing) -> bool {
        self.map(|_, values| packing.is_exact(values)).into_iter().all(|exact| exact)
    }

    /// Quantizes rows, after `f` has changed them, and returns what it returned for each block.
    /// `values` and `scales` begin with those of the first row; scales of later rows may follow.
    fn put<T: Send>(
        &self,
        packing: &Packing,
        rows: Range<usize>,
        values: &mut [i8],
        scales: &mut [f16],
        f: impl Fn(usize, &mut [f32]) -> Result<T, ConvertError> + Sync,
    ) -> Result<Vec<T>, ConvertError> {
        let step = self.tensor.rows_together();
        let blocks = values
            .par_chunks_mut(step * packing.values_per_row())
            .zip(scales.par_chunks_mut(step * packing.scales_per_row()))
            .enumerate();
        let each = blocks.map(|(index, (values, scales))| {
            let first = rows.start + index * step;
            self.with(first..rows.end.min(first + step), |rows| {
                let result = f(self.first + first, rows)?;
                packing.put(rows, values, scales);
                Ok(result)
            })
        });
        // The first error is that of the first row, whichever thread was faster.
        each.collect::<Vec<_>>().into_iter().collect()
    }
}

/// More rows are never read together.
const MAX_TOGETHER: usize = 64;

/// Measures every row.
fn measure(rows: &[f32], inputs: usize, multiplier: Option<f32>) -> Vec<Measured> {
    rows.chunks(inputs).map(|row| Measured::of_row(row, multiplier)).collect()
}

/// All rows of some blocks, in order.
fn total(blocks: &[Vec<Measured>]) -> Measured {
    let mut sum = Measured::NONE;
    blocks.iter().flatten().for_each(|row| sum.add(row));
    sum
}
