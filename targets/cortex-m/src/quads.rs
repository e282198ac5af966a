//! Products by four rows at a time, over what differs between cores.

use half::f16;
use kinglet::kernels::matrix::{Matrix, SparseMatrix, TILE_ROWS, padded_rows, widen};
use kinglet::kernels::scalar::sparse_row_tile;
use kinglet::kernels::{Product, SparseProduct};

/// Rows that are computed together.
pub(crate) const ROWS: usize = 4;
/// Inputs after which the sums of a dense product may be folded.
pub(crate) const BLOCK: usize = 32;
/// Words of the weights of [`BLOCK`] inputs and sixteen rows: `[input/4][16]`,
/// the four weights of a row in a word.
pub(crate) const WEIGHTS: usize = BLOCK / 4 * TILE_ROWS;
/// Words of [`BLOCK`] activations.
pub(crate) const PAIRS: usize = BLOCK / 2;

/// The f16 scales of four rows, in words.
pub(crate) type Scales = [u32; ROWS / 2];
/// Words of the scales of sixteen rows.
pub(crate) const TILE_SCALES: usize = TILE_ROWS / 2;

/// Most nonzero inputs of a group in a list; a fuller group is hardly sparse.
pub(crate) const LISTED: usize = 128;

/// The integer arithmetic of a core.
pub(crate) trait Lanes {
    /// Adds to each sum the products of [`BLOCK`] inputs with the weights of a
    /// row, of the four rows from `row` on.
    ///
    /// # Panics
    /// May, when `row` is above 12.
    fn block(
        sums: [i32; ROWS],
        weights: &[u32; WEIGHTS],
        row: usize,
        q: &[u32; PAIRS],
    ) -> [i32; ROWS];

