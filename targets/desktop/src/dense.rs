//! Products with a dense input: GEMV for one token, GEMM for a batch.
//!
//! ```text
//! y[token][row] = scale[token] * sum over the groups g, ascending, of
//!                      f32(sum over the inputs i of g of w[row][i] * q[token][i]) * s[row][g]
//! ```
//!
//! Weights are tiles of 16 rows by 4 inputs, 64 bytes: one operand of 512 bits or two of 256.
//! A lane is a row, so no horizontal sum exists, and bytes are read in ascending order.
//!
//! * **One token** ([`single`]) is bound by memory. It reads tile after tile, both steps of a
//!   dot product at once, with even and odd tiles summed apart to hide the latency.
//! * **A batch** ([`panel`]) is bound by multiplications. A register tile is T registers of
//!   rows by C tokens, whose `T * C` sums stay in registers over a group:
//!
//! ```text
//! register_tile:  for each group:
//!                     for each 4 inputs: load T weights, broadcast C activations,
//!                                        sums[c][t] += first step of w[t] * q[c]
//!                     sums = carry(sums) + correction of the zero point
//!                     the same loop with the second step
//!                     totals[c][t] += f32(sums) * scales[t]
//! ```
//!
//! T is 4 and C at most 4 with 32 registers of 512 bits: 16 sums, 4 weights, and the f32
//! accumulators in between. With 16 registers of 256 bits T is 2. Reading a group's weights
//! twice, once per step, costs first-level cache bandwidth but keeps one register per sum
//! instead of two.
//!
//! # Tried and lost
//!
//! One token, whole models of int4 on Zen 4:
//!
//! * two or four tiles of rows side by side, which share the broadcasts of q: a third slower, with
//!   and without prefetching, though their loops have fewer loads. That there is then more than one
//!   stream may be why; it is not confirmed.
//! * prefetching scales: a fifth slower, or a twentieth where those of the next tile are asked for
//!   at once.
//! * high nibbles as sixteen times their weight: a shift less, and no time.

#![expect(
    clippy::needless_range_loop,
    reason = "indices name registers: constant bounds, unrolled, several arrays at once"
)]

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::marker::PhantomData;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, TILE, TILE_INPUTS, TILE_ROWS, padded_inputs};
use kinglet_simd::OutputRows;

use crate::dot_product::{DotProduct, Ints};
use crate::simd::Simd;
use crate::weight_type::WeightType;

/// Rows of the largest register tile.
const PANEL: usize = 64;
/// Inputs of the shortest groups: the quantizer's for weights of four bits, and for those of eight
/// in small models. A loop over so few pays for its set-up, so that it is compiled for this number.
const MIN_GROUP: usize = 32;
// So that every such group is whole, and has a sum of its activations of its own.
const _: () = assert!(padded_inputs(1) == MIN_GROUP);
/// Tokens of the largest register tile. The sums of more would fit into 32 registers, but not
/// beside the f32 accumulators.
const TOKENS: usize = 4;

/// A product with weights of the type W, whose slices were found long enough.
#[derive(Debug)]
pub(crate) struct Dense<'a, W> {
    matrix: &'a Matrix<'a>,
    weights: &'a [u8],
    input: &'a Quantized<'a>,
    /// Inputs with padding.
    padded: usize,
    groups: usize,
    weight_type: PhantomData<W>,
}

/// Float accumulators of a register tile.
#[repr(align(64))]
struct Totals<const C: usize>([[f32; PANEL]; C]);

impl<'a, W: WeightType> Dense<'a, W> {
    /// A product of which `out` is wanted.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the dimensions say, the rows of `out` do not
    /// start at a tile, or the weights are of another type.
    pub(crate) fn new(
        matrix: &'a Matrix<'a>,
        input: &'a Quantized<'a>,
        out: &OutputRows<'_>,
    ) -> Self {
        assert_eq!(input.inputs(), matrix.inputs(), "input of another length");
        assert!(input.tokens() >= out.tokens(), "too few tokens");
        assert!(out.rows().end <= matrix.rows(), "rows beyond the matrix");
        assert!(out.rows().start.is_multiple_of(TILE_ROWS), "rows within a tile");
        Self {
            matrix,
            weights: W::bytes(matrix.weights()),
            input,
            padded: padded_inputs(matrix.inputs()),
            groups: matrix.groups(),
            weight_type: PhantomData,
        }
    }

