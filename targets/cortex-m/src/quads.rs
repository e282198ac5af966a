//! Products of four rows at a time, generic over the integer arithmetic of a core.
//!
//! ```text
//! for each token:
//!     for each tile of 16 rows:                              dense
//!         for each quad of 4 rows:
//!             acc = 0
//!             for each group:
//!                 sums = 0
//!                 for each segment of 32 inputs: sums += w[4][32] * q[32]   QuadArith::segment
//!                 acc += f32(sums) * scales[4]                              QuadArith::fold
//!             y[4] = acc * scale
//!
//!     for each group:                                        sparse
//!         list the inputs that are not zero
//!         for each quad: y[4] += f32(sums over the list) * scales[4]        QuadArith::listed
//! ```
//!
//! Four rows, because four sums, their weights and the addresses are what thirteen registers
//! hold. A *quad* is four rows of a tile. A *segment* is 32 inputs: tokens are padded to it,
//! and every group is a multiple of it.
//!
//! Weights, scales and activations are read as words. An engine's buffers are aligned so; other
//! callers' may not be, and take a slower way with the same numbers. A sparse group with more
//! than [`MAX_NONZERO`] active inputs takes the core's reference.

use half::f16;
use kinglet::kernels::matrix::{Matrix, SparseMatrix, TILE_ROWS, f16_scale_to_f32, padded_rows};
use kinglet::kernels::scalar::sparse_row_tile;
use kinglet::kernels::{Product, SparseProduct};

/// Rows that are computed together.
pub(crate) const ROWS: usize = 4;
/// Inputs of a segment, after which the sums of a dense product may be folded.
pub(crate) const SEGMENT: usize = 32;
/// Words of the weights of [`SEGMENT`] inputs and sixteen rows: `[input/4][16]`,
/// the four weights of a row in a word.
pub(crate) const WEIGHTS: usize = SEGMENT / 4 * TILE_ROWS;
/// Words of [`SEGMENT`] activations.
pub(crate) const PAIRS: usize = SEGMENT / 2;

/// The f16 scales of four rows, in words.
pub(crate) type Scales = [u32; ROWS / 2];
/// Words of the scales of sixteen rows.
pub(crate) const TILE_SCALES: usize = TILE_ROWS / 2;

/// The most nonzero inputs of a group in a list; a fuller group is hardly sparse.
pub(crate) const MAX_NONZERO: usize = 128;

/// The integer arithmetic of a core.
pub(crate) trait QuadArith {
    /// Adds to each sum the products of [`SEGMENT`] inputs with the weights of a
    /// row, of the four rows from `row` on.
    ///
    /// # Panics
    ///
    /// May, when `row` is above 12.
    fn segment(
        sums: [i32; ROWS],
        weights: &[u32; WEIGHTS],
        row: usize,
        q: &[u32; PAIRS],
    ) -> [i32; ROWS];

    /// Four rows times one token, before the token's scale: quad `quad` of a
    /// tile of sixteen rows with `group` segments to a scale. `weights`, `scales`
    /// and `q` are the tile's segments, groups, and the token's segments.
    ///
    /// # Panics
    ///
    /// May, when `quad` is above 3.
    #[inline(always)]
    fn four_rows(
        weights: &[[u32; WEIGHTS]],
        scales: &[[u32; TILE_SCALES]],
        q: &[[u32; PAIRS]],
        quad: usize,
        group: usize,
    ) -> [f32; ROWS]
    where
        Self: Sized,
    {
        four_rows::<Self>(weights, scales, q, quad, group)
    }

    /// The sums over listed inputs of four rows. `weights` is `[input][row]` of
    /// the group, from the first of these rows on.
    ///
    /// # Panics
    ///
    /// When an entry's weights are not in `weights`.
    fn listed(list: List<'_>, weights: &[i8]) -> [i32; ROWS];

    /// `acc + f32(sum) * scale`, for each of four rows.
    #[inline(always)]
    fn fold(acc: &mut [f32; ROWS], sums: [i32; ROWS], scales: &Scales) {
        let [low, high] = *scales;
        let scales = [low, low >> 16, high, high >> 16].map(|bits| f16::from_bits(bits as u16));
        for ((acc, sum), scale) in acc.iter_mut().zip(sums).zip(scales) {
            *acc += sum as f32 * f16_scale_to_f32(scale);
        }
    }
}

/// An input that is not zero.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// Where its weights start, from those of the group's first input on.
    pub(crate) offset: u32,
    /// Its value.
    pub(crate) q: i32,
}

