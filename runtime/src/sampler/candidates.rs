//! The set of tokens that may still be drawn, kept inside the caller's buffer.
//!
//! A *weight* is a probability times the softmax denominator, exp(logit - largest logit), so the
//! best token weighs 1. Weights are positive, and positive floats compare like their bit patterns,
//! so a cutoff is an integer and is found by bisection: a probe adds up (and counts) the weights
//! from a threshold on. Rounding is monotone, so that sum never grows when the threshold rises, and
//! the cutoff found is exact with respect to the sums that are computed.
//!
//! Every sum over a part of the vocabulary has the order of a dense reduction in which the other
//! elements are +0.0: adding +0.0 changes nothing, so probes may visit only what is left. To skip
//! the rest without a list of ids, a run of dropped slots is threaded: its first slot holds the
//! sign bit and the length of the run less 1. No weight is negative, so the two cannot be confused.

use super::SamplerOptions;
use super::budget::Budget;
use crate::num::math;

const LANES: usize = Budget::GRAIN;
const SIGN: u32 = 1 << 31;
/// A walk pays when it meets at most one slot in this many: dense passes run at the speed of
/// vectors, while a walk mispredicts a branch at every other weight.
const DENSE_SHARE: usize = 32;
/// Above every weight (the best is 1, and exp may err by a few units in the last place).
const ABOVE_ALL: u32 = 2.0f32.to_bits();
/// Where a bisection starts: in a vocabulary of thousands this leaves the few per cent that matter.
const FIRST_PROBE: u32 = 0x3880_0000; // 2^-14
/// Below this exp is +0.0, and it keeps exp away from infinite arguments.
const MIN_EXPONENT: f32 = -200.0;

/// Sum and number of the weights at or above a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Probe {
    sum: f32,
    count: usize,
}

/// Tokens that may be drawn: those whose slot is neither +0.0, nor in a dropped run, nor below
/// `floor`.
///
/// The slots, `[vocabulary]`, are an argument of the methods: a weight, +0.0, or the head of a
/// dropped run. Slots inside a run are stale, and below `floor`.
///
/// A method with a budget does a pass over the slots, or several, or goes on where it left one. It
/// is `None` when the budget is spent before it is done, and is then called again with the same
/// arguments: what it has done by then makes it come to the same pass.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    stage: Stage,
    /// Bit pattern of the least weight that is still in.
    floor: u32,
    /// Number of candidates.
    live: usize,
    /// Sum of the weights at or above the floor.
    mass: f32,
    /// Number of weights that a walk meets, candidates or not.
    visited: usize,
    /// A bisection's least threshold that is known not to be enough.
    ceiling: u32,
    /// Number of weights from the ceiling on.
    above: usize,
    /// The sum that top-p asks for.
    target: f32,
    pass: Pass,
}

/// The step of the selection that is under way.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Weights,
    Mass,
    MinP,
    TopP,
    TopK,
    Ties,
    TiesDropped,
    Temper,
    Tempered,
    Selected,
}

/// How far a pass has come, and what it has found.
#[derive(Clone, Debug)]
struct Pass {
    /// The slots before this one are done.
    at: usize,
    /// Lanes of a probe's sum.
    sums: [f32; LANES],
    /// Weights of a probe, or ties that stay.
    count: usize,
    /// Start of a run of dropped slots, or of the last chunk in which a draw met a candidate.
    start: usize,
    /// The last candidate that a draw met.
    last: Option<usize>,
    /// A draw's sum so far.
    running: f32,
    /// The same before `start`.
    before: f32,
}

impl Pass {
    const START: Self = Self {
        at: 0,
        sums: [0.0; LANES],
        count: 0,
        start: 0,
        last: None,
        running: 0.0,
        before: 0.0,
    };
}

