//! Products with an input that is mostly zero.

#![expect(
    clippy::needless_range_loop,
    reason = "indices name registers: constant bounds, unrolled, several arrays at once"
)]

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::ops::Range;

use kinglet::matrix::{SparseMatrix, TILE_ROWS, padded_inputs, padded_rows};
use kinglet::quantized::Quantized;
use kinglet_simd::Part;

use crate::multiply::Multiply;
use crate::registers::{Compressed, LARGEST, Width};

/// Bytes of a group's weights that are worked on together for several columns:
/// a part of the second-level cache.
const WINDOW: usize = 1 << 18;

/// A sparse product whose slices were found long enough.
#[derive(Debug)]
pub(crate) struct Sparse<'a> {
    matrix: &'a SparseMatrix<'a>,
    input: &'a Quantized<'a>,
    /// Inputs with padding.
    padded: usize,
    /// Rows with padding: the bytes between inputs.
    stride: usize,
}

impl<'a> Sparse<'a> {
    /// A product of which these columns and rows are wanted.
    ///
    /// # Panics
    /// When a slice is shorter than the dimensions say, or the rows do not start
    /// at a tile.
    pub(crate) fn new(
        matrix: &'a SparseMatrix<'a>,
        input: &'a Quantized<'a>,
        columns: usize,
        rows: Range<usize>,
    ) -> Self {
        assert!(matrix.group.is_multiple_of(32), "no group size");
        assert!((32..=LARGEST).contains(&matrix.group), "no group size");
        assert!(matrix.is_complete(), "too few weights or scales");
        assert_eq!(input.inputs, matrix.inputs, "input of another length");
        assert!(input.has(columns), "too few columns");
        assert!(rows.end <= matrix.rows, "rows beyond the matrix");
        assert!(rows.start.is_multiple_of(TILE_ROWS), "rows within a tile");
        let (padded, stride) = (padded_inputs(matrix.inputs), padded_rows(matrix.rows));
        Self { matrix, input, padded, stride }
    }

    /// Rows that are worked on together for several columns.
    fn window(&self) -> usize {
        WINDOW / self.matrix.group / 64 * 64
    }
}

/// The active inputs of a group, taken four at a time, in ascending order.
#[derive(Clone, Copy)]
struct Fours<'a> {
    /// Activations, each four of them packed; zeros fill the last four.
    q: &'a [[i16; 4]],
    /// Inputs of the group; the last one again fills the last four.
    inputs: &'a [[i16; 4]],
    /// -128 times the sum of q.
    correction: i32,
}

/// Writes the active inputs of group `group` of column `column`, as [`Fours`] has them,
/// and returns the number of fours and the correction.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn find<M: Multiply>(
    job: &Sparse<'_>,
    column: usize,
    group: usize,
    values: &mut Compressed,
    inputs: &mut Compressed,
) -> (usize, i32) {
    let start = group * job.matrix.group;
    let len = job.matrix.group.min(job.padded - start);
    let sums = &job.input.column_sums(column)[start / 32..(start + len) / 32];
    let q = &job.input.column(column)[start..start + len];
    // SAFETY: the caller's promise.
    let count = unsafe { M::Width::compress(q, values, inputs) };
    let fours = count.div_ceil(4);
    values[count..4 * fours].fill(0);
    // Not another one, whose weights would be read for nothing.
    let last = inputs[count.saturating_sub(1)];
    inputs[count..4 * fours].fill(last);
    for q in &mut values.as_chunks_mut().0[..fours] {
        *q = M::pack(*q);
    }
    (fours, sums.iter().sum::<i32>().wrapping_mul(-128))
}

/// The active inputs of one group of one column.
struct Active {
    q: Compressed,
    inputs: Compressed,
    /// Number of fours.
    fours: usize,
    /// The group.
    group: usize,
    correction: i32,
}

impl Active {
    const fn new() -> Self {
        let (q, inputs) = ([0; LARGEST + 32], [0; LARGEST + 32]);
        Self { q, inputs, fours: 0, group: 0, correction: 0 }
    }

    /// Finds the active inputs of group `group` of column `column`.
    ///
    /// # Safety
    /// As for [`product`].
    #[inline(always)]
    unsafe fn find<M: Multiply>(&mut self, job: &Sparse<'_>, column: usize, group: usize) {
        self.group = group;
        // SAFETY: the caller's promise.
        (self.fours, self.correction) =
            unsafe { find::<M>(job, column, group, &mut self.q, &mut self.inputs) };
    }

