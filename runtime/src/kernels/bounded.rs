//! A kernel set that computes a bounded part of what it is asked for, and goes on from there when
//! it is asked again.
//!
//! A step of the forward pass is run once for each part. Its calls of the kernels come in the same
//! order every time, and what lies between them is only where buffers are. So a place in a step is
//! the number of a call and how many of its units are done:
//!
//! | call             | unit                        |
//! |------------------|-----------------------------|
//! | `products`       | 16 rows of a token          |
//! | `sparse_product` | a token                     |
//! | `for_parts`      | what it may be split into: a token |
//! | `for_heads`      | a call of `once` inside it: some value channels of a head and token |
//! | `once`           | all of it                   |
//!
//! ```text
//! call < place.call           done before: nothing to do
//! call = place.call           from the unit place.unit on
//! units for which the budget is not enough: here the step goes on next time, and
//! all calls after this one        do nothing
//! ```
//!
//! Kernel sets may split their work at these places, so the bits are those of an undivided call.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crate::kernels::activations::Quantized;
use crate::kernels::matrix::{TILE_ROWS, padded_inputs};
use crate::kernels::{Kernels, Product, Region, SparseProduct, Split, Wkv7};
use crate::num::state_dtype::{StateElement, f16};

/// A place in a step of the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Calls of the kernels that are done.
    call: usize,
    /// Units that are done of the call after them.
    unit: usize,
}

impl Place {
    /// The start of a step.
    pub(crate) const START: Self = Self { call: 0, unit: 0 };
}

/// How much may be computed: multiply-accumulates, and operations of [`Region`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: usize,
    /// Nothing was computed so far: one unit is, whatever it takes, or a pass would never end.
    untouched: bool,
}

impl Budget {
    pub(crate) const fn new(left: usize) -> Self {
        Self { left, untouched: true }
    }
}

/// `kernels`, for a part of a step. Atomics, because a kernel set is shared between threads; all
/// calls come from one.
#[derive(Debug)]
pub(crate) struct Bounded<'k, K> {
    kernels: &'k K,
    /// Where this part starts.
    start: Place,
    /// Calls so far.
    calls: AtomicUsize,
    left: AtomicUsize,
    untouched: AtomicBool,
    /// Whether this part has ended, and where.
    stopped: AtomicBool,
    stop_call: AtomicUsize,
    stop_unit: AtomicUsize,
    /// Whether calls of `once` come from inside `for_heads`: a number of [`Inside`].
    inside: AtomicU8,
    /// Calls of `once` inside `for_heads` so far, and those that are done.
    inner_calls: AtomicUsize,
    inner_done: AtomicUsize,
}

/// Where calls of `once` come from.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Inside {
    /// No other call: each is one of the step's.
    Nothing,
    /// A call of `for_heads` that is computed as a whole.
    All,
    /// A call of `for_heads` of which a part is computed.
    Part,
}

impl<'k, K: Kernels> Bounded<'k, K> {
    /// The part of a step that starts at `start` and takes no more than `budget`.
    pub(crate) fn new(kernels: &'k K, start: Place, budget: Budget) -> Self {
        Self {
            kernels,
            start,
            calls: AtomicUsize::new(0),
            left: AtomicUsize::new(budget.left),
            untouched: AtomicBool::new(budget.untouched),
            stopped: AtomicBool::new(false),
            stop_call: AtomicUsize::new(0),
            stop_unit: AtomicUsize::new(0),
            inside: AtomicU8::new(Inside::Nothing as u8),
            inner_calls: AtomicUsize::new(0),
            inner_done: AtomicUsize::new(0),
        }
    }

    /// Where the step goes on; `None` if it is done.
    pub(crate) fn stopped_at(&self) -> Option<Place> {
        self.stopped.load(Ordering::Relaxed).then(|| Place {
            call: self.stop_call.load(Ordering::Relaxed),
            unit: self.stop_unit.load(Ordering::Relaxed),
        })
    }

    /// What is left of the budget.
    pub(crate) fn budget(&self) -> Budget {
        let (left, untouched) = (&self.left, &self.untouched);
        Budget { left: left.load(Ordering::Relaxed), untouched: untouched.load(Ordering::Relaxed) }
    }

    /// Units of the call that are done, where some are still to do in this part.
    fn enter(&self) -> Option<usize> {
        let call = self.calls.load(Ordering::Relaxed);
        self.calls.store(call + 1, Ordering::Relaxed);
        if call < self.start.call || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        Some(if call == self.start.call { self.start.unit } else { 0 })
    }

    /// How many of `units` units of `cost` each the budget allows, which it then lacks.
    fn spend(&self, cost: usize, units: usize) -> usize {
        let Budget { left, untouched } = self.budget();
        let allowed = left.checked_div(cost).map_or(units, |allowed| allowed.min(units));
        let allowed = if untouched { allowed.max(1).min(units) } else { allowed };
        if allowed > 0 {
            self.left.store(left.saturating_sub(allowed * cost), Ordering::Relaxed);
            self.untouched.store(false, Ordering::Relaxed);
        }
        allowed
    }

