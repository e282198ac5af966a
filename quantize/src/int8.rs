//! Round-to-nearest int8 in groups, and the choice of the group size.
//!
//! A group of inputs of one output shares a scale `s = f16(max |w| / 127 / multiplier)`;
//! then `q = round(w / (s * multiplier))`, ties to even, against the scale as stored.
//!
//! ```text
//! for each group of each row:
//!     s = f16(largest |w| / 127 / multiplier)
//!     q = clamp(round(w / (s * multiplier)), -127, 127)
//! group size = the largest whose squared error is within a tolerance of the smallest size's
//! ```
//!
//! The multiplier is one power of two for a tensor, which keeps scales in the range of f16.
//! Quantization is symmetric: there is no zero point, so a dot product needs no correction by the
//! sum of its inputs.

use half::f16;
use kinglet::format::tensors::Storage;
use kinglet::kernels::matrix::{GROUPS, ROW_GROUP, TILE_ROWS, padded_inputs};
use rayon::prelude::*;

use crate::multiversion::vectorized;
use crate::packing::Packing;
use crate::scales::{self, MAX_SCALE, MIN_SCALE, mantissa_of_f16, narrow, nearest, step};

/// Largest magnitude of a quantized weight.
const MAX_Q: f32 = 127.0;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// A larger group is taken while its squared error is at most this many times
/// that of groups of 32.
const DENSE_TOLERANCE: f64 = 1.15;
/// The same where the scales of a group are read for few of its inputs: a
/// small group would cost more traffic than the weights that zeros save. Only
/// groups of [`SPARSE_LEAST`] and more save enough of it to be worth the error.
const SPARSE_TOLERANCE: f64 = 1.75;
const SPARSE_LEAST: usize = 128;
/// Exponent that the multiplier gives the largest scale of a tensor: near the
/// top of f16, so that 2^28 fit between it and the smallest normal scale.
const TOP_EXPONENT: i32 = 14;

/// The power of two by which a tensor's scales are multiplied, from its largest magnitude.
pub fn multiplier(largest: f32) -> f32 {
    scales::multiplier(largest / MAX_Q, TOP_EXPONENT)
}

/// The scale of a group whose largest magnitude is `largest`, as a number that f16 holds: zero or
/// normal.
#[inline(always)]
fn scale(largest: f32, multiplier: f32) -> f32 {
    let scale = nearest(largest / MAX_Q / multiplier);
    if largest == 0.0 { 0.0 } else { scale }
}

/// The quotient of a weight and a step, rounded to an integer and increased by [`ROUND`].
#[inline(always)]
fn rounded(quotient: f32) -> f32 {
    quotient.clamp(-MAX_Q, MAX_Q) + ROUND
}

/// `w` as an integer multiple of `step`.
#[inline(always)]
fn quantum(w: f32, step: f32) -> i8 {
    // The integer is in the lowest bits of the sum.
    rounded(w / step).to_bits().wrapping_sub(ROUND.to_bits()) as i8
}

vectorized! {
    /// The largest magnitude among `w`; infinite or NaN when one of them is.
    pub(crate) fn largest(w: &[f32]) -> f32 {
        largest_of(w)
    }
}

#[inline(always)]
fn largest_of(w: &[f32]) -> f32 {
    /// Independent maxima, which vector instructions keep side by side.
    const LANES: usize = 16;
    // Magnitudes are ordered as their bits are, NaN above all.
    let magnitude = |w: f32| w.abs().to_bits() as i32;
    let (blocks, rest) = w.as_chunks::<LANES>();
    let mut most = [0i32; LANES];
    for block in blocks {
        for (most, &w) in most.iter_mut().zip(block) {
            *most = magnitude(w).max(*most);
        }
    }
    let most = most.into_iter().chain(rest.iter().copied().map(magnitude)).max();
    f32::from_bits(most.unwrap_or(0) as u32)
}

/// The larger of two magnitudes; NaN when one of them is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    f32::from_bits(a.to_bits().max(b.to_bits()))
}

/// Inputs of the smallest group.
const LEAST: usize = GROUPS[0];
/// Blocks of the largest group.
const BLOCKS: usize = GROUPS[GROUPS.len() - 1] / LEAST;
/// Sums that are kept side by side.
const LANES: usize = 8;