/// The inputs of a group that are not zero, in ascending order of their offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a>(&'a [Entry]);

impl<'a> List<'a> {
    /// The list of `q`, whose weights lie `stride` apart; `None` when there are
    /// more entries than room.
    #[inline(always)]
    fn new(q: &[i16], stride: usize, room: &'a mut [Entry; MAX_NONZERO]) -> Option<Self> {
        let mut len = 0;
        for (i, q) in q.iter().enumerate() {
            if *q != 0 {
                *room.get_mut(len)? = Entry { offset: (i * stride) as u32, q: i32::from(*q) };
                len += 1;
            }
        }
        Some(Self(room.get(..len)?))
    }

    /// The entries; the last one's offset is the largest.
    #[inline(always)]
    pub(crate) fn entries(self) -> &'a [Entry] {
        self.0
    }
}

/// Computes independent products.
#[inline(always)]
pub(crate) fn products<A: QuadArith>(jobs: &mut [Product<'_>]) {
    for job in jobs {
        let tokens = job.output.chunks_exact_mut(job.matrix.rows()).zip(job.input.scales());
        for (token, (output, scale)) in tokens.enumerate() {
            dense::<A>(&job.matrix, job.input.token(token), *scale, output);
        }
    }
}

/// One token of a dense product.
#[inline(always)]
fn dense<A: QuadArith>(matrix: &Matrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    let scale = scale * matrix.multiplier();
    let Some(weights) = matrix.weights().int8() else { unimplemented!() };
    let words = (words(weights), words(matrix.scales()), words(q));
    let (Some(weights), Some(scales), Some(q)) = words else {
        return dense_unaligned::<A>(matrix, q, scale, output);
    };
    let (weights, scales, q) = (weights.as_chunks().0, scales.as_chunks().0, q.as_chunks().0);
    let (group, groups) = (matrix.group() / SEGMENT, matrix.groups());
    // The check for a partial quad is outside the loop over quads, because only the last tile
    // can have one.
    let tiles = weights.chunks_exact(q.len()).zip(scales.chunks_exact(groups));
    for ((weights, scales), output) in tiles.zip(output.chunks_mut(TILE_ROWS)) {
        let (quads, part) = output.as_chunks_mut::<ROWS>();
        for (quad, output) in quads.iter_mut().enumerate() {
            *output = A::four_rows(weights, scales, q, quad, group).map(|acc| acc * scale);
        }
        if !part.is_empty() {
            let acc = A::four_rows(weights, scales, q, quads.len(), group);
            for (y, acc) in part.iter_mut().zip(acc) {
                *y = acc * scale;
            }
        }
    }
}

/// [`dense`] for slices that are not aligned as words. No engine makes such slices, but the
/// types allow them.
#[cold]
#[inline(never)]
fn dense_unaligned<A: QuadArith>(matrix: &Matrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
        let (weights, scales) = matrix.row_tile(tile);
        let Some(weights) = weights.int8() else { unimplemented!() };
        for (quad, output) in output.chunks_mut(ROWS).enumerate() {
            let acc = four_rows_unaligned::<A>(weights, q, scales, quad, matrix.group() / SEGMENT);
            for (y, acc) in output.iter_mut().zip(acc) {
                *y = acc * scale;
            }
        }
    }
}

/// The words of a slice; none if it is not aligned as they are.
#[inline(always)]
fn words<T: bytemuck::NoUninit>(slice: &[T]) -> Option<&[u32]> {
    bytemuck::try_cast_slice(slice).ok()
}

