//! Views of quantized weights, as they lie in a model file.
//!
//! A weight is `q * scale * multiplier`: q an int8 in [-127, 127], `scale` an
//! f16 (normal or zero) shared by one output and a group of inputs,
//! `multiplier` a power of two for the whole tensor.

use half::f16;

/// Rows of a tile.
pub const TILE_ROWS: usize = 16;
/// Inputs of a tile.
pub const TILE_INPUTS: usize = 4;
/// Weights, and bytes, of a tile.
pub const TILE: usize = TILE_ROWS * TILE_INPUTS;
/// Inputs are padded with zeros to a multiple of this.
pub const INPUT_PAD: usize = 32;
/// Inputs that share a scale in a [`RowTable`].
pub const ROW_GROUP: usize = 32;
/// The group sizes that a matrix may have.
pub const GROUPS: [usize; 5] = [32, 64, 128, 256, 512];
/// Tensors and sections start at multiples of this many bytes.
pub const ALIGN: usize = 64;

/// Inputs of a matrix with padding.
pub const fn padded_inputs(inputs: usize) -> usize {
    inputs.next_multiple_of(INPUT_PAD)
}

/// Rows (outputs) of a matrix with padding.
pub const fn padded_rows(rows: usize) -> usize {
    rows.next_multiple_of(TILE_ROWS)
}

/// The value of an f16 scale. The contract allows only +0 and positive normal
/// numbers, for which widening is an addition to the exponent.
#[inline(always)]
pub fn widen(scale: f16) -> f32 {
    let bits = scale.to_bits() as u32;
    let wide = (bits << 13).wrapping_add(0x3800_0000);
    f32::from_bits(if bits == 0 { 0 } else { wide })
}

/// Whether so many weights and scales are all that a matrix has, padding included.
fn are_complete(rows: usize, inputs: usize, group: usize, weights: usize, scales: usize) -> bool {
    let (out, inputs) =
        (rows.checked_next_multiple_of(TILE_ROWS), inputs.checked_next_multiple_of(INPUT_PAD));
    let (Some(out), Some(inputs), 1..) = (out, inputs, group) else { return false };
    let at_least = |len: usize, columns| out.checked_mul(columns).is_some_and(|all| len >= all);
    at_least(weights, inputs) && at_least(scales, inputs.div_ceil(group))
}

/// Weights of a product with a dense input, in tiles of 16 rows by 4 inputs.
///
/// Rows beyond `rows` and inputs beyond `inputs` are zeros.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub inputs: usize,
    /// Inputs that share a scale.
    pub group: usize,
    /// Power of two that all scales are multiplied with.
    pub multiplier: f32,
    /// `[row/16][input/4][16][4]`
    pub weights: &'a [i8],
    /// `[row/16][input/group][16]`
    pub scales: &'a [f16],
}

impl<'a> Matrix<'a> {
    /// Whether there are as many weights and scales as the dimensions say. Kernels that
    /// do not check each access check this.
    pub fn is_complete(&self) -> bool {
        let (weights, scales) = (self.weights.len(), self.scales.len());
        are_complete(self.rows, self.inputs, self.group, weights, scales)
    }

    /// Number of tiles of 16 rows.
    pub fn row_tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Number of scale groups per row.
    pub fn groups(&self) -> usize {
        padded_inputs(self.inputs).div_ceil(self.group)
    }

    /// Tiles and scales of row tile `tile`: `[input/4][16][4]` and `[group][16]`.
    #[inline(always)]
    pub fn row_tile(&self, tile: usize) -> (&'a [i8], &'a [f16]) {
        let weights = TILE_ROWS * padded_inputs(self.inputs);
        let scales = TILE_ROWS * self.groups();
        (
            &self.weights[tile * weights..(tile + 1) * weights],
            &self.scales[tile * scales..(tile + 1) * scales],
        )
    }

    /// The value of one weight.
    pub fn weight(&self, row: usize, input: usize) -> f32 {
        let (weights, scales) = self.row_tile(row / TILE_ROWS);
        let lane = row % TILE_ROWS;
        let q = weights[input / TILE_INPUTS * TILE + lane * TILE_INPUTS + input % TILE_INPUTS];
        f32::from(q) * (widen(scales[input / self.group * TILE_ROWS + lane]) * self.multiplier)
    }
}

