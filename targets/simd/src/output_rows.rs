//! The rows of a product's output that one thread writes.
//!
//! An output is `[token][row]`, so the rows of a thread are no slice: they lie in each
//! token, `stride` elements apart. [`OutputRows`] is an exclusive borrow of such a
//! rectangle. It can be cut by rows, and hands out one token of it at a time.

use core::marker::PhantomData;
use core::ops::Range;

/// Some rows of an output `[token][row]`, in all tokens: what one thread writes of a
/// product.
///
/// ```
/// use kinglet_simd::OutputRows;
///
/// let mut output = [0.0; 2 * 48];
/// let (mut first, mut rest) = OutputRows::whole(&mut output, 48).split_at(16);
/// assert_eq!((first.rows(), rest.rows(), rest.tokens()), (0..16, 16..48, 2));
/// first.token(1).fill(1.0);
/// rest.token(0).fill(2.0);
/// assert_eq!((output[0], output[16], output[48], output[95]), (0.0, 2.0, 1.0, 0.0));
/// ```
#[derive(Debug)]
pub struct OutputRows<'a> {
    output: *mut f32,
    /// Rows of the whole output: the distance between tokens.
    stride: usize,
    tokens: usize,
    rows: Range<usize>,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a part is an exclusive borrow of its elements, as `&mut [f32]` is.
unsafe impl Send for OutputRows<'_> {}

impl<'a> OutputRows<'a> {
    /// All of `output`, whose tokens have `rows` elements.
    pub fn whole(output: &'a mut [f32], rows: usize) -> Self {
        let tokens = output.len() / rows;
        let output = output.as_mut_ptr();
        Self { output, stride: rows, tokens, rows: 0..rows, borrow: PhantomData }
    }

    /// The rows of this part.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// This part's rows of one token.
    ///
    /// # Panics
    ///
    /// When there is no such token.
    #[inline(always)]
    pub fn token(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens, "no such token");
        // SAFETY: `whole` borrowed `tokens * stride` elements, of which parts
        // made by `split_at` own disjoint rows; `rows` ends at `stride` at most,
        // and `&mut self` forbids a second borrow of this part.
        unsafe {
            let start = self.output.add(token * self.stride + self.rows.start);
            core::slice::from_raw_parts_mut(start, self.rows.len())
        }
    }

    /// The first `rows` rows of this part, and the others.
    ///
    /// # Panics
    ///
    /// When it has fewer.
    pub fn split_at(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.rows.len(), "no such row");
        let middle = self.rows.start + rows;
        let with = |rows| Self { rows, ..self };
        (with(self.rows.start..middle), with(middle..self.rows.end))
    }
}
