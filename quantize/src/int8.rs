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
/// small group would cost more traffic than the weights that zeros save. Only
/// groups of [`SPARSE_LEAST`] and more save enough of it to be worth the error.
const SPARSE_TOLERANCE: f64 = 1.75;
const SPARSE_LEAST: usize = 128;
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

/// The largest magnitude among `w`; infinite or NaN when one of them is.
pub(crate) fn largest(w: &[f32]) -> f32 {
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

/// Scale and step of a group. A group of zeros has scale 0 and any step.
fn group_step(w: &[f32], multiplier: f32) -> (f16, f32) {
    step_of(largest(w), multiplier)
}

/// The same from the largest magnitude of the group.
fn step_of(largest: f32, multiplier: f32) -> (f16, f32) {
    let scale = scale(largest, multiplier);
    let step = widen(scale) * multiplier;
    (scale, if step == 0.0 { 1.0 } else { step })
}

/// Inputs of the smallest group.
const LEAST: usize = GROUPS[0];
/// Sums that are kept side by side.
const LANES: usize = 8;

/// Sum of the squared rounding errors of a block.
fn squared_error(w: &[f32; LEAST], step: f32) -> f64 {
    // Within a group the errors are of one magnitude, so f32 holds their sum.
    let mut sums = [0.0f32; LANES];
    for w in w.as_chunks::<LANES>().0 {
        for (sum, &w) in sums.iter_mut().zip(w) {
            let error = w - quantum(w, step) * step;
            *sum += error * error;
        }
    }
    f64::from(sums.iter().sum::<f32>())
}

/// Sum of the squares of a block.
fn squared(w: &[f32; LEAST]) -> f64 {
    let mut sums = [0.0f64; LANES];
    for w in w.as_chunks::<LANES>().0 {
        for (sum, &w) in sums.iter_mut().zip(w) {
            *sum += f64::from(w) * f64::from(w);
        }
    }
    sums.iter().sum()
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
        // Zeros after the end change neither a maximum nor a sum.
        let (blocks, rest) = row.as_chunks::<LEAST>();
        let mut last = [0.0; LEAST];
        last[..rest.len()].copy_from_slice(rest);
        let blocks = || blocks.iter().chain((!rest.is_empty()).then_some(&last));
        let maxima: Vec<f32> = blocks().map(|block| largest(block)).collect();
        let noise = GROUPS.map(|group| {
            let together = group / LEAST;
            let most = |maxima: &[f32]| maxima.iter().copied().fold(0.0, f32::max);
            let steps = maxima.chunks(together).map(|m| step_of(most(m), multiplier).1);
            let steps = steps.flat_map(|step| std::iter::repeat_n(step, together));
            blocks().zip(steps).map(|(block, step)| squared_error(block, step)).sum()
        });
        Self { signal: blocks().map(squared).sum(), noise }
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

/// Rows and inputs of the blocks in which a sparse matrix is turned: a block of
/// either layout stays in the first cache.
const TURNED: usize = 64;

/// Quantizes a group.
fn put_quanta(out: &mut [i8], w: &[f32], step: f32) {
    for (out, w) in out.iter_mut().zip(w) {
        // Within [-127, 127]; the conversion through i32 is one vector instruction.
        *out = quantum(*w, step) as i32 as i8;
    }
}

/// Quantizes a group into lane `lane` of its tiles.
fn put_lane(tiles: &mut [i8], lane: usize, w: &[f32], step: f32) {
    let mut quanta = [0; LEAST];
    let blocks = w.chunks(LEAST).zip(tiles.chunks_mut(LEAST * TILE_ROWS));
    for (w, tiles) in blocks {
        let quanta = &mut quanta[..w.len()];
        put_quanta(quanta, w, step);
        for (quanta, tile) in quanta.chunks(TILE_INPUTS).zip(tiles.chunks_mut(TILE)) {
            tile[lane * TILE_INPUTS..][..quanta.len()].copy_from_slice(quanta);
        }
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
                    put_lane(&mut values[g * group * TILE_ROWS..], lane, w, step);
                }
            }
        });
    }

    fn put_sparse(&mut self, first: usize, weights: &[f32]) {
        let Self { inputs, group, multiplier, .. } = *self;
        let out = padded_rows(self.rows);
        let (groups, rows) = (inputs.div_ceil(group), weights.len() / inputs);
        // By rows first, as the groups lie; then each input gathers what is its own.
        let mut quanta = vec![0i8; weights.len()]; // [row][inputs]
        let mut scales = vec![f16::from_bits(0); rows * groups]; // [row][group]
        let by_row = weights.par_chunks(inputs).zip(quanta.par_chunks_mut(inputs));
        by_row.zip(scales.par_chunks_mut(groups)).for_each(|((row, quanta), scales)| {
            let row = row.chunks(group).zip(quanta.chunks_mut(group));
            for ((w, quanta), out) in row.zip(scales) {
                let (scale, step) = group_step(w, multiplier);
                *out = scale;
                put_quanta(quanta, w, step);
            }
        });
        for (row, scales) in (first..).zip(scales.chunks(groups)) {
            for (g, scale) in scales.iter().enumerate() {
                self.scales[g * out + row] = *scale;
            }
        }
        let panels = self.values[..inputs * out].par_chunks_mut(TURNED * out).enumerate();
        panels.for_each(|(panel, values)| {
            let own = panel * TURNED..inputs.min((panel + 1) * TURNED);
            for (start, rows) in (first..).step_by(TURNED).zip(quanta.chunks(TURNED * inputs)) {
                for (row, quanta) in (start..).zip(rows.chunks(inputs)) {
                    for (values, &q) in values.chunks_mut(out).zip(&quanta[own.clone()]) {
                        values[row] = q;
                    }
                }
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
                    put_quanta(values, w, step);
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
