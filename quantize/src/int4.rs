//! Round-to-nearest int4 in groups, by the scale with the least squared error.
//!
//! ```text
//! for each group of each row:
//!     for d in divisors:                               1 to 6: weights that lie on a grid already
//!         s = f16(largest |w| / d / multiplier)
//!         q = clamp(round(w / (s * multiplier)), -8, 7)
//!     s = that of the least sum (w - q s)^2, the first of equal ones
//!     s = f16(sum w q / sum q q / multiplier) where that is less
//! ```
//!
//! The scale is positive, so -8 is of use to the weights of one sign alone. Divisors below 7 leave
//! levels unused, and lose nothing of weights that were of four bits before; those above clip the
//! largest weights, and serve the others better.
//!
//! A group is 32 inputs. Larger ones save a quarter of a bit a weight, and cost more than that
//! is worth in a small model: a byte is better saved in fewer parameters.
//!
//! Among scales that give the same values the largest is taken, so that quantizing the values again
//! gives the same integers and scales.

use half::f16;
use kinglet::kernels::matrix::ROW_GROUP;
use kinglet::kernels::weights::INT4_GROUPS;

use crate::int8::largest;
use crate::multiversion::vectorized;
use crate::scales::{self, MAX_SCALE, mantissa_of_f16, narrow, nearest, step};

/// Inputs that share a scale.
pub const GROUP: usize = 32;
/// The range of weights.
const MIN_Q: f32 = -8.0;
const MAX_Q: f32 = 7.0;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// Exponent that the multiplier gives the scale with which the largest weight is 8: it leaves the
/// scales of error feedback, which makes weights larger, a factor of 4.
const TOP_EXPONENT: i32 = 13;
/// What the largest magnitude is divided by for a scale.
const DIVISORS: [f32; 26] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.25, 7.5, 7.75, 8.0, 8.25, 8.5, 8.75, 9.0, 9.25, 9.5, 9.75,
    10.0, 10.25, 10.5, 10.75, 11.0, 11.25, 11.5, 11.75,
];
/// The largest magnitude that a row table holds, whose scales have no multiplier.
pub(crate) const MAX_IN_TABLE: f32 = MAX_Q * MAX_SCALE;
/// Blocks of the largest group.
const BLOCKS: usize = INT4_GROUPS[INT4_GROUPS.len() - 1] / ROW_GROUP;
/// Sums that are kept side by side.
const LANES: usize = 8;

/// The power of two by which a tensor's scales are multiplied, from its largest magnitude.
pub fn multiplier(largest: f32) -> f32 {
    scales::multiplier(largest / -MIN_Q, TOP_EXPONENT)
}

/// The quotient of a weight and a step, rounded to an integer and increased by [`ROUND`].
#[inline(always)]
fn rounded(quotient: f32) -> f32 {
    quotient.clamp(MIN_Q, MAX_Q) + ROUND
}

/// `w` as an integer multiple of `step`.
#[inline(always)]
pub(crate) fn quantum(w: f32, step: f32) -> i8 {
    // The integer is in the lowest bits of the sum.
    rounded(w / step).to_bits().wrapping_sub(ROUND.to_bits()) as i8
}

/// How much the errors of a group's weights count where they all count the same.
const EVEN: [f32; BLOCKS * ROW_GROUP] = [1.0; BLOCKS * ROW_GROUP];

/// A group that looks for its scale.
struct Group {
    /// Padded with zeros, which have no error.
    blocks: [[f32; ROW_GROUP]; BLOCKS],
    /// How much the error of each weight counts.
    importance: [[f32; ROW_GROUP]; BLOCKS],
    len: usize,
    multiplier: f32,
}

impl Group {
    #[inline(always)]
    fn new(w: &[f32], importance: &[f32], multiplier: f32) -> Self {
        let mut blocks = [[0.0; ROW_GROUP]; BLOCKS];
        blocks.as_flattened_mut()[..w.len()].copy_from_slice(w);
        let mut padded = [[0.0; ROW_GROUP]; BLOCKS];
        padded.as_flattened_mut()[..w.len()].copy_from_slice(&importance[..w.len()]);
        let len = w.len().div_ceil(ROW_GROUP);
        Self { blocks, importance: padded, len, multiplier }
    }

