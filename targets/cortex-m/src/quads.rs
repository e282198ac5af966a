//! Products of four rows at a time, generic over the integer arithmetic of a core and the type of
//! the weights.
//!
//! ```text
//! for each token:
//!     for each tile of 16 rows:                              dense
//!         for each quad of 4 rows:
//!             acc = 0
//!             for each group:
//!                 sums = start                                              WeightWords::start
//!                 for each segment of 32 inputs: sums += w[4][32] * q[32]   QuadArith::segments
//!                 acc += f32(sums) * scales[4]                              Fold::fold
//!             y[4] = acc * scale
//!
//!     for each group:                                        sparse
//!         list the inputs that are not zero
//!         for each quad:
//!             sums = start + the sums over the list                         QuadArith::listed
//!             y[4] += f32(sums) * scales[4]
//! ```
//!
//! Four rows, because four sums, their weights and the addresses are what thirteen registers
//! hold. A *quad* is four rows of a tile. A *segment* is 32 inputs: tokens are padded to it,
//! and every group is a multiple of it.
//!
//! Int4 is multiplied as it is stored, `w + 8`; a sum therefore starts at -8 times the sum of the
//! activations, which [`Quantized`] has for each segment.
//!
//! Weights, scales and activations are read as words. An engine's buffers are aligned so; other
//! callers' may not be, and take a slower way with the same numbers. A sparse group with more
//! than [`MAX_NONZERO`] active inputs takes the core's reference.

use core::ops::Range;

use bytemuck::AnyBitPattern;
use half::f16;
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{LINE_BLOCK, Matrix, SparseMatrix, TILE_ROWS, f16_scale_to_f32};
use kinglet::kernels::scalar::sparse_row_tile;
use kinglet::kernels::weights::{INT4_ZERO_POINT, Weights};
use kinglet::kernels::{Product, SparseProduct};

/// Rows that are computed together.
pub(crate) const ROWS: usize = 4;
/// Inputs of a segment, after which the sums of a dense product may be folded.
pub(crate) const SEGMENT: usize = 32;
/// Words of the int8 weights of [`SEGMENT`] inputs and sixteen rows: `[input/4][16]`,
/// the four weights of a row in a word.
pub(crate) const WEIGHTS: usize = SEGMENT / 4 * TILE_ROWS;
/// Words of the int4 weights of [`SEGMENT`] inputs and sixteen rows: `[input/8][16]`, the eight
/// weights of a row in a word, the first four in the low nibbles of its bytes.
pub(crate) const INT4_WEIGHTS: usize = WEIGHTS / 2;
/// Words of [`SEGMENT`] activations.
pub(crate) const PAIRS: usize = SEGMENT / 2;

/// The f16 scales of four rows, in words.
pub(crate) type Scales = [u32; ROWS / 2];
/// Words of the scales of sixteen rows.
pub(crate) const TILE_SCALES: usize = TILE_ROWS / 2;

/// The most nonzero inputs of a group in a list; a fuller group is hardly sparse.
pub(crate) const MAX_NONZERO: usize = 128;

/// A type of weights: how many words they are.
pub(crate) trait WeightWords {
    /// The words of a segment of sixteen rows.
    type Segment: AnyBitPattern;
    /// Weights in a byte.
    const PER_BYTE: usize;

    /// The segments of words.
    fn segments(words: &[u32]) -> &[Self::Segment];

    /// The sums of a token's segments, where [`start`](Self::start) reads them.
    fn sums<'a>(input: &Quantized<'a>, token: usize) -> &'a [i32];

    /// What the sums of a group start at: what its products with stored weights lack, where those
    /// are not the weights. `group` is in segments.
    fn start(sums: &[i32], group: Range<usize>) -> [i32; ROWS];
}

/// A byte for each weight.
pub(crate) struct Int8;

impl WeightWords for Int8 {
    type Segment = [u32; WEIGHTS];
    const PER_BYTE: usize = 1;

    #[inline(always)]
    fn segments(words: &[u32]) -> &[Self::Segment] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn sums<'a>(_input: &Quantized<'a>, _token: usize) -> &'a [i32] {
        &[]
    }

    #[inline(always)]
    fn start(_sums: &[i32], _group: Range<usize>) -> [i32; ROWS] {
        [0; ROWS]
    }
}

/// A nibble for each weight.
pub(crate) struct Int4;

impl WeightWords for Int4 {
    type Segment = [u32; INT4_WEIGHTS];
    const PER_BYTE: usize = 2;