    /// Like [`find`](Self::find), for the first group of `groups` with an active
    /// input, if there is one.
    ///
    /// # Safety
    /// As for [`product`].
    #[inline(always)]
    unsafe fn find_next<M: Multiply>(&mut self, job: &Sparse<'_>, groups: Range<usize>) {
        self.fours = 0;
        for group in groups {
            // SAFETY: the caller's promise.
            unsafe { self.find::<M>(job, 0, group) };
            if self.fours > 0 {
                break;
            }
        }
    }

    #[inline(always)]
    fn fours(&self) -> Fours<'_> {
        let Self { fours, correction, .. } = *self;
        let q = &self.q.as_chunks().0[..fours];
        Fours { q, inputs: &self.inputs.as_chunks().0[..fours], correction }
    }
}

/// Computes the rows of `out`.
///
/// # Safety
/// The CPU has the instructions of M, and the caller has them switched on.
#[inline(always)]
pub(crate) unsafe fn product<M: Multiply>(job: &Sparse<'_>, out: &mut Part<'_>) {
    let columns = out.columns();
    if columns == 1 {
        // SAFETY: the caller's promise.
        return unsafe { single::<M>(job, out) };
    }
    for column in 0..columns {
        out.column(column).fill(0.0);
    }
    // SAFETY: the caller's promise.
    unsafe { if columns < PACKED { several::<M>(job, out) } else { many::<M>(job, out) } }
    for column in 0..columns {
        let scale = job.input.scales[column] * job.matrix.multiplier;
        for out in out.column(column) {
            *out *= scale;
        }
    }
}

/// Fours of inputs between the one in use and the one that is asked for.
/// Weights go to the second-level cache (T1): misses of the first level are too
/// few at a time to fill the memory bus where the hardware cannot guess what
/// comes next.
const AHEAD: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Rows that are summed together for a single column: their sums and the
/// weights in use fit into the first-level cache.
const RUN: usize = 2048;

/// Bytes from which on a row is long: half of a page.
const LONG: usize = 2048;

/// The order in which a row's lines are read: `pieces` of `piece` bytes, every
/// `step`th, round and round.
///
/// The rows of several inputs are read side by side, and short ones out of order:
/// lines that are asked for one after the other are a stream to the hardware, which
/// fetches on beyond the row's end, up to that of the page, what nobody wants.
#[derive(Clone, Copy)]
struct Order {
    piece: usize,
    pieces: usize,
    step: usize,
}

impl Order {
    /// The order for rows of `len` bytes, of inputs that are `crowded` if most of
    /// their neighbours are active, too.
    fn new(len: usize, crowded: bool) -> Self {
        let straight = crowded || len >= LONG;
        // Two neighbouring lines are served faster than two lines apart, but the
        // shortest rows have too few pairs to be out of order.
        let piece = if straight || len >= 16 * LINE { 2 * LINE } else { LINE };
        let pieces = len.div_ceil(piece);
        Self { piece, pieces, step: if straight { 1 } else { STEPS[pieces].into() } }
    }

    /// Whether lines are read out of order.
    fn is_scattered(self) -> bool {
        self.step > 1
    }
}