    /// The sum of the squared errors of a scale.
    #[inline(always)]
    fn error(&self, scale: f32) -> f32 {
        let step = step(scale, self.multiplier);
        // Multiplying is faster than dividing. Where it leads to the other neighbour of a weight,
        // both are as far from it, up to the rounding.
        let reciprocal = (1.0 / step).min(f32::MAX);
        let mut sums = [0.0f32; LANES];
        let w = self.blocks[..self.len].as_flattened().as_chunks::<LANES>().0;
        let importance = self.importance.as_flattened().as_chunks::<LANES>().0;
        for (w, importance) in w.iter().zip(importance) {
            for ((sum, &w), importance) in sums.iter_mut().zip(w).zip(importance) {
                let error = w - (rounded(w * reciprocal) - ROUND) * step;
                *sum += error * error * importance;
            }
        }
        sums.iter().sum()
    }

    /// The scale that serves the integers of another one best.
    #[inline(always)]
    fn refit(&self, scale: f32) -> f32 {
        let step = step(scale, self.multiplier);
        let (mut product, mut square) = ([0.0f32; LANES], [0.0f32; LANES]);
        let w = self.blocks[..self.len].as_flattened().as_chunks::<LANES>().0;
        let importance = self.importance.as_flattened().as_chunks::<LANES>().0;
        for (w, importance) in w.iter().zip(importance) {
            let sums = product.iter_mut().zip(&mut square);
            for (((product, square), &w), importance) in sums.zip(w).zip(importance) {
                let q = rounded(w / step) - ROUND;
                *product += w * q * importance;
                *square += q * q * importance;
            }
        }
        let (product, square) = (product.iter().sum::<f32>(), square.iter().sum::<f32>());
        if product > 0.0 { nearest(product / square / self.multiplier) } else { scale }
    }

    /// The scale of the least error.
    #[inline(always)]
    fn scale(&self, largest: f32) -> f32 {
        if largest == 0.0 {
            return 0.0;
        }
        let scale = |divisor: f32| nearest(largest / divisor / self.multiplier);
        let mut best = (f32::INFINITY, scale(-MIN_Q));
        for divisor in DIVISORS {
            let scale = scale(divisor);
            let error = self.error(scale);
            if error < best.0 {
                best = (error, scale);
            }
        }
        let refitted = self.refit(best.1);
        if self.error(refitted) < best.0 { refitted } else { best.1 }
    }
}

vectorized! {
    /// The scale of a group whose errors count as `importance` says, as a number that f16 holds:
    /// zero or normal.
    pub(crate) fn scale(w: &[f32], importance: &[f32], multiplier: f32) -> f32 {
        Group::new(w, importance, multiplier).scale(largest(w))
    }
}

/// The largest scale that gives the same values as some integers with another one; the integers are
/// changed to be its.
fn widest(scale: f32, quanta: &mut [i8]) -> f32 {
    let divisor = quanta.iter().fold(0, |divisor, &q| gcd(divisor, q.unsigned_abs())) as i8;
    let most = scale * f32::from(divisor);
    for factor in 1..divisor {
        let wider = most / f32::from(factor);
        let is_exact = wider * f32::from(factor) == most && mantissa_of_f16(wider) == wider;
        if is_exact && wider <= MAX_SCALE {
            quanta.iter_mut().for_each(|q| *q = *q / divisor * factor);
            return wider;
        }
    }
    scale
}