impl Candidates {
    /// For `vocabulary` logits, of which none is looked at yet.
    pub(super) const fn new(vocabulary: usize) -> Self {
        Self {
            stage: Stage::Weights,
            floor: 1,
            live: 0,
            mass: 0.0,
            visited: vocabulary,
            ceiling: ABOVE_ALL,
            above: 0,
            target: 0.0,
            pass: Pass::START,
        }
    }

    /// Steps 3 to 7: turns logits, finite or -inf and at most `largest`, which is finite, into the
    /// weights of the tokens that may be drawn.
    pub(super) fn select(
        &mut self,
        slots: &mut [f32],
        largest: f32,
        options: &SamplerOptions,
        budget: &mut Budget,
    ) -> Option<()> {
        let most = usize::try_from(options.top_k).unwrap_or(usize::MAX);
        loop {
            self.stage = match self.stage {
                Stage::Weights => {
                    self.weigh(slots, largest, budget)?;
                    Stage::Mass
                }
                Stage::Mass => {
                    self.recount(slots, budget)?;
                    self.target = options.top_p * self.mass;
                    Stage::MinP
                }
                Stage::MinP => {
                    if options.min_p > 0.0 {
                        self.keep_min_p(slots, options.min_p, budget)?;
                    }
                    Stage::TopP
                }
                Stage::TopP => {
                    self.thread_if_it_pays(slots, budget)?;
                    if options.top_p < 1.0 {
                        self.keep_top_p(slots, budget)?;
                    }
                    Stage::TopK
                }
                Stage::TopK if most == 0 => Stage::Temper,
                Stage::TopK => {
                    self.keep_top_k_and_ties(slots, most, budget)?;
                    if self.live > most { Stage::Ties } else { Stage::Temper }
                }
                Stage::Ties => {
                    self.drop_ties(slots, most, budget)?;
                    Stage::TiesDropped
                }
                Stage::TiesDropped => {
                    self.recount(slots, budget)?;
                    Stage::Temper
                }
                Stage::Temper if options.temperature == 1.0 => Stage::Selected,
                Stage::Temper => {
                    self.temper(slots, options.temperature, budget)?;
                    Stage::Tempered
                }
                Stage::Tempered => {
                    self.recount(slots, budget)?;
                    Stage::Selected
                }
                Stage::Selected => return Some(()),
            }
        }
    }

    /// Turns logits into weights. One below the smallest normal number is 0 and no candidate.
    fn weigh(&mut self, slots: &mut [f32], largest: f32, budget: &mut Budget) -> Option<()> {
        budget.pass(&mut self.pass.at, slots, Budget::EXP, |_, slots| {
            for slot in slots {
                *slot = math::exp((*slot - largest).max(MIN_EXPONENT));
            }
        })?;
        self.pass = Pass::START;
        Some(())
    }

    /// Drops what weighs less than `least` times the best.
    fn keep_min_p(&mut self, slots: &mut [f32], least: f32, budget: &mut Budget) -> Option<()> {
        let threshold = least.to_bits().max(self.floor);
        let probe = self.probe(slots, threshold, budget)?;
        self.raise_floor(threshold, probe);
        Some(())
    }

    /// Keeps the fewest of the heaviest candidates whose sum reaches the target, which is positive,
    /// with all equals of the last; everything if even that falls short.
    fn keep_top_p(&mut self, slots: &mut [f32], budget: &mut Budget) -> Option<()> {
        let target = self.target;
        if self.mass < target {
            return Some(());
        }
        self.bisect(slots, 1, budget, |probe| probe.sum >= target)?;
        // It need not be too much for another cutoff.
        (self.ceiling, self.above) = (ABOVE_ALL, 0);
        Some(())
    }

    /// Keeps the `most` (at least 1) heaviest candidates, with all equals of the last.
    fn keep_top_k_and_ties(
        &mut self,
        slots: &mut [f32],
        most: usize,
        budget: &mut Budget,
    ) -> Option<()> {
        self.bisect(slots, most, budget, |probe| probe.count >= most)
    }