    /// Ends this part in the call that was entered last.
    fn stop(&self, unit: usize) {
        self.stop_call.store(self.calls.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        self.stop_unit.store(unit, Ordering::Relaxed);
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn go_inside(&self, inside: Inside) {
        self.inside.store(inside as u8, Ordering::Relaxed);
    }

    /// Whether a call of `once` is to be computed in this part.
    fn enter_once(&self, cost: usize) -> bool {
        let inside = self.inside.load(Ordering::Relaxed);
        if inside == Inside::All as u8 {
            return true;
        }
        let unit = if inside == Inside::Part as u8 {
            let call = self.inner_calls.load(Ordering::Relaxed);
            self.inner_calls.store(call + 1, Ordering::Relaxed);
            let done = self.inner_done.load(Ordering::Relaxed);
            if call < done || self.stopped.load(Ordering::Relaxed) {
                return false;
            }
            call
        } else {
            let Some(unit) = self.enter() else { return false };
            unit
        };
        let allowed = self.spend(cost, 1) > 0;
        if !allowed {
            self.stop(unit);
        }
        allowed
    }

    /// Computes the tiles of one token that the budget allows, from tile `done` on; how many.
    fn tiles(
        &self,
        Product { matrix, input, output }: &mut Product<'_>,
        token: usize,
        done: usize,
    ) -> usize {
        let cost = TILE_ROWS * padded_inputs(matrix.inputs());
        let count = self.spend(cost, matrix.row_tiles() - done);
        if count > 0 {
            let rows = matrix.rows();
            let output = &mut output[token * rows..][..rows];
            let (start, end) = (done * TILE_ROWS, rows.min((done + count) * TILE_ROWS));
            let matrix = matrix.tiles(done..done + count);
            let (input, output) = (input.some_tokens(token..token + 1), &mut output[start..end]);
            self.kernels.products(&mut [Product { matrix, input, output }]);
        }
        count
    }
}

/// Multiply-accumulates of a product.
fn cost(product: &Product<'_>) -> usize {
    let Product { matrix, input, .. } = product;
    let tile = TILE_ROWS * padded_inputs(matrix.inputs());
    input.tokens().saturating_mul(matrix.row_tiles()).saturating_mul(tile)
}

/// Multiply-accumulates of a token's product with a sparse matrix of `rows` rows.
fn sparse_cost(rows: usize, input: &Quantized<'_>, token: usize) -> usize {
    rows * input.token(token).iter().filter(|&&q| q != 0).count()
}

impl<K: Kernels> Kernels for Bounded<'_, K> {
    fn name(&self) -> &'static str {
        self.kernels.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.kernels.pack(q);
    }

    fn products(&self, products: &mut [Product<'_>]) {
        let Some(done) = self.enter() else { return };
        let all = products.iter().map(cost).fold(0, usize::saturating_add);
        if done == 0 && all <= self.budget().left {
            self.spend(all, 1);
            return self.kernels.products(products);
        }
        // Number of the first tile of a product's token.
        let mut first = 0;
        for product in products {
            let tiles = product.matrix.row_tiles();
            for token in 0..product.input.tokens() {
                let before = done.saturating_sub(first).min(tiles);
                let after = before + self.tiles(product, token, before);
                if after < tiles {
                    return self.stop(first + after);
                }
                first += tiles;
            }
        }
    }

    fn sparse_product(&self, product: SparseProduct<'_>) {
        let Some(done) = self.enter() else { return };
        let SparseProduct { matrix, input, output } = product;
        let rows = matrix.rows();
        for (token, output) in output.chunks_exact_mut(rows).enumerate().skip(done) {
            if self.spend(sparse_cost(rows, &input, token), 1) == 0 {
                return self.stop(token);
            }
            let input = input.some_tokens(token..token + 1);
            self.kernels.sparse_product(SparseProduct { matrix, input, output });
        }
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        let Some(done) = self.enter() else { return };
        let cost = region.operations / whole.len().max(1);
        let rest = if done == 0 { whole } else { whole.split_at(done).1 };
        let units = rest.len();
        let count = self.spend(cost, units);
        if count < units {
            self.stop(done + count);
            if count == 0 {
                return;
            }
        }
        let part = if count < units { rest.split_at(count).0 } else { rest };
        self.kernels.for_parts(part, Region { operations: cost * count, ..region }, f);
    }

    #[inline(always)]
    fn for_heads<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        let Some(done) = self.enter() else { return };
        if done == 0 && region.operations <= self.budget().left {
            self.spend(region.operations, 1);
            self.go_inside(Inside::All);
            self.kernels.for_heads(whole, region, f);
        } else {
            self.inner_calls.store(0, Ordering::Relaxed);
            self.inner_done.store(done, Ordering::Relaxed);
            self.go_inside(Inside::Part);
            // By this thread, which counts.
            f(whole);
        }
        self.go_inside(Inside::Nothing);
    }

    #[inline(always)]
    fn once(&self, region: Region, f: impl FnOnce()) {
        if self.enter_once(region.operations) {
            self.kernels.once(region, f);
        }
    }

    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        self.kernels.widen_f16(elements)
    }

    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        self.kernels.narrow_f16(values, out);
    }

    /// Where a part of a head is computed the core does it, by value channels.
    #[inline(always)]
    fn wkv7<S: StateElement>(&self, head: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
        let all = self.inside.load(Ordering::Relaxed) == Inside::All as u8;
        if all { self.kernels.wkv7(head, state, y) } else { 0 }
    }

    #[inline(always)]
    fn prefetch(&self, values: &[f32]) {
        self.kernels.prefetch(values);
    }
}