/// The step for a number of pieces: about five eighths of it, so that no piece is
/// near the ones before, and without a common divisor, so that each is met once.
const STEPS: [u8; LONG / LINE] = {
    const fn divisor(a: usize, b: usize) -> usize {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    let mut steps = [1; LONG / LINE];
    let mut pieces = 3;
    while pieces < steps.len() {
        let mut step = pieces * 5 / 8;
        while divisor(step, pieces) > 1 {
            step += 1;
        }
        steps[pieces] = step as u8;
        pieces += 1;
    }
    steps
};

/// Sums of a run of rows, as integers over a group and as floats over all.
#[repr(align(64))]
struct Run {
    /// In the order of [`Width::interleave`].
    sums: [i32; RUN],
    totals: [f32; RUN],
}

impl Run {
    const fn new() -> Self {
        Self { sums: [0; RUN], totals: [0.0; RUN] }
    }
}

/// Multiplies with one column: bound by reading the weights of its active
/// inputs once, in runs that are as long as possible, each asked for while
/// the one before is in use.
///
/// # Safety
/// As for [`product`]; there is a column.
#[inline(always)]
unsafe fn single<M: Multiply>(job: &Sparse<'_>, out: &mut Part<'_>) {
    let rows = out.rows();
    let scale = job.input.scales[0] * job.matrix.multiplier;
    let mut run = Run::new();
    let mut lists = [Active::new(), Active::new()];
    for (first, out) in runs(rows.start, out.column(0)) {
        let padded = padded_rows(out.len());
        run.totals[..padded].fill(0.0);
        // SAFETY: the caller's promise; the rows of the run are in the matrix.
        unsafe {
            groups::<M>(
                job,
                0..job.matrix.groups(),
                &mut lists,
                #[inline(always)]
                |active, next| {
                    let rows = Rows { job, active, next, first, len: padded };
                    add_group_rows::<M>(&rows, &mut run);
                },
            );
        }
        for (out, total) in out.iter_mut().zip(&run.totals) {
            *out = total * scale;
        }
    }
}

/// Writes the terms of one column that the groups `range` contribute to every
/// row, `[group][row]`, before they are added up.
///
/// # Safety
/// As for [`product`]; there is a column.
///
/// # Panics
/// When `terms` is not so long.
#[inline(always)]
pub(crate) unsafe fn terms<M: Multiply>(job: &Sparse<'_>, range: Range<usize>, terms: &mut [f32]) {
    let rows = job.matrix.rows;
    assert_eq!(terms.len(), range.len() * rows, "terms of other groups");
    assert!(range.end <= job.matrix.groups(), "no such group");
    let mut run = Run::new();
    let mut lists = [Active::new(), Active::new()];
    let len = run_len(rows);
    for first in (0..rows).step_by(len) {
        let len = len.min(rows - first);
        let padded = padded_rows(len);
        let mut of_run = terms.chunks_exact_mut(rows).map(|terms| &mut terms[first..first + len]);
        let mut group = range.start;
        // SAFETY: the caller's promise; the rows of the run are in the matrix.
        unsafe {
            groups::<M>(
                job,
                range.clone(),
                &mut lists,
                #[inline(always)]
                |active, next| {
                    of_run.by_ref().take(active.group - group).for_each(|idle| idle.fill(0.0));
                    group = active.group + 1;
                    run.totals[..padded].fill(0.0);
                    let rows = Rows { job, active, next, first, len: padded };
                    add_group_rows::<M>(&rows, &mut run);
                    if let Some(terms) = of_run.next() {
                        terms.copy_from_slice(&run.totals[..len]);
                    }
                },
            );
        }
        of_run.for_each(|idle| idle.fill(0.0));
    }
}

/// Rows of each of the fewest runs of about the same length.
fn run_len(rows: usize) -> usize {
    let runs = rows.div_ceil(RUN).max(1);
    rows.div_ceil(runs).next_multiple_of(64).max(1)
}

/// The first row of each run, and its rows of `out`, whose first row is `start`.
#[inline(always)]
fn runs(start: usize, out: &mut [f32]) -> impl Iterator<Item = (usize, &mut [f32])> {
    let len = run_len(out.len());
    out.chunks_mut(len).enumerate().map(move |(run, out)| (start + run * len, out))
}

/// Calls `f` with the active inputs of each group of `range` that has any, and
/// with those of the next one.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn groups<M: Multiply>(
    job: &Sparse<'_>,
    range: Range<usize>,
    lists: &mut [Active; 2],
    mut f: impl FnMut(&Active, &Active),
) {
    let [mut active, mut next] = lists.each_mut();
    // SAFETY: the caller's promise.
    unsafe {
        active.find_next::<M>(job, range.clone());
        while active.fours > 0 {
            next.find_next::<M>(job, active.group + 1..range.end);
            f(active, next);
            core::mem::swap(&mut active, &mut next);
        }
    }
}

/// The rows of a run for the active inputs of a group.
struct Rows<'a> {
    job: &'a Sparse<'a>,
    active: &'a Active,
    /// The group after it, or one without active inputs.
    next: &'a Active,
    /// The first row.
    first: usize,
    /// Number of rows with padding.
    len: usize,
}

