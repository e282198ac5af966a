//! The two shares of a call: products cut at tiles of 16 rows.
//!
//! A list of products is a row of tiles, token after token and product after product. The cut is
//! where the multiplications before it come nearest to half of all. It may fall inside a token of a
//! product:
//!
//! ```text
//! | product | tokens before | token, tiles before  |  token, tiles after | tokens after | product |
//!                                            first share | second share
//! ```

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix, TILE_ROWS, padded_inputs};
use kinglet::kernels::{Kernels, Product, SparseProduct};

/// Multiplications of all products, those with padding included.
pub(super) fn cost(products: &[Product<'_>]) -> usize {
    products.iter().map(product_cost).fold(0, usize::saturating_add)
}

/// Those of one.
pub(super) fn product_cost(product: &Product<'_>) -> usize {
    TILE_ROWS.saturating_mul(weight(product)).saturating_mul(tiles(product))
}

/// Multiplications of a sparse product, if half of the input is zero.
pub(super) fn sparse_cost(product: &SparseProduct<'_>) -> usize {
    product.output.len() * product.matrix.inputs() / 2
}

/// The tiles of all tokens.
fn tiles(product: &Product<'_>) -> usize {
    product.input.tokens() * product.matrix.row_tiles()
}

/// Multiplications of a row.
fn weight(product: &Product<'_>) -> usize {
    padded_inputs(product.matrix.inputs())
}

/// What one core computes of a list of products.
pub(super) struct Share<'a, 'p> {
    pub(super) whole: &'a mut [Product<'p>],
    /// Of the product that is cut: whole tokens, and rows of one token.
    pub(super) parts: [Option<Product<'a>>; 2],
}

impl Share<'_, '_> {
    pub(super) fn run(self, kernels: &impl Kernels) {
        if !self.whole.is_empty() {
            kernels.products(self.whole);
        }
        for part in self.parts.into_iter().flatten() {
            kernels.products(&mut [part]);
        }
    }
}

/// Both shares of a list of products.
pub(super) fn of_products<'a, 'p>(products: &'a mut [Product<'p>]) -> [Share<'a, 'p>; 2] {
    let half = cost(products) / TILE_ROWS / 2;
    let mut before = 0;
    // The first product that ends beyond the middle.
    let cut = products.iter().position(|product| {
        let end = before + weight(product) * tiles(product);
        if end <= half {
            before = end;
        }
        end > half
    });
    let (first, rest) = products.split_at_mut(cut.unwrap_or(products.len()));
    let [product, second @ ..] = rest else {
        return [first, &mut []].map(|whole| Share { whole, parts: [None, None] });
    };
    let unit = weight(product);
    let [first_parts, second_parts] = of_product(product, (half - before + unit / 2) / unit);
    [Share { whole: first, parts: first_parts }, Share { whole: second, parts: second_parts }]
}

/// Both shares of a product, of which the first has `tiles` tiles of all tokens.
fn of_product<'a>(product: &'a mut Product<'_>, tiles: usize) -> [[Option<Product<'a>>; 2]; 2] {
    let Product { matrix, input, output } = product;
    let rows = matrix.rows();
    let (tokens, tiles) = (tiles / matrix.row_tiles(), tiles % matrix.row_tiles());
    let ((input, rest), (output, rest_output)) =
        (split(input, tokens), output.split_at_mut(tokens * rows));
    let before = part(*matrix, input, output);
    if tiles == 0 {
        return [[before, None], [part(*matrix, rest, rest_output), None]];
    }
    let ((token, after), (token_output, after_output)) =
        (split(&rest, 1), rest_output.split_at_mut(rows));
    let (low, high) = (matrix.tiles(0..tiles), matrix.tiles(tiles..matrix.row_tiles()));
    let (low_output, high_output) = token_output.split_at_mut(low.rows());
    [
        [before, part(low, token, low_output)],
        [part(high, token, high_output), part(*matrix, after, after_output)],
    ]
}

/// The first `tokens` tokens, and the others.
fn split<'a>(input: &Quantized<'a>, tokens: usize) -> (Quantized<'a>, Quantized<'a>) {
    (input.some_tokens(0..tokens), input.some_tokens(tokens..input.tokens()))
}

/// A product, unless it has no tokens.
fn part<'a>(
    matrix: Matrix<'a>,
    input: Quantized<'a>,
    output: &'a mut [f32],
) -> Option<Product<'a>> {
    (!output.is_empty()).then_some(Product { matrix, input, output })
}

/// Some rows of a sparse product.
#[derive(Debug)]
pub(super) struct SparsePart<'a> {
    pub(super) matrix: SparseMatrix<'a>,
    pub(super) input: Quantized<'a>,
    pub(super) rows: Range<usize>,
    /// `[token][row]` of these rows; empty where there are none.
    pub(super) output: &'a mut [f32],
}

/// Both shares of a sparse product: whole tokens, and rows of one token.
pub(super) fn of_sparse(product: SparseProduct<'_>) -> [[SparsePart<'_>; 2]; 2] {
    let SparseProduct { matrix, input, output } = product;
    let rows = matrix.rows();
    let row_tiles = rows.div_ceil(TILE_ROWS);
    let tiles = (input.tokens() * row_tiles).div_ceil(2);
    let (tokens, tiles) = (tiles / row_tiles, tiles % row_tiles);
    let (input, rest) = split(&input, tokens);
    let (output, rest_output) = output.split_at_mut(tokens * rows);
    // No token is cut where the cut is between two.
    let (cut, middle) = (usize::from(tiles > 0), tiles * TILE_ROWS);
    let (token, after) = split(&rest, cut);
    let (token_output, after_output) = rest_output.split_at_mut(cut * rows);
    let (low_output, high_output) = token_output.split_at_mut(middle);
    let part = |input, rows, output| SparsePart { matrix, input, rows, output };
    [
        [part(input, 0..rows, output), part(token, 0..middle, low_output)],
        [part(token, middle..rows, high_output), part(after, 0..rows, after_output)],
    ]
}
