//! Views of quantized weights, as they lie in a model file.
//!
//! A weight is `q * scale * multiplier`: q an integer of eight or four bits, `scale` an
//! f16 (normal or zero) shared by one output and a group of inputs,
//! `multiplier` a power of two for the whole tensor.

use core::ops::Range;

use half::f16;

use super::weights::{self, Stored};
pub use super::weights::{GROUPS, WeightType, Weights};

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
/// Rows of a [`SparseMatrix`] of int4 are padded to a multiple of this: a pair of blocks.
pub const INT4_ROWS: usize = 2 * LINE_BLOCK;
/// Weights of an int4 block in a [`SparseMatrix`] and a [`RowTable`]; in a [`Matrix`] it is a
/// [`TILE`].
pub const LINE_BLOCK: usize = 16;
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

/// Rows (outputs) of a sparse matrix with padding.
pub const fn padded_sparse_rows(weights: WeightType, rows: usize) -> usize {
    match weights {
        WeightType::Int8 => padded_rows(rows),
        WeightType::Int4 => rows.next_multiple_of(INT4_ROWS),
    }
}

/// Whether weights and scales are all that a matrix of these dimensions has, padding included:
/// rows to a multiple of `row_pad`, inputs to [`INPUT_PAD`]. Not inlined: once is enough code.
#[inline(never)]
const fn is_complete(
    rows: usize,
    row_pad: usize,
    inputs: usize,
    group: usize,
    weights: Stored<'_>,
    scales: usize,
) -> bool {
    let weights = weights.get();
    let groups = weights.weight_type().groups();
    let mut known = false;
    let mut i = 0;
    while i < groups.len() {
        known |= group == groups[i];
        i += 1;
    }
    let (Some(out), Some(padded), true) =
        (rows.checked_next_multiple_of(row_pad), inputs.checked_next_multiple_of(INPUT_PAD), known)
    else {
        return false;
    };
    match (out.checked_mul(padded), out.checked_mul(padded.div_ceil(group))) {
        (Some(all), Some(all_scales)) => weights.are(all) && scales == all_scales,
        _ => false,
    }
}