impl Rows<'_> {
    /// Where the weights of four number `four` begin, of the next group beyond
    /// this one's last; null if there is no such four.
    #[inline(always)]
    fn weights(&self, four: usize) -> [*const i8; 4] {
        let (active, four) = match four.checked_sub(self.active.fours) {
            None => (self.active, four),
            Some(four) => (self.next, four),
        };
        if four >= active.fours {
            return [core::ptr::null(); 4];
        }
        let weights = self.job.matrix.weights.as_ptr().wrapping_add(self.first);
        let group = active.group * self.job.matrix.group;
        let inputs: [i16; 4] = active.inputs.as_chunks().0[four];
        inputs.map(|input| weights.wrapping_add((group + input as usize) * self.job.stride))
    }
}

/// Adds the products of a group to the totals of a run.
///
/// # Safety
/// As for [`product`]; the matrix has the rows, with padding, at most RUN, and
/// the inputs are of their groups.
#[inline(always)]
unsafe fn add_group_rows<M: Multiply>(rows: &Rows<'_>, run: &mut Run) {
    let lanes = M::Width::LANES;
    let unit = 4 * lanes;
    let Rows { job, active, first, len, .. } = *rows;
    let order = Order::new(len, active.fours * 4 > job.matrix.group / 4 * 3);
    run.sums[..len.next_multiple_of(unit)].fill(active.correction);
    let mut four = 0;
    // SAFETY: the caller's promise; there are that many fours.
    unsafe {
        while order.is_scattered() && four + 3 < active.fours {
            add_fours::<M, 4>(rows, four, order, &mut run.sums);
            four += 4;
        }
        while four + 1 < active.fours {
            add_fours::<M, 2>(rows, four, order, &mut run.sums);
            four += 2;
        }
        if four < active.fours {
            add_fours::<M, 1>(rows, four, order, &mut run.sums);
        }
        let scales = job.matrix.scales.as_ptr().cast::<u16>();
        let scales = scales.add(active.group * job.stride + first);
        for at in (0..len).step_by(unit) {
            let mut sums = [M::Width::splat(0); 4];
            for t in 0..4 {
                sums[t] = M::Width::load(run.sums.as_ptr().add(at + t * lanes).cast());
            }
            let sums = M::Width::restore(sums);
            for t in 0..4 {
                let at = at + t * lanes;
                if at < len {
                    let total = run.totals.as_mut_ptr().add(at);
                    M::Width::fold(sums[t], M::Width::scales(scales.add(at)), total);
                }
            }
        }
    }
}

/// Adds the products of the Q fours of inputs from number `four` on to `sums`,
/// and asks for the weights of as many fours [`AHEAD`] of them.
///
/// # Safety
/// As for [`add_group_rows`]; the group has these fours.
#[inline(always)]
unsafe fn add_fours<M: Multiply, const Q: usize>(
    rows: &Rows<'_>,
    four: usize,
    Order { piece, pieces, step }: Order,
    sums: &mut [i32; RUN],
) {
    let lanes = M::Width::LANES;
    let unit = 4 * lanes;
    let len = rows.len;
    let mut weights = [[core::ptr::null(); 4]; Q];
    let mut ahead = [[core::ptr::null(); 4]; Q];
    for i in 0..Q {
        weights[i] = rows.weights(four + i);
        ahead[i] = rows.weights(four + AHEAD + i);
    }
    // SAFETY: the caller's promise; sums are written in whole units, of which
    // RUN is a multiple. Prefetching does not access memory.
    unsafe {
        let mut activations = [[M::Width::splat(0); 2]; Q];
        for i in 0..Q {
            let q = rows.active.q.as_ptr().add(4 * (four + i));
            activations[i] = [M::Width::broadcast(q), M::Width::broadcast(q.add(2))];
        }
        let mut number = 0;
        for _ in 0..pieces {
            let start = number * piece;
            number += step;
            if number >= pieces {
                number -= pieces;
            }
            for pointer in ahead.as_flattened() {
                _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(start));
                if piece > LINE {
                    _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(start + LINE));
                }
            }
            for at in (start..len.min(start + piece)).step_by(unit) {
                let mut products = [M::start(); 4];
                for i in 0..Q {
                    let mut bytes = [M::Width::splat(0); 4];
                    for j in 0..4 {
                        let weights = weights[i][j].add(at);
                        bytes[j] = if at + unit > len {
                            M::Width::load_short(weights, len - at)
                        } else {
                            M::Width::load(weights)
                        };
                    }
                    let tiles = M::Width::interleave(bytes);
                    for t in 0..4 {
                        let weights = M::Width::unsign(tiles[t]);
                        products[t] = M::steps(products[t], weights, activations[i]);
                    }
                }
                for t in 0..4 {
                    let sums = sums.as_mut_ptr().add(at + t * lanes);
                    let sum = M::Width::add(M::Width::load(sums.cast()), M::total(products[t]));
                    M::Width::store(sums, sum);
                }
            }
        }
    }
}

