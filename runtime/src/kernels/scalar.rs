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
    let mut acc = [0.0; TILE_ROWS];
    let groups = q.chunks(group).zip(scales.as_chunks::<TILE_ROWS>().0).enumerate();
    for (number, (q, scales)) in groups {
        let mut sums = [0i32; TILE_ROWS];
        let start = number * group * TILE_ROWS;
        match weights.part(start, start + q.len() * TILE_ROWS) {
            Weights::Int8(weights) => {
                let tiles = weights.as_chunks::<TILE>().0.iter();
                for (tile, q) in tiles.zip(q.as_chunks::<TILE_INPUTS>().0) {
                    add_tile(&mut sums, tile, q);
                }
            }
            Weights::Int4(bytes) => {
                let pairs = bytes.as_chunks::<TILE>().0.iter().map(unpack_int4);
                let q = q.as_chunks::<TILE_INPUTS>().0.as_chunks::<2>().0;
                for (tiles, q) in pairs.zip(q) {
                    for (tile, q) in tiles.iter().zip(q) {
                        add_tile(&mut sums, tile, q);
                    }
                }
            }
        }
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
    let rows = tile * TILE_ROWS..(tile + 1) * TILE_ROWS;
    let stride = matrix.stride();
    let mut acc = [0.0; TILE_ROWS];
    for (group, q) in q.chunks(matrix.group()).enumerate() {
        let mut sums = [0i32; TILE_ROWS];
        let mut active = false;
        for (i, q) in q.iter().enumerate() {
            if *q == 0 {
                continue;
            }
            active = true;
            let mut add = |weights: &[i8]| {
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum += i32::from(*w) * i32::from(*q);
                }
            };
            let start = (group * matrix.group() + i) * stride;
            match matrix.weights() {
                Weights::Int8(weights) => add(&weights[start + rows.start..start + rows.end]),
                Weights::Int4(bytes) => {
                    // A block of 16 bytes has the rows of two tiles.
                    let block = &bytes[start / 2..].as_chunks::<LINE_BLOCK>().0[tile / 2];
                    add(&unpack_int4(block)[tile % 2]);
                }
            }
        }
        if active {
            fold(&mut acc, &sums, &matrix.group_scales(group)[rows.clone()]);
        }
    }
    acc
}

/// `acc + f32(sum) * scale`, for each row.
#[inline(always)]
fn fold(acc: &mut [f32; TILE_ROWS], sums: &[i32; TILE_ROWS], scales: &[half::f16]) {
    for ((acc, sum), scale) in acc.iter_mut().zip(sums).zip(scales) {
        *acc += *sum as f32 * f16_scale_to_f32(*scale);
    }
}
