//! The order in which a model file has the integers and scales of a tensor.
//!
//! ```text
//! rows of f32 --int8 or int4--> integers in the order of int8, scales
//!             --sparse: turn--> inputs first
//!             --int4: nibbles-> bytes of the file
//! ```
//!
//! Rows are quantized in any order, in parts of whole tiles of 16 rows (of any number for a row
//! table). A dense matrix and a row table are then in the file's order. A sparse matrix, whose
//! inputs come first in the file, is turned when all rows are done.

use half::f16;
use kinglet::format::layout::TensorLayout;
use kinglet::format::tensors::Storage;
use kinglet::kernels::matrix::{
    LINE_BLOCK, ROW_GROUP, TILE, TILE_INPUTS, TILE_ROWS, padded_inputs, padded_rows,
    padded_sparse_rows,
};
use kinglet::kernels::weights::{WeightType, Weights, pack_int4};
use rayon::prelude::*;

use crate::feedback::Feedback;
use crate::{int4, int8};

/// Inputs of the panels in which a sparse matrix is turned: what is read of a tile of rows, and
/// a line of what is written, stay in the first cache.
const TRANSPOSE_PANEL: usize = 64;
/// Weights of which a thread makes nibbles at a time: whole pairs of blocks.
const NIBBLES_TOGETHER: usize = 1 << 16;

/// How the weights of a tensor become integers and scales.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing<'f> {
    pub(crate) storage: Storage,
    /// What the integers are.
    pub(crate) weights: WeightType,
    /// What they are stored as: int4 may take a byte each.
    pub(crate) stored: WeightType,
    /// Length of a row.
    pub(crate) inputs: usize,
    /// Inputs that share a scale.
    pub(crate) group: usize,
    /// Of all scales.
    pub(crate) multiplier: f32,
    /// How int4 is rounded, where not to nearest.
    pub(crate) feedback: Option<&'f Feedback>,
}

