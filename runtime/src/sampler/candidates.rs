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
//! sign bit and the length of the run. No weight is negative, so the two cannot be confused.

use crate::num::math;

const LANES: usize = 16;
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
pub(super) struct Probe {
    pub(super) sum: f32,
    pub(super) count: usize,
}

/// Tokens that may be drawn: those whose slot is neither +0.0, nor in a dropped run, nor below
/// `floor`.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    /// `[vocabulary]`: a weight, +0.0, or the head of a dropped run. Slots inside a run are stale,
    /// and below `floor`.
    slots: &'a mut [f32],
    /// Bit pattern of the least weight that is still in.
    floor: u32,
    /// Number of candidates.
    live: usize,
    /// Sum of the weights at or above the floor.
    mass: f32,
    /// Number of weights that a walk meets, candidates or not.
    visited: usize,
}

impl<'a> Candidates<'a> {
    /// Turns logits, finite or -inf and at most `largest`, into weights. A weight below the smallest
    /// normal number is 0 and no candidate.
    pub(super) fn from_logits(logits: &'a mut [f32], largest: f32) -> Self {
        for slot in logits.iter_mut() {
            *slot = math::exp((*slot - largest).max(MIN_EXPONENT));
        }
        let (floor, visited) = (1, logits.len());
        let Probe { sum, count } = probe_dense(logits, floor);
        Self { slots: logits, floor, live: count, mass: sum, visited }
    }

    /// Sum of the weights at or above the floor.
    pub(super) fn mass(&self) -> f32 {
        self.mass
    }

    /// Drops what weighs less than `least` times the best.
    pub(super) fn keep_min_p(&mut self, least: f32) {
        let threshold = least.to_bits().max(self.floor);
        let probe = self.probe(threshold);
        self.raise_floor(threshold, probe);
    }

    /// Keeps the fewest of the heaviest candidates whose sum reaches `target` (positive), with all
    /// equals of the last; everything if even that falls short.
    pub(super) fn keep_top_p(&mut self, target: f32) {
        if self.mass >= target {
            self.bisect(|probe| probe.sum >= target);
        }
    }

    /// Keeps the `most` (at least 1) heaviest candidates; of equals the lower ids.
    pub(super) fn keep_top_k(&mut self, most: usize) {
        if self.live <= most {
            return;
        }
        self.bisect(|probe| probe.count >= most);
        self.drop_last_equals(self.live - most);
    }

    /// Raises every weight to the power 1/T. A weight that becomes 0 is no candidate any more; the
    /// best stays 1.
    pub(super) fn temper(&mut self, temperature: f32) {
        if self.is_dense() {
            let floor = self.floor as i32;
            for slot in self.slots.iter_mut() {
                let is_in = slot.to_bits() as i32 >= floor;
                *slot = if is_in { power(*slot, temperature) } else { 0.0 };
            }
        } else {
            self.thread();
            let mut next = 0;
            while let Some((id, weight)) = self.next_live(next) {
                self.slots[id] = power(weight, temperature);
                next = id + 1;
            }
        }
        self.floor = 1;
        let Probe { sum, count } = self.probe(self.floor);
        (self.live, self.mass) = (count, sum);
    }

    /// The lowest id at which the running sum of weights, in ascending order of ids, exceeds
    /// `uniform` (in [0, 1)) times their sum; the last candidate where rounding keeps the running
    /// sum below that.
    pub(super) fn draw(&self, uniform: f32) -> Option<usize> {
        let goal = uniform * self.mass;
        let (mut next, mut running) =
            if self.is_dense() { self.chunk_that_reaches(goal) } else { (0, 0.0) };
        let mut last = None;
        while let Some((id, weight)) = self.next_live(next) {
            last = Some(id);
            running += weight;
            if running > goal {
                break;
            }
            next = id + 1;
        }
        last
    }

    /// Start of the chunk in which the running sum exceeds `goal`, or of the last that has a
    /// candidate, and the running sum before it. Free of branches that depend on single weights,
    /// which would be mispredicted half of the time when half of the slots are in.
    fn chunk_that_reaches(&self, goal: f32) -> (usize, f32) {
        let mut found = (0, 0.0);
        let mut running = 0.0;
        for (start, chunk) in (0..).step_by(LANES).zip(self.slots.chunks(LANES)) {
            let before = running;
            let mut any = false;
            for &slot in chunk {
                let is_in = slot.to_bits() as i32 >= self.floor as i32;
                running += if is_in { slot } else { 0.0 };
                any |= is_in;
            }
            if any {
                found = (start, before);
            }
            if running > goal {
                break;
            }
        }
        found
    }

