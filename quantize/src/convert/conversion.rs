//! One conversion: each tensor as the model file has it, in file order.
//!
//! A vector is stored as f32. A matrix is measured first, in all groups at once, and packed with
//! the group that costs the fewest bits for its error; what an export states of its own grid comes
//! before that where the rows lie on it. int4 has groups of one size. Tables take up the norm that is
//! computed once per token, so that a device need not compute it.

use std::io;
use std::path::Path;

use half::f16;
use kinglet::format::layout::layout;
use kinglet::format::model::{Record, Section};
use kinglet::format::shape::{Architecture, Shape};
use kinglet::format::tensors::{self, Storage, TensorName, TensorSpec};
use kinglet::kernels::matrix::{ROW_GROUP, TILE, padded_inputs, padded_rows};
use kinglet::kernels::weights::WeightType;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::dual::DualModel;
use crate::int4;
use crate::int8::{self, Errors, Measured};
use crate::packing::{self, Packing};

use super::Progress;
use super::choice::Choice;
use super::error::ConvertError;
use super::finite::{check_finite, finite_values};
use super::norm::{add_product, layer_norm, moments, normalize};
use super::recognize::{self, LN0};
use super::report::{Reports, TensorReport};
use super::rows::{MAX_TOGETHER, RowReader, measure, total};
use super::writer::Writer;

/// About how many bytes are given to the writer at a time.
const CHUNK: usize = 4 << 20;

/// How weights are rounded, without a look at what is computed with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// int8, in groups by their errors.
    Int8,
    /// int4.
    Int4,
    /// A byte each: matrices as int8 with the groups and multipliers of int4, tables as int4.
    Int4Bytes,
}

impl Form {
    /// The integers of tables.
    const fn tables(self) -> WeightType {
        match self {
            Self::Int8 => WeightType::Int8,
            _ => WeightType::Int4,
        }
    }

    /// What integers are stored as, and those of matrices.
    const fn stored(self) -> WeightType {
        match self {
            Self::Int8 | Self::Int4Bytes => WeightType::Int8,
            Self::Int4 => WeightType::Int4,
        }
    }
}

/// Where a conversion's weights come from.
#[derive(Clone, Copy)]
pub(super) enum Plan<'p> {
    /// The checkpoint, in one form.
    Rounded(Form),
    /// The checkpoint, in int8 and as bytes of int4, one after the other: for a [`DualModel`].
    Dual,
    /// The weights that were chosen.
    Chosen(&'p Choice),
}

/// A conversion under way.
pub(super) struct Conversion<'a> {
    checkpoint: &'a Checkpoint,
    shape: Shape,
    out: &'a Path,
    pub(super) writer: Writer,
    pub(super) reports: Vec<TensorReport>,
    pub(super) parameters: u64,
    all: u64,
    progress: Progress<'a>,
    plan: Plan<'a>,
    /// Of a dual model: the int8 forms, which its directory does not have, as they were written.
    int8: Vec<(usize, Record)>,
    /// A sparse matrix before it is turned.
    tiles: Vec<i8>,
    /// Integers of int4 before they are nibbles.
    quanta: Vec<i8>,
}

