//! Products with a mostly zero input: the part that all sets share.
//!
//! ```text
//! out = 0
//! for each group:
//!     for each token:
//!         list the active inputs: those that are not zero
//!         for each 2 or 4 tiles of 16 rows:
//!             sums = the set's exact i32 sums over the active inputs      (traits Sparse, Packing)
//!             out[token][rows] += f32(sums) * scales[group][rows]
//! out *= scale of the token
//! ```
//!
//! Weights lie by input, `[input][row]`, so that an inactive input's are not read. Groups are
//! the outer loop, because several tokens then find a group's weights in cache; `out` holds
//! the f32 accumulators meanwhile. A group without active inputs adds +0.0 and is skipped.
//!
//! Of int4 two tiles lie in a block of 16 bytes. A part that begins with the second takes it alone,
//! and then begins blocks.
//!
//! [`Lines::new`] checks where the last tile of the group's last input ends, so the loads at
//! active inputs, whose indices are below the group's inputs, are unchecked.

use core::marker::PhantomData;

use half::f16;
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{GROUPS, LINE_BLOCK, SparseMatrix, TILE_ROWS, padded_sparse_rows};
use kinglet::kernels::weights::Weights;
use kinglet_simd::OutputRows;

use crate::fold::{self, Sums};
use crate::intrinsics::*;
use crate::packing::{Int4, Int8, Packing};

/// Exact products of rows with the active inputs of a group, in one set's
/// instructions.
pub(crate) trait Sparse: Copy {
    /// Tiles of sixteen rows whose accumulators fit in registers: 2 or 4.
    const TILES: usize;

    /// Brings the active values to the order in which `tiles` reads them.
    fn prepare(self, active: &mut Active);

    /// The sums of one group for `T` tiles, of weights as they are stored. Must be inlined where the set's
    /// instructions are switched on.
    ///
    /// # Safety
    ///
    /// `weights` were made for `active`.
    unsafe fn tiles<W: Packing, const T: usize>(
        self,
        weights: &Lines<'_, W, T>,
        active: &Active,
    ) -> [Sums; T];
}

/// Computes the rows of `out`.
#[inline(always)]
pub(crate) fn product<S: Sparse>(
    sparse: S,
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    out: &mut OutputRows<'_>,
) {
    match matrix.weights() {
        Weights::Int8(_) => packed_product::<S, Int8>(sparse, matrix, input, out),
        Weights::Int4(_) => packed_product::<S, Int4>(sparse, matrix, input, out),
    }
}

/// [`product`] with weights of one type.
#[inline(always)]
fn packed_product<S: Sparse, W: Packing>(
    sparse: S,
    matrix: &SparseMatrix<'_>,
    input: &Quantized<'_>,
    out: &mut OutputRows<'_>,
) {
    let first = out.rows().start;
    let weights = matrix.weights().bytes();
    let mut active = Active::new();
    for token in 0..out.tokens() {
        out.token(token).fill(0.0);
    }
    for group in 0..matrix.groups() {
        let start = group * matrix.group();
        for token in 0..out.tokens() {
            let q = input.token(token);
            let inputs = start..q.len().min(start + matrix.group());
            active.find(&q[inputs.clone()]);
            if active.is_empty() {
                continue;
            }
            sparse.prepare(&mut active);
            let excess = W::excess(input, token, inputs);
            let group = GroupRows { matrix, weights, group, first, excess };
            accumulate::<S, W>(sparse, group, &active, out.token(token));
        }
    }
    for token in 0..out.tokens() {
        let scale = input.scales()[token] * matrix.multiplier();
        for out in out.token(token) {
            *out *= scale;
        }
    }
}

/// A group of inputs of a matrix, from row `first` on, and the excess of its sums for a token.
#[derive(Clone, Copy)]
struct GroupRows<'a> {
    matrix: &'a SparseMatrix<'a>,
    /// All weights of the matrix.
    weights: &'a [u8],
    group: usize,
    first: usize,
    excess: i32,
}