    /// Drops all but `most` candidates: those of the highest ids among the ones that weigh exactly
    /// the floor, which a bisection has found.
    fn drop_ties(&mut self, slots: &mut [f32], most: usize, budget: &mut Budget) -> Option<()> {
        let floor = self.floor;
        let kept = most.saturating_sub(self.above);
        let price = (self.visits(slots), Budget::VISIT);
        let Pass { at, count, .. } = &mut self.pass;
        walk(at, slots, floor, price, budget, |slots, id, weight| {
            if weight.to_bits() != floor {
            } else if *count < kept {
                *count += 1;
            } else {
                slots[id] = 0.0;
            }
            false
        })?;
        self.pass = Pass::START;
        Some(())
    }

    /// Raises every weight to the power 1/T. A weight that becomes 0 is no candidate any more; the
    /// best stays 1.
    fn temper(&mut self, slots: &mut [f32], temperature: f32, budget: &mut Budget) -> Option<()> {
        let floor = self.floor;
        if self.is_dense(slots) {
            budget.pass(&mut self.pass.at, slots, Budget::POWER, |_, slots| {
                for slot in slots {
                    let is_in = slot.to_bits() as i32 >= floor as i32;
                    *slot = if is_in { power(*slot, temperature) } else { 0.0 };
                }
            })?;
        } else {
            self.thread(slots, budget)?;
            let price = (self.visits(slots), Budget::POWER);
            walk(&mut self.pass.at, slots, floor, price, budget, |slots, id, weight| {
                slots[id] = power(weight, temperature);
                false
            })?;
        }
        self.pass = Pass::START;
        self.floor = 1;
        Some(())
    }

    /// The lowest id at which the running sum of weights, in ascending order of ids, exceeds
    /// `uniform` (in [0, 1)) times their sum; the last candidate where rounding keeps the running
    /// sum below that.
    pub(super) fn draw(
        &mut self,
        slots: &mut [f32],
        uniform: f32,
        budget: &mut Budget,
    ) -> Option<Option<usize>> {
        let goal = uniform * self.mass;
        let price = (self.visits(slots), Budget::VISIT);
        let mut for_chunk = Budget::new(LANES);
        let (slots, budget) = if self.is_dense(slots) {
            self.find_chunk(slots, goal, budget)?;
            let end = slots.len().min(self.pass.at + LANES);
            (&mut slots[..end], &mut for_chunk)
        } else {
            (slots, budget)
        };
        let Pass { at, last, running, .. } = &mut self.pass;
        walk(at, slots, self.floor, price, budget, |_, id, weight| {
            *last = Some(id);
            *running += weight;
            *running > goal
        })?;
        Some(*last)
    }

    /// Puts the pass before the chunk in which the running sum exceeds `goal`, or before the last
    /// that has a candidate. Free of branches that depend on single weights, which would be
    /// mispredicted half of the time when half of the slots are in.
    fn find_chunk(&mut self, slots: &[f32], goal: f32, budget: &mut Budget) -> Option<()> {
        let floor = self.floor as i32;
        let Pass { at, start, running, before, .. } = &mut self.pass;
        while let Some(rest) = slots.get(*at..).filter(|rest| *running <= goal && !rest.is_empty())
        {
            let piece = &rest[..budget.take(rest.len(), Budget::VISIT)?.min(rest.len())];
            let mut sum = *running;
            for (at, chunk) in (*at..).step_by(LANES).zip(piece.chunks(LANES)) {
                let sum_before = sum;
                let mut any = false;
                for &slot in chunk {
                    let is_in = slot.to_bits() as i32 >= floor;
                    sum += if is_in { slot } else { 0.0 };
                    any |= is_in;
                }
                if any {
                    (*start, *before) = (at, sum_before);
                }
                if sum > goal {
                    break;
                }
            }
            *running = sum;
            *at += piece.len();
        }
        (*at, *running) = (*start, *before);
        Some(())
    }