    /// Weights and scales of the `LANES` rows from `row` on, of which the
    /// matrix has a tile: `[input/4][16][4]`, in pairs of blocks if a byte has
    /// two weights, and `[group][16]`, from the row's place in the tile on.
    ///
    /// # Safety
    ///
    /// `row` is less than the rows of the matrix.
    #[inline(always)]
    unsafe fn rows(&self, row: usize) -> (*const u8, *const u16) {
        let (tile, lane) = (row / TILE_ROWS, row % TILE_ROWS);
        let weights = tile * TILE_ROWS * self.padded / W::PER_BYTE + lane * TILE_INPUTS;
        let scales = tile * TILE_ROWS * self.groups + lane;
        // SAFETY: `new` found `row_tiles` tiles in both, and this is one of them.
        unsafe {
            let scales = self.matrix.scales().as_ptr().add(scales).cast();
            (self.weights.as_ptr().add(weights), scales)
        }
    }

    /// Inputs of group `group`, the last of which may be shorter.
    #[inline(always)]
    fn group_len(&self, group: usize) -> usize {
        self.matrix.group().min(self.padded - group * self.matrix.group())
    }

    /// Zero-point correction: that many times the sum of the token's q over a group as the
    /// unsigned weights make a group's sum of products too large, subtracted.
    #[inline(always)]
    fn correction(&self, token: usize, group: usize) -> i32 {
        let start = group * self.matrix.group() / 32;
        let sums = &self.input.token_sums(token)[start..start + self.group_len(group) / 32];
        sums.iter().sum::<i32>().wrapping_mul(-W::ZERO_POINT)
    }

    /// Writes the totals of the `rows` rows from `row` on, as far as `out` has
    /// them, scaled.
    #[inline(always)]
    fn store<const C: usize>(
        &self,
        totals: &Totals<C>,
        rows: usize,
        row: usize,
        token: usize,
        out: &mut OutputRows<'_>,
    ) {
        let first = row - out.rows().start;
        for (token, totals) in (token..).zip(&totals.0) {
            let scale = self.input.scales()[token] * self.matrix.multiplier();
            for (out, total) in out.token(token)[first..].iter_mut().zip(&totals[..rows]) {
                *out = total * scale;
            }
        }
    }
}

/// Computes the rows of `out`.
///
/// # Safety
///
/// The CPU has the instructions of D, and the caller has them switched on.
#[inline(always)]
pub(crate) unsafe fn product<D: DotProduct, W: WeightType>(
    job: &Dense<'_, W>,
    out: &mut OutputRows<'_>,
) {
    let mut row = out.rows().start;
    let end = out.rows().end;
    let wide = D::Simd::LANES == 16;
    let short = job.matrix.group() == MIN_GROUP;
    while row < end {
        // One token reads tile after tile, because ascending addresses are what the hardware
        // prefetcher follows. A batch takes four registers of weights where there are 32
        // registers, two where there are 16.
        let four = wide && out.tokens() > 1 && end - row > 3 * TILE_ROWS;
        // SAFETY: `row` is at a tile of `out`, whose tiles the matrix has; for
        // four, three more begin before the end. `short` says that groups have MIN_GROUP inputs.
        unsafe {
            match (wide, out.tokens()) {
                (true, 1) if short => single::<D, W, 1, MIN_GROUP>(job, row, out),
                (true, 1) => single::<D, W, 1, 0>(job, row, out),
                (false, 1) if short => single::<D, W, 2, MIN_GROUP>(job, row, out),
                (false, 1) => single::<D, W, 2, 0>(job, row, out),
                (true, _) if four => panel::<D, W, 4>(job, row, out),
                (true, _) => panel::<D, W, 1>(job, row, out),
                (false, _) => panel::<D, W, 2>(job, row, out),
            }
        }
        row += if four { 4 * TILE_ROWS } else { TILE_ROWS };
    }
}