    /// Finds the highest threshold whose probe is `enough`, and makes it the floor. The probe at
    /// the present floor must be enough, and one of nothing must not.
    fn bisect(&mut self, enough: impl Fn(Probe) -> bool) {
        let mut ceiling = ABOVE_ALL;
        let mut above = 0;
        // With one weight between the two bounds, the set at the floor is the smallest.
        while ceiling - self.floor > 1 && self.live - above > 1 {
            let threshold = between(self.floor, ceiling);
            let probe = self.probe(threshold);
            if enough(probe) {
                self.raise_floor(threshold, probe);
            } else {
                ceiling = threshold;
                above = probe.count;
            }
        }
    }

    /// Sum and number of the weights from `threshold`, which is not below the floor, on.
    fn probe(&self, threshold: u32) -> Probe {
        if self.is_dense() {
            probe_dense(self.slots, threshold)
        } else {
            probe_walk(self.iter(), threshold)
        }
    }

    /// Whether to pass over all slots. While this is so, there are no runs.
    fn is_dense(&self) -> bool {
        self.visited > self.slots.len() / DENSE_SHARE
    }

    fn raise_floor(&mut self, threshold: u32, probe: Probe) {
        self.floor = threshold;
        self.live = probe.count;
        self.mass = probe.sum;
        let sparse = self.live <= self.slots.len() / DENSE_SHARE;
        if sparse && self.live <= self.visited / 2 {
            self.thread();
        }
    }

    /// Joins everything that is no candidate into runs, so that walks meet candidates only.
    fn thread(&mut self) {
        if self.visited == self.live {
            return;
        }
        let (mut run, mut at) = (0, 0);
        while let Some(&slot) = self.slots.get(at) {
            match run_length(slot) {
                None if slot.to_bits() >= self.floor => {
                    self.close_run(run, at);
                    at += 1;
                    run = at;
                }
                None => at += 1,
                Some(length) => at += length,
            }
        }
        self.close_run(run, at);
        self.visited = self.live;
    }

    /// Makes the slots from `start` up to `end` one run.
    fn close_run(&mut self, start: usize, end: usize) {
        if start < end {
            self.slots[start] = f32::from_bits(SIGN | (end - start) as u32);
        }
    }

    /// Drops the `excess` candidates of the highest ids among those that weigh exactly the floor.
    fn drop_last_equals(&mut self, excess: usize) {
        if excess == 0 {
            return;
        }
        let floor = self.floor;
        let is_equal = |weight: f32| weight.to_bits() == floor;
        let equals = self.iter().filter(|&(_, weight)| is_equal(weight)).count();
        let (mut kept, mut next) = (equals.saturating_sub(excess), 0);
        while let Some((id, weight)) = self.next_live(next) {
            next = id + 1;
            if !is_equal(weight) {
                continue;
            }
            if kept > 0 {
                kept -= 1;
            } else {
                self.slots[id] = 0.0;
            }
        }
        let Probe { sum, count } = self.probe(floor);
        (self.live, self.mass) = (count, sum);
    }

    /// The candidates' ids and weights, in ascending order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, f32)> {
        let mut next = 0;
        core::iter::from_fn(move || {
            let (id, weight) = self.next_live(next)?;
            next = id + 1;
            Some((id, weight))
        })
    }

    /// The first candidate at or after slot `at`, which must not be inside a run.
    #[inline]
    fn next_live(&self, mut at: usize) -> Option<(usize, f32)> {
        loop {
            let slot = *self.slots.get(at)?;
            match run_length(slot) {
                None if slot.to_bits() >= self.floor => return Some((at, slot)),
                None => at += 1,
                Some(length) => at += length,
            }
        }
    }
}