impl Packing<'_> {
    /// Values that a row takes, with its share of the padding.
    pub(crate) fn values_per_row(&self) -> usize {
        match self.storage {
            Storage::Sparse => self.inputs,
            _ => padded_inputs(self.inputs),
        }
    }

    /// Scales that a row takes.
    pub(crate) fn scales_per_row(&self) -> usize {
        match self.storage {
            Storage::Embedding => padded_inputs(self.inputs) / ROW_GROUP,
            _ => self.inputs.div_ceil(self.group),
        }
    }

    /// Rows with padding.
    pub(crate) fn padded(&self, rows: usize) -> usize {
        match self.storage {
            Storage::Embedding => rows,
            Storage::Sparse => padded_sparse_rows(self.stored, rows),
            _ => padded_rows(rows),
        }
    }

    /// Whether a matrix of these inputs can have the group.
    pub(crate) fn is_possible(&self) -> bool {
        self.weights.groups().contains(&self.group) && self.group < 2 * padded_inputs(self.inputs)
    }

    /// Whether every weight of some rows is a multiple of its group's step, so that nothing is
    /// lost.
    pub(crate) fn is_exact(&self, weights: &[f32]) -> bool {
        let exact = match self.weights {
            WeightType::Int4 => int4::is_exact,
            _ => int8::is_exact,
        };
        let mut rows = weights.chunks(self.inputs);
        rows.all(|row| row.chunks(self.group).all(|w| exact(w, self.multiplier)))
    }

    /// Gives groups of zeros the scale that they had: row, group and the bits of the scale.
    /// `scales` are as [`put`](Self::put) leaves them. One that stands for a group with weights, or
    /// for none, is left out.
    pub(crate) fn set_scales_of_zeros(&self, zeros: &[(usize, usize, u16)], scales: &mut [f16]) {
        let groups = self.scales_per_row();
        for &(row, group, bits) in zeros.iter().filter(|&&(_, group, _)| group < groups) {
            let at = match self.storage {
                Storage::Embedding => row.checked_mul(groups).and_then(|at| at.checked_add(group)),
                _ => (row / TILE_ROWS)
                    .checked_mul(groups * TILE_ROWS)
                    .and_then(|at| at.checked_add(group * TILE_ROWS + row % TILE_ROWS)),
            };
            let scale = f16::from_bits(bits);
            match at.and_then(|at| scales.get_mut(at)) {
                Some(kept)
                    if *kept == f16::ZERO && scale >= f16::MIN_POSITIVE && scale <= f16::MAX =>
                {
                    *kept = scale;
                }
                _ => {}
            }
        }
    }

    /// Quantizes some tiles of rows. Returns the sum of the squared errors of int4; those of int8
    /// are [measured](int8::Measured) before.
    ///
    /// * `weights`: `[row][inputs]`
    /// * `values`: for a dense matrix `[row/16][input/4][16][4]`, for a sparse one
    ///   `[row/16][input][16]`, for a table `[row][input]`; all of them are written
    /// * `scales`: `[row/16][input/group][16]`, or `[row][input/32]` for a table
    pub(crate) fn put(&self, weights: &[f32], values: &mut [i8], scales: &mut [f16]) -> f64 {
        match (self.weights, self.storage) {
            (WeightType::Int4, _) => self.put_rows(weights, values, scales),
            (_, Storage::Embedding) => {
                int8::put_lines(self, weights, values, scales);
                0.0
            }
            _ => {
                let values = values.chunks_mut(TILE_ROWS * self.values_per_row());
                let scales = scales.chunks_mut(TILE_ROWS * self.scales_per_row());
                let tiles = weights.chunks(TILE_ROWS * self.inputs).zip(values).zip(scales);
                tiles.for_each(|((rows, values), scales)| {
                    int8::put_tile(self, rows, values, scales);
                });
                0.0
            }
        }
    }

    /// [`put`](Self::put) of int4.
    fn put_rows(&self, weights: &[f32], values: &mut [i8], scales: &mut [f16]) -> f64 {
        let (padded, groups) = (padded_inputs(self.inputs), self.scales_per_row());
        let nearest = |rows: &[f32], quanta: &mut [i8], scales: &mut [f16]| -> f64 {
            let rows = rows.chunks(self.inputs);
            let lines = rows.zip(quanta.chunks_mut(padded)).zip(scales.chunks_mut(groups));
            let quantize = |((w, quanta), scales): ((&[f32], &mut [i8]), &mut [f16])| {
                int4::quantize_row(w, self.group, self.multiplier, quanta, scales)
            };
            lines.map(quantize).sum()
        };
        if self.storage == Storage::Embedding {
            return nearest(weights, values, scales);
        }
        let mut error = 0.0;
        let values = values.chunks_mut(TILE_ROWS * self.values_per_row());
        let scales = scales.chunks_mut(TILE_ROWS * groups);
        let tiles = weights.chunks(TILE_ROWS * self.inputs).zip(values).zip(scales);
        for ((rows, values), scales) in tiles {
            let mut quanta = vec![0; TILE_ROWS * padded];
            let mut by_row = vec![f16::ZERO; TILE_ROWS * groups];
            error += match self.feedback {
                None => nearest(rows, &mut quanta, &mut by_row),
                Some(feedback) => feedback.quantize(
                    rows,
                    self.inputs,
                    self.group,
                    self.multiplier,
                    &mut quanta,
                    &mut by_row,
                ),
            };
            self.arrange(&quanta, &by_row, values, scales);
        }
        error
    }

    /// Brings the integers, `[16][input]`, and scales, `[16][group]`, of a tile of rows into its
    /// order.
    fn arrange(&self, quanta: &[i8], by_row: &[f16], values: &mut [i8], scales: &mut [f16]) {
        let (padded, groups) = (padded_inputs(self.inputs), self.scales_per_row());
        for (group, scales) in scales.chunks_mut(TILE_ROWS).enumerate() {
            for (lane, scale) in scales.iter_mut().enumerate() {
                *scale = by_row[lane * groups + group];
            }
        }
        for first in (0..self.inputs).step_by(ROW_GROUP) {
            let block: [[i8; ROW_GROUP]; TILE_ROWS] = std::array::from_fn(|lane| {
                std::array::from_fn(|input| quanta[lane * padded + first + input])
            });
            self.put_block(first, &block, values);
        }
    }

    /// Stores 32 inputs of 16 rows, from input `first` on.
    #[inline(always)]
    pub(crate) fn put_block(
        &self,
        first: usize,
        quanta: &[[i8; ROW_GROUP]; TILE_ROWS],
        values: &mut [i8],
    ) {
        let out = &mut values[first * TILE_ROWS..];
        match self.storage {
            Storage::Sparse => put_inputs(out, quanta, ROW_GROUP.min(self.inputs - first)),
            _ => put_lanes(out, quanta),
        }
    }

    /// The bytes of a part of a tensor, a multiple of a pair of blocks, from its integers in the
    /// order of int8.
    pub(crate) fn nibbles(&self, values: &[i8], bytes: &mut [u8]) {
        let pack = match self.storage {
            Storage::Matrix => pack_int4::<TILE>,
            _ => pack_int4::<LINE_BLOCK>,
        };
        let parts = values.par_chunks(NIBBLES_TOGETHER);
        parts.zip(bytes.par_chunks_mut(NIBBLES_TOGETHER / 2)).for_each(|(w, bytes)| pack(w, bytes));
    }
}

/// Stores 32 inputs of 16 rows as tiles of 4 inputs: `[input/4][16][4]`.
#[inline(always)]
fn put_lanes(out: &mut [i8], quanta: &[[i8; ROW_GROUP]; TILE_ROWS]) {
    let tiles = out.as_chunks_mut::<TILE>().0.iter_mut().take(ROW_GROUP / TILE_INPUTS);
    for (first, tile) in (0..).step_by(TILE_INPUTS).zip(tiles) {
        for (lane, quanta) in tile.as_chunks_mut::<TILE_INPUTS>().0.iter_mut().zip(quanta) {
            *lane = std::array::from_fn(|input| quanta[first + input]);
        }
    }
}