/// Weights of a product with an input that is mostly zero: the outputs of one
/// input lie together, so that an input of zero costs no read.
#[derive(Clone, Copy, Debug)]
pub struct SparseMatrix<'a> {
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub inputs: usize,
    /// Inputs that share a scale.
    pub group: usize,
    /// Power of two that all scales are multiplied with.
    pub multiplier: f32,
    /// `[input][row]`, rows padded to 16, inputs to 32.
    pub weights: &'a [i8],
    /// `[input/group][row]`, rows padded to 16.
    pub scales: &'a [f16],
}

impl<'a> SparseMatrix<'a> {
    /// Whether there are as many weights and scales as the dimensions say. Kernels that
    /// do not check each access check this.
    pub fn is_complete(&self) -> bool {
        let (weights, scales) = (self.weights.len(), self.scales.len());
        are_complete(self.rows, self.inputs, self.group, weights, scales)
    }

    /// Number of scale groups per row.
    pub fn groups(&self) -> usize {
        padded_inputs(self.inputs).div_ceil(self.group)
    }

    /// The weights of one input: `[row]`.
    #[inline(always)]
    pub fn input(&self, input: usize) -> &'a [i8] {
        let rows = padded_rows(self.rows);
        &self.weights[input * rows..(input + 1) * rows]
    }

    /// The scales of one group of inputs: `[row]`.
    #[inline(always)]
    pub fn group_scales(&self, group: usize) -> &'a [f16] {
        let rows = padded_rows(self.rows);
        &self.scales[group * rows..(group + 1) * rows]
    }

    /// The value of one weight.
    pub fn weight(&self, row: usize, input: usize) -> f32 {
        let scale = widen(self.group_scales(input / self.group)[row]);
        f32::from(self.input(input)[row]) * (scale * self.multiplier)
    }
}

/// A table that is read one row at a time: the embedding.
#[derive(Clone, Copy, Debug)]
pub struct RowTable<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Length of a row.
    pub width: usize,
    /// `[row][width]`, rows padded to 32.
    pub weights: &'a [i8],
    /// `[row][width/32]`
    pub scales: &'a [f16],
}

impl RowTable<'_> {
    /// Writes row `row` to `out`: `x = f32(q) * scale`.
    ///
    /// # Panics
    /// When `row` is not below `rows`.
    #[inline(always)]
    pub fn read(&self, row: usize, out: &mut [f32]) {
        let width = padded_inputs(self.width);
        let groups = width / ROW_GROUP;
        let weights = &self.weights[row * width..(row + 1) * width];
        let scales = &self.scales[row * groups..(row + 1) * groups];
        for ((out, q), scale) in
            out.chunks_mut(ROW_GROUP).zip(weights.chunks(ROW_GROUP)).zip(scales)
        {
            let scale = widen(*scale);
            for (out, q) in out.iter_mut().zip(q) {
                *out = f32::from(*q) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_every_allowed_scale_exactly() {
        for bits in (0x0400..0x7C00).chain([0]) {
            let scale = f16::from_bits(bits);
            assert_eq!(widen(scale).to_bits(), scale.to_f32().to_bits());
        }
    }

    #[test]
    fn complete_matrices_have_all_that_their_dimensions_say() {
        let (weights, scales) = ([0; 32 * 64], [f16::ONE; 32 * 2]);
        let (weights, scales) = (weights.as_slice(), scales.as_slice());
        let complete = |rows, inputs, group, weights, scales| {
            let multiplier = 1.0;
            let dense = Matrix { rows, inputs, group, multiplier, weights, scales }.is_complete();
            let matrix = SparseMatrix { rows, inputs, group, multiplier, weights, scales };
            assert_eq!(matrix.is_complete(), dense);
            dense
        };
        assert!(complete(17, 33, 32, weights, scales));
        assert!(!complete(17, 33, 32, &weights[1..], scales));
        assert!(!complete(17, 33, 32, weights, &scales[1..]));
        assert!(!complete(17, 33, 0, weights, scales));
        assert!(!complete(33, 33, 32, weights, scales));
        assert!(!complete(17, 65, 64, weights, scales));
        // Numbers that wrap to small ones.
        for wide in [usize::MAX, usize::MAX - 64, usize::MAX / 2 + 1, usize::MAX / 64 + 1] {
            assert!(!complete(wide, 64, 32, weights, scales), "{wide}");
            assert!(!complete(32, wide, 32, weights, scales), "{wide}");
        }
    }
}
