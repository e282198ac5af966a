//! The kernel set in plain Rust: the reference, and what runs where nothing
//! better is known.

use crate::kernels::matrix::{
    LINE_BLOCK, Matrix, SparseMatrix, TILE, TILE_INPUTS, TILE_ROWS, f16_scale_to_f32,
};
use crate::kernels::weights::{Weights, unpack_int4};
use crate::kernels::{Kernels, Product, Region, SparseProduct, Split};

/// Plain Rust, one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl Kernels for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn products(&self, products: &mut [Product<'_>]) {
        for product in products {
            let rows = product.matrix.rows();
            let tokens =
                product.output.chunks_exact_mut(rows).zip(product.input.scales()).enumerate();
            for (token, (output, scale)) in tokens {
                let q = product.input.token(token);
                let scale = scale * product.matrix.multiplier();
                for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
                    let acc = row_tile(&product.matrix, tile, q);
                    for (output, acc) in output.iter_mut().zip(acc) {
                        *output = acc * scale;
                    }
                }
            }
        }
    }

    fn sparse_product(&self, product: SparseProduct<'_>) {
        let rows = product.matrix.rows();
        let tokens = product.output.chunks_exact_mut(rows).zip(product.input.scales()).enumerate();
        for (token, (output, scale)) in tokens {
            let q = product.input.token(token);
            let scale = scale * product.matrix.multiplier();
            for (tile, output) in output.chunks_mut(TILE_ROWS).enumerate() {
                let acc = sparse_row_tile(&product.matrix, tile, q);
                for (output, acc) in output.iter_mut().zip(acc) {
                    *output = acc * scale;
                }
            }
        }
    }

    fn for_parts<S: Split>(&self, whole: S, _region: Region, f: impl Fn(S) + Sync) {
        f(whole);
    }
}

/// Sixteen rows of a matrix times the activations of one token in natural order, before
/// their scale: `[16]`.
#[inline(always)]
pub fn row_tile(matrix: &Matrix<'_>, tile: usize, q: &[i16]) -> [f32; TILE_ROWS] {
    let (weights, scales) = matrix.row_tile(tile);
    let group = matrix.group();
    match weights {
        Weights::Int8(weights) => int8_row_tile(weights, scales, group, q),
        Weights::Int4(bytes) => int4_row_tile(bytes, scales, group, q),
    }
}

// A function for each type, never inlined: only then do the sums of a group stay in registers.

/// [`row_tile`] of int8.
#[inline(never)]
fn int8_row_tile(
    weights: &[i8],
    scales: &[half::f16],
    group: usize,
    q: &[i16],
) -> [f32; TILE_ROWS] {
    let weights = weights.chunks(group * TILE_ROWS);
    fold_groups(weights, q.chunks(group), scales, |sums, weights, q| {
        for (tile, q) in weights.as_chunks::<TILE>().0.iter().zip(q.as_chunks().0) {
            add_tile(sums, tile, q);
        }
    })
}

/// [`row_tile`] of int4.
#[inline(never)]
fn int4_row_tile(bytes: &[u8], scales: &[half::f16], group: usize, q: &[i16]) -> [f32; TILE_ROWS] {
    let weights = bytes.chunks(group * TILE_ROWS / 2);
    fold_groups(weights, q.chunks(group), scales, |sums, bytes, q| {
        let pairs = bytes.as_chunks::<TILE>().0.iter().map(unpack_int4);
        for ([first, second], [q_first, q_second]) in pairs.zip(q.as_chunks().0.as_chunks().0) {
            add_tile(sums, &first, q_first);
            add_tile(sums, &second, q_second);
        }
    })
}

/// The accumulators of sixteen rows, from the weights and activations of each group; `add` adds
/// the products of a group to its sums.
#[inline(always)]
fn fold_groups<'w, 'q, W: 'w>(
    weights: impl Iterator<Item = &'w [W]>,
    q: impl Iterator<Item = &'q [i16]>,
    scales: &[half::f16],
    add: impl Fn(&mut [i32; TILE_ROWS], &'w [W], &'q [i16]),
) -> [f32; TILE_ROWS] {
    let mut acc = [0.0; TILE_ROWS];
    for ((weights, q), scales) in weights.zip(q).zip(scales.as_chunks::<TILE_ROWS>().0) {
        let mut sums = [0i32; TILE_ROWS];
        add(&mut sums, weights, q);
        fold(&mut acc, &sums, scales);
    }
    acc
}

/// Adds the products of a tile with four activations to the sums of its rows.
#[inline(always)]
fn add_tile(sums: &mut [i32; TILE_ROWS], tile: &[i8; TILE], q: &[i16; TILE_INPUTS]) {
    for (sum, w) in sums.iter_mut().zip(tile.as_chunks::<TILE_INPUTS>().0) {
        for (w, q) in w.iter().zip(q) {
            *sum += i32::from(*w) * i32::from(*q);
        }
    }
}

/// Sixteen rows of a sparse matrix times one token, before its scale: `[16]`.
#[inline(always)]
pub fn sparse_row_tile(matrix: &SparseMatrix<'_>, tile: usize, q: &[i16]) -> [f32; TILE_ROWS] {
    let stride = matrix.stride();
    match matrix.weights() {
        Weights::Int8(weights) => fold_active(matrix, tile, q, |sums, input, q| {
            let start = input * stride + tile * TILE_ROWS;
            add_rows(sums, &weights[start..start + TILE_ROWS], q);
        }),
        Weights::Int4(bytes) => fold_active(matrix, tile, q, |sums, input, q| {
            // A block of 16 bytes has the rows of two tiles.
            let block = &bytes[input * stride / 2..].as_chunks::<LINE_BLOCK>().0[tile / 2];
            add_rows(sums, &unpack_int4(block)[tile % 2], q);
        }),
    }
}

/// The accumulators of sixteen rows, from the inputs that are not zero; `add` adds the products
/// of an input to the sums of its group.
#[inline(always)]
fn fold_active(
    matrix: &SparseMatrix<'_>,
    tile: usize,
    q: &[i16],
    add: impl Fn(&mut [i32; TILE_ROWS], usize, i16),
) -> [f32; TILE_ROWS] {
    let mut acc = [0.0; TILE_ROWS];
    for (group, q) in q.chunks(matrix.group()).enumerate() {
        let mut sums = [0i32; TILE_ROWS];
        let mut active = false;
        for (i, q) in q.iter().enumerate() {
            if *q == 0 {
                continue;
            }
            active = true;
            add(&mut sums, group * matrix.group() + i, *q);
        }
        if active {
            let scales = &matrix.group_scales(group)[tile * TILE_ROWS..(tile + 1) * TILE_ROWS];
            fold(&mut acc, &sums, scales);
        }
    }
    acc
}

/// Adds the products of rows' weights with one activation to their sums.
#[inline(always)]
fn add_rows(sums: &mut [i32; TILE_ROWS], weights: &[i8], q: i16) {
    for (sum, w) in sums.iter_mut().zip(weights) {
        *sum += i32::from(*w) * i32::from(q);
    }
}

/// `acc + f32(sum) * scale`, for each row.
#[inline(always)]
fn fold(acc: &mut [f32; TILE_ROWS], sums: &[i32; TILE_ROWS], scales: &[half::f16]) {
    for ((acc, sum), scale) in acc.iter_mut().zip(sums).zip(scales) {
        *acc += *sum as f32 * f16_scale_to_f32(*scale);
    }
}