/// [`QuadArith::four_rows`], segment by segment.
#[inline(always)]
pub(crate) fn four_rows<A: QuadArith>(
    weights: &[[u32; WEIGHTS]],
    scales: &[[u32; TILE_SCALES]],
    q: &[[u32; PAIRS]],
    quad: usize,
    group: usize,
) -> [f32; ROWS] {
    let mut acc = [0.0; ROWS];
    let groups = weights.chunks(group).zip(q.chunks(group));
    for ((weights, q), scales) in groups.zip(scales) {
        let mut sums = [0; ROWS];
        for (weights, q) in weights.iter().zip(q) {
            sums = A::segment(sums, weights, quad * ROWS, q);
        }
        A::fold(&mut acc, sums, &scales.as_chunks().0[quad]);
    }
    acc
}

/// [`QuadArith::four_rows`] of any slices.
fn four_rows_unaligned<A: QuadArith>(
    weights: &[i8],
    q: &[i16],
    scales: &[f16],
    quad: usize,
    group: usize,
) -> [f32; ROWS] {
    let mut acc = [0.0; ROWS];
    let mut sums = [0; ROWS];
    let segments = weights.as_chunks::<{ 4 * WEIGHTS }>().0.iter().zip(q.as_chunks::<SEGMENT>().0);
    let count = segments.len();
    for (i, (weights, q)) in segments.enumerate() {
        let weights = bytemuck::pod_read_unaligned(bytemuck::cast_slice(weights));
        let q = bytemuck::pod_read_unaligned(bytemuck::cast_slice(q));
        sums = A::segment(sums, &weights, quad * ROWS, &q);
        if (i + 1) % group == 0 || i + 1 == count {
            let scales = &scales[i / group * TILE_ROWS + quad * ROWS..][..ROWS];
            let scales = bytemuck::pod_read_unaligned(bytemuck::cast_slice(scales));
            A::fold(&mut acc, sums, &scales);
            sums = [0; ROWS];
        }
    }
    acc
}

/// A product with an input that is mostly zero.
#[inline(always)]
pub(crate) fn sparse_product<A: QuadArith>(job: SparseProduct<'_>) {
    let tokens = job.output.chunks_exact_mut(job.matrix.rows()).zip(job.input.scales());
    for (token, (output, scale)) in tokens.enumerate() {
        sparse::<A>(&job.matrix, job.input.token(token), *scale, output);
    }
}

/// One token of a sparse product. `output` holds the sums over the groups
/// until the token's scale comes.
#[inline(always)]
fn sparse<A: QuadArith>(matrix: &SparseMatrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    let scale = scale * matrix.multiplier();
    let stride = padded_rows(matrix.rows());
    output.fill(0.0);
    let Some(weights) = matrix.weights().int8() else { unimplemented!() };
    let groups = weights.chunks(matrix.group() * stride).zip(q.chunks(matrix.group()));
    let mut room = [Entry::default(); MAX_NONZERO];
    for (group, (weights, values)) in groups.enumerate() {
        let list = List::new(values, stride, &mut room);
        let (Some(list), Some(scales)) = (list, words(matrix.group_scales(group))) else {
            return reference(matrix, q, scale, output);
        };
        if list.entries().is_empty() {
            continue;
        }
        let scales = scales.as_chunks().0;
        for ((quad, output), scales) in output.chunks_mut(ROWS).enumerate().zip(scales) {
            let mut acc = [0.0; ROWS];
            acc[..output.len()].copy_from_slice(output);
            A::fold(&mut acc, A::listed(list, &weights[quad * ROWS..]), scales);
            output.copy_from_slice(&acc[..output.len()]);
        }
    }
    for y in output {
        *y *= scale;
    }
}

/// A token that has a group with more than [`MAX_NONZERO`] nonzero inputs, or
/// scales that do not lie as words do.
#[cold]
#[inline(never)]
fn reference(matrix: &SparseMatrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
        let acc = sparse_row_tile(matrix, tile, q);
        for (y, acc) in output.iter_mut().zip(acc) {
            *y = acc * scale;
        }
    }
}