/// What dense and sparse matrices have in common: dimensions, checked construction, access.
macro_rules! quantized_matrix {
    ($name:ident, $row_pad:expr, $weights:literal, $scales:literal) => {
        impl<'a> $name<'a> {
            #[doc = concat!("A matrix of `rows` outputs and `inputs` inputs: weights ", $weights, " and scales ", $scales, ", with all padding.")]
            ///
            /// `None` when the slices are not exactly that long, or `group` is none of those
            /// that the [weights may have](WeightType::groups): kernels that do not check each
            /// access rest on it. Also where this build does not [read](WeightType::enabled) them.
            pub const fn new(
                rows: usize,
                inputs: usize,
                group: usize,
                multiplier: f32,
                weights: Weights<'a>,
                scales: &'a [f16],
            ) -> Option<Self> {
                let Some(weights) = Stored::new(weights) else { return None };
                let row_pad = $row_pad(weights.get().weight_type());
                if !is_complete(rows, row_pad, inputs, group, weights, scales.len()) {
                    return None;
                }
                Some(Self { rows, inputs, group, multiplier, weights, scales })
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

            /// Inputs that share a scale: one of [`WeightType::groups`].
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
            pub const fn weights(&self) -> Weights<'a> {
                self.weights.get()
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
    weights: Stored<'a>,
    /// `[row/16][input/group][16]`
    scales: &'a [f16],
}

const fn tile_rows(_: WeightType) -> usize {
    TILE_ROWS
}

const fn sparse_row_pad(weights: WeightType) -> usize {
    padded_sparse_rows(weights, 1)
}

quantized_matrix!(Matrix, tile_rows, "`[row/16][input/4][16][4]`", "`[row/16][input/group][16]`");

impl<'a> Matrix<'a> {
    /// Number of tiles of 16 rows.
    #[inline(always)]
    pub const fn row_tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Tiles and scales of row tile `tile`: `[input/4][16][4]` and `[group][16]`.
    #[inline(always)]
    pub fn row_tile(&self, tile: usize) -> (Weights<'a>, &'a [f16]) {
        let weights = TILE_ROWS * padded_inputs(self.inputs);
        let scales = TILE_ROWS * self.groups();
        (
            self.weights().part(tile * weights, (tile + 1) * weights),
            &self.scales[tile * scales..(tile + 1) * scales],
        )
    }

    /// The rows of the tiles `range` as a matrix of its own.
    ///
    /// # Panics
    ///
    /// When there are no such tiles.
    pub fn tiles(&self, range: Range<usize>) -> Self {
        let (start, end) = (range.start * TILE_ROWS, range.end * TILE_ROWS);
        let inputs = padded_inputs(self.inputs);
        let weights = self.weights().part(start * inputs, end * inputs);
        let Some(weights) = Stored::new(weights) else { panic!("weights of the same type") };
        Self {
            rows: self.rows.min(end) - start,
            weights,
            scales: &self.scales[start * self.groups()..end * self.groups()],
            ..*self
        }
    }

    /// The value of one weight.
    pub fn weight(&self, row: usize, input: usize) -> f32 {
        let (weights, scales) = self.row_tile(row / TILE_ROWS);
        let lane = row % TILE_ROWS;
        let at = input / TILE_INPUTS * TILE + lane * TILE_INPUTS + input % TILE_INPUTS;
        let scale = f16_scale_to_f32(scales[input / self.group * TILE_ROWS + lane]);
        weights.get(at, TILE) as f32 * (scale * self.multiplier)
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
    /// `[input][row]`, rows padded to 16, of int4 to 32, inputs to 32.
    weights: Stored<'a>,
    /// `[input/group][row]`, rows padded as those of weights.
    scales: &'a [f16],
}

quantized_matrix!(SparseMatrix, sparse_row_pad, "`[input][row]`", "`[input/group][row]`");

impl<'a> SparseMatrix<'a> {
    /// Rows with padding: weights between inputs, and scales between groups.
    #[inline(always)]
    pub const fn stride(&self) -> usize {
        padded_sparse_rows(self.weights().weight_type(), self.rows)
    }

    /// The weights of one input: `[row]`.
    #[inline(always)]
    pub fn input(&self, input: usize) -> Weights<'a> {
        let rows = self.stride();
        self.weights().part(input * rows, (input + 1) * rows)
    }

    /// The scales of one group of inputs: `[row]`.
    #[inline(always)]
    pub fn group_scales(&self, group: usize) -> &'a [f16] {
        let rows = self.stride();
        &self.scales[group * rows..(group + 1) * rows]
    }

    /// Group `group` of the inputs as a matrix of its own, with a multiplier of 1.
    ///
    /// # Panics
    ///
    /// When there is no such group.
    pub fn one_group(&self, group: usize) -> Self {
        let (start, stride) = (group * self.group, self.stride());
        let end = padded_inputs(self.inputs).min(start + self.group);
        let weights = self.weights().part(start * stride, end * stride);
        let Some(weights) = Stored::new(weights) else { panic!("weights of the same type") };
        Self {
            inputs: self.inputs.min(end) - start,
            multiplier: 1.0,
            weights,
            scales: self.group_scales(group),
            ..*self
        }
    }

    /// The value of one weight.
    pub fn weight(&self, row: usize, input: usize) -> f32 {
        let scale = f16_scale_to_f32(self.group_scales(input / self.group)[row]);
        self.input(input).get(row, LINE_BLOCK) as f32 * (scale * self.multiplier)
    }
}

/// A table that is read one row at a time: the embedding.
///
/// A value is complete, like a [`Matrix`].
#[derive(Clone, Copy, Debug)]
pub struct RowTable<'a> {
    rows: usize,
    width: usize,
    /// `[row][width]`, rows padded to 32.
    weights: Stored<'a>,
    /// `[row][width/32]`
    scales: &'a [f16],
}

impl<'a> RowTable<'a> {
    /// A table of `rows` rows of `width` values: weights `[row][width]`, rows padded to 32, and
    /// scales `[row][width/32]`.
    ///
    /// `None` as for a [`Matrix`].
    pub const fn new(
        rows: usize,
        width: usize,
        weights: Weights<'a>,
        scales: &'a [f16],
    ) -> Option<Self> {
        let Some(weights) = Stored::new(weights) else { return None };
        if !is_complete(rows, 1, width, ROW_GROUP, weights, scales.len()) {
            return None;
        }
        Some(Self { rows, width, weights, scales })
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// All weights: `[row][width]`, rows padded to 32.
    pub const fn weights(&self) -> Weights<'a> {
        self.weights.get()
    }

    /// All scales: `[row][width/32]`.
    pub const fn scales(&self) -> &'a [f16] {
        self.scales
    }

    /// Writes row `row` to `out`: `x = f32(q) * scale`.
    ///
    /// # Panics
    ///
    /// When `row` is not below `rows`.
    #[inline(always)]
    pub fn read(&self, row: usize, out: &mut [f32]) {
        let width = padded_inputs(self.width);
        let groups = width / ROW_GROUP;
        let weights = self.weights().part(row * width, (row + 1) * width);
        let scales = &self.scales[row * groups..(row + 1) * groups];
        let groups = out.chunks_mut(ROW_GROUP).zip(scales);
        match weights {
            Weights::Int8(weights) => {
                for ((out, scale), weights) in groups.zip(weights.chunks(ROW_GROUP)) {
                    read_group(weights, *scale, out);
                }
            }
            Weights::Int4(bytes) => {
                for ((out, scale), bytes) in groups.zip(bytes.as_chunks::<LINE_BLOCK>().0) {
                    read_group(weights::unpack_int4(bytes).as_flattened(), *scale, out);
                }
            }
        }
    }
}