/// Squared rounding errors of a tensor, for each group size that it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    /// Sum of squared weights.
    pub signal: f64,
    /// Sum of squared errors for each of [`GROUPS`].
    pub noise: [f64; GROUPS.len()],
}

/// The largest magnitude that a row table holds, whose scales have no multiplier.
pub(crate) const MAX_IN_TABLE: f32 = MAX_Q * MAX_SCALE;

/// What is known of some rows after one look at them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) errors: Errors,
    /// Largest magnitude of a weight; infinite or NaN when one of them is.
    pub(crate) largest: f32,
    /// The least of the blocks' largest magnitudes that are not zero.
    least: f32,
}

impl Measured {
    /// Of no rows.
    pub(crate) const NONE: Self = Self {
        errors: Errors { signal: 0.0, noise: [0.0; GROUPS.len()] },
        largest: 0.0,
        least: f32::INFINITY,
    };

    /// The errors of one row. They depend on the multiplier only where a scale leaves the range of
    /// f16; without one they are those of scales that have no range.
    pub(crate) fn of_row(row: &[f32], multiplier: Option<f32>) -> Self {
        measure_row(row, multiplier)
    }

    /// Adds other rows. Sums of f64 depend on their order: rows come in ascending order.
    pub(crate) fn add(&mut self, other: &Self) {
        self.errors.add(&other.errors);
        self.largest = larger(self.largest, other.largest);
        self.least = self.least.min(other.least);
    }

    /// Whether, with this multiplier, the scales of all groups are normal numbers of f16, so that
    /// errors that were measured without a multiplier are right.
    pub(crate) fn fits(&self, multiplier: f32) -> bool {
        // Nor is a product of scale and multiplier less than the least normal f32.
        multiplier >= f32::MIN_POSITIVE / MIN_SCALE
            && self.least / MAX_Q / multiplier >= MIN_SCALE
            && self.largest / MAX_Q / multiplier <= MAX_SCALE
    }
}

/// Sums of one row, side by side.
struct Sums {
    signal: [f64; LANES],
    noise: [[f64; LANES]; GROUPS.len()],
    largest: f32,
    least: f32,
}

vectorized! {
    /// The errors of one row, and the largest magnitudes of its blocks.
    fn measure_row(row: &[f32], multiplier: Option<f32>) -> Measured {
        let mut sums = Sums::new();
        for span in row.chunks(BLOCKS * LEAST) {
            sums.add_span(span, multiplier);
        }
        let total = |lanes: [f64; LANES]| lanes.iter().sum();
        let errors = Errors { signal: total(sums.signal), noise: sums.noise.map(total) };
        Measured { errors, largest: sums.largest, least: sums.least }
    }
}

impl Sums {
    #[inline(always)]
    fn new() -> Self {
        let noise = [[0.0; LANES]; GROUPS.len()];
        Self { signal: [0.0; LANES], noise, largest: 0.0, least: f32::INFINITY }
    }