    /// Finds the highest threshold whose probe is `enough`, or one that leaves no more than `most`,
    /// and makes it the floor. The probe at the present floor must be enough, and one of nothing
    /// must not.
    fn bisect(
        &mut self,
        slots: &mut [f32],
        most: usize,
        budget: &mut Budget,
        enough: impl Fn(Probe) -> bool,
    ) -> Option<()> {
        loop {
            self.thread_if_it_pays(slots, budget)?;
            // With one weight between the two bounds, the set at the floor is the smallest.
            if self.ceiling - self.floor <= 1 || self.live <= most.max(self.above + 1) {
                break;
            }
            let threshold = between(self.floor, self.ceiling);
            let probe = self.probe(slots, threshold, budget)?;
            if enough(probe) {
                self.raise_floor(threshold, probe);
            } else {
                self.ceiling = threshold;
                self.above = probe.count;
            }
        }
        Some(())
    }

    /// Counts the candidates and adds up their weights.
    fn recount(&mut self, slots: &mut [f32], budget: &mut Budget) -> Option<()> {
        let Probe { sum, count } = self.probe(slots, self.floor, budget)?;
        (self.live, self.mass) = (count, sum);
        Some(())
    }

    /// Sum and number of the weights from `threshold`, which is not below the floor, on.
    fn probe(&mut self, slots: &mut [f32], threshold: u32, budget: &mut Budget) -> Option<Probe> {
        let dense = self.is_dense(slots);
        let price = (self.visits(slots), Budget::VISIT);
        let Pass { at, sums, count, .. } = &mut self.pass;
        if dense {
            budget.pass(at, slots, Budget::VISIT, |_, slots| {
                *count += add_dense(sums, slots, threshold);
            })?;
        } else {
            walk(at, slots, self.floor, price, budget, |_, id, weight| {
                if weight.to_bits() >= threshold {
                    sums[id % LANES] += weight;
                    *count += 1;
                }
                false
            })?;
        }
        let probe = Probe { sum: sum_lanes(*sums), count: *count };
        self.pass = Pass::START;
        Some(probe)
    }

    /// The most weights and runs that a walk meets: beside a weight there is a run, or none.
    fn visits(&self, slots: &[f32]) -> usize {
        if self.is_dense(slots) { slots.len() } else { 2 * self.visited + 1 }
    }

    /// Whether to pass over all slots. While this is so, there are no runs.
    fn is_dense(&self, slots: &[f32]) -> bool {
        self.visited > slots.len() / DENSE_SHARE
    }

    fn raise_floor(&mut self, threshold: u32, probe: Probe) {
        self.floor = threshold;
        self.live = probe.count;
        self.mass = probe.sum;
    }

    /// Threads the slots where few candidates are left, and half of what walks meet is none.
    fn thread_if_it_pays(&mut self, slots: &mut [f32], budget: &mut Budget) -> Option<()> {
        let sparse = self.live <= slots.len() / DENSE_SHARE;
        if sparse && self.live <= self.visited / 2 { self.thread(slots, budget) } else { Some(()) }
    }

    /// Joins everything that is no candidate into runs, so that walks meet candidates only.
    fn thread(&mut self, slots: &mut [f32], budget: &mut Budget) -> Option<()> {
        if self.visited == self.live {
            return Some(());
        }
        let price = (self.visits(slots), Budget::VISIT);
        let Pass { at, start, .. } = &mut self.pass;
        walk(at, slots, self.floor, price, budget, |slots, id, _| {
            close_run(slots, *start, id);
            *start = id + 1;
            false
        })?;
        close_run(slots, *start, slots.len());
        self.pass = Pass::START;
        self.visited = self.live;
        Some(())
    }
}

