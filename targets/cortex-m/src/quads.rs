//! Products by four rows at a time, over what differs between cores.

use half::f16;
use kinglet::kernels::{Product, SparseProduct};
use kinglet::matrix::{Matrix, SparseMatrix, TILE_ROWS, padded_rows, widen};
use kinglet::scalar::sparse_row_tile;

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
const TILE_SCALES: usize = TILE_ROWS / 2;

/// Most nonzero inputs of a group in a list; a fuller group is hardly sparse.
pub(crate) const LISTED: usize = 256;

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
    let group = matrix.group / BLOCK;
    for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
        let (weights, scales) = matrix.row_tile(tile);
        let words = (words(weights), words(scales), words(q));
        for (quad, output) in output.chunks_mut(ROWS).enumerate() {
            let acc = if let (Some(weights), Some(scales), Some(q)) = words {
                let groups = weights.as_chunks().0.chunks(group).zip(q.as_chunks().0.chunks(group));
                four_rows::<L>(groups, scales.as_chunks().0, quad)
            } else {
                four_rows_unaligned::<L>(weights, q, scales, quad, group)
            };
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

/// Four rows times one column, before the column's scale. `groups` are weights
/// and activations of each scale group.
#[inline(always)]
fn four_rows<'a, L: Lanes>(
    groups: impl Iterator<Item = (&'a [[u32; WEIGHTS]], &'a [[u32; PAIRS]])>,
    scales: &[[u32; TILE_SCALES]],
    quad: usize,
) -> [f32; ROWS] {
    let mut acc = [0.0; ROWS];
    for ((weights, q), scales) in groups.zip(scales) {
        let mut sums = [0; ROWS];
        for (weights, q) in weights.iter().zip(q) {
            sums = L::block(sums, weights, quad * ROWS, q);
        }
        L::fold(&mut acc, sums, &scales.as_chunks().0[quad]);
    }
    acc
}

/// [`four_rows`] of slices that do not lie as words do: no engine makes them,
/// but the types allow them.
#[cold]
#[inline(never)]
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
    for (group, (weights, values)) in groups.enumerate() {
        let mut room = [Entry::default(); LISTED];
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