    #[inline(always)]
    fn segments(words: &[u32]) -> &[Self::Segment] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn sums<'a>(input: &Quantized<'a>, token: usize) -> &'a [i32] {
        input.token_sums(token)
    }

    #[inline(always)]
    fn start(sums: &[i32], group: Range<usize>) -> [i32; ROWS] {
        [-INT4_ZERO_POINT * sums[group].iter().sum::<i32>(); ROWS]
    }
}

impl Int4 {
    /// Where the weights of a quad of rows lie in those of an input: the first of their four
    /// bytes, and whether they are the high nibbles.
    #[inline(always)]
    pub(crate) fn quad_in_line(quad: usize) -> (usize, bool) {
        const QUADS: usize = LINE_BLOCK / ROWS;
        (quad / (2 * QUADS) * LINE_BLOCK + quad % QUADS * ROWS, quad / QUADS % 2 == 1)
    }
}

/// One token's activations.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    /// Its segments.
    pub(crate) q: &'a [[u32; PAIRS]],
    /// Their sums, where the type of the weights [reads](WeightWords::sums) them.
    pub(crate) sums: &'a [i32],
}

/// The float arithmetic of a core.
pub(crate) trait Fold {
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

/// The integer arithmetic of a core with weights of a type.
pub(crate) trait QuadArith<W: WeightWords>: Fold {
    /// Adds to each sum the products of the inputs of segments, of which `weights` and `q` have as
    /// many, with the stored weights of a row, of the four rows from `row` on.
    ///
    /// # Panics
    ///
    /// May, when `row` is above 12.
    fn segments(
        sums: [i32; ROWS],
        weights: &[W::Segment],
        row: usize,
        q: &[[u32; PAIRS]],
    ) -> [i32; ROWS];

    /// Four rows times one token, before the token's scale: quad `quad` of a
    /// tile of sixteen rows with `group` segments to a scale. `weights`, `scales`
    /// and `token` are the tile's segments, groups, and the token's segments.
    ///
    /// # Panics
    ///
    /// May, when `quad` is above 3.
    #[inline(always)]
    fn four_rows(
        weights: &[W::Segment],
        scales: &[[u32; TILE_SCALES]],
        token: Token<'_>,
        quad: usize,
        group: usize,
    ) -> [f32; ROWS]
    where
        Self: Sized,
    {
        four_rows::<Self, W>(weights, scales, token, quad, group)
    }

    /// A tile of rows times one token, with the token's scale: as many rows as `output` has, at
    /// most sixteen. The others are as for [`four_rows`](Self::four_rows).
    #[inline(always)]
    fn tile(
        weights: &[W::Segment],
        scales: &[[u32; TILE_SCALES]],
        token: Token<'_>,
        group: usize,
        scale: f32,
        output: &mut [f32],
    ) where
        Self: Sized,
    {
        // The check for a partial quad is outside the loop over quads, because only the last tile
        // can have one.
        let (quads, part) = output.as_chunks_mut::<ROWS>();
        for (quad, output) in quads.iter_mut().enumerate() {
            *output = Self::four_rows(weights, scales, token, quad, group).map(|acc| acc * scale);
        }
        if !part.is_empty() {
            let acc = Self::four_rows(weights, scales, token, quads.len(), group);
            for (y, acc) in part.iter_mut().zip(acc) {
                *y = acc * scale;
            }
        }
    }