/// Computes the `T * LANES` rows from `row` on, for all tokens.
///
/// # Safety
///
/// As for [`product`]; the matrix has the tiles of these rows.
#[inline(always)]
unsafe fn panel<D: DotProduct, W: WeightType, const T: usize>(
    job: &Dense<'_, W>,
    row: usize,
    out: &mut OutputRows<'_>,
) {
    let mut token = 0;
    while token < out.tokens() {
        let left = out.tokens() - token;
        // No register tile of one token where the rest can be split more evenly.
        let together = if matches!(left, 5 | 6) { 3 } else { left.min(TOKENS) };
        // SAFETY: the caller's promise; that many tokens are left.
        unsafe {
            match together {
                1 => register_tile::<D, W, T, 1>(job, row, token, out),
                2 => register_tile::<D, W, T, 2>(job, row, token, out),
                3 => register_tile::<D, W, T, 3>(job, row, token, out),
                _ => register_tile::<D, W, T, TOKENS>(job, row, token, out),
            }
        }
        token += together;
    }
}

/// Multiplies `T * LANES` rows with one token: bound by reading the weights once. Groups have
/// GROUP inputs, or, if that is 0, as many as the matrix says.
///
/// # Safety
///
/// As for [`panel`]; there is a token, and the matrix has groups of GROUP if that is not 0.
#[inline(always)]
unsafe fn single<D: DotProduct, W: WeightType, const T: usize, const GROUP: usize>(
    job: &Dense<'_, W>,
    row: usize,
    out: &mut OutputRows<'_>,
) {
    let lanes = D::Simd::LANES;
    let mut totals = Totals([[0.0; PANEL]]);
    // SAFETY: each register's rows are in the matrix by the caller's promise,
    // so its weights and scales are readable to their end, as `Dense::new`
    // found q to be; T registers of totals fit into PANEL.
    unsafe {
        let mut rows = [job.rows(row); T];
        for (t, rows) in rows.iter_mut().enumerate() {
            *rows = job.rows(row + t * lanes);
        }
        let mut q = job.input.token(0).as_ptr();
        let groups = job.groups;
        // The activations' sums are those of 32, the shortest groups.
        let sums_of_groups =
            &job.input.token_sums(0)[..if GROUP == MIN_GROUP { groups } else { 0 }];
        for group in 0..groups {
            let inputs = if GROUP > 0 { GROUP } else { job.group_len(group) };
            // Even and odd tiles apart, so that none waits for the one before.
            let mut sums = [[D::start(); T]; 2];
            for _ in 0..inputs / (2 * TILE_INPUTS) {
                let mut bytes = [D::Simd::splat(0); T];
                for tile in 0..2 {
                    let block = tile % W::PER_BYTE;
                    if block == 0 {
                        for t in 0..T {
                            if let Some(ahead) = D::Simd::AHEAD[W::PER_BYTE - 1] {
                                _mm_prefetch::<_MM_HINT_T0>(rows[t].0.wrapping_add(ahead).cast());
                            }
                            bytes[t] = D::Simd::load(rows[t].0);
                            rows[t].0 = rows[t].0.wrapping_add(TILE);
                        }
                    }
                    let activations = [D::Simd::broadcast(q), D::Simd::broadcast(q.add(2))];
                    for t in 0..T {
                        let weights = W::unsigned::<D::Simd>(bytes[t], block);
                        sums[tile][t] = D::steps(sums[tile][t], weights, activations);
                    }
                    q = q.add(TILE_INPUTS);
                }
            }
            let correction = if GROUP == MIN_GROUP {
                sums_of_groups[group].wrapping_mul(-W::ZERO_POINT)
            } else {
                job.correction(0, group)
            };
            let correction = D::Simd::splat(correction);
            for t in 0..T {
                let sums = D::Simd::add(D::total(sums[0][t]), D::total(sums[1][t]));
                let sums = D::Simd::add(sums, correction);
                let scales = D::Simd::scales(rows[t].1);
                rows[t].1 = rows[t].1.wrapping_add(TILE_ROWS);
                D::Simd::fold(sums, scales, totals.0[0].as_mut_ptr().add(t * lanes));
            }
        }
    }
    job.store(&totals, T * lanes, row, 0, out);
}

