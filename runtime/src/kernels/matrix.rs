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
pub fn f16_scale_to_f32(scale: f16) -> f32 {
    let bits = scale.to_bits() as u32;
    let wide = (bits << 13).wrapping_add(0x3800_0000);
    f32::from_bits(if bits == 0 { 0 } else { wide })
}

/// Whether weights and scales are all that a matrix of these dimensions has, padding included.
const fn is_complete(
    rows: usize,
    inputs: usize,
    group: usize,
    weights: usize,
    scales: usize,
) -> bool {
    let mut known = false;
    let mut i = 0;
    while i < GROUPS.len() {
        known |= group == GROUPS[i];
        i += 1;
    }
    let (Some(out), Some(padded), true) = (
        rows.checked_next_multiple_of(TILE_ROWS),
        inputs.checked_next_multiple_of(INPUT_PAD),
        known,
    ) else {
        return false;
    };
    match (out.checked_mul(padded), out.checked_mul(padded.div_ceil(group))) {
        (Some(all), Some(all_scales)) => weights == all && scales == all_scales,
        _ => false,
    }
}

/// What dense and sparse matrices have in common: dimensions, checked construction, access.
macro_rules! quantized_matrix {
    ($name:ident, $weights:literal, $scales:literal) => {
        impl<'a> $name<'a> {
            #[doc = concat!("A matrix of `rows` outputs and `inputs` inputs: weights ", $weights, " and scales ", $scales, ", with all padding.")]
            ///
            /// `None` when the slices are not exactly that long, or `group` is none of
            /// [`GROUPS`]: kernels that do not check each access rest on it.
            pub const fn new(
                rows: usize,
                inputs: usize,
                group: usize,
                multiplier: f32,
                weights: &'a [i8],
                scales: &'a [f16],
            ) -> Option<Self> {
                if is_complete(rows, inputs, group, weights.len(), scales.len()) {
                    Some(Self { rows, inputs, group, multiplier, weights, scales })
                } else {
                    None
                }
            }

            /// Number of outputs.
            #[inline(always)]
            pub const fn rows(&self) -> usize {
                self.rows
            }

            /// Number of inputs.
            #[inline(always)]
            pub const fn inputs(&self) -> usize {
                self.inputs
            }

            /// Inputs that share a scale: one of [`GROUPS`].
            #[inline(always)]
            pub const fn group(&self) -> usize {
                self.group
            }

            /// Number of scale groups per row.
            #[inline(always)]
            pub const fn groups(&self) -> usize {
                padded_inputs(self.inputs).div_ceil(self.group)
            }

            /// Power of two that all scales are multiplied with.
            #[inline(always)]
            pub const fn multiplier(&self) -> f32 {
                self.multiplier
            }

            #[doc = concat!("All weights: ", $weights, ".")]
            #[inline(always)]
            pub const fn weights(&self) -> &'a [i8] {
                self.weights
            }

            #[doc = concat!("All scales: ", $scales, ".")]
            #[inline(always)]
            pub const fn scales(&self) -> &'a [f16] {
                self.scales
            }
        }
    };
}

/// Weights of a product with a dense input, in tiles of 16 rows by 4 inputs.
///
/// Rows beyond `rows` and inputs beyond `inputs` are zeros. A value is complete: it has as many
/// weights and scales as its dimensions say.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    rows: usize,
    inputs: usize,
    group: usize,
    multiplier: f32,
    /// `[row/16][input/4][16][4]`
    weights: &'a [i8],
    /// `[row/16][input/group][16]`
    scales: &'a [f16],
}

quantized_matrix!(Matrix, "`[row/16][input/4][16][4]`", "`[row/16][input/group][16]`");

impl<'a> Matrix<'a> {
    /// Number of tiles of 16 rows.
    #[inline(always)]
    pub const fn row_tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
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
        let scale = f16_scale_to_f32(scales[input / self.group * TILE_ROWS + lane]);
        f32::from(q) * (scale * self.multiplier)
    }
}