/// Stores the first `inputs` of 32 inputs of 16 rows with the inputs first: `[input][16]`.
#[inline(always)]
fn put_inputs(out: &mut [i8], quanta: &[[i8; ROW_GROUP]; TILE_ROWS], inputs: usize) {
    let out = out.as_chunks_mut::<TILE_ROWS>().0.iter_mut().take(inputs);
    for (input, out) in out.enumerate() {
        *out = std::array::from_fn(|row| quanta[row][input]);
    }
}

/// Brings inputs `first..` of a sparse matrix from `[row/16][input][16]` into the file's order.
///
/// * `tiles`: of all rows, `inputs` each
/// * `out`: `[input][row]`, as many of `rows` (a multiple of 16) values as are wanted; those
///   beyond the last input become zeros
pub(crate) fn turn(tiles: &[i8], inputs: usize, rows: usize, first: usize, out: &mut [i8]) {
    let panels = out.par_chunks_mut(TRANSPOSE_PANEL * rows).enumerate();
    panels.for_each(|(panel, out)| {
        let first = first + panel * TRANSPOSE_PANEL;
        let present = inputs.saturating_sub(first) * rows;
        let (out, padding) = out.split_at_mut(present.min(out.len()));
        padding.fill(0);
        for (tile, values) in tiles.chunks(inputs * TILE_ROWS).enumerate() {
            let values = values[first.min(inputs) * TILE_ROWS..].as_chunks::<TILE_ROWS>().0;
            for (out, values) in out.chunks_mut(rows).zip(values) {
                out[tile * TILE_ROWS..][..TILE_ROWS].copy_from_slice(values);
            }
        }
    });
}

/// Brings the scales of a sparse matrix from `[row/16][group][16]` into `[group][row]`.
pub(crate) fn turn_scales(tiles: &[f16], groups: usize, rows: usize) -> Vec<f16> {
    let mut out = vec![f16::ZERO; rows * groups];
    for (tile, scales) in tiles.chunks(groups * TILE_ROWS).enumerate() {
        for (out, scales) in out.chunks_mut(rows).zip(scales.chunks(TILE_ROWS)) {
            out[tile * TILE_ROWS..][..TILE_ROWS].copy_from_slice(scales);
        }
    }
    out
}

/// The weights and scales of one tensor, in the layout of the model file.
#[derive(Debug)]
pub struct Packed {
    /// The type of the weights.
    pub weight_type: WeightType,
    /// As [`TensorLayout`] has them.
    pub bytes: Vec<u8>,
    /// As [`TensorLayout`] has them.
    pub scales: Vec<f16>,
}

impl Packed {
    /// Quantizes a whole tensor to nearest: `weights`, `[row][inputs]`, in groups of `group`
    /// inputs, whose scales `multiplier` multiplies.
    ///
    /// # Panics
    /// When `storage` is that of vectors, which are not quantized.
    pub fn new(
        storage: Storage,
        weight_type: WeightType,
        inputs: usize,
        group: usize,
        multiplier: f32,
        weights: &[f32],
    ) -> Self {
        assert!(storage != Storage::Vector, "vectors are not quantized");
        let packing = Packing {
            storage,
            weights: weight_type,
            stored: weight_type,
            inputs,
            group,
            multiplier,
            feedback: None,
        };
        let rows = weights.len() / inputs;
        let padded = packing.padded(rows);
        let (values_of, scales_of) = (packing.values_per_row(), packing.scales_per_row());
        let mut values = vec![0; padded * values_of];
        let mut scales = vec![f16::ZERO; padded * scales_of];
        let tiles = values.par_chunks_mut(TILE_ROWS * values_of);
        let tiles = tiles.zip(scales.par_chunks_mut(TILE_ROWS * scales_of));
        let tiles = tiles.zip(weights.par_chunks(TILE_ROWS * inputs));
        tiles.for_each(|((values, scales), rows)| {
            packing.put(rows, values, scales);
        });
        if storage == Storage::Sparse {
            let mut turned = vec![0; padded * padded_inputs(inputs)];
            turn(&values, inputs, padded, 0, &mut turned);
            scales = turn_scales(&scales, scales_of, padded);
            values = turned;
        }
        let layout = TensorLayout::new(storage, weight_type, rows, inputs, group);
        let mut bytes = vec![0; layout.values as usize];
        match weight_type {
            WeightType::Int4 => packing.nibbles(&values, &mut bytes),
            _ => bytes.copy_from_slice(bytemuck::cast_slice(&values)),
        }
        debug_assert_eq!(layout.scales as usize, scales.len());
        Self { weight_type, bytes, scales }
    }

    /// The weights.
    pub fn weights(&self) -> Weights<'_> {
        match self.weight_type {
            WeightType::Int4 => Weights::Int4(&self.bytes),
            _ => Weights::Int8(bytemuck::cast_slice(&self.bytes)),
        }
    }
}
