//! What an adapter adds to a matrix, computed row by row when the matrix is read.
//!
//! Every form changes a row of `[out][in]` by numbers of that row alone, so rows can be read in
//! any order and in any number, and a merged checkpoint needs no memory of its own. All of it
//! happens in f32: a merge in the files' bf16 moves logits by tenths.

use rayon::prelude::*;

use super::FileMap;
use super::tensor::{Tensor, TensorEntry};

/// The change of a matrix `W`, `[out][in]`.
#[derive(Debug, Clone)]
pub(super) enum Update {
    /// LoRA (Hu et al., 2021, eq. 3), AdaLoRA (Zhang et al., 2023) and PiSSA (Meng et al., 2024):
    /// `W + sum of scale B A`.
    LowRank(Vec<Product>),
    /// DiSHA, also called MiSS (Kang et al., 2024), in its two-dimensional form: one block
    /// `[r][out]`, added to every group of `r` columns:
    /// `W[o][i] + block[i mod r][o]`. A block of fewer columns than outputs is repeated.
    Shared(TensorEntry),
    /// Its three-dimensional form in Hugging Face PEFT ("bat"): a block `b`, `[out / r][r][r]`, for
    /// each group of `r` rows. Every tile `T`, `[r][r]`, of the group becomes `T + T b + b`.
    RowTiles(TensorEntry),
    /// Its three-dimensional form in RWKV-PEFT, Bone: a block `b`, `[in / r][r][r]`, for each group of `r`
    /// columns. Every tile `T`, `[r][r]`, of the group becomes `T + T b + b`.
    Tiles(TensorEntry),
}

/// `scale B A`, or `scale B (e A)`.
#[derive(Debug, Clone)]
pub(super) struct Product {
    pub(super) scale: f32,
    /// `[r][in]`
    pub(super) a: TensorEntry,
    /// `[out][r]`
    pub(super) b: TensorEntry,
    /// `[r][1]`, what each row of A is multiplied by, in AdaLoRA.
    pub(super) e: Option<TensorEntry>,
}

impl Update {
    /// Changes `rows`, which are the rows of `columns` values from `first` on.
    pub(super) fn apply(&self, files: &[FileMap], first: usize, columns: usize, rows: &mut [f32]) {
        match self {
            Self::LowRank(products) => {
                let products: Vec<_> = products
                    .iter()
                    .map(|product| product.decode(files, first, rows.len() / columns))
                    .collect();
                add_products(&products, columns, rows);
            }
            Self::Shared(block) => {
                let block = Tensor::new(block, files);
                add_shared(&all(&block), block.rows(), first, columns, rows);
            }
            Self::Tiles(blocks) => {
                let blocks = Tensor::new(blocks, files);
                add_tiles(&all(&blocks), blocks.columns(), first, columns, rows);
            }
            Self::RowTiles(blocks) => {
                let blocks = Tensor::new(blocks, files);
                add_row_tiles(&all(&blocks), blocks.columns(), first, columns, rows);
            }
        }
    }
}

fn all(tensor: &Tensor<'_>) -> Vec<f32> {
    let mut values = Vec::new();
    tensor.read_all(&mut values);
    values
}

/// The factors of a product, as far as some rows need them.
struct Factors {
    rank: usize,
    /// `[r][in]`
    a: Vec<f32>,
    /// `[row][r]`, scaled.
    b: Vec<f32>,
}

impl Product {
    fn decode(&self, files: &[FileMap], first: usize, rows: usize) -> Factors {
        let (a, b) = (Tensor::new(&self.a, files), Tensor::new(&self.b, files));
        let rank = a.rows();
        let mut scaled = vec![0.0; rows * rank];
        b.read_rows(first..first + rows, &mut scaled);
        scaled.iter_mut().for_each(|value| *value *= self.scale);
        if let Some(e) = &self.e {
            let e = all(&Tensor::new(e, files));
            for row in scaled.chunks_exact_mut(rank) {
                row.iter_mut().zip(&e).for_each(|(value, e)| *value *= e);
            }
        }
        Factors { rank, a: all(&a), b: scaled }
    }
}

/// Adds the sum of the products to rows; the sum is made first, for it is small beside the row.
fn add_products(products: &[Factors], columns: usize, rows: &mut [f32]) {
    let each = rows.par_chunks_mut(columns).enumerate();
    each.for_each_init(
        || vec![0.0; columns],
        |sum, (index, row)| {
            sum.fill(0.0);
            for Factors { rank, a, b } in products {
                let shares = &b[index * rank..][..*rank];
                for (share, direction) in shares.iter().zip(a.chunks_exact(columns)) {
                    add_scaled(sum, *share, direction);
                }
            }
            add_scaled(row, 1.0, sum);
        },
    );
}

/// `sum + factor * values`
fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

/// Adds `block`, `[rank][out]`, to every group of columns.
fn add_shared(block: &[f32], rank: usize, first: usize, columns: usize, rows: &mut [f32]) {
    let outputs = block.len() / rank;
    let each = rows.par_chunks_mut(columns).enumerate();
    each.for_each_init(
        || vec![0.0; rank],
        |added, (index, row)| {
            let output = first + index;
            for (added, values) in added.iter_mut().zip(block.chunks_exact(outputs)) {
                *added = values[output % outputs];
            }
            // The last group may be shorter.
            row.chunks_mut(rank).for_each(|group| add_scaled(group, 1.0, added));
        },
    );
}

/// Makes `t + t b + b[i]` of every row `t` of a tile, its `i`th; `blocks` is
/// `[columns / rank][rank][rank]`.
fn add_tiles(blocks: &[f32], rank: usize, first: usize, columns: usize, rows: &mut [f32]) {
    let each = rows.par_chunks_mut(columns).enumerate();
    each.for_each_init(
        || vec![0.0; rank],
        |sum, (index, row)| {
            let own = (first + index) % rank;
            let tiles = row.chunks_exact_mut(rank).zip(blocks.chunks_exact(rank * rank));
            tiles.for_each(|(tile, block)| add_tile(tile, block, own, sum));
        },
    );
}

/// The same with one block for each group of rows; `blocks` is `[rows / rank][rank][rank]`.
fn add_row_tiles(blocks: &[f32], rank: usize, first: usize, columns: usize, rows: &mut [f32]) {
    let each = rows.par_chunks_mut(columns).enumerate();
    each.for_each_init(
        || vec![0.0; rank],
        |sum, (index, row)| {
            let (group, own) = ((first + index) / rank, (first + index) % rank);
            let block = &blocks[group * rank * rank..][..rank * rank];
            row.chunks_exact_mut(rank).for_each(|tile| add_tile(tile, block, own, sum));
        },
    );
}

/// `t + t b + b[own]` of a row of a tile.
fn add_tile(tile: &mut [f32], block: &[f32], own: usize, sum: &mut [f32]) {
    let rank = tile.len();
    sum.copy_from_slice(&block[own * rank..][..rank]);
    for (weight, direction) in tile.iter().zip(block.chunks_exact(rank)) {
        add_scaled(sum, *weight, direction);
    }
    add_scaled(tile, 1.0, sum);
}
