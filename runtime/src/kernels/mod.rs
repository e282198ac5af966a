//! The seam under the CPU engine: what a target's instructions do for the core.
//!
//! A kernel set computes products of int8 matrices with quantized columns, and
//! runs the core's float loops over parts that it may give to several threads.
//! The numbers do not depend on the set: integer sums are exact, and the float
//! operations stand in the core, in one order.

pub mod activations;
pub mod matrix;
pub mod scalar;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use crate::kernels::activations::Quantized;
use crate::kernels::matrix::{Matrix, SparseMatrix};

/// A product of a matrix with each column of a block.
///
/// `output[column][row] = acc * (scale[column] * multiplier)`, where over the
/// groups in ascending order, from +0.0, `acc = acc + f32(sum) * scale[row][group]`
/// and `sum` is the exact i32 sum of weight times q over the group's inputs.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights.
    pub matrix: Matrix<'a>,
    /// The columns; as many inputs as the matrix has.
    pub input: Quantized<'a>,
    /// `[column][row]`
    pub output: &'a mut [f32],
}

/// A product of a sparse matrix with each column of a block: the same numbers
/// as [`Product`], read from another layout.
#[derive(Debug)]
pub struct SparseProduct<'a> {
    /// The weights.
    pub matrix: SparseMatrix<'a>,
    /// The columns, in natural order: [`Kernels::pack`] has not seen them.
    pub input: Quantized<'a>,
    /// `[column][row]`
    pub output: &'a mut [f32],
}

/// A kernel set.
pub trait Kernels: Sync {
    /// The name by which users choose and report it.
    fn name(&self) -> &'static str;

    /// Rearranges quantized values within each four, in place, to the order
    /// that [`products`](Self::products) wants to read them in.
    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        let _ = q;
    }

    /// Computes independent products, as one parallel region.
    fn products(&self, jobs: &mut [Product<'_>]);

    /// Computes a product with an input that is mostly zero.
    fn sparse_product(&self, job: SparseProduct<'_>);

    /// Runs `f` over `whole`, in one piece or split into several that may run
    /// at the same time. `work` is about the number of float operations.
    ///
    /// A set compiles `f` with its target's vector instructions where `f` is
    /// inlined, so callers mark the closure `#[inline(always)]`.
    fn for_parts<S: Split>(&self, whole: S, work: usize, f: impl Fn(S) + Sync);

    /// Asks for values that are read soon, a few cache lines at a time, so that
    /// memory is not idle while this thread computes. Changes no result; does
    /// nothing where memory is as fast as the processor.
    #[inline(always)]
    fn prefetch(&self, _values: &[f32]) {}
}

/// Data that can be cut into parts that are worked on independently.
#[expect(clippy::len_without_is_empty, reason = "a length to cut at, not a collection")]
pub trait Split: Sized + Send {
    /// Number of indivisible elements: columns, heads.
    fn len(&self) -> usize;

    /// The first `at` elements, and the rest.
    fn split_at(self, at: usize) -> (Self, Self);
}

impl Split for core::ops::Range<usize> {
    fn len(&self) -> usize {
        ExactSizeIterator::len(self)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let middle = self.start + at;
        (self.start..middle, middle..self.end)
    }
}

/// A slice as rows of equal length that are split between parts.
#[derive(Debug)]
pub struct Rows<'a, T> {
    data: &'a mut [T],
    row: usize,
}

impl<'a, T> Rows<'a, T> {
    /// `data` as rows of `row` elements.
    ///
    /// # Panics
    /// When `data` is not a whole number of rows, or `row` is 0.
    pub fn new(data: &'a mut [T], row: usize) -> Self {
        assert!(data.len().is_multiple_of(row), "not a whole number of rows");
        Self { data, row }
    }

    /// All of them as one slice.
    #[inline(always)]
    pub fn into_slice(self) -> &'a mut [T] {
        self.data
    }

    /// The rows, in order.
    #[inline(always)]
    pub fn iter(self) -> core::slice::ChunksExactMut<'a, T> {
        self.data.chunks_exact_mut(self.row)
    }
}

impl<T: Send> Split for Rows<'_, T> {
    fn len(&self) -> usize {
        self.data.len() / self.row
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (first, rest) = self.data.split_at_mut(at * self.row);
        (Self { data: first, row: self.row }, Self { data: rest, row: self.row })
    }
}

impl<S: Split, const N: usize> Split for [S; N] {
    fn len(&self) -> usize {
        self.first().map_or(0, Split::len)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let mut rest = [const { None }; N];
        let mut i = 0;
        let first = self.map(|part| {
            let (a, b) = part.split_at(at);
            rest[i] = Some(b);
            i += 1;
            a
        });
        (first, rest.map(|part| part.unwrap_or_else(|| unreachable!("every part was split"))))
    }
}

macro_rules! split_tuples {
    ($(($first:ident $($name:ident)*))*) => {$(
        impl<$first: Split, $($name: Split),*> Split for ($first, $($name),*) {
            fn len(&self) -> usize {
                self.0.len()
            }

            #[expect(non_snake_case, reason = "type parameters name the parts")]
            fn split_at(self, at: usize) -> (Self, Self) {
                let ($first, $($name),*) = self;
                let $first = $first.split_at(at);
                $(let $name = $name.split_at(at);)*
                (($first.0, $($name.0),*), ($first.1, $($name.1),*))
            }
        }
    )*};
}

split_tuples!((A B) (A B C) (A B C D) (A B C D E));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_together() {
        let (mut a, mut b) = ([0, 1, 2, 3, 4, 5], [0, 1, 2]);
        let whole = (0..3, Rows::new(&mut a, 2), [Rows::new(&mut b, 1)]);
        assert_eq!(whole.len(), 3);
        let (first, rest) = whole.split_at(1);
        assert_eq!((first.0, first.1.data, first.2[0].data.len()), (0..1, &mut [0, 1][..], 1));
        assert_eq!((rest.0, rest.1.data), (1..3, &mut [2, 3, 4, 5][..]));
    }
}