/// Adds one group to the accumulators of its rows.
#[inline(always)]
fn accumulate<S: Sparse, W: Packing>(
    sparse: S,
    rows: GroupRows<'_>,
    active: &Active,
    acc: &mut [f32],
) {
    let GroupRows { matrix, weights, group, first, excess } = rows;
    // Those of `matrix`, whose type of weights is not known to the compiler.
    let padded_rows = padded_sparse_rows(W::TYPE, matrix.rows());
    let stride = padded_rows / W::PER_BYTE;
    let weights = &weights[group * matrix.group() * stride..];
    let scales = &matrix.scales()[group * padded_rows + first..(group + 1) * padded_rows];
    let mut row = 0;
    while row < acc.len() {
        let whole = (acc.len() - row) / TILE_ROWS;
        let alone = W::block(first + row).1 != 0;
        let tiles = if alone || whole < S::TILES { 1 } else { S::TILES };
        let at = (weights, stride, first + row);
        let (acc, scales) = (&mut acc[row..], scales[row..].as_chunks().0);
        match tiles {
            1 => fold_tiles(sums::<S, W, 1>(sparse, at, active, excess), scales, acc),
            2 => fold_tiles(sums::<S, W, 2>(sparse, at, active, excess), scales, acc),
            4 => fold_tiles(sums::<S, W, 4>(sparse, at, active, excess), scales, acc),
            _ => unreachable!("sets have 2 or 4 tiles"),
        }
        row += tiles * TILE_ROWS;
    }
}

/// The sums of `T` tiles: `weights`, their stride in bytes, and the tiles' first row.
#[inline(always)]
fn sums<S: Sparse, W: Packing, const T: usize>(
    sparse: S,
    (weights, stride, row): (&[u8], usize, usize),
    active: &Active,
    excess: i32,
) -> [Sums; T] {
    let lines = Lines::<W, T>::new(weights, stride, row, active);
    // SAFETY: the lines were made for `active`.
    unsafe { sparse.tiles(&lines, active) }.map(|sums| W::correct(sums, excess))
}

/// Adds the sums of `T` tiles to the first rows of `acc`. Only a single tile may
/// be shorter, so that the sums of several stay in registers.
#[inline(always)]
fn fold_tiles<const T: usize>(sums: [Sums; T], scales: &[[f16; TILE_ROWS]], acc: &mut [f32]) {
    let scales = &scales[..T];
    if let Some(acc) = acc.as_chunks_mut().0.first_chunk_mut::<T>() {
        for ((sums, scales), rows) in sums.iter().zip(scales).zip(acc) {
            fold_tile(sums, scales, rows);
        }
    } else if T == 1 {
        let mut whole = [0.0; TILE_ROWS];
        whole[..acc.len()].copy_from_slice(acc);
        fold_tile(&sums[0], &scales[0], &mut whole);
        acc.copy_from_slice(&whole[..acc.len()]);
    } else {
        unreachable!("several tiles are whole");
    }
}

#[inline(always)]
fn fold_tile(sums: &Sums, scales: &[f16; TILE_ROWS], rows: &mut [f32; TILE_ROWS]) {
    let mut acc = fold::load(rows);
    fold::fold(&mut acc, sums, &fold::f16_scales_to_f32(scales));
    fold::store(&acc, rows);
}

/// Weights of one group for `T` tiles: `[input][row]`, from some row on.
pub(crate) struct Lines<'a, W, const T: usize> {
    weights: &'a [u8],
    /// Bytes of an input.
    stride: usize,
    inputs: usize,
    /// Which of the tiles in its block a single one is.
    part: usize,
    packing: PhantomData<W>,
}

impl<'a, W: Packing, const T: usize> Lines<'a, W, T> {
    /// Tiles of a block that are used: all, but of one tile.
    pub(crate) const PARTS: usize = if T == 1 { 1 } else { W::PER_BYTE };
    /// Blocks of an input.
    pub(crate) const BLOCKS: usize = T / Self::PARTS;