    /// Adds to each sum the products of listed inputs with the stored weights of a row, of the
    /// four rows of quad `quad`. `weights` is `[input][row]` of the group.
    ///
    /// # Panics
    ///
    /// When an entry's weights are not in `weights`.
    fn listed(sums: [i32; ROWS], list: List<'_>, weights: &[u8], quad: usize) -> [i32; ROWS];

    /// Adds to each output the product of a group's listed inputs with its row, whose sums start at
    /// `start`. `weights` is `[input][row]` of the group, `scales` are those of the rows, by
    /// quads; `tile` is the tile that the rows start at.
    ///
    /// # Panics
    ///
    /// When an entry's weights are not in `weights`.
    #[inline(always)]
    fn listed_rows(
        start: [i32; ROWS],
        list: List<'_>,
        weights: &[u8],
        scales: &[Scales],
        tile: usize,
        output: &mut [f32],
    ) where
        Self: Sized,
    {
        let quads = output.chunks_mut(ROWS).zip(tile * (TILE_ROWS / ROWS)..).zip(scales);
        for ((output, quad), scales) in quads {
            fold_rows::<Self>(output, Self::listed(start, list, weights, quad), scales);
        }
    }
}

/// [`Fold::fold`] of as many rows as `output` has, at most four.
#[inline(always)]
pub(crate) fn fold_rows<A: Fold>(output: &mut [f32], sums: [i32; ROWS], scales: &Scales) {
    if let Some(acc) = output.first_chunk_mut() {
        return A::fold(acc, sums, scales);
    }
    let mut acc = [0.0; ROWS];
    acc[..output.len()].copy_from_slice(output);
    A::fold(&mut acc, sums, scales);
    output.copy_from_slice(&acc[..output.len()]);
}

/// An input that is not zero.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// The byte at which its weights start, from those of the group's first input on.
    pub(crate) offset: u32,
    /// Its value.
    pub(crate) q: i32,
}

/// The inputs of a group that are not zero, in ascending order of their offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a>(&'a [Entry]);

impl<'a> List<'a> {
    /// The list of `q`, whose weights lie `stride` bytes apart; `None` when there are
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
pub(crate) fn products<A: QuadArith<Int8> + QuadArith<Int4>>(jobs: &mut [Product<'_>]) {
    for job in jobs {
        let tokens = job.output.chunks_exact_mut(job.matrix.rows()).zip(job.input.scales());
        for (token, (output, scale)) in tokens.enumerate() {
            match job.matrix.weights() {
                Weights::Int8(_) => {
                    dense::<A, Int8>(&job.matrix, &job.input, token, *scale, output)
                }
                Weights::Int4(_) => {
                    dense::<A, Int4>(&job.matrix, &job.input, token, *scale, output)
                }
            }
        }
    }
}

/// One token of a dense product.
#[inline(always)]
fn dense<A: QuadArith<W>, W: WeightWords>(
    matrix: &Matrix<'_>,
    input: &Quantized<'_>,
    token: usize,
    scale: f32,
    output: &mut [f32],
) {
    let scale = scale * matrix.multiplier();
    let (q, sums) = (input.token(token), W::sums(input, token));
    let words = (words(matrix.weights().bytes()), words(matrix.scales()), words(q));
    let (Some(weights), Some(scales), Some(q)) = words else {
        return dense_unaligned::<A, W>(matrix, q, sums, scale, output);
    };
    let (weights, scales, q) = (W::segments(weights), scales.as_chunks().0, q.as_chunks().0);
    let (group, groups) = (matrix.group() / SEGMENT, matrix.groups());
    let token = Token { q, sums };
    let tiles = weights.chunks_exact(q.len()).zip(scales.chunks_exact(groups));
    for ((weights, scales), output) in tiles.zip(output.chunks_mut(TILE_ROWS)) {
        A::tile(weights, scales, token, group, scale, output);
    }
}

/// [`dense`] for slices that are not aligned as words. No engine makes such slices, but the
/// types allow them.
#[cold]
#[inline(never)]
fn dense_unaligned<A: QuadArith<W>, W: WeightWords>(
    matrix: &Matrix<'_>,
    q: &[i16],
    sums: &[i32],
    scale: f32,
    output: &mut [f32],
) {
    let group = matrix.group() / SEGMENT;
    for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
        let (weights, scales) = matrix.row_tile(tile);
        for (quad, output) in output.chunks_mut(ROWS).enumerate() {
            let acc = four_rows_unaligned::<A, W>(weights.bytes(), q, sums, scales, quad, group);
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
pub(crate) fn four_rows<A: QuadArith<W>, W: WeightWords>(
    weights: &[W::Segment],
    scales: &[[u32; TILE_SCALES]],
    token: Token<'_>,
    quad: usize,
    group: usize,
) -> [f32; ROWS] {
    let mut acc = [0.0; ROWS];
    let groups = weights.chunks(group).zip(token.q.chunks(group));
    for (number, ((weights, q), scales)) in groups.zip(scales).enumerate() {
        let start = number * group;
        let mut sums = W::start(token.sums, start..start + q.len());
        sums = A::segments(sums, weights, quad * ROWS, q);
        A::fold(&mut acc, sums, &scales.as_chunks().0[quad]);
    }
    acc
}

/// [`QuadArith::four_rows`] of any slices.
fn four_rows_unaligned<A: QuadArith<W>, W: WeightWords>(
    weights: &[u8],
    q: &[i16],
    sums: &[i32],
    scales: &[f16],
    quad: usize,
    group: usize,
) -> [f32; ROWS] {
    let mut acc = [0.0; ROWS];
    let mut group_sums = [0; ROWS];
    let segments = weights.chunks_exact(size_of::<W::Segment>()).zip(q.as_chunks::<SEGMENT>().0);
    let count = segments.len();
    for (i, (weights, q)) in segments.enumerate() {
        if i % group == 0 {
            group_sums = W::start(sums, i..count.min(i + group));
        }
        let weights = bytemuck::pod_read_unaligned(weights);
        let q = bytemuck::pod_read_unaligned(bytemuck::cast_slice(q));
        group_sums = A::segments(group_sums, &[weights], quad * ROWS, &[q]);
        if (i + 1) % group == 0 || i + 1 == count {
            let scales = &scales[i / group * TILE_ROWS + quad * ROWS..][..ROWS];
            let scales = bytemuck::pod_read_unaligned(bytemuck::cast_slice(scales));
            A::fold(&mut acc, group_sums, &scales);
        }
    }
    acc
}

/// A product with an input that is mostly zero.
#[inline(always)]
pub(crate) fn sparse_product<A: QuadArith<Int8> + QuadArith<Int4>>(job: SparseProduct<'_>) {
    let tokens = job.output.chunks_exact_mut(job.matrix.rows()).zip(job.input.scales());
    for (token, (output, scale)) in tokens.enumerate() {
        sparse_tiles::<A>(&job.matrix, &job.input, token, *scale, 0, output);
    }
}

/// Rows `rows` of such a product, `[token][row]`; they start at a tile.
#[inline(always)]
pub(crate) fn sparse_rows<A: QuadArith<Int8> + QuadArith<Int4>>(
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    rows: Range<usize>,
    output: &mut [f32],
) {
    let tile = rows.start / TILE_ROWS;
    let tokens = output.chunks_exact_mut(rows.len()).zip(input.scales());
    for (token, (output, scale)) in tokens.enumerate() {
        sparse_tiles::<A>(matrix, input, token, *scale, tile, output);
    }
}

/// [`sparse`] of the matrix's type of weights.
#[inline(always)]
fn sparse_tiles<A: QuadArith<Int8> + QuadArith<Int4>>(
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    token: usize,
    scale: f32,
    tile: usize,
    output: &mut [f32],
) {
    match matrix.weights() {
        Weights::Int8(_) => sparse::<A, Int8>(matrix, input, token, scale, tile, output),
        Weights::Int4(_) => sparse::<A, Int4>(matrix, input, token, scale, tile, output),
    }
}

/// The rows from row tile `tile` on, as many as `output` has, of one token of a sparse product.
/// `output` holds the sums over the groups until the token's scale comes.
#[inline(always)]
fn sparse<A: QuadArith<W>, W: WeightWords>(
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    token: usize,
    scale: f32,
    tile: usize,
    output: &mut [f32],
) {
    let scale = scale * matrix.multiplier();
    let (q, sums) = (input.token(token), W::sums(input, token));
    let stride = matrix.stride() / W::PER_BYTE;
    output.fill(0.0);
    let weights = matrix.weights().bytes();
    let groups = weights.chunks(matrix.group() * stride).zip(q.chunks(matrix.group()));
    let mut room = [Entry::default(); MAX_NONZERO];
    for (group, (weights, values)) in groups.enumerate() {
        let list = List::new(values, stride, &mut room);
        let (Some(list), Some(scales)) = (list, words(matrix.group_scales(group))) else {
            return reference(matrix, q, scale, tile, output);
        };
        if list.entries().is_empty() {
            continue;
        }
        let first = group * (matrix.group() / SEGMENT);
        let start = W::start(sums, first..first + values.len() / SEGMENT);
        let scales = &scales.as_chunks().0[tile * (TILE_ROWS / ROWS)..];
        A::listed_rows(start, list, weights, scales, tile, output);
    }
    for y in output {
        *y *= scale;
    }
}

/// A token that has a group with more than [`MAX_NONZERO`] nonzero inputs, or
/// scales that do not lie as words do.
#[cold]
#[inline(never)]
fn reference(
    matrix: &SparseMatrix<'_>,
    q: &[i16],
    scale: f32,
    first_tile: usize,
    output: &mut [f32],
) {
    for (tile, output) in (first_tile..).zip(output.chunks_mut(TILE_ROWS)) {
        let acc = sparse_row_tile(matrix, tile, q);
        for (y, acc) in output.iter_mut().zip(acc) {
            *y = acc * scale;
        }
    }
}
