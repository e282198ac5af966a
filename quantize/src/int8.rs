//! Round-to-nearest int8 in groups, and the choice of the group size.
//!
//! A group of inputs of one output shares a scale `s = f16(max |w| / 127 / multiplier)`;
//! then `q = round(w / (s * multiplier))`, ties to even, against the scale as stored.

use half::f16;
use kinglet::matrix::{
    GROUPS, ROW_GROUP, TILE, TILE_INPUTS, TILE_ROWS, TensorLayout, padded_inputs, padded_rows,
    widen,
};
use kinglet::tensors::Storage;
use rayon::prelude::*;

/// Largest magnitude of a quantized weight.
const MAX_Q: f32 = 127.0;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// A larger group is taken while its squared error is at most this many times
/// that of groups of 32.
const DENSE_TOLERANCE: f64 = 1.15;
/// The same where the scales of a group are read for few of its inputs: a
/// small group would cost more traffic than the weights that zeros save.
const SPARSE_TOLERANCE: f64 = 1.75;
/// Exponent that the multiplier gives the largest scale of a tensor: near the
/// top of f16, so that 2^28 fit between it and the smallest normal scale.
const TOP_EXPONENT: i32 = 14;

/// The power of two by which a tensor's scales are multiplied, from its largest magnitude.
pub fn multiplier(largest: f32) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    let exponent = f64::from(largest / MAX_Q).log2().floor() as i32 - TOP_EXPONENT;
    f32::from_bits(((exponent.clamp(-126, 127) + 127) as u32) << 23)
}

/// The scale of a group whose largest magnitude is `largest`.
fn scale(largest: f32, multiplier: f32) -> f16 {
    if largest == 0.0 {
        return f16::from_bits(0);
    }
    f16::from_f32(largest / MAX_Q / multiplier).clamp(f16::MIN_POSITIVE, f16::MAX)
}

/// `w` as an integer multiple of `step`.
#[inline(always)]
fn quantum(w: f32, step: f32) -> f32 {
    let q = (w / step + ROUND) - ROUND;
    q.clamp(-MAX_Q, MAX_Q)
}

/// Scale and step of a group. A group of zeros has scale 0 and any step.
#[inline(always)]
fn group_step(w: &[f32], multiplier: f32) -> (f16, f32) {
    let largest = w.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let scale = scale(largest, multiplier);
    let step = widen(scale) * multiplier;
    (scale, if step == 0.0 { 1.0 } else { step })
}

/// Squared rounding errors of a tensor, for each group size that it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    /// Sum of squared weights.
    pub signal: f64,
    /// Sum of squared errors for each of [`GROUPS`].
    pub noise: [f64; GROUPS.len()],
}

impl Errors {
    /// Adds what the rows of `weights`, `[row][inputs]`, contribute.
    pub fn measure(&mut self, weights: &[f32], inputs: usize, multiplier: f32) {
        let rows: Vec<Self> =
            weights.par_chunks(inputs).map(|row| Self::of_row(row, multiplier)).collect();
        for row in rows {
            self.signal += row.signal;
            for (noise, row) in self.noise.iter_mut().zip(row.noise) {
                *noise += row;
            }
        }
    }

    fn of_row(row: &[f32], multiplier: f32) -> Self {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let noise = GROUPS.map(|group| {
            let errors = row.chunks(group).map(|w| {
                let (_, step) = group_step(w, multiplier);
                // Within a group the errors are of one magnitude, so f32 holds their sum.
                w.iter().map(|&w| w - quantum(w, step) * step).map(|e| e * e).sum::<f32>()
            });
            errors.map(f64::from).sum()
        });
        Self { signal: row.iter().copied().map(square).sum(), noise }
    }