#[cfg(test)]
impl Candidates {
    /// The candidates' ids and weights, in ascending order of ids.
    pub(super) fn iter(&self, slots: &[f32]) -> impl Iterator<Item = (usize, f32)> {
        let mut next = 0;
        core::iter::from_fn(move || {
            loop {
                let (id, &slot) = (next, slots.get(next)?);
                next += run_length(slot).unwrap_or(1);
                if run_length(slot).is_none() && slot.to_bits() >= self.floor {
                    return Some((id, slot));
                }
            }
        })
    }
}

/// Makes the slots from `start` up to `end` one run.
fn close_run(slots: &mut [f32], start: usize, end: usize) {
    if start < end {
        slots[start] = f32::from_bits(SIGN | (end - start - 1) as u32);
    }
}

/// Calls `visit` with id and weight of the candidates from slot `at` on, in ascending order of ids,
/// until one returns true; `at` must not be inside a run. `None` when the budget is spent before
/// that; `at` says how far it came.
///
/// A walk through all slots meets at most `visits` weights and runs, each of which costs `cost`.
/// Where the budget has not as many, it ends after as many slots as it has, so that none is counted.
#[inline(always)]
fn walk(
    at: &mut usize,
    slots: &mut [f32],
    floor: u32,
    (visits, cost): (usize, usize),
    budget: &mut Budget,
    mut visit: impl FnMut(&mut [f32], usize, f32) -> bool,
) -> Option<()> {
    let rest = slots.len().saturating_sub(*at);
    let taken = budget.take(rest.min(visits), cost)?;
    let span = if taken == visits { rest } else { taken };
    let piece = slots.get_mut(..*at + span).unwrap_or_default();
    let mut next = *at;
    let stopped = loop {
        let Some(&slot) = piece.get(next) else { break false };
        match run_length(slot) {
            None if slot.to_bits() >= floor => {
                if visit(piece, next, slot) {
                    break true;
                }
                next += 1;
            }
            None => next += 1,
            Some(length) => next += length,
        }
    };
    *at = next;
    (stopped || next >= slots.len()).then_some(())
}

/// How many slots from this one on hold no weight; `None` if this one does.
#[inline]
fn run_length(slot: f32) -> Option<usize> {
    match slot.to_bits() {
        0 => Some(1),
        bits if bits & SIGN != 0 => Some((bits & !SIGN) as usize + 1),
        _ => None,
    }
}

/// A threshold strictly between two that are at least 2 apart.
fn between(floor: u32, ceiling: u32) -> u32 {
    if floor < FIRST_PROBE && FIRST_PROBE < ceiling {
        FIRST_PROBE
    } else {
        floor + (ceiling - floor) / 2
    }
}

/// Adds the weights from `threshold` on to the lanes; their number. Heads of runs are negative as
/// integers, and stale slots below every later threshold: neither passes the comparison.
fn add_dense(sums: &mut [f32; LANES], slots: &[f32], threshold: u32) -> usize {
    let (chunks, rest) = slots.as_chunks();
    let count = add_chunks(sums, chunks, threshold);
    if rest.is_empty() {
        return count;
    }
    count + add_chunks(sums, &[padded(rest, 0.0)], threshold)
}

/// A copy in flash, because its loop over the lanes is unrolled.
#[inline(never)]
fn add_chunks(sums: &mut [f32; LANES], chunks: &[[f32; LANES]], threshold: u32) -> usize {
    let mut lanes = *sums;
    let mut counts = [0u32; LANES];
    for chunk in chunks {
        for ((sum, count), &slot) in lanes.iter_mut().zip(&mut counts).zip(chunk.as_slice()) {
            let is_in = slot.to_bits() as i32 >= threshold as i32;
            *sum += if is_in { slot } else { 0.0 };
            *count += u32::from(is_in);
        }
    }
    *sums = lanes;
    counts.iter().map(|&count| count as usize).sum()
}

/// Fewer slots than a chunk, and after them `value`.
pub(super) fn padded(slots: &[f32], value: f32) -> [f32; LANES] {
    let mut chunk = [value; LANES];
    for (padded, &slot) in chunk.iter_mut().zip(slots) {
        *padded = slot;
    }
    chunk
}