/// Adds the products with several columns to `out`, a window of weights at a time.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn several<M: Multiply>(job: &Sparse<'_>, out: &mut Part<'_>) {
    let (columns, rows) = (out.columns(), out.rows());
    let mut active = Active::new();
    let window = job.window();
    for first in rows.clone().step_by(window) {
        let end = rows.end.min(first + window);
        for group in 0..job.matrix.groups() {
            for column in 0..columns {
                // SAFETY: the caller's promise; `acc` are rows of the matrix
                // from a tile on, and `active` are inputs of `group`.
                unsafe {
                    active.find::<M>(job, column, group);
                    if active.fours > 0 {
                        let acc = &mut out.column(column)[first - rows.start..end - rows.start];
                        add_group::<M>(job, active.fours(), group, first, acc);
                    }
                }
            }
        }
    }
}

/// Columns from which on it pays to copy a group's weights, if enough of them are
/// wanted: with eight a prompt is 4 to 28 % faster, the more zeros the less.
const PACKED: usize = 8;
/// Active inputs that are known at a time, of several columns, which are so many at most.
const LISTED: usize = 16 * LARGEST;
const MOST_COLUMNS: usize = 64;
/// Rows of the widest strip.
const STRIP: usize = 64;

/// The active inputs of a group in several columns.
struct Lists {
    q: [i16; LISTED + LARGEST + 32],
    inputs: [i16; LISTED + LARGEST + 32],
    /// The first four of each column, the number of fours and the correction.
    columns: [(usize, usize, i32); MOST_COLUMNS],
    len: usize,
}

impl Lists {
    const fn new() -> Self {
        let (q, inputs) = ([0; LISTED + LARGEST + 32], [0; LISTED + LARGEST + 32]);
        Self { q, inputs, columns: [(0, 0, 0); MOST_COLUMNS], len: 0 }
    }

    /// Finds the active inputs of group `group` in as many of the columns `columns`
    /// as there is room for, at least in one.
    ///
    /// # Safety
    /// As for [`product`].
    #[inline(always)]
    unsafe fn find<M: Multiply>(&mut self, job: &Sparse<'_>, columns: Range<usize>, group: usize) {
        let mut first = 0;
        self.len = 0;
        for (column, found) in columns.zip(&mut self.columns) {
            let lists = self.q[4 * first..].first_chunk_mut();
            let Some((q, inputs)) = lists.zip(self.inputs[4 * first..].first_chunk_mut()) else {
                break;
            };
            // SAFETY: the caller's promise.
            let (fours, correction) = unsafe { find::<M>(job, column, group, q, inputs) };
            *found = (first, fours, correction);
            first += fours;
            self.len += 1;
        }
    }

    /// Whether it pays to copy all weights of a group of `group` inputs: each is then
    /// active once in the mean, in all columns together. With fewer a prompt is up to
    /// 1.2 times as fast without, measured with eight columns and 92 to 99 % of zeros.
    #[inline(always)]
    fn pay_for_a_copy(&self, group: usize) -> bool {
        let (first, fours, _) = self.columns[self.len.saturating_sub(1)];
        4 * (first + fours) >= group
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = Fours<'_>> {
        self.columns[..self.len].iter().map(|&(first, fours, correction)| {
            let q = &self.q.as_chunks().0[first..first + fours];
            Fours { q, inputs: &self.inputs.as_chunks().0[first..first + fours], correction }
        })
    }
}

/// The weights that a group's inputs have for a strip of rows, unsigned:
/// `[input][row]`, one after the other, where the first-level cache keeps them. In
/// the matrix they are so far apart that they would push each other out.
#[repr(align(64))]
struct Strip([i8; STRIP * LARGEST]);