    /// Four rows times one column, before the column's scale: quad `quad` of a
    /// tile of sixteen rows with `group` blocks to a scale. `weights`, `scales`
    /// and `q` are the tile's blocks, groups, and the column's blocks.
    ///
    /// # Panics
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
    /// When an entry's weights are not in `weights`.
    fn listed(list: List<'_>, weights: &[i8]) -> [i32; ROWS];

    /// `acc + f32(sum) * scale`, for each of four rows.
    #[inline(always)]
    fn fold(acc: &mut [f32; ROWS], sums: [i32; ROWS], scales: &Scales) {
        let [low, high] = *scales;
        let scales = [low, low >> 16, high, high >> 16].map(|bits| f16::from_bits(bits as u16));
        for ((acc, sum), scale) in acc.iter_mut().zip(sums).zip(scales) {
            *acc += sum as f32 * widen(scale);
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
    fn new(q: &[i16], stride: usize, room: &'a mut [Entry; LISTED]) -> Option<Self> {
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
pub(crate) fn products<L: Lanes>(jobs: &mut [Product<'_>]) {
    for job in jobs {
        let columns = job.output.chunks_exact_mut(job.matrix.rows).zip(job.input.scales);
        for (column, (output, scale)) in columns.enumerate() {
            dense::<L>(&job.matrix, job.input.column(column), *scale, output);
        }
    }
}

/// One column of a dense product.
#[inline(always)]
fn dense<L: Lanes>(matrix: &Matrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    let scale = scale * matrix.multiplier;
    let words = (words(matrix.weights), words(matrix.scales), words(q));
    let (Some(weights), Some(scales), Some(q)) = words else {
        return dense_unaligned::<L>(matrix, q, scale, output);
    };
    let (weights, scales, q) = (weights.as_chunks().0, scales.as_chunks().0, q.as_chunks().0);
    let (group, groups) = (matrix.group / BLOCK, matrix.groups());
    // Rows come in whole tiles but for the last, so that the check for a part is here.
    let tiles = weights.chunks_exact(q.len()).zip(scales.chunks_exact(groups));
    for ((weights, scales), output) in tiles.zip(output.chunks_mut(TILE_ROWS)) {
        let (quads, part) = output.as_chunks_mut::<ROWS>();
        for (quad, output) in quads.iter_mut().enumerate() {
            *output = L::four_rows(weights, scales, q, quad, group).map(|acc| acc * scale);
        }
        if !part.is_empty() {
            let acc = L::four_rows(weights, scales, q, quads.len(), group);
            for (y, acc) in part.iter_mut().zip(acc) {
                *y = acc * scale;
            }
        }
    }
}

/// [`dense`], where something does not lie as words do: no engine makes such
/// slices, but the types allow them.
#[cold]
#[inline(never)]
fn dense_unaligned<L: Lanes>(matrix: &Matrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
        let (weights, scales) = matrix.row_tile(tile);
        for (quad, output) in output.chunks_mut(ROWS).enumerate() {
            let acc = four_rows_unaligned::<L>(weights, q, scales, quad, matrix.group / BLOCK);
            for (y, acc) in output.iter_mut().zip(acc) {
                *y = acc * scale;
            }
        }
    }
}

/// The words of a slice, if it lies as they do.
#[inline(always)]
fn words<T: bytemuck::NoUninit>(slice: &[T]) -> Option<&[u32]> {
    bytemuck::try_cast_slice(slice).ok()
}

/// [`Lanes::four_rows`], by blocks.
#[inline(always)]
pub(crate) fn four_rows<L: Lanes>(
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
            sums = L::block(sums, weights, quad * ROWS, q);
        }
        L::fold(&mut acc, sums, &scales.as_chunks().0[quad]);
    }
    acc
}

/// [`Lanes::four_rows`] of any slices.
fn four_rows_unaligned<L: Lanes>(
    weights: &[i8],
    q: &[i16],
    scales: &[f16],
    quad: usize,
    group: usize,
) -> [f32; ROWS] {
    let mut acc = [0.0; ROWS];
    let mut sums = [0; ROWS];
    let blocks = weights.as_chunks::<{ 4 * WEIGHTS }>().0.iter().zip(q.as_chunks::<BLOCK>().0);
    let count = blocks.len();
    for (i, (weights, q)) in blocks.enumerate() {
        let weights = bytemuck::pod_read_unaligned(bytemuck::cast_slice(weights));
        let q = bytemuck::pod_read_unaligned(bytemuck::cast_slice(q));
        sums = L::block(sums, &weights, quad * ROWS, &q);
        if (i + 1) % group == 0 || i + 1 == count {
            let scales = &scales[i / group * TILE_ROWS + quad * ROWS..][..ROWS];
            let scales = bytemuck::pod_read_unaligned(bytemuck::cast_slice(scales));
            L::fold(&mut acc, sums, &scales);
            sums = [0; ROWS];
        }
    }
    acc
}

/// A product with an input that is mostly zero.
#[inline(always)]
pub(crate) fn sparse_product<L: Lanes>(job: SparseProduct<'_>) {
    let columns = job.output.chunks_exact_mut(job.matrix.rows).zip(job.input.scales);
    for (column, (output, scale)) in columns.enumerate() {
        sparse::<L>(&job.matrix, job.input.column(column), *scale, output);
    }
}

/// One column of a sparse product. `output` holds the sums over the groups
/// until the column's scale comes.
#[inline(always)]
fn sparse<L: Lanes>(matrix: &SparseMatrix<'_>, q: &[i16], scale: f32, output: &mut [f32]) {
    let scale = scale * matrix.multiplier;
    let stride = padded_rows(matrix.rows);
    output.fill(0.0);
    let groups = matrix.weights.chunks(matrix.group * stride).zip(q.chunks(matrix.group));
    let mut room = [Entry::default(); LISTED];
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
            L::fold(&mut acc, L::listed(list, &weights[quad * ROWS..]), scales);
            output.copy_from_slice(&acc[..output.len()]);
        }
    }
    for y in output {
        *y *= scale;
    }
}

/// A column that has a group with more than [`LISTED`] nonzero inputs, or
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