fn gcd(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Quantizes a row to nearest. Returns the sum of the squared errors.
///
/// * `quanta`: `[input]`, padded; the padding becomes zeros
/// * `scales`: `[input/group]`
pub(crate) fn quantize_row(
    w: &[f32],
    group: usize,
    multiplier: f32,
    quanta: &mut [i8],
    scales: &mut [f16],
) -> f64 {
    let (quanta, padding) = quanta.split_at_mut(w.len());
    padding.fill(0);
    let mut error = 0.0;
    for ((w, quanta), out) in w.chunks(group).zip(quanta.chunks_mut(group)).zip(scales) {
        let scale = scale(w, &EVEN, multiplier);
        let step = step(scale, multiplier);
        for (q, &w) in quanta.iter_mut().zip(w) {
            *q = quantum(w, step);
            error += f64::from(w - f32::from(*q) * step).powi(2);
        }
        *out = narrow(settled(scale, quanta));
    }
    error
}

/// The scale to be stored for some integers: none where all are zero.
pub(crate) fn settled(scale: f32, quanta: &mut [i8]) -> f32 {
    if quanta.iter().all(|&q| q == 0) { 0.0 } else { widest(scale, quanta) }
}

/// Whether every weight of a group is a multiple of its step.
pub(crate) fn is_exact(w: &[f32], multiplier: f32) -> bool {
    let step = step(scale(w, &EVEN, multiplier), multiplier);
    w.iter().all(|&w| f32::from(quantum(w, step)) * step == w)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Packed;
    use kinglet::format::tensors::Storage;
    use kinglet::kernels::matrix::{Matrix, RowTable, SparseMatrix};
    use kinglet::kernels::weights::{INT4_ZEROS, WeightType, Weights};
    use proptest::prelude::*;

    /// Random weights, whose rows have these magnitudes by turns.
    fn weights(rows: usize, inputs: usize, magnitudes: &[i32], seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x as f32 / u32::MAX as f32 - 0.5
        };
        let magnitude = |row: usize| 10f32.powi(magnitudes[row % magnitudes.len()]);
        (0..rows * inputs).map(|i| next() * magnitude(i / inputs)).collect()
    }

    /// A tensor, and the value and scale of each weight as the core reads them: `[row][input]`.
    fn read(storage: Storage, inputs: usize, group: usize, w: &[f32]) -> (Packed, Vec<(f32, f32)>) {
        let rows = w.len() / inputs;
        let multiplier = if storage == Storage::Embedding { 1.0 } else { multiplier(largest(w)) };
        let packed = Packed::new(storage, WeightType::Int4, inputs, group, multiplier, w);
        let (weights, scales) = (packed.weights(), &*packed.scales);
        let each = (0..rows).flat_map(|row| (0..inputs).map(move |input| (row, input)));
        let step = |scale: f16| scale.to_f32() * multiplier;
        let read = match storage {
            Storage::Matrix => {
                let matrix = Matrix::new(rows, inputs, group, multiplier, weights, scales).unwrap();
                let scale = |row: usize, input: usize| {
                    matrix.row_tile(row / 16).1[input / group * 16 + row % 16]
                };
                each.map(|(row, i)| (matrix.weight(row, i), step(scale(row, i)))).collect()
            }
            Storage::Sparse => {
                let matrix =
                    SparseMatrix::new(rows, inputs, group, multiplier, weights, scales).unwrap();
                let scale = |row: usize, input: usize| matrix.group_scales(input / group)[row];
                each.map(|(row, i)| (matrix.weight(row, i), step(scale(row, i)))).collect()
            }
            _ => {
                let table = RowTable::new(rows, inputs, weights, scales).unwrap();
                let mut out = vec![0.0; rows * inputs];
                let lines = out.chunks_mut(inputs).enumerate();
                lines.for_each(|(row, out)| table.read(row, out));
                let groups = inputs.div_ceil(32);
                let scale = |row: usize, input: usize| scales[row * groups + input / 32];
                each.map(|(row, i)| (out[row * inputs + i], step(scale(row, i)))).collect()
            }
        };
        (packed, read)
    }

    const STORAGES: [Storage; 3] = [Storage::Matrix, Storage::Sparse, Storage::Embedding];

    proptest! {
        /// A weight is the nearest of its group's sixteen values, and a scale is normal or none.
        #[test]
        fn every_weight_is_the_nearest_of_its_grid(
            storage in prop::sample::select(STORAGES.to_vec()),
            rows in 1usize..70,
            inputs in 1usize..200,
            group in prop::sample::select(INT4_GROUPS.to_vec()),
            magnitudes in prop::collection::vec(-6i32..4, 1..4),
            seed in any::<u32>(),
        ) {
            let group = if storage == Storage::Embedding { 32 } else { group };
            let w = weights(rows, inputs, &magnitudes, seed);
            let (packed, read) = read(storage, inputs, group, &w);
            for (at, (&w, (value, step))) in w.iter().zip(&read).enumerate() {
                let error = (value - w).abs();
                for q in -8..8 {
                    // The grid of a group whose integers have a common divisor is coarser.
                    let other = (q as f32 * step - w).abs();
                    prop_assert!(error <= other * 1.00001 || *step == 0.0, "{at}: {w} {value} {q}");
                }
            }
            for scale in &packed.scales {
                prop_assert!(*scale == f16::ZERO || scale.is_normal() && scale.is_sign_positive());
            }
        }

        /// Errors are less than those of a scale that reaches the largest weight.
        #[test]
        fn the_scale_serves_better_than_the_largest_weight_alone(seed in any::<u32>()) {
            let w = weights(1, 32, &[0], seed);
            let multiplier = multiplier(largest(&w));
            let group = Group::new(&w, &EVEN, multiplier);
            let reaching = nearest(largest(&w) / 7.0 / multiplier);
            prop_assert!(group.error(scale(&w, &EVEN, multiplier)) <= group.error(reaching));
        }

        /// The values of a model are quantized to themselves, scales and all.
        #[test]
        fn values_are_quantized_to_themselves(
            storage in prop::sample::select(STORAGES.to_vec()),
            magnitude in -3i32..4,
            seed in any::<u32>(),
        ) {
            let mut w = weights(16, 96, &[magnitude], seed);
            // Small integers, which have common divisors.
            for (i, w) in w[96..192].iter_mut().enumerate() {
                *w = ((seed as usize >> (i % 29)) % 3) as f32 * 10f32.powi(magnitude);
            }
            let multiplier =
                if storage == Storage::Embedding { 1.0 } else { multiplier(largest(&w)) };
            let (first, values) = read(storage, 96, 32, &w);
            let values: Vec<f32> = values.into_iter().map(|(value, _)| value).collect();
            prop_assert!(values.chunks(32).all(|w| is_exact(w, multiplier)));
            let again = Packed::new(storage, WeightType::Int4, 96, 32, multiplier, &values);
            prop_assert_eq!(again.scales, first.scales);
            prop_assert_eq!(again.bytes, first.bytes);
        }
    }

    #[test]
    fn padding_is_zeros() {
        let w = vec![1.0; 33 * 33];
        for (storage, zero_scales) in
            [(Storage::Matrix, 15 * 2), (Storage::Sparse, 31 * 2), (Storage::Embedding, 0)]
        {
            let packed = Packed::new(storage, WeightType::Int4, 33, 32, multiplier(1.0), &w);
            let nibbles = packed.bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
            let zeros = nibbles.filter(|&nibble| nibble == INT4_ZEROS & 15).count();
            assert_eq!(zeros, 2 * packed.bytes.len() - w.len(), "{storage:?}");
            let none = packed.scales.iter().filter(|scale| **scale == f16::ZERO).count();
            assert_eq!(none, zero_scales, "{storage:?}");
        }
    }

    #[test]
    fn zeros_and_the_least_weights_have_scales() {
        for bits in [0, 1, 7, 63, 64, 1 << 22] {
            let w = [f32::from_bits(bits); 32];
            let (_, read) = read(Storage::Matrix, 32, 32, &w);
            for (value, _) in read {
                assert!((value - w[0]).abs() <= f32::MIN_POSITIVE, "{bits}: {value:e}");
            }
        }
        let packed = Packed::new(Storage::Matrix, WeightType::Int4, 32, 32, 1.0, &[0.0; 512]);
        assert!(packed.scales.iter().all(|scale| *scale == f16::ZERO));
        assert!(matches!(packed.weights(), Weights::Int4(bytes) if bytes == [INT4_ZEROS; 256]));
    }

    #[test]
    fn a_block_of_four_bits_keeps_its_grid() {
        // As GGUF's Q4_0 has it where its largest weight is negative.
        let scale = f16::from_f32(0.0137).to_f32();
        let q = |i: usize| ((i * 7 + 3) % 16) as f32 - 8.0;
        let w: [f32; 32] = std::array::from_fn(|i| q(i) * scale);
        assert!(is_exact(&w, multiplier(8.0 * scale)));
        let (_, read) = read(Storage::Matrix, 32, 32, &w);
        assert!(read.iter().zip(w).all(|((value, _), w)| *value == w));
    }
}