    /// Adds the errors of the largest group that a part of a row can be in, or of the rest of it.
    #[inline(always)]
    fn add_span(&mut self, span: &[f32], multiplier: Option<f32>) {
        // Zeros after the end change neither a maximum nor a sum.
        let (blocks, rest) = span.as_chunks::<LEAST>();
        let mut last = [0.0; LEAST];
        last[..rest.len()].copy_from_slice(rest);
        let blocks = || blocks.iter().chain((!rest.is_empty()).then_some(&last));
        // Of each block, then of each pair, each four, ...
        let mut maxima = [0.0f32; BLOCKS];
        for (most, block) in maxima.iter_mut().zip(blocks()) {
            *most = largest_of(block);
        }
        for most in maxima {
            self.largest = larger(self.largest, most);
            self.least = self.least.min(if most == 0.0 { f32::INFINITY } else { most });
        }
        let mut steps = [[0.0f32; BLOCKS]; GROUPS.len()];
        let mut reciprocals = steps;
        let sizes = steps.iter_mut().zip(&mut reciprocals).enumerate();
        for (size, (steps, reciprocals)) in sizes {
            let blocks = steps.iter_mut().zip(reciprocals).zip(&maxima);
            for ((step_of, reciprocal), &most) in blocks {
                *step_of = match multiplier {
                    Some(multiplier) => step(scale(most, multiplier), multiplier),
                    None => step(mantissa_of_f16(most / MAX_Q), 1.0),
                };
                // Finite, so that a zero stays one.
                *reciprocal = (1.0 / *step_of).min(f32::MAX);
            }
            // A block's neighbour at the distance of a group is in the group of twice the size.
            let before = maxima;
            for (block, most) in maxima.iter_mut().enumerate() {
                *most = most.max(before[(block ^ (1 << size)) % BLOCKS]);
            }
        }
        for block in blocks() {
            add_squares(&mut self.signal, block);
        }
        for (noise, steps) in self.noise.iter_mut().zip(steps.iter().zip(&reciprocals)) {
            // In memory, so that registers full of f32 are not cut to the length of those of f64.
            let mut squares = [[0.0; LANES]; BLOCKS];
            let steps = steps.0.iter().zip(steps.1);
            let each = squares.iter_mut().zip(blocks()).zip(steps);
            for ((squares, block), (&step, &reciprocal)) in each {
                *squares = squared_errors(block, step, reciprocal);
            }
            for squares in squares {
                noise.iter_mut().zip(squares).for_each(|(sum, square)| *sum += f64::from(square));
            }
        }
    }
}

/// Adds the squares of a block.
#[inline(always)]
fn add_squares(sums: &mut [f64; LANES], w: &[f32; LEAST]) {
    for w in w.as_chunks::<LANES>().0 {
        for (sum, &w) in sums.iter_mut().zip(w) {
            *sum += f64::from(w) * f64::from(w);
        }
    }
}

/// Sums of the squared rounding errors of a block: of every eighth one.
///
/// Multiplying by the step's reciprocal is several times as fast as dividing. Where it leads to the other
/// neighbour of a weight, both are as far from it, up to the rounding.
#[inline(always)]
fn squared_errors(w: &[f32; LEAST], step: f32, reciprocal: f32) -> [f32; LANES] {
    // Within a block the errors are of one magnitude, so f32 holds the sums of four.
    let mut sums = [0.0f32; LANES];
    for w in w.as_chunks::<LANES>().0 {
        for (sum, &w) in sums.iter_mut().zip(w) {
            let error = w - (rounded(w * reciprocal) - ROUND) * step;
            *sum += error * error;
        }
    }
    sums
}

impl Errors {
    /// Adds what the rows of `weights`, `[row][inputs]`, contribute.
    pub fn measure(&mut self, weights: &[f32], inputs: usize, multiplier: f32) {
        let rows = weights.par_chunks(inputs);
        let rows = rows.map(|row| Measured::of_row(row, Some(multiplier)).errors);
        rows.collect::<Vec<_>>().iter().for_each(|row| self.add(row));
    }

    fn add(&mut self, other: &Self) {
        self.signal += other.signal;
        for (noise, other) in self.noise.iter_mut().zip(other.noise) {
            *noise += other;
        }
    }

    /// The group size of a tensor with `inputs` inputs: the largest whose
    /// error the storage tolerates, and no larger than needed for one group.
    pub fn group(&self, storage: Storage, inputs: usize) -> usize {
        let tolerance = |group| match storage {
            Storage::Sparse if group >= SPARSE_LEAST => SPARSE_TOLERANCE,
            _ => DENSE_TOLERANCE,
        };
        let best = self.noise[0];
        let fits = |&(group, noise): &(usize, f64)| noise <= tolerance(group) * best;
        let sizes = GROUPS.into_iter().zip(self.noise);
        let sizes = sizes.filter(|&(group, _)| group < 2 * padded_inputs(inputs));
        sizes.filter(fits).map(|(group, _)| group).max().unwrap_or(GROUPS[0])
    }

    /// Squared error of a group size.
    ///
    /// # Panics
    /// When `group` is not one of [`GROUPS`].
    pub fn noise_of(&self, group: usize) -> f64 {
        let index = GROUPS.iter().position(|&g| g == group).expect("a group size of the format");
        self.noise[index]
    }
}

