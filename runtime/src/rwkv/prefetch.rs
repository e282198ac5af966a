//! Fetching the next head's state while one is computed.
//!
//! At one token a pass, every head's state is read from memory once. A thread that computes a
//! head leaves memory idle, so it asks for the rows of the next one on the way. The numbers do
//! not depend on it.

use crate::kernels::Kernels;
use crate::num::state_dtype::StateElement;

/// The states of consecutive heads, each with the one after it.
#[derive(Debug)]
pub(crate) struct Prefetcher<'k, 's, K, S, I> {
    kernels: &'k K,
    states: I,
    next: Option<&'s mut [S]>,
    /// Elements of a row.
    n: usize,
}

impl<'k, 's, K: Kernels, S: StateElement, I: Iterator<Item = &'s mut [S]>>
    Prefetcher<'k, 's, K, S, I>
{
    /// The `states` of heads of `n` channels: `[sequence][key][value]` each. The first head's is
    /// fetched at once where there is one sequence; several are too much to fetch at a time.
    #[inline(always)]
    pub(crate) fn new(kernels: &'k K, mut states: I, n: usize, sequences: usize) -> Self {
        let next = states.next();
        if let Some(state) = next.as_deref().filter(|_| sequences == 1) {
            state.chunks_exact(n).for_each(|row| fetch(kernels, row));
        }
        Self { kernels, states, next, n }
    }

    /// A head's state, and the next head's to be fetched.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(&'s mut [S], Next<'_, K, S>)> {
        let state = self.next.take()?;
        self.next = self.states.next();
        let next = self.next.as_deref().unwrap_or_default();
        Some((state, Next { kernels: self.kernels, state: next, n: self.n }))
    }
}

/// A state that is fetched row by row: `[key][value]`.
#[derive(Debug)]
pub(crate) struct Next<'a, K, S> {
    kernels: &'a K,
    state: &'a [S],
    n: usize,
}

impl<K: Kernels, S: StateElement> Next<'_, K, S> {
    /// The state where `token` is a batch's first; nothing for the others, which find it fetched.
    #[inline(always)]
    pub(crate) fn while_first(&self, token: usize) -> Next<'_, K, S> {
        let state = if token == 0 { self.state } else { &[] };
        Next { kernels: self.kernels, state, n: self.n }
    }
}

/// A head's state that can be fetched while another one is computed.
pub(crate) trait NextHead {
    /// `rows`, one for each key; each fetches its row of the next head's state, where the value
    /// channels `at` on are the first ones: one pass over the keys is enough.
    fn fetch_along<I: Iterator>(&self, at: usize, rows: I) -> impl Iterator<Item = I::Item>;
}

impl<K: Kernels, S: StateElement> NextHead for Next<'_, K, S> {
    #[inline(always)]
    fn fetch_along<I: Iterator>(&self, at: usize, rows: I) -> impl Iterator<Item = I::Item> {
        // By index, not with an iterator over the next state's rows: nothing is left of it where
        // the kernels do not prefetch.
        rows.enumerate().map(move |(key, row)| {
            if at == 0
                && let Some(next) = self.state.get(key * self.n..(key + 1) * self.n)
            {
                fetch(self.kernels, next);
            }
            row
        })
    }
}

/// Asks for a row, where the kernels can fetch its type.
#[inline(always)]
fn fetch<K: Kernels, S: StateElement>(kernels: &K, row: &[S]) {
    if let Some(row) = S::as_f32(row) {
        kernels.prefetch(row);
    }
}