/// Weights of a product with an input that is mostly zero: the outputs of one
/// input lie together, so that an input of zero costs no read.
///
/// A value is complete, like a [`Matrix`].
#[derive(Clone, Copy, Debug)]
pub struct SparseMatrix<'a> {
    rows: usize,
    inputs: usize,
    group: usize,
    multiplier: f32,
    /// `[input][row]`, rows padded to 16, inputs to 32.
    weights: &'a [i8],
    /// `[input/group][row]`, rows padded to 16.
    scales: &'a [f16],
}

quantized_matrix!(SparseMatrix, "`[input][row]`", "`[input/group][row]`");

impl<'a> SparseMatrix<'a> {
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

    /// Group `group` of the inputs as a matrix of its own, with a multiplier of 1.
    ///
    /// # Panics
    ///
    /// When there is no such group.
    pub fn one_group(&self, group: usize) -> Self {
        let (start, stride) = (group * self.group, padded_rows(self.rows));
        let end = padded_inputs(self.inputs).min(start + self.group);
        Self {
            inputs: self.inputs.min(end) - start,
            multiplier: 1.0,
            weights: &self.weights[start * stride..end * stride],
            scales: self.group_scales(group),
            ..*self
        }
    }

    /// The value of one weight.
    pub fn weight(&self, row: usize, input: usize) -> f32 {
        let scale = f16_scale_to_f32(self.group_scales(input / self.group)[row]);
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
    ///
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
            let scale = f16_scale_to_f32(*scale);
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
            assert_eq!(f16_scale_to_f32(scale).to_bits(), scale.to_f32().to_bits());
        }
    }

    #[test]
    fn only_complete_matrices_can_be_made() {
        let (weights, scales) = ([0; 32 * 64], [f16::ONE; 32 * 2]);
        let (weights, scales) = (weights.as_slice(), scales.as_slice());
        let complete = |rows, inputs, group, weights, scales| {
            let dense = Matrix::new(rows, inputs, group, 1.0, weights, scales).is_some();
            let sparse = SparseMatrix::new(rows, inputs, group, 1.0, weights, scales).is_some();
            assert_eq!(sparse, dense);
            dense
        };
        assert!(complete(17, 33, 32, weights, scales));
        assert!(!complete(17, 33, 32, &weights[1..], scales));
        assert!(!complete(17, 33, 32, weights, &scales[1..]));
        assert!(!complete(17, 33, 0, weights, scales));
        assert!(!complete(17, 33, 33, weights, scales));
        assert!(!complete(16, 33, 32, weights, scales));
        assert!(!complete(33, 33, 32, weights, scales));
        assert!(!complete(17, 65, 64, weights, scales));
        // Numbers that wrap to small ones.
        for wide in [usize::MAX, usize::MAX - 64, usize::MAX / 2 + 1, usize::MAX / 64 + 1] {
            assert!(!complete(wide, 64, 32, weights, scales), "{wide}");
            assert!(!complete(32, wide, 32, weights, scales), "{wide}");
        }
    }

    #[test]
    fn the_groups_of_a_sparse_matrix_are_matrices() {
        let (weights, scales) = ([3; 16 * 96], [f16::ONE; 16 * 2]);
        let matrix = SparseMatrix::new(5, 70, 64, 0.5, &weights, &scales).unwrap();
        let last = matrix.one_group(1);
        assert_eq!((last.rows(), last.inputs(), last.groups()), (5, 6, 1));
        assert_eq!((last.multiplier(), last.weight(4, 5)), (1.0, 3.0));
        for group in 0..2 {
            let one = matrix.one_group(group);
            let (weights, scales) = (one.weights(), one.scales());
            assert!(SparseMatrix::new(5, one.inputs(), 64, 1.0, weights, scales).is_some());
        }
    }
}