/// Whether every weight of a group is a multiple of its step.
pub(crate) fn is_exact(w: &[f32], multiplier: f32) -> bool {
    let step = step(scale(largest(w), multiplier), multiplier);
    w.iter().all(|&w| f32::from(quantum(w, step)) * step == w)
}

vectorized! {
    /// Quantizes up to 16 rows of a matrix, as [`Packing::put`] does.
    pub(crate) fn put_tile(
        packing: &Packing<'_>,
        rows: &[f32],
        values: &mut [i8],
        scales: &mut [f16],
    ) {
        tile(packing, rows, values, scales)
    }
}

vectorized! {
    /// Quantizes rows of a table, as [`Packing::put`] does.
    pub(crate) fn put_lines(
        packing: &Packing<'_>,
        rows: &[f32],
        values: &mut [i8],
        scales: &mut [f16],
    ) {
        lines(packing, rows, values, scales)
    }
}

/// Quantizes up to 16 rows of a matrix.
#[inline(always)]
fn tile(packing: &Packing<'_>, rows: &[f32], values: &mut [i8], scales: &mut [f16]) {
    let Packing { inputs, group, multiplier, .. } = *packing;
    if rows.len() < TILE_ROWS * inputs || !inputs.is_multiple_of(LEAST) {
        values.fill(0);
        scales.fill(f16::ZERO);
    }
    for start in (0..inputs).step_by(group) {
        let span = start..inputs.min(start + group);
        let mut maxima = [0.0; TILE_ROWS];
        for (most, row) in maxima.iter_mut().zip(rows.chunks(inputs)) {
            *most = largest_of(&row[span.clone()]);
        }
        let mut steps = [0.0; TILE_ROWS];
        let lanes = scales[start / group * TILE_ROWS..].iter_mut().zip(&mut steps);
        for (most, (out, step_of)) in maxima.into_iter().zip(lanes) {
            let scale = scale(most, multiplier);
            (*out, *step_of) = (narrow(scale), step(scale, multiplier));
        }
        for first in span.clone().step_by(LEAST) {
            let block = first..span.end.min(first + LEAST);
            let mut quanta = [[0; LEAST]; TILE_ROWS];
            for ((row, quanta), step) in rows.chunks(inputs).zip(&mut quanta).zip(steps) {
                let w = &row[block.clone()];
                match w.as_array::<LEAST>() {
                    Some(w) => put_quanta(quanta, w, step),
                    None => put_quanta(quanta, w, step),
                }
            }
            packing.put_block(first, &quanta, values);
        }
    }
}

/// Quantizes rows of a table.
#[inline(always)]
fn lines(packing: &Packing<'_>, rows: &[f32], values: &mut [i8], scales: &mut [f16]) {
    let values = values.chunks_mut(packing.values_per_row());
    let scales = scales.chunks_mut(packing.scales_per_row());
    for ((row, values), scales) in rows.chunks(packing.inputs).zip(values).zip(scales) {
        let groups = row.chunks(ROW_GROUP).zip(values.chunks_mut(ROW_GROUP)).zip(scales);
        for ((w, values), out) in groups {
            let scale = scale(largest_of(w), packing.multiplier);
            *out = narrow(scale);
            let (values, padding) = values.split_at_mut(w.len());
            put_quanta(values, w, step(scale, packing.multiplier));
            padding.fill(0);
        }
    }
}

