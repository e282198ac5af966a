//! Kernels on the threads of a machine with an operating system.
//!
//! [`Threaded`] cuts each call of the core into chunks and runs them as one fork-join region of
//! the [pool](super::pool). Its calls and their cuts:
//!
//! | call                        | chunks                    | because                              |
//! |-----------------------------|---------------------------|--------------------------------------|
//! | `products`                  | rows of all products      | one barrier ends them all, not one   |
//! |                             |                           | per matrix                           |
//! | `sparse_product`, 1 token  | groups of inputs          | an input's weights are one run of    |
//! |                             |                           | memory; cut by rows, the short reads |
//! |                             |                           | are slower by half                   |
//! | `sparse_product`, a batch   | rows                      | tokens share the weights in cache   |
//! | `for_parts`                 | tokens or heads           | they are independent                 |
//!
//! A product cut by groups writes terms, `[group][row]`, and a second region adds them in
//! ascending order of the groups. All other chunks write rows that no other chunk writes. The
//! bits therefore depend neither on the number of threads nor on the cuts.
//!
//! ```text
//! products(jobs):                          sparse_product(one token):
//!     cost = sum of multiplications            region: for each chunk of groups
//!     if cost is small: run here                   terms[group] = product of the group alone
//!     region: cut rows at tiles into           region: for each chunk of rows
//!         about cost / chunks pieces               y = 0 + terms[0] + terms[1] + ..
//! ```
//!
//! Calls below [`REGION_PRODUCTS`] or [`REGION_FLOATS`] run on the caller's thread, because they
//! take no longer than a region's start and end. With more chunks than threads, a thread that
//! is held up leaves the rest to others. Each chunk has a start of its own, which too many
//! repeat; the constants below therefore differ by the kind of call.
//!
//! Tried and slower: a cascade of layers, in which each thread computes a group of layers and
//! hands batches on. With batches of 64 tokens it is as fast at 0.1B (1.02) and slower above
//! (0.4B 0.96, 1.5B 0.92); it would win with small batches (`benches/examples/cascade.rs`).

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet::kernels::weights::Weights;
use kinglet::kernels::{ChunksOf, Kernels, Phase, Product, Region, SparseProduct, Split};
use kinglet_simd::{OutputRows, SimdKernels};

use super::pool::Pool;

/// The most chunks of a region.
const MAX_CHUNKS: usize = 64;
/// The most products of a region; further ones make another region.
const MAX_JOBS: usize = MAX_CHUNKS / 2;
/// Tiles of 16 rows that a large part is a multiple of, so that kernels which
/// take several at once rarely meet a remainder.
const TILES_TOGETHER: usize = 4;
/// Chunks of a product for each thread: enough that a thread which is held up
/// leaves the others little to wait for.
const CHUNKS_PER_THREAD: usize = 8;
/// The same for a sparse product, of which every chunk has a search for values
/// that are not zero, and a first read of memory that nothing hides.
const SPARSE_CHUNKS_PER_THREAD: usize = 2;
/// Both for a batch, all of whose tokens every chunk reads: fewer chunks made a prompt 5 to
/// 6 % faster on two threads.
const BATCH_CHUNKS_PER_THREAD: usize = 4;
const SPARSE_BATCH_CHUNKS_PER_THREAD: usize = 1;
/// Bytes of a cache line. The rows of a sparse product whose weights for one input it holds
/// stay together.
const LINE: u64 = 64;
/// Multiplications that are worth a chunk, and those that are worth a region: at
/// the speed of memory, one byte of weights each, 0.6 and 2.4 microseconds.
const CHUNK_PRODUCTS: usize = 16 << 10;
const REGION_PRODUCTS: usize = 64 << 10;
/// Float operations, of which a core does about ten in a nanosecond, that are worth
/// more chunks than there are threads, and those that are worth a region. Chunks are
/// longer here: while a head is computed, the state of the next one is fetched, and
/// the first of a chunk has none before it.
const CHUNK_FLOATS: usize = 128 << 10;
const REGION_FLOATS: usize = 32 << 10;