impl<'a> Conversion<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        shape: Shape,
        out: &'a Path,
        plan: Plan<'a>,
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
            plan,
            int8: Vec::new(),
            tiles: Vec::new(),
            quanta: Vec::new(),
        })
    }

    /// Writes the sections of tensors that come first.
    pub(super) fn first_sections(&mut self) -> Result<(), ConvertError> {
        let sections = [Section::Vectors, Section::Embedding, Section::Layers, Section::Head];
        sections.into_iter().try_for_each(|section| self.section(section))
    }

    /// Writes the other sections: the start state where it is not zero, what `f` writes, and the
    /// tables of DeepEmbed.
    pub(super) fn last_sections(
        &mut self,
        start_state: Option<&[f32]>,
        f: impl FnOnce(&mut Writer) -> io::Result<()>,
    ) -> Result<(), ConvertError> {
        if let Some(state) = start_state {
            self.write(|writer| writer.section(Section::StartState, bytemuck::cast_slice(state)))?;
        }
        self.write(f)?;
        if self.shape.architecture == Architecture::Rwkv7a {
            self.section(Section::DeepEmbed)?;
        }
        Ok(())
    }

    /// Both forms of a whole conversion that was [planned](Plan::Dual) so, and their reports, by
    /// directory entry: int8, int4.
    pub(super) fn into_dual(self) -> Result<(DualModel, Reports), ConvertError> {
        let output = ConvertError::output(self.out);
        let int4 = self.writer.records().to_vec();
        let (_, file) = self.writer.complete().map_err(&output)?;
        let (pairs, _) = self.reports.as_chunks::<2>();
        let entries = self.int8.iter().map(|&(index, _)| index);
        let reports = entries.zip(pairs.iter().cloned()).collect();
        let int8 = self.int8.into_iter().collect();
        Ok((DualModel::new(file, int8, int4).map_err(&output)?, reports))
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
        if spec.storage == Storage::Embedding {
            self.parameters += self.folded(layer);
        }
        match (spec.storage, self.plan) {
            (Storage::Vector, _) => self.vector(index, spec, &tensor)?,
            (_, Plan::Rounded(form)) => self.rounded(form, index, layer, spec, &tensor)?,
            (_, Plan::Chosen(choice)) => self.chosen(choice, index, spec)?,
            (_, Plan::Dual) => {
                self.rounded(Form::Int8, index, layer, spec, &tensor)?;
                self.int8.push((index, self.writer.records()[index]));
                self.rounded(Form::Int4Bytes, index, layer, spec, &tensor)?;
            }
        }
        (self.progress)(self.parameters, self.all);
        Ok(())
    }

    /// Quantizes and writes a matrix or table.
    fn rounded(
        &mut self,
        form: Form,
        index: usize,
        layer: Option<usize>,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
    ) -> Result<(), ConvertError> {
        match (spec.storage, layer) {
            (Storage::Embedding, None) => self.embedding(form, index, spec, tensor),
            (Storage::Embedding, Some(layer)) => self.deep_embed(form, index, spec, tensor, layer),
            _ => self.matrix(form, index, spec),
        }
    }

    /// Values that a table takes up from other tensors.
    fn folded(&self, layer: Option<usize>) -> u64 {
        let share = layer.map(recognize::deep_embed_share);
        let names = match &share {
            None => &LN0[..],
            Some(share) => &[share.as_str()],
        };
        let tensors = names.iter().filter_map(|name| self.checkpoint.tensor(name));
        tensors.map(|tensor| tensor.elements() as u64).sum()
    }

    fn require(&self, name: &str) -> Result<Tensor<'a>, ConvertError> {
        let missing = || ConvertError::Missing { tensor: name.to_owned() };
        self.checkpoint.tensor(name).ok_or_else(missing)
    }

    fn record(
        &self,
        spec: &TensorSpec,
        weights: WeightType,
        group: usize,
        multiplier: f32,
    ) -> Record {
        Record {
            storage: Some(spec.storage),
            weights,
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
        self.writer.tensor(index, self.record(spec, WeightType::Int8, 0, 1.0));
        self.bytes(bytemuck::cast_slice(&values))
    }

    /// Writes a part of a tensor, which ends at a multiple of 64.
    fn bytes(&mut self, part: &[u8]) -> Result<(), ConvertError> {
        self.write(|writer| {
            writer.write(part)?;
            writer.align()
        })
    }

    fn matrix(&mut self, form: Form, index: usize, spec: &TensorSpec) -> Result<(), ConvertError> {
        let (checkpoint, shape) = (self.checkpoint, self.shape);
        with_rows(checkpoint, &shape, index, |name, storage, rows| {
            let nearest = to_nearest(checkpoint, form, &name, storage, rows)?;
            let Nearest { packing, errors, largest, zeros, .. } = nearest;
            let Packing { group, multiplier, .. } = packing;
            self.writer.tensor(index, self.record(spec, packing.stored, group, multiplier));
            let noise = match storage {
                Storage::Sparse => self.sparse(&packing, rows, zeros)?,
                _ => {
                    let parts = self.pack(&packing, rows, zeros, |_, _| Ok(()))?;
                    parts.into_iter().map(|((), noise)| noise).sum()
                }
            };
            let noise = match packing.weights {
                WeightType::Int4 => noise,
                _ => errors.noise_of(group),
            };
            self.report(name, spec, &packing, [errors.signal, noise], largest);
            Ok(())
        })
    }

    /// Writes a matrix or table as it was chosen.
    fn chosen(
        &mut self,
        choice: &Choice,
        index: usize,
        spec: &TensorSpec,
    ) -> Result<(), ConvertError> {
        let (weights, report) = choice.entry(index).map_err(ConvertError::output(self.out))?;
        let stored = report.weights;
        let Record { group, multiplier, .. } = weights.record;
        self.writer.tensor(index, Record { weights: stored, offset: 0, ..weights.record });
        self.reports.push(report);
        if stored == WeightType::Int8 {
            self.bytes(bytemuck::cast_slice(weights.values))?;
            return self.bytes(bytemuck::cast_slice(weights.scales));
        }
        let packing = Packing {
            storage: spec.storage,
            weights: stored,
            stored,
            inputs: spec.cols.of(&self.shape),
            group: group as usize,
            multiplier,
            feedback: None,
        };
        let rows = spec.rows.of(&self.shape);
        // Lines of the inputs of a sparse matrix are padded to more rows than those of int8.
        let (from, to) = match spec.storage {
            Storage::Sparse => (padded_rows(rows), packing.padded(rows)),
            _ => (TILE, TILE),
        };
        for values in weights.values.chunks(CHUNK.next_multiple_of(2 * from)) {
            self.quanta(&packing, values.len() / from * to, |padded| {
                pad_lines(values, from, padded, to);
                Ok(())
            })?;
        }
        self.write(Writer::align)?;
        let (from, to) = if spec.storage == Storage::Sparse { (from, to) } else { (1, 1) };
        let mut scales = vec![f16::ZERO; weights.scales.len() / from * to];
        pad_lines(weights.scales, from, &mut scales, to);
        self.bytes(bytemuck::cast_slice(&scales))
    }

    /// Quantizes and writes rows, chunk by chunk, after `f` has changed them: it is given the index
    /// of the first of some rows and their values. `zeros` are the scales of groups of zeros.
    /// Returns what `f` returned, in order, and the squared errors of int4.
    fn pack<T: Send>(
        &mut self,
        packing: &Packing<'_>,
        rows: &RowReader<'_>,
        zeros: Zeros<'_>,
        f: impl Fn(usize, &mut [f32]) -> Result<T, ConvertError> + Sync,
    ) -> Result<Vec<(T, f64)>, ConvertError> {
        let (values_of, scales_of) = (packing.values_per_row(), packing.scales_per_row());
        let mut scales = vec![f16::ZERO; packing.padded(rows.count) * scales_of];
        let step = (CHUNK / values_of.max(1)).next_multiple_of(MAX_TOGETHER);
        let mut results = Vec::new();
        for first in (0..rows.count).step_by(step) {
            let chunk = first..rows.count.min(first + step);
            let count = packing.padded(chunk.len()) * values_of;
            let scales = &mut scales[first * scales_of..];
            self.quanta(packing, count, |values| {
                results.extend(rows.put(packing, chunk, values, scales, &f)?);
                Ok(())
            })?;
        }
        packing.set_scales_of_zeros(zeros, &mut scales);
        self.write(Writer::align)?;
        self.bytes(bytemuck::cast_slice(&scales))?;
        Ok(results)
    }

    /// Writes `count` integers, which `f` makes.
    fn quanta(
        &mut self,
        packing: &Packing<'_>,
        count: usize,
        f: impl FnOnce(&mut [i8]) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let mut buffer = self.writer.buffer(packing.stored.bytes(count as u64) as usize);
        match packing.stored {
            WeightType::Int4 => {
                self.quanta.resize(count, 0);
                f(&mut self.quanta)?;
                packing.nibbles(&self.quanta, &mut buffer);
            }
            _ => f(bytemuck::cast_slice_mut(&mut buffer))?,
        }
        self.write(|writer| writer.put(buffer))
    }

    /// Quantizes and writes a sparse matrix, in whose file order the last row precedes the second
    /// input: it is quantized whole, then turned chunk by chunk. Returns the squared error of int4.
    fn sparse(
        &mut self,
        packing: &Packing<'_>,
        rows: &RowReader<'_>,
        zeros: Zeros<'_>,
    ) -> Result<f64, ConvertError> {
        let (inputs, padded) = (packing.inputs, packing.padded(rows.count));
        let groups = packing.scales_per_row();
        let mut scales = vec![f16::ZERO; padded * groups];
        let mut tiles = std::mem::take(&mut self.tiles);
        tiles.resize(padded * inputs, 0);
        // A tile of padding is none of the rows.
        tiles[padded_rows(rows.count) * inputs..].fill(0);
        let parts = rows.put(packing, 0..rows.count, &mut tiles, &mut scales, |_, _| Ok(()))?;
        let all = padded_inputs(inputs);
        let step = (CHUNK / padded).next_multiple_of(MAX_TOGETHER);
        for first in (0..all).step_by(step) {
            self.quanta(packing, step.min(all - first) * padded, |turned| {
                packing::turn(&tiles, inputs, padded, first, turned);
                Ok(())
            })?;
        }
        self.tiles = tiles;
        packing.set_scales_of_zeros(zeros, &mut scales);
        self.write(Writer::align)?;
        let scales = packing::turn_scales(&scales, groups, padded);
        self.bytes(bytemuck::cast_slice(&scales))?;
        Ok(parts.into_iter().map(|((), noise)| noise).sum())
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
        form: Form,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
    ) -> Result<(), ConvertError> {
        let Some([weight, bias]) = self.ln0()? else {
            return self.row_table(form, index, spec, tensor, |_, _| {});
        };
        let width = tensor.columns();
        self.row_table(form, index, spec, tensor, |_, rows| {
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
        form: Form,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        layer: usize,
    ) -> Result<(), ConvertError> {
        let ln0 = self.ln0()?;
        let embedding = self.require("emb.weight")?;
        let share = recognize::deep_embed_share(layer);
        if self.checkpoint.is_export() && self.checkpoint.tensor(&share).is_none() {
            return self.row_table(form, index, spec, tensor, |_, _| {});
        }
        let share = finite_values(&self.require(&share)?)?;
        let width = embedding.columns();
        let share: Vec<f64> = share.into_iter().map(f64::from).collect();
        // Its values were found finite when the embedding itself was converted.
        let embedding = RowReader { tensor: &embedding, first: 0, count: embedding.rows() };
        self.row_table(form, index, spec, tensor, |first, rows| {
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
        form: Form,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        f: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), ConvertError> {
        let inputs = tensor.columns();
        let rows = RowReader { tensor, first: 0, count: tensor.rows() };
        let (storage, weights, stored) = (spec.storage, form.tables(), form.stored());
        let (group, multiplier) = (ROW_GROUP, 1.0);
        let packing =
            Packing { storage, weights, stored, inputs, group, multiplier, feedback: None };
        self.writer.tensor(index, self.record(spec, stored, group, multiplier));
        let grid = self.checkpoint.grid(tensor.name()).filter(|grid| grid.weights() == weights);
        let zeros = grid.map_or(&[][..], |grid| &grid.zeros);
        let parts = self.pack(&packing, &rows, zeros, |first, rows| {
            check_finite(tensor, first, rows)?;
            f(first, rows);
            Ok(measure(rows, inputs, Some(1.0)))
        })?;
        let (measured, noise): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let Measured { errors, largest, .. } = total(&measured);
        let name = tensor.name().to_owned();
        let (noise, most) = match weights {
            WeightType::Int4 => (noise.into_iter().sum(), int4::MAX_IN_TABLE),
            _ => (errors.noise_of(ROW_GROUP), int8::MAX_IN_TABLE),
        };
        if largest.is_nan() || largest > most {
            return Err(ConvertError::Range { tensor: name, largest, most });
        }
        self.report(name, spec, &packing, [errors.signal, noise], largest);
        Ok(())
    }

    fn report(
        &mut self,
        name: String,
        spec: &TensorSpec,
        packing: &Packing<'_>,
        [signal, noise]: [f64; 2],
        largest: f32,
    ) {
        let Packing { weights, group, .. } = *packing;
        self.reports.push(TensorReport {
            name,
            rows: spec.rows.of(&self.shape),
            cols: spec.cols.of(&self.shape),
            weights,
            group,
            bytes: layout(spec, &self.shape, weights, group).len(),
            signal,
            noise,
            largest,
            int4_kl: None,
        });
    }
}

/// Copies lines of `from` values to lines of `to` values, which end with zeros.
fn pad_lines<T: Copy + Default>(values: &[T], from: usize, padded: &mut [T], to: usize) {
    for (line, padded) in values.chunks(from).zip(padded.chunks_mut(to)) {
        let (copied, padding) = padded.split_at_mut(line.len());
        copied.copy_from_slice(line);
        padding.fill(T::default());
    }
}

/// Calls `f` with the name that reports have for a matrix, its storage and its rows.
pub(super) fn with_rows<R>(
    checkpoint: &Checkpoint,
    shape: &Shape,
    index: usize,
    f: impl FnOnce(String, Storage, &RowReader<'_>) -> Result<R, ConvertError>,
) -> Result<R, ConvertError> {
    let (layer, spec) = tensors::tensor(shape, index);
    let stored = TensorName { layer, name: spec.stored_name() }.to_string();
    let missing = || ConvertError::Missing { tensor: stored.clone() };
    let tensor = checkpoint.tensor(&stored).ok_or_else(missing)?;
    let view = if spec.transposed { tensor.transposed() } else { tensor };
    let count = spec.rows.of(shape);
    // Matrices that are stacked in one tensor follow one another row by row.
    let first = spec.part.map_or(0, |part| part.index * count);
    let rows = RowReader { tensor: &view, first, count };
    f(TensorName { layer, name: spec.name }.to_string(), spec.storage, &rows)
}

/// How a matrix is quantized to nearest.
pub(super) fn to_nearest<'z>(
    checkpoint: &'z Checkpoint,
    form: Form,
    name: &str,
    storage: Storage,
    rows: &RowReader<'_>,
) -> Result<Nearest<'z>, ConvertError> {
    let inputs = rows.tensor.columns();
    let mut measured = rows.measure(None)?;
    let largest = measured.largest;
    let (group, multiplier) = match form {
        Form::Int8 => {
            let multiplier = int8::multiplier(largest);
            if !measured.fits(multiplier) {
                measured = rows.measure(Some(multiplier))?;
            }
            (measured.errors.group(storage, inputs), multiplier)
        }
        _ => (int4::GROUP, int4::multiplier(largest)),
    };
    let (weights, stored) = (form.stored(), form.stored());
    let packing = Packing { storage, weights, stored, inputs, group, multiplier, feedback: None };
    let errors = measured.errors;
    let nearest = Nearest { packing, errors, largest, zeros: &[], is_exact: false };
    // The grid of int4 is that of the working model as well, whose multipliers remain.
    let grid = checkpoint.grid(name).filter(|grid| grid.weights() == form.tables());
    // Files of int4 are written in groups of one size, whatever groups the format has.
    let is_known = |group| form.tables() == WeightType::Int8 || group == int4::GROUP;
    let Some(grid) = grid.filter(|grid| is_known(grid.group)) else { return Ok(nearest) };
    let (group, multiplier) = (grid.group, grid.multiplier);
    let kept = Packing { weights: form.tables(), group, multiplier, ..packing };
    if !kept.is_possible() || !rows.lie_on(&kept) {
        return Ok(nearest);
    }
    let errors = Errors { signal: errors.signal, ..Errors::default() };
    Ok(Nearest { packing: kept, errors, zeros: &grid.zeros, is_exact: true, ..nearest })
}

/// Scales of groups of zeros: row, group and the bits of the scale.
pub(super) type Zeros<'z> = &'z [(usize, usize, u16)];

/// How a matrix is quantized to nearest, and what it costs.
pub(super) struct Nearest<'z> {
    pub(super) packing: Packing<'static>,
    /// Of int8.
    pub(super) errors: Errors,
    pub(super) largest: f32,
    pub(super) zeros: Zeros<'z>,
    /// Whether the weights are those of a model, so that nothing is lost.
    pub(super) is_exact: bool,
}