/// Multiplies `T * LANES` rows with the C tokens from `token` on. A group's
/// weights are read twice, once for each step, so that every sum stays in one
/// register.
///
/// # Safety
///
/// As for [`panel`]; there are these tokens.
#[inline(always)]
unsafe fn register_tile<D: DotProduct, W: WeightType, const T: usize, const C: usize>(
    job: &Dense<'_, W>,
    row: usize,
    token: usize,
    out: &mut OutputRows<'_>,
) {
    let lanes = D::Simd::LANES;
    let mut totals = Totals([[0.0; PANEL]; C]);
    // SAFETY: each register's rows are in the matrix by the caller's promise,
    // so its weights and scales are readable to their end, as `Dense::new`
    // found q to be; T registers of totals fit into PANEL.
    unsafe {
        let mut rows = [job.rows(row); T];
        for (t, rows) in rows.iter_mut().enumerate() {
            *rows = job.rows(row + t * lanes);
        }
        let mut q = [job.input.q().as_ptr(); C];
        for (c, q) in q.iter_mut().enumerate() {
            *q = job.input.token(token + c).as_ptr();
        }
        for group in 0..job.groups {
            let inputs = job.group_len(group);
            let mut sums = [[D::Simd::splat(0); T]; C];
            for input in (0..inputs).step_by(TILE_INPUTS * W::PER_BYTE) {
                let bytes = load::<D, W, T>(&rows, input);
                for block in 0..W::PER_BYTE {
                    let input = input + block * TILE_INPUTS;
                    let weights = unsigned::<D, W, T>(bytes, block);
                    for c in 0..C {
                        let activations = D::Simd::broadcast(q[c].add(input));
                        for t in 0..T {
                            sums[c][t] = D::step(sums[c][t], D::first(weights[t]), activations);
                        }
                    }
                }
            }
            for c in 0..C {
                let correction = D::Simd::splat(job.correction(token + c, group));
                for t in 0..T {
                    sums[c][t] = D::Simd::add(D::carry(sums[c][t]), correction);
                }
            }
            for input in (0..inputs).step_by(TILE_INPUTS * W::PER_BYTE) {
                let bytes = load::<D, W, T>(&rows, input);
                for block in 0..W::PER_BYTE {
                    let input = input + block * TILE_INPUTS;
                    let weights = unsigned::<D, W, T>(bytes, block);
                    for c in 0..C {
                        let activations = D::Simd::broadcast(q[c].add(input + 2));
                        for t in 0..T {
                            sums[c][t] = D::step(sums[c][t], D::second(weights[t]), activations);
                        }
                    }
                }
            }
            for t in 0..T {
                let scales = D::Simd::scales(rows[t].1);
                for c in 0..C {
                    D::Simd::fold(sums[c][t], scales, totals.0[c].as_mut_ptr().add(t * lanes));
                }
                rows[t].0 = rows[t].0.wrapping_add(inputs * TILE_ROWS / W::PER_BYTE);
                rows[t].1 = rows[t].1.wrapping_add(TILE_ROWS);
            }
            for q in &mut q {
                *q = q.wrapping_add(inputs);
            }
        }
    }
    job.store(&totals, T * lanes, row, token, out);
}

/// The bytes with the weights of input `input`, the first of a register's blocks.
///
/// # Safety
///
/// As for [`product`]; these weights are readable.
#[inline(always)]
unsafe fn load<D: DotProduct, W: WeightType, const T: usize>(
    rows: &[(*const u8, *const u16); T],
    input: usize,
) -> [Ints<D>; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut bytes = [D::Simd::splat(0); T];
        for t in 0..T {
            bytes[t] = D::Simd::load(rows[t].0.add(input * TILE_ROWS / W::PER_BYTE));
        }
        bytes
    }
}

/// Unsigned weights of four inputs: those of block `block`.
///
/// # Safety
///
/// As for [`product`]; the registers have the block.
#[inline(always)]
unsafe fn unsigned<D: DotProduct, W: WeightType, const T: usize>(
    mut bytes: [Ints<D>; T],
    block: usize,
) -> [Ints<D>; T] {
    for bytes in &mut bytes {
        // SAFETY: the caller's promise.
        *bytes = unsafe { W::unsigned::<D::Simd>(*bytes, block) };
    }
    bytes
}
