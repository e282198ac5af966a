//! Data that is split into parts which threads work on independently: ranges, chunks of a
//! slice, and tuples of them.

/// Data that can be cut into parts that are worked on independently.
#[expect(clippy::len_without_is_empty, reason = "a length to cut at, not a collection")]
pub trait Split: Sized + Send {
    /// Number of indivisible elements: tokens, heads.
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

/// A slice as chunks of equal length that are split between parts: a token or a head each.
#[derive(Debug)]
pub struct ChunksOf<'a, T> {
    data: &'a mut [T],
    len: usize,
}

impl<'a, T> ChunksOf<'a, T> {
    /// `data` as chunks of `len` elements.
    ///
    /// # Panics
    ///
    /// When `data` is not a whole number of chunks, or `len` is 0.
    pub fn new(data: &'a mut [T], len: usize) -> Self {
        assert!(data.len().is_multiple_of(len), "not a whole number of chunks");
        Self { data, len }
    }

    /// All of them as one slice.
    #[inline(always)]
    pub fn into_slice(self) -> &'a mut [T] {
        self.data
    }

    /// The chunks, in order.
    #[inline(always)]
    pub fn iter(self) -> core::slice::ChunksExactMut<'a, T> {
        self.data.chunks_exact_mut(self.len)
    }
}

impl<T: Send> Split for ChunksOf<'_, T> {
    fn len(&self) -> usize {
        self.data.len() / self.len
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (first, rest) = self.data.split_at_mut(at * self.len);
        (Self { data: first, len: self.len }, Self { data: rest, len: self.len })
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
        let whole = (0..3, ChunksOf::new(&mut a, 2), [ChunksOf::new(&mut b, 1)]);
        assert_eq!(whole.len(), 3);
        let (first, rest) = whole.split_at(1);
        assert_eq!((first.0, first.1.data, first.2[0].data.len()), (0..1, &mut [0, 1][..], 1));
        assert_eq!((rest.0, rest.1.data), (1..3, &mut [2, 3, 4, 5][..]));
    }
}