/// Quantizes a group.
#[inline(always)]
fn put_quanta(out: &mut [i8], w: &[f32], step: f32) {
    for (out, w) in out.iter_mut().zip(w) {
        *out = quantum(*w, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Packed;
    use kinglet::kernels::matrix::{Matrix, RowTable, SparseMatrix};
    use kinglet::kernels::weights::WeightType;
    use proptest::prelude::*;

    fn multiplier_of(storage: Storage, w: &[f32]) -> f32 {
        if storage == Storage::Embedding { 1.0 } else { multiplier(largest(w)) }
    }

    #[test]
    fn the_least_weights_have_a_multiplier() {
        for bits in [0, 1, 7, 63, 64, 1 << 22] {
            let w = [f32::from_bits(bits); 32];
            let multiplier = multiplier(w[0]);
            assert!(multiplier.is_normal(), "{bits}");
            for value in read(Storage::Matrix, 32, 32, &w) {
                assert!((value - w[0]).abs() <= f32::MIN_POSITIVE, "{bits}: {value:e}");
            }
        }
    }

    /// The value of each weight as the core reads it: `[row][input]`.
    fn read(storage: Storage, inputs: usize, group: usize, w: &[f32]) -> Vec<f32> {
        let (rows, multiplier) = (w.len() / inputs, multiplier_of(storage, w));
        let packed = Packed::new(storage, WeightType::Int8, inputs, group, multiplier, w);
        let (weights, scales) = (packed.weights(), &*packed.scales);
        let at = |f: &dyn Fn(usize, usize) -> f32| {
            (0..rows)
                .flat_map(|row| (0..inputs).map(move |i| (row, i)))
                .map(|(r, i)| f(r, i))
                .collect()
        };
        match storage {
            Storage::Matrix => {
                let matrix = Matrix::new(rows, inputs, group, multiplier, weights, scales).unwrap();
                at(&|row, input| matrix.weight(row, input))
            }
            Storage::Sparse => {
                let matrix =
                    SparseMatrix::new(rows, inputs, group, multiplier, weights, scales).unwrap();
                at(&|row, input| matrix.weight(row, input))
            }
            _ => {
                let table = RowTable::new(rows, inputs, weights, scales).unwrap();
                let mut out = vec![0.0; rows * inputs];
                let lines = out.chunks_mut(inputs).enumerate();
                lines.for_each(|(row, out)| table.read(row, out));
                out
            }
        }
    }

    proptest! {
        #[test]
        fn every_weight_is_within_half_a_step(
            storage in prop::sample::select(vec![Storage::Matrix, Storage::Sparse, Storage::Embedding]),
            rows in 1usize..40,
            inputs in 1usize..100,
            group in prop::sample::select(GROUPS.to_vec()),
            magnitude in -6i32..6,
            seed in any::<u32>(),
        ) {
            let mut x = seed;
            let w: Vec<f32> = (0..rows * inputs).map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x as f32 / u32::MAX as f32 - 0.5) * 10f32.powi(magnitude)
            }).collect();
            let stored = read(storage, inputs, group, &w);
            let group = if storage == Storage::Embedding { ROW_GROUP } else { group };
            // A row table has no multiplier, so its steps end at the smallest normal f16.
            let least = if storage == Storage::Embedding { f16::MIN_POSITIVE.to_f32() } else { 0.0 };
            for row in 0..rows {
                let line = &w[row * inputs..][..inputs];
                for (g, chunk) in line.chunks(group).enumerate() {
                    let largest = chunk.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                    let half = 0.5005 * (largest / 127.0).max(least);
                    for (i, w) in (g * group..).zip(chunk) {
                        let error = (stored[row * inputs + i] - w).abs();
                        prop_assert!(error <= half, "{error} > {half} at {row}, {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn scales_are_those_of_f16() {
        let expected = |x: f32| f16::from_f32(x).clamp(f16::MIN_POSITIVE, f16::MAX);
        // Around every f16, around the middle between it and the next, and beyond both ends.
        let every = (1..0x7C00).map(|bits| f16::from_bits(bits).to_f32().to_bits());
        let around = every.flat_map(|bits| [bits, bits + 0x1000].map(|bits| bits - 1..bits + 2));
        let ends = [1, f32::MIN_POSITIVE.to_bits(), 65536f32.to_bits(), f32::MAX.to_bits()];
        for bits in around.flatten().chain(ends) {
            let x = f32::from_bits(bits);
            let rounded = mantissa_of_f16(x).clamp(MIN_SCALE, MAX_SCALE);
            assert_eq!(narrow(rounded).to_bits(), expected(x).to_bits(), "{x:e}");
            assert_eq!(rounded.to_bits(), expected(x).to_f32().to_bits(), "{x:e}");
        }
        assert_eq!(narrow(scale(0.0, 1.0)).to_bits(), 0);
    }

    proptest! {
        /// Without a multiplier the errors are the same, unless `fits` says otherwise, and near
        /// those of weights that are rounded to the quotient.
        #[test]
        fn one_look_measures(
            inputs in 1usize..1100,
            // The least is beyond the range of scales.
            magnitudes in prop::collection::vec(-12i32..3, 4),
            seed in any::<u32>(),
        ) {
            let row = row(inputs, &magnitudes, seed);
            let free = Measured::of_row(&row, None);
            prop_assert_eq!(free.largest, largest(&row));
            let multiplier = multiplier(free.largest);
            let with = Measured::of_row(&row, Some(multiplier));
            if free.fits(multiplier) {
                prop_assert_eq!(free.errors, with.errors);
            }
            for (group, noise) in GROUPS.into_iter().zip(with.errors.noise) {
                let direct: f64 = row.chunks(group).map(|w| {
                    let step = step(scale(largest(w), multiplier), multiplier);
                    let error = |w: f32| w - f32::from(quantum(w, step)) * step;
                    w.iter().map(|&w| f64::from(error(w)).powi(2)).sum::<f64>()
                }).sum();
                prop_assert!((noise - direct).abs() <= 1e-5 * direct, "{noise:e} {direct:e}");
            }
        }

        /// What the processor's instructions make of a row is what any other's would.
        #[test]
        fn instructions_change_nothing(
            inputs in 1usize..700,
            group in prop::sample::select(GROUPS.to_vec()),
            seed in any::<u32>(),
        ) {
            let row = row(inputs, &[0], seed);
            let mut sums = Sums::new();
            row.chunks(BLOCKS * LEAST).for_each(|span| sums.add_span(span, None));
            let errors = Measured::of_row(&row, None).errors;
            prop_assert_eq!(errors.signal, sums.signal.iter().sum::<f64>());
            prop_assert_eq!(errors.noise, sums.noise.map(|lanes| lanes.iter().sum::<f64>()));
            for storage in [Storage::Matrix, Storage::Sparse, Storage::Embedding] {
                let weights = WeightType::Int8;
                let packing = Packing {
                    storage,
                    weights,
                    stored: weights,
                    inputs,
                    group,
                    multiplier: 1.0,
                    feedback: None,
                };
                let rows = packing.padded(1);
                let buffers = || (
                    vec![1i8; rows * packing.values_per_row()],
                    vec![f16::ONE; rows * packing.scales_per_row()],
                );
                let ((mut values, mut scales), mut plain) = (buffers(), buffers());
                packing.put(&row, &mut values, &mut scales);
                match storage {
                    Storage::Embedding => lines(&packing, &row, &mut plain.0, &mut plain.1),
                    _ => tile(&packing, &row, &mut plain.0, &mut plain.1),
                }
                prop_assert_eq!((values, scales), plain);
            }
        }
    }

    /// Random weights, whose blocks of 32 have these magnitudes by turns.
    fn row(inputs: usize, magnitudes: &[i32], seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x as f32 / u32::MAX as f32 - 0.5
        };
        (0..inputs).map(|i| next() * 10f32.powi(magnitudes[i / LEAST % magnitudes.len()])).collect()
    }

    #[test]
    fn small_weights_keep_their_precision() {
        let w: Vec<f32> = (0..64).map(|i| (i as f32 - 31.5) * 1e-30).collect();
        let stored = read(Storage::Matrix, 64, 32, &w);
        for (stored, w) in stored.iter().zip(&w) {
            assert!((stored - w).abs() < 0.5 * 31.5e-30 / 126.0);
        }
    }

    #[test]
    fn an_outlier_keeps_groups_small() {
        let mut w = vec![0.01f32; 512];
        for (i, w) in w.iter_mut().enumerate() {
            *w *= (i % 7) as f32 - 3.1;
        }
        let mut smooth = Errors::default();
        smooth.measure(&w, 512, multiplier(0.05));
        assert!(smooth.group(Storage::Matrix, 512) >= 256);
        w[5] = 3.0;
        let mut spiky = Errors::default();
        spiky.measure(&w, 512, multiplier(3.0));
        assert_eq!(spiky.group(Storage::Matrix, 512), 32);
    }
}