/// A target's vector instructions as a kernel set, on threads of its own.
///
/// The threads start with the value and end when it is dropped. The results do
/// not depend on their number.
#[derive(Debug)]
pub struct Threaded<K> {
    kernels: K,
    /// None for one thread.
    pool: Option<Pool>,
    /// Terms of a sparse product, `[group][row]`; as long as the largest so far.
    terms: Mutex<Vec<f32>>,
    /// None where nobody wants to know.
    counted: Option<Counted>,
    observer: Option<Observer>,
    watcher: Option<Watcher>,
}

/// What looks at products that were computed.
struct Observer(Box<dyn Fn(&Product<'_>) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// What looks at the inputs of products that are about to be computed.
struct Watcher(Box<Watch>);

/// Is shown the weights of a product and its input.
type Watch = dyn Fn(Weights<'_>, &Quantized<'_>) + Send + Sync;

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

/// Inputs of sparse products: all, and those that are zero.
#[derive(Debug, Default)]
struct Counted {
    inputs: AtomicU64,
    zeros: AtomicU64,
}

impl Counted {
    fn count(&self, input: &Quantized<'_>) {
        for token in 0..input.tokens() {
            let values = &input.token(token)[..input.inputs()];
            let zeros = values.iter().filter(|&&q| q == 0).count();
            self.inputs.fetch_add(values.len() as u64, Ordering::Relaxed);
            self.zeros.fetch_add(zeros as u64, Ordering::Relaxed);
        }
    }
}

impl<K: SimdKernels> Threaded<K> {
    /// A kernel set over `kernels` on `threads` threads, the caller's included;
    /// on fewer if the operating system refuses to start one.
    ///
    /// [`default_threads`](crate::default_threads) is a good number.
    pub fn new(kernels: K, threads: usize) -> Self {
        Self {
            kernels,
            pool: (threads > 1).then(|| Pool::new(threads)),
            terms: Mutex::default(),
            counted: None,
            observer: None,
            watcher: None,
        }
    }

    /// The same kernel set, which counts the zeros among the inputs of sparse products
    /// for [`take_zero_share`](Self::take_zero_share).
    pub fn counting_zeros(self) -> Self {
        Self { counted: Some(Counted::default()), ..self }
    }

    /// The same kernel set, which shows every product of a dense matrix to `observer` when it is
    /// computed: for tools that look into a model. One type of kernel set, because an engine is
    /// compiled for each.
    pub fn observed(self, observer: impl Fn(&Product<'_>) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Observer(Box::new(observer))), ..self }
    }

    /// The same kernel set, which shows the weights and the input of every product, dense or
    /// sparse, to `watcher` before it is computed: for calibration. The values are in natural order,
    /// because such a set packs them when it computes.
    pub fn watched(
        self,
        watcher: impl Fn(Weights<'_>, &Quantized<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self { watcher: Some(Watcher(Box::new(watcher))), ..self }
    }

    /// The share of zeros, 0 to 1, among the inputs of all sparse products since the
    /// last call; `None` where there were none, or they are not counted.
    pub fn take_zero_share(&self) -> Option<f64> {
        let Counted { inputs, zeros } = self.counted.as_ref()?;
        let [inputs, zeros] = [inputs, zeros].map(|count| count.swap(0, Ordering::Relaxed));
        (inputs > 0).then(|| zeros as f64 / inputs as f64)
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, Pool::threads)
    }

    /// The pool, if there is one and the region is worth it.
    fn pool_for(&self, work: usize, least: usize) -> Option<&Pool> {
        self.pool.as_ref().filter(|_| work >= least)
    }

    /// Computes products whose inputs are packed.
    fn packed_products(&self, all: &mut [Product<'_>]) {
        for jobs in all.chunks_mut(MAX_JOBS) {
            let cost = jobs.iter().map(|job| product_cost(&job.matrix, &job.input)).sum();
            if let Some(pool) = self.pool_for(cost, REGION_PRODUCTS) {
                self.split_products(pool, jobs, cost);
                continue;
            }
            for Product { matrix, input, output } in jobs {
                let mut part = OutputRows::whole(output, matrix.rows());
                self.kernels.run(
                    #[inline(always)]
                    || self.kernels.product(matrix, input, &mut part),
                );
            }
        }
        if let Some(Observer(observe)) = &self.observer {
            all.iter().for_each(observe);
        }
    }

    /// Shows products, whose inputs are in natural order, and computes them.
    fn watched_products(&self, watch: &Watch, all: &mut [Product<'_>]) {
        for Product { matrix, input, output } in all {
            watch(matrix.weights(), input);
            let mut q = input.q().to_vec();
            self.kernels.pack(&mut q);
            let packed = Quantized::new(input.inputs(), &q, input.sums(), input.scales());
            let input = packed.expect("as many values as before");
            self.packed_products(&mut [Product { matrix: *matrix, input, output }]);
        }
    }

    /// Computes up to [`MAX_JOBS`] products of together `cost` as one region.
    fn split_products(&self, pool: &Pool, jobs: &mut [Product<'_>], cost: usize) {
        let batch = jobs.iter().any(|job| job.input.tokens() > 1);
        let each = if batch { BATCH_CHUNKS_PER_THREAD } else { CHUNKS_PER_THREAD };
        let most = (pool.threads() * each).min(MAX_CHUNKS - jobs.len());
        let chunk = (cost / most).max(CHUNK_PRODUCTS);
        let mut parts = Parts::new();
        for Product { matrix, input, output } in jobs {
            let (matrix, input) = (&*matrix, &*input);
            let tiles = matrix.row_tiles();
            // To the nearest number of chunks, and at least one: over all jobs,
            // at most one more per job than `most`.
            let pieces = ((product_cost(matrix, input) + chunk / 2) / chunk).clamp(1, tiles);
            let together = if tiles >= 2 * TILES_TOGETHER * pieces { TILES_TOGETHER } else { 1 };
            let part = OutputRows::whole(output, matrix.rows());
            cut_rows(part, together * TILE_ROWS, pieces, |part| parts.push((matrix, input, part)));
        }
        pool.consume(parts.filled(), &|(matrix, input, mut part)| {
            self.kernels.run(
                #[inline(always)]
                || self.kernels.product(matrix, input, &mut part),
            );
        });
    }

    /// Computes a sparse product with one token in `pieces` chunks of groups, so
    /// that each input's weights are read as a whole: short reads here and there
    /// are slower by half. Returns whether it did.
    fn split_groups(
        &self,
        pool: &Pool,
        SparseProduct { matrix, input, output }: &mut SparseProduct<'_>,
        pieces: usize,
    ) -> bool {
        let (rows, groups) = (matrix.rows(), matrix.groups());
        // Another region's thread has it: an engine that shares this kernel set.
        let Ok(mut terms) = self.terms.try_lock() else { return false };
        if terms.len() < groups * rows {
            terms.resize(groups * rows, 0.0);
        }
        let mut rest = (0..groups, ChunksOf::new(&mut terms[..groups * rows], rows));
        let mut parts = Parts::new();
        for left in (2..=pieces).rev() {
            let longest = Split::len(&rest).div_ceil(left);
            let (first, others) = rest.split_at(longest);
            parts.push(first);
            rest = others;
        }
        parts.push(rest);
        pool.consume(parts.filled(), &|(groups, terms)| {
            self.kernels.sparse_terms(matrix, input, groups, terms.into_slice());
        });
        let terms = &terms[..groups * rows];
        let scale = input.scales()[0] * matrix.multiplier();
        let parts = (0..rows, ChunksOf::new(output, 1));
        self.for_parts(
            parts,
            Region { phase: Phase::Residual, operations: groups * rows },
            #[inline(always)]
            |(range, out)| {
                let out = out.into_slice();
                out.fill(0.0);
                for terms in terms.chunks_exact(rows) {
                    for (out, term) in out.iter_mut().zip(&terms[range.clone()]) {
                        *out += term;
                    }
                }
                for out in out {
                    *out *= scale;
                }
            },
        );
        true
    }
}

/// Up to [`MAX_CHUNKS`] parts, on the stack.
struct Parts<S> {
    slots: [Option<S>; MAX_CHUNKS],
    len: usize,
}

impl<S> Parts<S> {
    fn new() -> Self {
        Self { slots: [const { None }; MAX_CHUNKS], len: 0 }
    }

    fn push(&mut self, part: S) {
        self.slots[self.len] = Some(part);
        self.len += 1;
    }

    fn filled(&mut self) -> &mut [Option<S>] {
        &mut self.slots[..self.len]
    }
}

/// Cuts `part` into up to `pieces` of about the same length, at multiples of
/// `unit` rows.
fn cut_rows<'a>(
    part: OutputRows<'a>,
    unit: usize,
    pieces: usize,
    mut push: impl FnMut(OutputRows<'a>),
) {
    let rows = ExactSizeIterator::len(&part.rows());
    let units = rows.div_ceil(unit);
    let (mut rest, mut start) = (part, 0);
    for piece in 1..pieces {
        let end = units * piece / pieces * unit;
        let (first, others) = rest.split_at(end - start);
        if end > start {
            push(first);
        }
        (rest, start) = (others, end);
    }
    push(rest);
}

/// Multiplications of a product, those with zeros included.
fn product_cost(matrix: &Matrix<'_>, input: &Quantized<'_>) -> usize {
    padded_rows(matrix.rows()) * padded_inputs(matrix.inputs()) * input.tokens()
}

/// The same of a sparse product, if half of the input is zero.
fn sparse_cost(matrix: &SparseMatrix<'_>, input: &Quantized<'_>) -> usize {
    padded_rows(matrix.rows()) * matrix.inputs() * input.tokens() / 2
}

/// Rows whose weights for one input are a cache line.
fn rows_of_a_line(matrix: &SparseMatrix<'_>) -> usize {
    (LINE * LINE / matrix.weights().weight_type().bytes(LINE)) as usize
}

impl<K: SimdKernels> Kernels for Threaded<K> {
    fn name(&self) -> &'static str {
        self.kernels.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        if self.watcher.is_none() {
            self.kernels.pack(q);
        }
    }

    #[inline(always)]
    fn prefetch(&self, values: &[f32]) {
        self.kernels.prefetch(values);
    }

    fn products(&self, all: &mut [Product<'_>]) {
        if let Some(Watcher(watch)) = &self.watcher {
            return self.watched_products(watch, all);
        }
        self.packed_products(all);
    }

    fn sparse_product(&self, mut job: SparseProduct<'_>) {
        if let Some(counted) = &self.counted {
            counted.count(&job.input);
        }
        if let Some(Watcher(watch)) = &self.watcher {
            watch(job.matrix.weights(), &job.input);
        }
        let (threads, groups) = (self.threads(), job.matrix.groups());
        if job.input.tokens() == 1
            && groups >= threads
            && let Some(pool) = self.pool_for(sparse_cost(&job.matrix, &job.input), REGION_PRODUCTS)
        {
            let pieces = (threads * SPARSE_CHUNKS_PER_THREAD).min(groups).min(MAX_CHUNKS);
            if self.split_groups(pool, &mut job, pieces) {
                return;
            }
        }
        let SparseProduct { matrix, input, output } = job;
        let part = OutputRows::whole(output, matrix.rows());
        let product = |mut part| {
            self.kernels.run(
                #[inline(always)]
                || self.kernels.sparse_product(&matrix, &input, &mut part),
            );
        };
        let cost = sparse_cost(&matrix, &input);
        let Some(pool) = self.pool_for(cost, REGION_PRODUCTS) else { return product(part) };
        let batch = input.tokens() > 1;
        let each = if batch { SPARSE_BATCH_CHUNKS_PER_THREAD } else { SPARSE_CHUNKS_PER_THREAD };
        let most = (pool.threads() * each).min(MAX_CHUNKS);
        let line = rows_of_a_line(&matrix);
        let pieces = (cost / CHUNK_PRODUCTS).min(matrix.rows().div_ceil(line)).clamp(1, most);
        let mut parts = Parts::new();
        cut_rows(part, line, pieces, |part| parts.push(part));
        pool.consume(parts.filled(), &product);
    }

    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        let run = |part| {
            self.kernels.run(
                #[inline(always)]
                || f(part),
            )
        };
        let len = whole.len();
        let Some(pool) = self.pool_for(region.operations, REGION_FLOATS).filter(|_| len > 1) else {
            return run(whole);
        };
        let most = (pool.threads() * CHUNKS_PER_THREAD).min(MAX_CHUNKS);
        let pieces = (region.operations / CHUNK_FLOATS).max(pool.threads()).min(len).min(most);
        let mut parts = Parts::new();
        let mut rest = whole;
        // The first ones are the longer ones.
        for left in (2..=pieces).rev() {
            let longest = rest.len().div_ceil(left);
            let (first, others) = rest.split_at(longest);
            parts.push(first);
            rest = others;
        }
        parts.push(rest);
        pool.consume(parts.filled(), &run);
    }
}