/// How many slots from this one on hold no weight; `None` if this one does.
#[inline]
fn run_length(slot: f32) -> Option<usize> {
    match slot.to_bits() {
        0 => Some(1),
        bits if bits & SIGN != 0 => Some((bits & !SIGN) as usize),
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

/// Heads of runs are negative as integers, and stale slots below every later threshold: neither
/// passes the comparison.
fn probe_dense(slots: &[f32], threshold: u32) -> Probe {
    let mut sums = [0.0f32; LANES];
    let mut counts = [0u32; LANES];
    let mut add = |slots: &[f32]| {
        for ((sum, count), &slot) in sums.iter_mut().zip(&mut counts).zip(slots) {
            let is_in = slot.to_bits() as i32 >= threshold as i32;
            *sum += if is_in { slot } else { 0.0 };
            *count += u32::from(is_in);
        }
    };
    let (chunks, rest) = slots.as_chunks::<LANES>();
    for chunk in chunks {
        add(chunk);
    }
    add(rest);
    Probe { sum: sum_lanes(sums), count: counts.iter().map(|&count| count as usize).sum() }
}

fn probe_walk(weights: impl Iterator<Item = (usize, f32)>, threshold: u32) -> Probe {
    let mut sums = [0.0f32; LANES];
    let mut count = 0;
    for (id, weight) in weights {
        if weight.to_bits() >= threshold {
            sums[id % LANES] += weight;
            count += 1;
        }
    }
    Probe { sum: sum_lanes(sums), count }
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

    fn ids(candidates: &Candidates<'_>) -> Vec<usize> {
        candidates.iter().map(|(id, _)| id).collect()
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
            mut logits in logits(),
            least in prop_oneof![Just(0.0f32), Just(1.0), 1e-6f32..1.0],
            top_p in prop_oneof![1e-6f32..1.0, 0.9f32..1.0, Just(f32::MIN_POSITIVE)],
            most in prop_oneof![Just(usize::MAX), 1usize..60],
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let weights: Vec<f32> =
                logits.iter().map(|&l| math::exp((l - largest).max(-200.0))).collect();

            let mut candidates = Candidates::from_logits(&mut logits, largest);
            prop_assert_eq!(candidates.mass(), naive_probe(&weights, 0.0).sum);
            let target = top_p * candidates.mass();
            candidates.keep_min_p(least);
            candidates.keep_top_p(target);
            candidates.keep_top_k(most);
            let kept = ids(&candidates);
            prop_assert_eq!(candidates.live, kept.len());
            prop_assert_eq!(&kept, &naive_cut(&weights, least, top_p, most));
            for (id, weight) in candidates.iter() {
                prop_assert_eq!(weight, weights[id]);
            }
        }

        #[test]
        fn skipping_what_is_dropped_does_not_change_a_sum(
            mut logits in logits(),
            mut thresholds in vec(1e-9f32..1.0, 1..8),
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let mut candidates = Candidates::from_logits(&mut logits, largest);
            let weights = candidates.slots.to_vec();
            thresholds.sort_by(f32::total_cmp);
            for threshold in thresholds {
                let expected = naive_probe(&weights, threshold);
                let bits = threshold.to_bits();
                prop_assert_eq!(probe_dense(candidates.slots, bits), expected);
                prop_assert_eq!(probe_walk(candidates.iter(), bits), expected);
                candidates.raise_floor(bits, expected);
                prop_assert_eq!(candidates.iter().count(), expected.count);
                candidates.thread();
                prop_assert_eq!(candidates.iter().count(), expected.count);
            }
        }

        #[test]
        fn tempering_is_the_same_dense_or_sparse(
            mut logits in logits(),
            temperature in 0.05f32..4.0,
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let mut candidates = Candidates::from_logits(&mut logits, largest);
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
            mut logits in logits(),
            least in prop_oneof![Just(0.0f32), 1e-6f32..1.0],
            uniform in prop_oneof![0.0f32..1.0, Just(0.0f32), Just(1.0f32.next_down())],
        ) {
            let largest = largest(&logits);
            prop_assume!(largest.is_finite());
            let mut candidates = Candidates::from_logits(&mut logits, largest);
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
        let mut logits = [1.5f32; 1000];
        let mut candidates = Candidates::from_logits(&mut logits, 1.5);
        candidates.keep_top_p(0.001);
        assert_eq!(candidates.live, 1000);
        candidates.keep_top_k(37);
        assert_eq!(ids(&candidates), (0..37).collect::<Vec<_>>());
    }

    #[test]
    fn a_sum_that_equals_the_target_reaches_it() {
        let logits = [1.0, 3.0, 2.0, 0.0];
        let weights = logits.map(|logit: f32| math::exp(logit - 3.0));
        let exact = naive_probe(&weights, weights[2]).sum;
        for (target, kept) in [(exact, &[1, 2][..]), (exact.next_up(), &[0, 1, 2])] {
            let mut logits = logits;
            let mut candidates = Candidates::from_logits(&mut logits, 3.0);
            candidates.keep_top_p(target);
            assert_eq!(ids(&candidates), kept);
        }
    }

    #[test]
    fn a_running_sum_that_equals_the_goal_does_not_exceed_it() {
        let mut logits = [0.0; 4];
        let candidates = Candidates::from_logits(&mut logits, 0.0);
        let uniform = [0.0, 0.25f32.next_down(), 0.25, 0.5, 0.75, 1.0f32.next_down()];
        let expected = [0, 0, 1, 2, 3, 3];
        assert_eq!(uniform.map(|uniform| candidates.draw(uniform)), expected.map(Some));
    }
}