    /// The group size of a tensor with `inputs` inputs: the largest whose
    /// error the storage tolerates, and no larger than needed for one group.
    pub fn group(&self, storage: Storage, inputs: usize) -> usize {
        let tolerance = if storage == Storage::Sparse { SPARSE_TOLERANCE } else { DENSE_TOLERANCE };
        let best = self.noise[0];
        let fits = |&(_, noise): &(usize, f64)| noise <= tolerance * best;
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

/// The values and scales of one tensor, in the layout of the model file.
#[derive(Debug)]
pub struct Packed {
    storage: Storage,
    rows: usize,
    inputs: usize,
    group: usize,
    multiplier: f32,
    values: Vec<i8>,
    scales: Vec<f16>,
}

impl Packed {
    /// Zeros for a tensor of `rows` by `inputs`.
    pub fn new(
        storage: Storage,
        rows: usize,
        inputs: usize,
        group: usize,
        multiplier: f32,
    ) -> Self {
        let layout = TensorLayout::new(storage, rows, inputs, group);
        Self {
            storage,
            rows,
            inputs,
            group,
            multiplier,
            values: vec![0; layout.values as usize],
            scales: vec![f16::from_bits(0); layout.scales as usize],
        }
    }

    /// Quantizes `weights`, `[row][inputs]`, into the rows from `first` on.
    /// A multiple of 16 rows starts every call.
    pub fn put_rows(&mut self, first: usize, weights: &[f32]) {
        debug_assert!(first.is_multiple_of(TILE_ROWS) || self.storage == Storage::Rows);
        match self.storage {
            Storage::Matrix => self.put_tiles(first, weights),
            Storage::Sparse => self.put_sparse(first, weights),
            Storage::Rows => self.put_table(first, weights),
            _ => unreachable!("vectors are not quantized"),
        }
    }

    fn put_tiles(&mut self, first: usize, weights: &[f32]) {
        let Self { inputs, group, multiplier, .. } = *self;
        let padded = padded_inputs(inputs);
        let groups = padded.div_ceil(group);
        let tile = first / TILE_ROWS;
        let values = self.values[tile * TILE_ROWS * padded..].par_chunks_mut(TILE_ROWS * padded);
        let scales = self.scales[tile * TILE_ROWS * groups..].par_chunks_mut(TILE_ROWS * groups);
        let tiles = weights.par_chunks(TILE_ROWS * inputs).zip(values).zip(scales);
        tiles.for_each(|((rows, values), scales)| {
            for (lane, row) in rows.chunks(inputs).enumerate() {
                for (g, w) in row.chunks(group).enumerate() {
                    let (scale, step) = group_step(w, multiplier);
                    scales[g * TILE_ROWS + lane] = scale;
                    for (i, w) in (g * group..).zip(w) {
                        let at = i / TILE_INPUTS * TILE + lane * TILE_INPUTS + i % TILE_INPUTS;
                        values[at] = quantum(*w, step) as i8;
                    }
                }
            }
        });
    }

    fn put_sparse(&mut self, first: usize, weights: &[f32]) {
        let Self { inputs, group, multiplier, .. } = *self;
        let out = padded_rows(self.rows);
        // [row][group] first: a row's values go to as many places as it has inputs.
        let steps: Vec<(f16, f32)> = weights
            .par_chunks(inputs)
            .flat_map_iter(|row| row.chunks(group).map(|w| group_step(w, multiplier)))
            .collect();
        let groups = inputs.div_ceil(group);
        for (row, steps) in (first..).zip(steps.chunks(groups)) {
            for (g, (scale, _)) in steps.iter().enumerate() {
                self.scales[g * out + row] = *scale;
            }
        }
        let rows = weights.len() / inputs;
        let by_input = self.values.par_chunks_mut(out).take(inputs).enumerate();
        by_input.with_min_len(64).for_each(|(input, values)| {
            for row in 0..rows {
                let (_, step) = steps[row * groups + input / group];
                values[first + row] = quantum(weights[row * inputs + input], step) as i8;
            }
        });
    }

    fn put_table(&mut self, first: usize, weights: &[f32]) {
        let padded = padded_inputs(self.inputs);
        let groups = padded / ROW_GROUP;
        let values = self.values[first * padded..].par_chunks_mut(padded);
        let scales = self.scales[first * groups..].par_chunks_mut(groups);
        let multiplier = self.multiplier;
        weights.par_chunks(self.inputs).zip(values).zip(scales).for_each(
            |((row, values), scales)| {
                let groups = row.chunks(ROW_GROUP).zip(values.chunks_mut(ROW_GROUP)).zip(scales);
                for ((w, values), out) in groups {
                    let (scale, step) = group_step(w, multiplier);
                    *out = scale;
                    for (value, w) in values.iter_mut().zip(w) {
                        *value = quantum(*w, step) as i8;
                    }
                }
            },
        );
    }

    /// The values, then the scales.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        (bytemuck::cast_slice(&self.values), bytemuck::cast_slice(&self.scales))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet::matrix::{Matrix, RowTable, SparseMatrix};
    use proptest::prelude::*;

    fn packed(storage: Storage, rows: usize, inputs: usize, group: usize, w: &[f32]) -> Packed {
        let largest = w.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let multiplier = if storage == Storage::Rows { 1.0 } else { multiplier(largest) };
        let mut packed = Packed::new(storage, rows, inputs, group, multiplier);
        let (head, tail) = w.split_at(16.min(rows) * inputs);
        packed.put_rows(0, head);
        if !tail.is_empty() {
            packed.put_rows(16, tail);
        }
        packed
    }

    /// The value of each weight as the core reads it.
    fn read(packed: &Packed, row: usize, input: usize) -> f32 {
        let Packed { rows, inputs, group, multiplier, values, scales, .. } = packed;
        let (rows, inputs, group, multiplier) = (*rows, *inputs, *group, *multiplier);
        match packed.storage {
            Storage::Matrix => Matrix { rows, inputs, group, multiplier, weights: values, scales }
                .weight(row, input),
            Storage::Sparse => {
                SparseMatrix { rows, inputs, group, multiplier, weights: values, scales }
                    .weight(row, input)
            }
            _ => {
                let mut out = vec![0.0; inputs];
                RowTable { rows, width: inputs, weights: values, scales }.read(row, &mut out);
                out[input]
            }
        }
    }

    proptest! {
        #[test]
        fn every_weight_is_within_half_a_step(
            storage in prop::sample::select(vec![Storage::Matrix, Storage::Sparse, Storage::Rows]),
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
            let packed = packed(storage, rows, inputs, group, &w);
            let group = if storage == Storage::Rows { ROW_GROUP } else { group };
            // A row table has no multiplier, so its steps end at the smallest normal f16.
            let least = if storage == Storage::Rows { f16::MIN_POSITIVE.to_f32() } else { 0.0 };
            for row in 0..rows {
                let line = &w[row * inputs..][..inputs];
                for (g, chunk) in line.chunks(group).enumerate() {
                    let largest = chunk.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                    let half = 0.5005 * (largest / 127.0).max(least);
                    for (i, w) in (g * group..).zip(chunk) {
                        let error = (read(&packed, row, i) - w).abs();
                        prop_assert!(error <= half, "{error} > {half} at {row}, {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn small_weights_keep_their_precision() {
        let w: Vec<f32> = (0..64).map(|i| (i as f32 - 31.5) * 1e-30).collect();
        let packed = packed(Storage::Matrix, 1, 64, 32, &w);
        for (i, w) in w.iter().enumerate() {
            assert!((read(&packed, 0, i) - w).abs() < 0.5 * 31.5e-30 / 126.0);
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