/// `x = f32(q) * scale`, of a group of a row.
#[inline(always)]
fn read_group(weights: &[i8], scale: f16, out: &mut [f32]) {
    let scale = f16_scale_to_f32(scale);
    for (out, q) in out.iter_mut().zip(weights) {
        *out = f32::from(*q) * scale;
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
            let weights = Weights::Int8(weights);
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

    #[cfg(feature = "q4")]
    #[test]
    fn only_complete_matrices_of_nibbles_can_be_made() {
        let (bytes, scales) = ([0x88; 64 * 64 / 2], [f16::ONE; 64 * 2]);
        let dense = |rows, group, bytes: usize| {
            let weights = Weights::Int4(&[0x88; 48 * 64][..bytes]);
            Matrix::new(rows, 64, group, 1.0, weights, &scales[..96]).is_some()
        };
        assert!(dense(40, 32, 48 * 32));
        assert!(!dense(40, 32, 48 * 64));
        assert!(!dense(40, 32, 48 * 32 - 1));
        assert!(!dense(40, 256, 48 * 32));
        let sparse =
            |rows| SparseMatrix::new(rows, 64, 32, 1.0, Weights::Int4(&bytes), &scales).is_some();
        // Rows are padded to 32.
        assert!(sparse(33) && sparse(64));
        assert!(!sparse(32) && !sparse(65));
        let table = |rows| RowTable::new(rows, 64, Weights::Int4(&bytes), &scales).is_some();
        assert!(table(64) && !table(63));
    }

    #[test]
    fn tiles_of_a_matrix_are_matrices() {
        let weights: [i8; 48 * 64] = core::array::from_fn(|i| (i * 7 % 255) as i8);
        let scales: [f16; 48 * 2] = core::array::from_fn(|i| f16::from_f32((i + 1) as f32));
        let whole = Matrix::new(37, 40, 32, 0.5, Weights::Int8(&weights), &scales).unwrap();
        for (start, end) in [(0, 1), (1, 3), (2, 3), (0, 3)] {
            let part = whole.tiles(start..end);
            assert_eq!(part.rows(), 37.min(16 * end) - 16 * start);
            let (rows, weights) = (part.rows(), part.weights());
            assert!(Matrix::new(rows, 40, 32, 0.5, weights, part.scales()).is_some());
            for row in 0..rows {
                assert_eq!(part.weight(row, 39), whole.weight(16 * start + row, 39));
            }
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_matrix_has_no_tiles_beyond_its_rows() {
        let (weights, scales) = ([0; 32 * 32], [f16::ONE; 32]);
        let matrix = Matrix::new(17, 32, 32, 1.0, Weights::Int8(&weights), &scales).unwrap();
        let _ = matrix.tiles(1..3);
    }

    #[test]
    fn the_groups_of_a_sparse_matrix_are_matrices() {
        let (weights, scales) = ([3; 16 * 96], [f16::ONE; 16 * 2]);
        let weights = Weights::Int8(&weights);
        let matrix = SparseMatrix::new(5, 70, 64, 0.5, weights, &scales).unwrap();
        let last = matrix.one_group(1);
        assert_eq!((last.rows(), last.inputs(), last.groups()), (5, 6, 1));
        assert_eq!((last.multiplier(), last.weight(4, 5)), (1.0, 3.0));
        for group in 0..2 {
            let one = matrix.one_group(group);
            let (weights, scales) = (one.weights(), one.scales());
            assert!(SparseMatrix::new(5, one.inputs(), 64, 1.0, weights, scales).is_some());
        }
    }

    #[cfg(feature = "q4")]
    #[test]
    fn a_table_of_nibbles_reads_like_one_of_bytes() {
        use crate::kernels::weights::pack_int4;
        let q: [i8; 3 * 64] = core::array::from_fn(|i| (i * 5 % 16) as i8 - 8);
        let scales: [f16; 6] = core::array::from_fn(|i| f16::from_f32(0.25 * (i + 1) as f32));
        let mut nibbles = [0; 3 * 32];
        pack_int4::<LINE_BLOCK>(&q, &mut nibbles);
        let bytes = RowTable::new(3, 50, Weights::Int8(&q), &scales).unwrap();
        let nibbles = RowTable::new(3, 50, Weights::Int4(&nibbles), &scales).unwrap();
        for row in 0..3 {
            let (mut expected, mut found) = ([0.0; 50], [0.0; 50]);
            bytes.read(row, &mut expected);
            nibbles.read(row, &mut found);
            assert_eq!(found, expected);
            let last = f32::from(q[row * 64 + 49]) * scales[2 * row + 1].to_f32();
            assert_eq!(found[49], last);
        }
    }
}