fn sum_lanes(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = sums.split_at_mut(half);
        for (low, &high) in low.iter_mut().zip(&*high) {
            *low += high;
        }
        half /= 2;
    }
    sums[0]
}

/// weight^(1/T) for a positive normal weight and T > 0.
#[inline(always)]
fn power(weight: f32, temperature: f32) -> f32 {
    math::exp((ln(weight) / temperature).max(MIN_EXPONENT))
}

/// Natural logarithm of a positive normal number, within 2 ULP, and ln(1) = +0 exactly.
///
/// x = 2^k m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s) with s = (m - 1) / (m + 1),
/// whose power series is cut after s^9 (the rest is below 2e-9 of the result). ln 2 is split so
/// that its larger part times k is exact.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let bits = x.to_bits() as i32;
    let k = (bits - SQRT_HALF) >> 23;
    let m = f32::from_bits((bits - (k << 23)) as u32);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    let k = k as f32;
    let two_s = s + s;
    k * LN_2_HIGH + (two_s + (two_s * series + k * LN_2_LOW))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::{collection::vec, prelude::*};
    use std::vec::Vec;

    use super::*;

    /// The sum as the module's documentation defines it, element by element.
    fn naive_probe(weights: &[f32], threshold: f32) -> Probe {
        let mut s = [0.0f32; 16];
        for (i, &w) in weights.iter().enumerate() {
            s[i % 16] += if w >= threshold { w } else { 0.0 };
        }
        for half in [8, 4, 2, 1] {
            for j in 0..half {
                s[j] += s[j + half];
            }
        }
        let count = weights.iter().filter(|&&w| w > 0.0 && w >= threshold).count();
        Probe { sum: s[0], count }
    }

    /// Ids that the definitions leave, by trying every weight as the threshold.
    fn naive_cut(weights: &[f32], least: f32, top_p: f32, most: usize) -> Vec<usize> {
        let target = top_p * naive_probe(weights, 0.0).sum;
        let enough = |&&t: &&f32| t > 0.0 && naive_probe(weights, t).sum >= target;
        let threshold = weights.iter().filter(enough).copied().fold(0.0, f32::max).max(least);
        let mut ids: Vec<usize> = (0..weights.len())
            .filter(|&id| weights[id] > 0.0 && weights[id] >= threshold)
            .collect();
        ids.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        ids.truncate(most);
        ids.sort_unstable();
        ids
    }

    /// Candidates with their slots, and passes that are not left.
    struct Set {
        candidates: Candidates,
        slots: Vec<f32>,
    }

    impl Set {
        fn from_logits(logits: &[f32], largest: f32) -> Self {
            let (mut candidates, mut slots) = (Candidates::new(logits.len()), logits.to_vec());
            candidates.weigh(&mut slots, largest, &mut unlimited()).unwrap();
            candidates.recount(&mut slots, &mut unlimited()).unwrap();
            Self { candidates, slots }
        }

        fn mass(&self) -> f32 {
            self.candidates.mass
        }

        fn keep_min_p(&mut self, least: f32) {
            self.candidates.keep_min_p(&mut self.slots, least, &mut unlimited()).unwrap();
        }

        fn keep_top_p(&mut self, target: f32) {
            self.candidates.target = target;
            self.candidates.keep_top_p(&mut self.slots, &mut unlimited()).unwrap();
        }

        fn keep_top_k(&mut self, most: usize) {
            let Self { candidates, slots } = self;
            candidates.keep_top_k_and_ties(slots, most, &mut unlimited()).unwrap();
            if candidates.live > most {
                candidates.drop_ties(slots, most, &mut unlimited()).unwrap();
                candidates.recount(slots, &mut unlimited()).unwrap();
            }
        }

        fn temper(&mut self, temperature: f32) {
            self.candidates.temper(&mut self.slots, temperature, &mut unlimited()).unwrap();
            self.candidates.recount(&mut self.slots, &mut unlimited()).unwrap();
        }

        fn thread(&mut self) {
            self.candidates.thread(&mut self.slots, &mut unlimited()).unwrap();
        }

        /// The draw of this set, which stays as it is.
        fn draw(&self, uniform: f32) -> Option<usize> {
            let (mut candidates, mut slots) = (self.candidates.clone(), self.slots.clone());
            candidates.draw(&mut slots, uniform, &mut unlimited()).unwrap()
        }

        fn iter(&self) -> impl Iterator<Item = (usize, f32)> {
            self.candidates.iter(&self.slots)
        }

        fn ids(&self) -> Vec<usize> {
            self.iter().map(|(id, _)| id).collect()
        }
    }

    fn unlimited() -> Budget {
        Budget::new(usize::MAX)
    }

    /// Logits of all shapes: smooth, with many equals, with a few peaks, with -inf and far tails.
    fn logits() -> impl Strategy<Value = Vec<f32>> {
        let smooth = -12.0f32..12.0;
        let grid = (-6i32..6).prop_map(|step| step as f32 * 0.5);
        let peaked = prop_oneof![40 => -20.0f32..-8.0, 1 => 0.0f32..4.0];
        let wild = prop_oneof![
            8 => -3.0f32..3.0,
            1 => Just(f32::NEG_INFINITY),
            1 => -1e38f32..-50.0,
            1 => Just(-0.0f32),
        ];
        prop_oneof![vec(smooth, 1..400), vec(grid, 1..400), vec(peaked, 1..700), vec(wild, 1..400),]
    }

    fn largest(logits: &[f32]) -> f32 {
        logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    proptest! {
        #[test]
        fn the_cutoffs_are_exactly_those_of_the_definition(
            logits in logits(),
            least in prop_oneof![Just(0.0f32), Just(1.0), 1e-6f32..1.0],
            top_p in prop_oneof![1e-6f32..1.0, 0.9f32..1.0, Just(f32::MIN_POSITIVE)],
            most in prop_oneof![Just(usize::MAX), 1usize..60],
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let weights: Vec<f32> =
                logits.iter().map(|&l| math::exp((l - largest).max(-200.0))).collect();

            let mut candidates = Set::from_logits(&logits, largest);
            prop_assert_eq!(candidates.mass(), naive_probe(&weights, 0.0).sum);
            let target = top_p * candidates.mass();
            candidates.keep_min_p(least);
            candidates.keep_top_p(target);
            candidates.keep_top_k(most);
            let kept = candidates.ids();
            prop_assert_eq!(candidates.candidates.live, kept.len());
            prop_assert_eq!(&kept, &naive_cut(&weights, least, top_p, most));
            for (id, weight) in candidates.iter() {
                prop_assert_eq!(weight, weights[id]);
            }
        }

        #[test]
        fn skipping_what_is_dropped_does_not_change_a_sum(
            logits in logits(),
            mut thresholds in vec(1e-9f32..1.0, 1..8),
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let mut candidates = Set::from_logits(&logits, largest);
            let weights = candidates.slots.clone();
            thresholds.sort_by(f32::total_cmp);
            for threshold in thresholds {
                let expected = naive_probe(&weights, threshold);
                let bits = threshold.to_bits();
                let Set { candidates: set, slots } = &mut candidates;
                // As if no slot had been threaded, which leaves stale ones; and where a walk pays.
                let visited = core::mem::replace(&mut set.visited, slots.len());
                prop_assert_eq!(set.probe(slots, bits, &mut unlimited()), Some(expected));
                set.visited = 0;
                prop_assert_eq!(set.probe(slots, bits, &mut unlimited()), Some(expected));
                set.visited = visited;
                set.raise_floor(bits, expected);
                prop_assert_eq!(candidates.iter().count(), expected.count);
                candidates.thread();
                prop_assert_eq!(candidates.iter().count(), expected.count);
            }
        }

        #[test]
        fn tempering_is_the_same_dense_or_sparse(
            logits in logits(),
            temperature in 0.05f32..4.0,
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let mut candidates = Set::from_logits(&logits, largest);
            let expected: Vec<(usize, f32)> = candidates
                .iter()
                .map(|(id, weight)| (id, power(weight, temperature)))
                .filter(|&(_, weight)| weight > 0.0)
                .collect();
            candidates.temper(temperature);
            prop_assert_eq!(candidates.iter().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_draw_is_the_running_sum_of_the_definition(
            logits in logits(),
            least in prop_oneof![Just(0.0f32), 1e-6f32..1.0],
            uniform in prop_oneof![0.0f32..1.0, Just(0.0f32), Just(1.0f32.next_down())],
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let mut candidates = Set::from_logits(&logits, largest);
            candidates.keep_min_p(least);
            let goal = uniform * candidates.mass();
            let mut running = 0.0;
            let expected = candidates
                .iter()
                .find(|&(_, weight)| {
                    running += weight;
                    running > goal
                })
                .or(candidates.iter().last());
            prop_assert_eq!(candidates.draw(uniform), expected.map(|(id, _)| id));
            // More than rounding can reach: the last candidate.
            let last = candidates.iter().last();
            prop_assert_eq!(candidates.draw(2.0), last.map(|(id, _)| id));
        }

        #[test]
        fn ln_is_within_two_ulp(bits in f32::MIN_POSITIVE.to_bits()..=1.0f32.to_bits()) {
            let x = f32::from_bits(bits);
            let (found, exact) = (f64::from(ln(x)), libm::log(f64::from(x)));
            let ulp = f64::from((exact as f32).abs().next_up() - (exact as f32).abs());
            prop_assert!((found - exact).abs() <= 2.0 * ulp, "ln({x:e}) = {found:e}, not {exact:e}");
        }
    }

    #[test]
    fn the_best_weighs_exactly_one_at_every_temperature() {
        assert_eq!(math::exp(0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!(math::exp(MIN_EXPONENT).to_bits(), 0);
        assert_eq!(ln(1.0).to_bits(), 0);
        for temperature in [f32::from_bits(1), 1e-30, 0.5, 2.0, f32::MAX] {
            assert_eq!(power(1.0, temperature), 1.0);
        }
        assert_eq!(power(f32::MIN_POSITIVE, f32::from_bits(1)), 0.0);
    }

    #[test]
    fn equal_weights_keep_everything_or_the_lowest_ids() {
        let logits = [1.5f32; 1000];
        let mut candidates = Set::from_logits(&logits, 1.5);
        candidates.keep_top_p(0.001);
        assert_eq!(candidates.candidates.live, 1000);
        candidates.keep_top_k(37);
        assert_eq!(candidates.ids(), (0..37).collect::<Vec<_>>());
    }

    #[test]
    fn a_sum_that_equals_the_target_reaches_it() {
        let logits = [1.0, 3.0, 2.0, 0.0];
        let weights = logits.map(|logit: f32| math::exp(logit - 3.0));
        let exact = naive_probe(&weights, weights[2]).sum;
        for (target, kept) in [(exact, &[1, 2][..]), (exact.next_up(), &[0, 1, 2])] {
            let mut candidates = Set::from_logits(&logits, 3.0);
            candidates.keep_top_p(target);
            assert_eq!(candidates.ids(), kept);
        }
    }

    #[test]
    fn a_running_sum_that_equals_the_goal_does_not_exceed_it() {
        let logits = [0.0; 4];
        let candidates = Set::from_logits(&logits, 0.0);
        let uniform = [0.0, 0.25f32.next_down(), 0.25, 0.5, 0.75, 1.0f32.next_down()];
        let expected = [0, 0, 1, 2, 3, 3];
        assert_eq!(uniform.map(|uniform| candidates.draw(uniform)), expected.map(Some));
    }
}