impl Strip {
    /// Copies the strip from row `row` on, and asks for the next one.
    ///
    /// # Safety
    /// As for [`product`]; the matrix has the group and the row, which is at a tile.
    #[inline(always)]
    unsafe fn copy<M: Multiply>(&mut self, job: &Sparse<'_>, group: usize, row: usize) {
        let unit = 4 * M::Width::LANES;
        let start = group * job.matrix.group;
        let len = job.matrix.group.min(job.padded - start);
        let short = job.stride - row < unit;
        // SAFETY: the inputs of the group have a row of `stride` weights each; the
        // strip has room for LARGEST inputs of `unit` rows. Prefetching does not
        // access memory.
        unsafe {
            let mut weights = job.matrix.weights.as_ptr().add(start * job.stride + row);
            for copy in self.0.chunks_exact_mut(unit).take(len) {
                let bytes = if short {
                    M::Width::load_short(weights, job.stride - row)
                } else {
                    M::Width::load(weights)
                };
                M::Width::store(copy.as_mut_ptr().cast(), M::Width::unsign(bytes));
                _mm_prefetch::<_MM_HINT_T1>(weights.wrapping_add(unit));
                weights = weights.wrapping_add(job.stride);
            }
        }
    }
}

/// Adds the products with many columns to `out`, a group's weights for a strip of rows
/// at a time.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn many<M: Multiply>(job: &Sparse<'_>, out: &mut Part<'_>) {
    let unit = 4 * M::Width::LANES;
    let (columns, rows) = (out.columns(), out.rows());
    let mut lists = Lists::new();
    let mut strip = Strip([0; STRIP * LARGEST]);
    let window = job.window();
    for group in 0..job.matrix.groups() {
        let mut first = 0;
        while first < columns {
            // SAFETY: the caller's promise.
            unsafe { lists.find::<M>(job, first..columns, group) };
            let copies = lists.pay_for_a_copy(job.matrix.group);
            let step = if copies { unit } else { window };
            for row in rows.clone().step_by(step) {
                // SAFETY: the caller's promise; rows begin at a tile, and a step is
                // a number of tiles. The inputs are of this group.
                unsafe {
                    if copies {
                        strip.copy::<M>(job, group, row);
                    }
                    for (active, column) in lists.iter().zip(first..) {
                        if active.q.is_empty() {
                            continue;
                        }
                        let acc = &mut out.column(column)[row - rows.start..];
                        let len = acc.len().min(step);
                        if copies {
                            add_strip::<M>(job, active, &strip, (group, row), &mut acc[..len]);
                        } else {
                            add_group::<M>(job, active, group, row, &mut acc[..len]);
                        }
                    }
                }
            }
            first += lists.len;
        }
    }
}

/// Adds the products of a strip to the accumulators `acc` of its rows, from `row` on.
///
/// # Safety
/// As for [`product`]; `acc` are rows of the matrix, at most a strip, `row` is at a
/// tile, and `active` are inputs of `group`; the strip is theirs.
#[inline(always)]
unsafe fn add_strip<M: Multiply>(
    job: &Sparse<'_>,
    active: Fours<'_>,
    strip: &Strip,
    (group, row): (usize, usize),
    acc: &mut [f32],
) {
    let unit = 4 * M::Width::LANES;
    // SAFETY: group and row are within the matrix, so scales are readable to the end
    // of the padded row.
    unsafe {
        let scales = job.matrix.scales.as_ptr().cast::<u16>();
        let scales = scales.add(group * job.stride + row);
        let weights = strip.0.as_ptr();
        if acc.len() == unit {
            rows::<M, 1, COPIED>(active, weights, unit, scales, acc);
        } else {
            let mut padded = [0.0; STRIP];
            padded[..acc.len()].copy_from_slice(acc);
            let len = padded_rows(acc.len());
            rows::<M, 1, COPIED>(active, weights, unit, scales, &mut padded[..len]);
            acc.copy_from_slice(&padded[..acc.len()]);
        }
    }
}

