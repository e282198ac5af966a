//! One conversion: each tensor as the model file has it, in file order.
//!
//! A vector is stored as f32. A matrix is measured first, in all groups at once, and packed with
//! the group that costs the fewest bits for its error; what an export states of its own grid comes
//! before that where the rows lie on it. int4 has groups of one size. Tables take up the norm that is computed once per token,
//! so that a device need not compute it.

use std::io;
use std::path::Path;

use half::f16;
use kinglet::format::layout::layout;
use kinglet::format::model::{Record, Section};
use kinglet::format::shape::Shape;
use kinglet::format::tensors::{self, Storage, TensorName, TensorSpec};
use kinglet::kernels::matrix::{ROW_GROUP, padded_inputs, padded_rows};
use kinglet::kernels::weights::WeightType;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::int4;
use crate::int8::{self, Errors, Measured};
use crate::packing::{self, Packing};

use super::Progress;
use super::error::ConvertError;
use super::finite::{check_finite, finite_values};
use super::norm::{add_product, layer_norm, moments, normalize};
use super::recognize::{self, LN0};
use super::report::TensorReport;
use super::rows::{MAX_TOGETHER, RowReader, measure, total};
use super::writer::Writer;

/// About how many bytes are given to the writer at a time.
const CHUNK: usize = 4 << 20;

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
    /// The type of the weights that are quantized.
    weights: WeightType,
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
        weights: WeightType,
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
            weights,
            tiles: Vec::new(),
            quanta: Vec::new(),
        })
    }

    /// Writes all tensors of a section.
    pub(super) fn section(&mut self, section: Section) -> Result<(), ConvertError> {
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

    fn matrix(
        &mut self,
        index: usize,
        spec: &TensorSpec,
        tensor: &Tensor<'_>,
        name: TensorName,
    ) -> Result<(), ConvertError> {
        let view = if spec.transposed { tensor.transposed() } else { *tensor };
        let count = spec.rows.of(&self.shape);
        // Matrices that are stacked in one tensor follow one another row by row.
        let first = spec.part.map_or(0, |part| part.index * count);
        let rows = RowReader { tensor: &view, first, count };
        let name = name.to_string();
        let Choice { packing, errors, largest, zeros } = self.choose(&name, spec.storage, &rows)?;
        let Packing { group, multiplier, .. } = packing;
        self.writer.tensor(index, self.record(spec, self.weights, group, multiplier));
        let noise = match spec.storage {
            Storage::Sparse => self.sparse(&packing, &rows, zeros)?,
            _ => {
                let parts = self.pack(&packing, &rows, zeros, |_, _| Ok(()))?;
                parts.into_iter().map(|((), noise)| noise).sum()
            }
        };
        let noise = match self.weights {
            WeightType::Int4 => noise,
            _ => errors.noise_of(group),
        };
        self.report(name, spec, &packing, [errors.signal, noise], largest);
        Ok(())
    }

    /// How a matrix is quantized.
    fn choose(
        &self,
        name: &str,
        storage: Storage,
        rows: &RowReader<'_>,
    ) -> Result<Choice<'a>, ConvertError> {
        let inputs = rows.tensor.columns();
        let mut measured = rows.measure(None)?;
        let largest = measured.largest;
        let (group, multiplier) = match self.weights {
            WeightType::Int4 => (int4::GROUP, int4::multiplier(largest)),
            _ => {
                let multiplier = int8::multiplier(largest);
                if !measured.fits(multiplier) {
                    measured = rows.measure(Some(multiplier))?;
                }
                (measured.errors.group(storage, inputs), multiplier)
            }
        };
        let packing = Packing { storage, weights: self.weights, inputs, group, multiplier };
        let errors = measured.errors;
        let chosen = Choice { packing, errors, largest, zeros: &[] };
        let Some(grid) = self.checkpoint.grid(name).filter(|grid| grid.weights() == self.weights)
        else {
            return Ok(chosen);
        };
        let (group, multiplier) = (grid.group, grid.multiplier);
        let kept = Packing { group, multiplier, ..packing };
        if !kept.is_possible() || !rows.lie_on(&kept) {
            return Ok(chosen);
        }
        let errors = Errors { signal: errors.signal, ..Errors::default() };
        Ok(Choice { packing: kept, errors, zeros: &grid.zeros, ..chosen })
    }

    /// Quantizes and writes rows, chunk by chunk, after `f` has changed them: it is given the index
    /// of the first of some rows and their values. `zeros` are the scales of groups of zeros.
    /// Returns what `f` returned, in order, and the squared errors of int4.
    fn pack<T: Send>(
        &mut self,
        packing: &Packing,
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
        packing: &Packing,
        count: usize,
        f: impl FnOnce(&mut [i8]) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let mut buffer = self.writer.buffer(packing.weights.bytes(count as u64) as usize);
        match packing.weights {
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
        packing: &Packing,
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
        let (storage, weights) = (spec.storage, self.weights);
        let packing = Packing { storage, weights, inputs, group: ROW_GROUP, multiplier: 1.0 };
        self.writer.tensor(index, self.record(spec, weights, ROW_GROUP, 1.0));
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
        packing: &Packing,
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
        });
    }
}

/// Scales of groups of zeros: row, group and the bits of the scale.
type Zeros<'z> = &'z [(usize, usize, u16)];

/// How a matrix is quantized, and what it costs.
struct Choice<'z> {
    packing: Packing,
    /// Of int8.
    errors: Errors,
    largest: f32,
    zeros: Zeros<'z>,
}
