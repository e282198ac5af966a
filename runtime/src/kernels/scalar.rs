//! The kernel set in plain Rust: the reference, and what runs where nothing
//! better is known.

use crate::kernels::matrix::{
    Matrix, SparseMatrix, TILE, TILE_INPUTS, TILE_ROWS, f16_scale_to_f32, padded_rows,
};
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
    let groups = weights.chunks(group * TILE_ROWS).zip(q.chunks(group));
    for ((weights, q), scales) in groups.zip(scales.as_chunks::<TILE_ROWS>().0) {
        let mut sums = [0i32; TILE_ROWS];
        let tiles = weights.as_chunks::<TILE>().0.iter();
        for (tile, q) in tiles.zip(q.as_chunks::<TILE_INPUTS>().0) {
            for (sum, w) in sums.iter_mut().zip(tile.as_chunks::<TILE_INPUTS>().0) {
                for (w, q) in w.iter().zip(q) {
                    *sum += i32::from(*w) * i32::from(*q);
                }
            }
        }
        fold(&mut acc, &sums, scales);
    }
    acc
}

/// Sixteen rows of a sparse matrix times one token, before its scale: `[16]`.
#[inline(always)]
pub fn sparse_row_tile(matrix: &SparseMatrix<'_>, tile: usize, q: &[i16]) -> [f32; TILE_ROWS] {
    let rows = padded_rows(matrix.rows());
    let mut acc = [0.0; TILE_ROWS];
    for (group, q) in q.chunks(matrix.group()).enumerate() {
        let mut sums = [0i32; TILE_ROWS];
        let mut active = false;
        for (i, q) in q.iter().enumerate() {
            if *q == 0 {
                continue;
            }
            active = true;
            let start = (group * matrix.group() + i) * rows + tile * TILE_ROWS;
            for (sum, w) in sums.iter_mut().zip(&matrix.weights()[start..start + TILE_ROWS]) {
                *sum += i32::from(*w) * i32::from(*q);
            }
        }
        if active {
            let scales = &matrix.group_scales(group)[tile * TILE_ROWS..(tile + 1) * TILE_ROWS];
            fold(&mut acc, &sums, scales);
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
