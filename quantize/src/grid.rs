//! The grid on which a model file's weights lie, as an export keeps it.
//!
//! A weight is `q * (scale * multiplier)`. Dequantized weights say their scale by their largest
//! magnitude, as those of a checkpoint do, so that quantizing them again gives the same integers
//! where the group size and the multiplier are the same ones. Both are chosen by errors that
//! dequantized weights no longer have, so an export states them, and the one thing that weights
//! cannot say: the scale of a group that was rounded to zeros.

use std::collections::HashMap;

use half::f16;
use kinglet::format::model::Tensor;
use kinglet::kernels::matrix::{ROW_GROUP, TILE_ROWS, padded_inputs};
use kinglet::kernels::weights::{WeightType, Weights};
use serde::{Deserialize, Serialize};

/// Most groups of zeros that an export states, of all its tensors together: more would make its
/// header longer than headers may be. A trained model has a few.
const MAX_ZEROS: usize = 1 << 17;

/// The grids of a model's tensors, by the names that reports have for them.
pub(crate) type Grids = HashMap<String, Grid>;

/// How the weights of a tensor became integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grid {
    /// Bits of a weight: 8 or 4.
    #[serde(default = "eight", skip_serializing_if = "is_eight")]
    pub(crate) bits: u8,
    /// Inputs that share a scale.
    pub(crate) group: usize,
    /// Of all scales: a power of two.
    pub(crate) multiplier: f32,
    /// Groups of zeros whose scale is none: row, group and the bits of the scale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) zeros: Vec<(usize, usize, u16)>,
}

const fn eight() -> u8 {
    8
}

const fn is_eight(bits: &u8) -> bool {
    *bits == 8
}

/// Bits of a weight.
const fn bits(weights: Weights<'_>) -> u8 {
    match weights.weight_type() {
        WeightType::Int4 => 4,
        _ => 8,
    }
}

impl Grid {
    /// The type of the weights.
    pub(crate) const fn weights(&self) -> WeightType {
        if self.bits == 4 { WeightType::Int4 } else { WeightType::Int8 }
    }

    /// The grid of a model's tensor; `None` for a vector.
    pub(crate) fn of(tensor: &Tensor<'_>) -> Option<Self> {
        match tensor {
            Tensor::Matrix(m) => {
                let groups = m.inputs().div_ceil(m.group());
                let scale = |row: usize, group: usize| {
                    m.scales()[(row / TILE_ROWS * groups + group) * TILE_ROWS + row % TILE_ROWS]
                };
                let inputs = [m.inputs(), m.group()];
                let zeros = zeros(m.rows(), inputs, scale, |row, i| m.weight(row, i));
                let bits = bits(m.weights());
                Some(Self { bits, group: m.group(), multiplier: m.multiplier(), zeros })
            }
            Tensor::Sparse(m) => {
                let scale = |row: usize, group: usize| m.group_scales(group)[row];
                let inputs = [m.inputs(), m.group()];
                let zeros = zeros(m.rows(), inputs, scale, |row, i| m.weight(row, i));
                let bits = bits(m.weights());
                Some(Self { bits, group: m.group(), multiplier: m.multiplier(), zeros })
            }
            Tensor::Embedding(table) => {
                let width = padded_inputs(table.width());
                let scale =
                    |row: usize, group: usize| table.scales()[row * (width / ROW_GROUP) + group];
                // Read row by row, in ascending order.
                let mut read = (usize::MAX, vec![0.0; table.width()]);
                let weight = |row: usize, i: usize| {
                    if read.0 != row {
                        read.0 = row;
                        table.read(row, &mut read.1);
                    }
                    read.1[i]
                };
                let zeros = zeros(table.rows(), [table.width(), ROW_GROUP], scale, weight);
                let bits = bits(table.weights());
                Some(Self { bits, group: ROW_GROUP, multiplier: 1.0, zeros })
            }
            _ => None,
        }
    }

    /// Whether a model file can have it.
    pub(crate) fn is_possible(&self) -> bool {
        let is_power = self.multiplier.is_normal() && self.multiplier.to_bits() << 9 == 0;
        matches!(self.bits, 8 | 4)
            && self.weights().groups().contains(&self.group)
            && is_power
            && self.multiplier > 0.0
    }
}

/// Groups that are all zeros and have a scale; `inputs` are those of a row, and of a group.
fn zeros(
    rows: usize,
    [inputs, group]: [usize; 2],
    scale: impl Fn(usize, usize) -> f16,
    mut weight: impl FnMut(usize, usize) -> f32,
) -> Vec<(usize, usize, u16)> {
    let starts = (0..inputs).step_by(group).enumerate();
    let each =
        (0..rows).flat_map(|row| starts.clone().map(move |(index, start)| (row, index, start)));
    each.filter(|&(row, index, start)| {
        scale(row, index) != f16::ZERO
            && (start..inputs.min(start + group)).all(|input| weight(row, input) == 0.0)
    })
    .map(|(row, index, _)| (row, index, scale(row, index).to_bits()))
    .collect()
}

/// The text that keeps grids in an export; `None` where they have too much to say.
pub(crate) fn to_text(grids: &Grids) -> Option<String> {
    let zeros: usize = grids.values().map(|grid| grid.zeros.len()).sum();
    if zeros > MAX_ZEROS { None } else { serde_json::to_string(grids).ok() }
}

/// Reads the text, without what no model file can have.
pub(crate) fn from_text(text: &str) -> Result<Grids, serde_json::Error> {
    let mut grids: Grids = serde_json::from_str(text)?;
    grids.retain(|_, grid| grid.is_possible());
    Ok(grids)
}