/// Adds a group's products to the accumulators `acc` of the rows from `row` on.
///
/// # Safety
/// As for [`product`]; `acc` are rows of the matrix, `row` is at a tile, and
/// `active` are inputs of group `group`.
#[inline(always)]
unsafe fn add_group<M: Multiply>(
    job: &Sparse<'_>,
    active: Fours<'_>,
    group: usize,
    row: usize,
    acc: &mut [f32],
) {
    let unit = 4 * M::Width::LANES;
    // SAFETY: group, row and input are within the matrix, so weights and scales
    // are readable to the end of the padded row.
    unsafe {
        let input = group * job.matrix.group;
        let mut weights = job.matrix.weights.as_ptr().add(input * job.stride + row);
        let mut scales = job.matrix.scales.as_ptr().cast::<u16>().add(group * job.stride + row);
        let (pairs, rest) = acc.split_at_mut(acc.len() / (2 * unit) * (2 * unit));
        for acc in pairs.chunks_exact_mut(2 * unit) {
            rows::<M, 2, WHOLE>(active, weights, job.stride, scales, acc);
            weights = weights.add(2 * unit);
            scales = scales.add(2 * unit);
        }
        for acc in rest.chunks_mut(unit) {
            let len = padded_rows(acc.len());
            let mut padded = [0.0; 64];
            if len == unit && acc.len() == unit {
                rows::<M, 1, WHOLE>(active, weights, job.stride, scales, acc);
            } else {
                padded[..acc.len()].copy_from_slice(acc);
                if len == unit {
                    rows::<M, 1, WHOLE>(active, weights, job.stride, scales, &mut padded[..len]);
                } else {
                    rows::<M, 1, SHORT>(active, weights, job.stride, scales, &mut padded[..len]);
                }
                acc.copy_from_slice(&padded[..acc.len()]);
            }
            weights = weights.wrapping_add(unit);
            scales = scales.wrapping_add(unit);
        }
    }
}

/// What [`rows`] reads: weights of the matrix, those where it ends, or a [`Strip`].
const WHOLE: u8 = 0;
const SHORT: u8 = 1;
const COPIED: u8 = 2;

/// Adds the products of the active inputs with `N * 4 * LANES` rows, or with
/// fewer where the matrix ends.
///
/// # Safety
/// As for [`product`]; the active inputs have `acc.len()` bytes each, from
/// `weights` on and `stride` apart, and there are so many scales. `acc.len()`
/// is `N * 4 * LANES`, or, with SHORT, a multiple of 16 below it. Of COPIED weights
/// there are `N * 4 * LANES`, unsigned, also where `acc` is shorter.
#[inline(always)]
unsafe fn rows<M: Multiply, const N: usize, const SOURCE: u8>(
    active: Fours<'_>,
    weights: *const i8,
    stride: usize,
    scales: *const u16,
    acc: &mut [f32],
) {
    let lanes = M::Width::LANES;
    // SAFETY: the caller's promise; registers beyond `acc.len()` are skipped.
    unsafe {
        let mut sums = [[M::start(); 4]; N];
        for (inputs, q) in active.inputs.iter().zip(active.q) {
            let q = q.as_ptr();
            let activations = [M::Width::broadcast(q), M::Width::broadcast(q.add(2))];
            for n in 0..N {
                let mut bytes = [M::Width::splat(0); 4];
                for i in 0..4 {
                    let at = weights.add(inputs[i] as usize * stride + n * 4 * lanes);
                    bytes[i] = if SOURCE == SHORT {
                        M::Width::load_short(at, acc.len())
                    } else {
                        M::Width::load(at)
                    };
                }
                let tiles = M::Width::interleave(bytes);
                for t in 0..4 {
                    let unsigned = SOURCE == COPIED;
                    let weights = if unsigned { tiles[t] } else { M::Width::unsign(tiles[t]) };
                    sums[n][t] = M::steps(sums[n][t], weights, activations);
                }
            }
        }
        let correction = M::Width::splat(active.correction);
        for n in 0..N {
            let mut totals = [correction; 4];
            for t in 0..4 {
                totals[t] = M::total(sums[n][t]);
            }
            let totals = M::Width::restore(totals);
            for t in 0..4 {
                let at = (n * 4 + t) * lanes;
                if at < acc.len() {
                    let scales = M::Width::scales(scales.add(at));
                    let sums = M::Width::add(totals[t], correction);
                    M::Width::fold(sums, scales, acc.as_mut_ptr().add(at));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_once() {
        for len in (16..=RUN).step_by(16) {
            for crowded in [false, true] {
                let Order { piece, pieces, step } = Order::new(len, crowded);
                let mut read = [0; RUN / LINE];
                let read = &mut read[..pieces];
                (0..pieces).for_each(|i| read[i * step % pieces] += 1);
                assert!(read.iter().all(|times| *times == 1), "{len} bytes: {read:?}");
                assert!((len..len + piece).contains(&(pieces * piece)), "{len} bytes");
            }
        }
    }
}