    /// The weights of the tiles from row `row` on, for the inputs of `active`.
    ///
    /// # Panics
    ///
    /// When they do not have that many rows or inputs, or several tiles begin within a block.
    #[inline(always)]
    fn new(weights: &'a [u8], stride: usize, row: usize, active: &Active) -> Self {
        let (at, part) = W::block(row);
        let (weights, inputs) = (&weights[at..], active.inputs);
        assert!(T == 1 || part == 0, "a part of a block");
        let end = (inputs - 1) * stride + Self::BLOCKS * LINE_BLOCK;
        assert!(end <= weights.len(), "too few weights");
        Self { weights, stride, inputs, part, packing: PhantomData }
    }

    /// A block of one input.
    ///
    /// # Safety
    ///
    /// `input` is of the `Active` that the weights were made for, and `block` below
    /// [`BLOCKS`](Self::BLOCKS).
    #[inline(always)]
    pub(crate) unsafe fn load(&self, input: u16, block: usize) -> int8x16_t {
        let input = usize::from(input);
        debug_assert!(input < self.inputs && block < Self::BLOCKS);
        // SAFETY: `new` has checked where the last block of the last input ends.
        unsafe {
            let at = self.weights.as_ptr().add(input * self.stride + block * LINE_BLOCK);
            at.cast::<int8x16_t>().read_unaligned()
        }
    }

    /// Tile `part` of the bytes of blocks, below [`PARTS`](Self::PARTS).
    #[inline(always)]
    pub(crate) fn part(&self, bytes: int8x16_t, part: usize) -> int8x16_t {
        if T == 1 { W::any_part(bytes, self.part) } else { W::part(bytes, part) }
    }
}

const MAX_GROUP: usize = GROUPS[GROUPS.len() - 1];

/// The inputs of a group that are not zero, in ascending order.
pub(crate) struct Active {
    /// Inputs of the group; every index is below.
    inputs: usize,
    len: usize,
    index: [u16; MAX_GROUP],
    q: [i16; MAX_GROUP],
}

impl Active {
    fn new() -> Self {
        Self { inputs: 0, len: 0, index: [0; MAX_GROUP], q: [0; MAX_GROUP] }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lists the inputs of `q` that are not zero.
    #[inline(always)]
    fn find(&mut self, q: &[i16]) {
        assert!(q.len() <= MAX_GROUP, "a group has at most {MAX_GROUP} inputs");
        let mut len = 0;
        for (i, q) in q.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: eight values.
            let eight = unsafe { q.as_ptr().cast::<int16x8_t>().read_unaligned() };
            let nonzero = vmovn_u16(vtstq_s16(eight, eight));
            // One bit in the byte of each value.
            let mut bits = vget_lane_u64(vreinterpret_u64_u8(nonzero)) & 0x0101_0101_0101_0101;
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize / 8;
                self.index[len] = (8 * i + lane) as u16;
                self.q[len] = q[lane];
                len += 1;
                bits &= bits - 1;
            }
        }
        (self.inputs, self.len) = (q.len(), len);
    }

    /// Index and value of each active input.
    #[inline(always)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &i16)> {
        self.index[..self.len].iter().copied().zip(&self.q[..self.len])
    }

    /// Completes the last four with zeros, and returns all values.
    #[inline(always)]
    pub(crate) fn pad(&mut self) -> &mut [i16] {
        let padded = self.len.next_multiple_of(4);
        self.index[self.len..padded].fill(0);
        self.q[self.len..padded].fill(0);
        &mut self.q[..padded]
    }

    /// Indices and values, four at a time, after `pad`.
    #[inline(always)]
    pub(crate) fn fours(&self) -> impl Iterator<Item = ([u16; 4], &[i16; 4])> {
        let padded = self.len.next_multiple_of(4);
        let index = self.index[..padded].as_chunks().0.iter().copied();
        index.zip(self.q[..padded].as_chunks().0)
    }
}
