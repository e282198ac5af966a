//! A kernel set on two cores that share memory.
//!
//! Every call is computed in two shares of about the same work, and ends when both have:
//!
//! | call             | shares                                                                  |
//! |------------------|-------------------------------------------------------------------------|
//! | `products`       | tiles of 16 rows: one cut through the whole list, by multiplications    |
//! | `sparse_product` | tiles of 16 rows                                                        |
//! | `for_parts`      | tokens or heads, of an odd number one more for the first core            |
//!
//! Each row, token and channel is computed by one core as one core alone would: the bits are the
//! same. A call too small to be worth telling the other core, or of one element, is the first
//! core's alone. So are norms, token shifts and activations where a batch has one token: their
//! sums have one order.

mod second_core;
mod shares;
#[cfg(test)]
mod tests;

use core::ops::Range;

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::SparseMatrix;
use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split, Wkv7};
use kinglet::num::state_dtype::{StateElement, f16};

pub use second_core::{Mailbox, SecondCore};

/// Multiplications that are worth a job: about as many instructions with the DSP extension, of
/// which the other core takes half.
const LEAST_PRODUCTS: usize = 2048;
/// The same for float operations.
const LEAST_OPERATIONS: usize = 1024;

/// A kernel set of one core that computes some rows of a sparse product.
pub trait SparseRows: Kernels {
    /// Computes `rows`, which start at a multiple of 16, of a [`SparseProduct`]: `output`,
    /// `[token][row]` of these rows.
    ///
    /// # Panics
    ///
    /// When the matrix has no such rows.
    fn sparse_rows(
        &self,
        matrix: &SparseMatrix<'_>,
        input: &Quantized<'_>,
        rows: Range<usize>,
        output: &mut [f32],
    );
}

/// The kernel set `K` on this core and a second one, which `M` reaches.
#[derive(Debug)]
pub struct TwoCores<'a, K, M> {
    kernels: K,
    second: &'a SecondCore<M>,
}

impl<'a, K: SparseRows, M: Mailbox> TwoCores<'a, K, M> {
    /// The kernels of both cores. `kernels` are made by this core: the second one must have asked
    /// for its own, too, because its floats have modes of their own.
    ///
    /// # Safety
    ///
    /// No two cores or threads call methods of sets over `second` at the same time, and no
    /// interrupt does. Firmware with one engine, which is an exclusive borrow in each forward
    /// pass, does so.
    pub const unsafe fn new(kernels: K, second: &'a SecondCore<M>) -> Self {
        Self { kernels, second }
    }

    #[inline(always)]
    fn join(&self, first: impl FnOnce(), second: impl FnOnce() + Send) {
        // SAFETY: promised to `new`.
        unsafe { self.second.join(first, second) };
    }

    /// Rows of a sparse product, token by token.
    fn sparse(&self, part: shares::SparsePart<'_>) {
        let shares::SparsePart { matrix, input, rows, output } = part;
        if !output.is_empty() {
            self.kernels.sparse_rows(&matrix, &input, rows, output);
        }
    }
}

impl<K: SparseRows, M: Mailbox> Kernels for TwoCores<'_, K, M> {
    const COMPUTES_WKV7: bool = K::COMPUTES_WKV7;

    fn name(&self) -> &'static str {
        self.kernels.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.kernels.pack(q);
    }

    fn products(&self, products: &mut [Product<'_>]) {
        if shares::cost(products) < LEAST_PRODUCTS {
            return self.kernels.products(products);
        }
        let [first, second] = shares::of_products(products);
        self.join(|| first.run(&self.kernels), || second.run(&self.kernels));
    }

    fn sparse_product(&self, product: SparseProduct<'_>) {
        if shares::sparse_cost(&product) < LEAST_PRODUCTS {
            return self.kernels.sparse_product(product);
        }
        let [first, second] = shares::of_sparse(product);
        let run = |share: [_; 2]| share.into_iter().for_each(|part| self.sparse(part));
        self.join(|| run(first), || run(second));
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        let len = whole.len();
        let run = |part| call(&f, part);
        if len < 2 || region.operations < LEAST_OPERATIONS {
            return run(whole);
        }
        let (first, second) = whole.split_at(len.div_ceil(2));
        self.join(|| run(first), || run(second));
    }

    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        self.kernels.widen_f16(elements)
    }

    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        self.kernels.narrow_f16(values, out);
    }

    #[inline(always)]
    fn wkv7<S: StateElement>(&self, head: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
        self.kernels.wkv7(head, state, y)
    }

    #[inline(always)]
    fn prefetch(&self, values: &[f32]) {
        self.kernels.prefetch(values);
    }
}

/// `f(part)`. Not inlined, because three copies of each loop would take three times the flash.
#[inline(never)]
fn call<S>(f: &impl Fn(S), part: S) {
    f(part);
}
