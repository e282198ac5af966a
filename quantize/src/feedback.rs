//! Error feedback: rounding a weight shifts what the weights after it are rounded to.
//!
//! With the activations X of a calibration text, `[token][input]`, a row w loses
//! `|X (w - v)|^2 = (w - v)^T H (w - v)` by values v, with H = X^T X. With the triangle R of
//! `R R^T = H`, that is the sum over the inputs of
//!
//! ```text
//! (R[j][j] e[j] + sum of R[i][j] e[i] over i < j)^2,     e = w - v
//! ```
//!
//! so inputs are rounded in order, each to the level that is nearest to what makes its term zero:
//!
//! ```text
//! H = X^T X as integers
//! w = w + w (Y - X)^T X (H + mean of its diagonal)^-1
//! H += damping * mean of its diagonal
//! for each block of at most 1,024 inputs:  R = triangle of H;  C[j][i] = R[i][j] / R[j][j]
//!     for each row, for j in the block:
//!         t = w[j] + sum of C[j][i] e[i] over i < j, in ascending order
//!         at the first input of a group: the scale of the group's t, each weighed by R[j][j]^2
//!         v[j] = the nearest level to t;  e[j] = w[j] - v[j]
//!     twice, for j in the block:
//!         v[j] = the nearest level to w[j] + sum of H[j][i] e[i] over i != j, over H[j][j]
//! ```
//!
//! The order is that of GPTQ (Frantar et al., 2022), computed as Babai's nearest plane (Chen et al.,
//! 2025), which needs no inverse. The inputs that are rounded first cannot know the errors of the
//! last; rounding all of them again, by coordinate descent, does (Behdin et al., 2023). Y are the
//! activations of the int8 model, X those of the model whose embedding and earlier layers are
//! int4: weights take up a part of the difference, as in GPTAQ (Li et al., 2025). 2,048 tokens are
//! few, so the damping of that part is large: a tenth of it lost more than no correction at all.
//! Error feedback for the embedding, with the rows of the matrices that read it in place of
//! activations, was tried and lost.
//!
//! Sums of activations are of integers, and the floats are f64 in one order, elementwise over
//! sixteen rows: the same bytes come out on every machine and any number of threads.

use std::ops::Range;

use half::f16;
use kinglet::kernels::matrix::{ROW_GROUP, TILE_ROWS, padded_inputs};
use rayon::prelude::*;

use crate::int4;
use crate::multiversion::vectorized;
use crate::scales::narrow;

/// Inputs whose errors feed each other.
const BLOCK: usize = 1024;
/// Inputs whose errors go to those after them together.
const PANEL: usize = ROW_GROUP;
/// What is added to the diagonal of a Gram matrix, of the mean of its diagonal: inputs that the
/// text hardly uses keep their weights.
const DAMPING: f64 = 0.01;
/// How often all inputs are rounded again.
const SWEEPS: usize = 2;
/// What is added to the diagonal for the difference to the reference: with less, weights fit the
/// text more than the model.
const CORRECTION_DAMPING: f64 = 1.0;
/// Sums that are kept side by side.
const LANES: usize = 8;
/// Bits of a fixed-point activation: the sum over as many tokens as memory has room for is less
/// than 2^63.
const FIXED_BITS: u32 = 15;

/// The activations that a matrix was multiplied with, as its engine quantized them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activations {
    /// `[token][input]`
    pub(crate) q: Vec<i16>,
    /// `[token]`
    pub(crate) scales: Vec<f32>,
}

impl Activations {
    /// The largest magnitude.
    fn largest(&self, inputs: usize) -> f64 {
        let tokens = self.q.chunks_exact(inputs).zip(&self.scales);
        tokens.fold(0.0f64, |most, (q, &scale)| {
            let q = q.iter().fold(0, |most, q| q.unsigned_abs().max(most));
            most.max(f64::from(q) * usable(scale))
        })
    }

    /// All tokens in one fixed point, in which `largest` is less than 2^15: `[input][token]`.
    fn fixed(&self, inputs: usize, largest: f64) -> Vec<i16> {
        let tokens = self.scales.len();
        let mut fixed = vec![0; inputs * tokens];
        if largest == 0.0 {
            return fixed;
        }
        // The quotient of two powers of two is exact.
        let floor = f64::from_bits(largest.to_bits() >> 52 << 52);
        let unit = f64::from(1 << (FIXED_BITS - 1)) / floor;
        for (token, (q, &scale)) in self.q.chunks_exact(inputs).zip(&self.scales).enumerate() {
            for (input, &q) in q.iter().enumerate() {
                let value = (f64::from(q) * usable(scale) * unit).round_ties_even();
                fixed[input * tokens + token] = value.clamp(-32767.0, 32767.0) as i16;
            }
        }
        fixed
    }
}

/// The scale of a token; none where its values are not finite.
fn usable(scale: f32) -> f64 {
    if scale.is_finite() { f64::from(scale) } else { 0.0 }
}

/// What the errors of some inputs add to those after them.
#[derive(Debug)]
struct Block {
    start: usize,
    len: usize,
    /// `H`, damped.
    gram: Vec<f64>,
    /// `C`, `[input][earlier input]`, zeros elsewhere.
    coefficients: Vec<f64>,
    /// `R[j][j]^2`, over the mean.
    importance: Vec<f32>,
    /// What a row takes up of the difference between the activations of two models: `M` transposed,
    /// `[input][weight]`.
    correction: Option<Vec<f64>>,
}

/// What rounding errors of a matrix's inputs do to each other.
#[derive(Debug)]
pub(crate) struct Feedback {
    blocks: Vec<Block>,
}

impl Feedback {
    /// From the activations of a matrix with `inputs` inputs, and those that it should have had.
    pub(crate) fn new(
        activations: &Activations,
        reference: Option<&Activations>,
        inputs: usize,
    ) -> Self {
        let tokens = activations.scales.len();
        let reference = reference.filter(|reference| reference.scales.len() == tokens);
        let largest = activations.largest(inputs);
        let largest = reference.map_or(largest, |reference| largest.max(reference.largest(inputs)));
        let fixed = activations.fixed(inputs, largest);
        let reference = reference.map(|reference| reference.fixed(inputs, largest));
        let starts = (0..inputs).step_by(BLOCK);
        let block = |start: usize| {
            let len = BLOCK.min(inputs - start);
            let part = start * tokens..(start + len) * tokens;
            let fixed = &fixed[part.clone()];
            Block::new(start, len, fixed, reference.as_ref().map(|r| &r[part]))
        };
        Self { blocks: starts.map(block).collect() }
    }

    /// Quantizes up to sixteen rows, `[row][inputs]`. Returns the sum of the squared errors of the
    /// weights.
    ///
    /// * `quanta`: `[16][input]`, padded; of zeros
    /// * `scales`: `[16][input/group]`; of zeros
    pub(crate) fn quantize(
        &self,
        rows: &[f32],
        inputs: usize,
        group: usize,
        multiplier: f32,
        quanta: &mut [i8],
        scales: &mut [f16],
    ) -> f64 {
        let mut error = 0.0;
        for block in &self.blocks {
            let mut tile = Tile::new(rows, inputs, block);
            for first in (0..block.len).step_by(PANEL) {
                if first.is_multiple_of(group) {
                    tile.choose(first, group, multiplier, &block.importance);
                }
                let panel = first..block.len.min(first + PANEL);
                let steps = tile.steps(first / group, multiplier);
                round_panel(&mut tile, &block.coefficients, panel.clone(), &steps);
                feed(&mut tile, &block.coefficients, panel);
            }
            for _ in 0..SWEEPS {
                for first in (0..block.len).step_by(group) {
                    let steps = tile.steps(first / group, multiplier);
                    let span = first..block.len.min(first + group);
                    round_again(&mut tile, &block.gram, span, &steps);
                }
            }
            tile.store(group, block.start, inputs, quanta, scales);
            error += tile.squared_error(rows.len() / inputs);
        }
        error
    }
}

/// `[input][input]`, the upper triangle: sums over the tokens of products of fixed-point
/// activations, `[input][token]`. They are less than 2^53, up to which f64 has all integers.
fn gram(fixed: &[i16], len: usize) -> Vec<f64> {
    let tokens = fixed.len() / len.max(1);
    let mut gram = vec![0.0; len * len];
    gram.par_chunks_mut(len).enumerate().for_each(|(i, out)| {
        for j in i..len {
            let sum = dot_fixed(&fixed[i * tokens..][..tokens], &fixed[j * tokens..][..tokens]);
            out[j] = sum as f64;
        }
    });
    gram
}

vectorized! {
    fn dot_fixed(a: &[i16], b: &[i16]) -> i64 {
        a.iter().zip(b).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum()
    }
}

vectorized! {
    /// The sum of products, in eight sums that do not wait for each other.
    fn dot(a: &[f64], b: &[f64]) -> f64 {
        let ((a8, a), (b8, b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let mut sums = [0.0; LANES];
        for (a, b) in a8.iter().zip(b8) {
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum += a * b;
            }
        }
        sums.iter().sum::<f64>() + a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
    }
}

impl Block {
    /// From fixed-point activations, `[input][token]`, and those of the reference.
    fn new(start: usize, len: usize, fixed: &[i16], reference: Option<&[i16]>) -> Self {
        let mut gram = gram(fixed, len);
        let mean = (0..len).map(|i| gram[i * len + i]).sum::<f64>() / len as f64;
        let mean = if mean > 0.0 { mean } else { 1.0 };
        let correction = reference.map(|reference| {
            let mut triangle = damped(&gram, len, mean * CORRECTION_DAMPING);
            factor(&mut triangle, len);
            let coefficients = coefficients(&triangle, len);
            correction(fixed, reference, &triangle, &coefficients, len)
        });
        let mut triangle = damped(&gram, len, mean * DAMPING);
        for i in 0..len {
            gram[i * len + i] = triangle[i * len + i];
            for j in 0..i {
                gram[i * len + j] = gram[j * len + i];
            }
        }
        factor(&mut triangle, len);
        let coefficients = coefficients(&triangle, len);
        let squares: Vec<f64> = (0..len).map(|j| triangle[j * len + j].powi(2)).collect();
        let mean = squares.iter().sum::<f64>() / len as f64;
        let importance = squares.iter().map(|square| (square / mean) as f32).collect();
        Self { start, len, gram, coefficients, importance, correction }
    }
}

/// A Gram matrix with a larger diagonal.
fn damped(gram: &[f64], len: usize, damping: f64) -> Vec<f64> {
    let mut damped = gram.to_vec();
    (0..len).for_each(|i| damped[i * len + i] += damping);
    damped
}

/// `C[j][i] = R[i][j] / R[j][j]`.
fn coefficients(triangle: &[f64], len: usize) -> Vec<f64> {
    let mut coefficients = vec![0.0; len * len];
    coefficients.par_chunks_mut(len).enumerate().for_each(|(j, out)| {
        let diagonal = triangle[j * len + j];
        for (i, out) in out[..j].iter_mut().enumerate() {
            *out = triangle[i * len + j] / diagonal;
        }
    });
    coefficients
}

/// `M = (X - X~) X~^T H^-1`, transposed.
fn correction(
    fixed: &[i16],
    reference: &[i16],
    triangle: &[f64],
    coefficients: &[f64],
    len: usize,
) -> Vec<f64> {
    let tokens = fixed.len() / len;
    let mut rows = vec![0.0; len * len];
    rows.par_chunks_mut(len).enumerate().for_each(|(i, row)| {
        let of = |all: &[i16], input: usize| all[input * tokens..][..tokens].to_vec();
        let (seen, wanted) = (of(fixed, i), of(reference, i));
        let difference: Vec<i32> =
            wanted.iter().zip(&seen).map(|(&a, &b)| i32::from(a) - i32::from(b)).collect();
        for (j, out) in row.iter_mut().enumerate() {
            *out = dot_difference(&difference, &fixed[j * tokens..][..tokens]) as f64;
        }
        // y R^T = d, from the last on; x R = y.
        for j in (0..len).rev() {
            let (front, tail) = row.split_at_mut(j + 1);
            let sum = dot(tail, &triangle[j * len + j + 1..(j + 1) * len]);
            front[j] = (front[j] - sum) / triangle[j * len + j];
        }
        for j in 0..len {
            let (front, tail) = row.split_at_mut(j);
            tail[0] = tail[0] / triangle[j * len + j] - dot(front, &coefficients[j * len..][..j]);
        }
    });
    let mut turned = vec![0.0; len * len];
    turned.par_chunks_mut(len).enumerate().for_each(|(k, out)| {
        for (i, out) in out.iter_mut().enumerate() {
            *out = rows[i * len + k];
        }
    });
    turned
}

vectorized! {
    fn dot_difference(a: &[i32], b: &[i16]) -> i64 {
        a.iter().zip(b).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum()
    }
}

/// The upper triangle R of `R R^T = H`, in place of H's.
fn factor(h: &mut [f64], len: usize) {
    for k in (0..len).rev() {
        let (before, row) = h.split_at_mut(k * len);
        let tail = &row[k + 1..len];
        // At least the damping, but for rounding.
        let pivot = (row[k] - dot(tail, tail)).max(f64::MIN_POSITIVE).sqrt();
        before.par_chunks_mut(len).with_min_len(64).for_each(|other| {
            other[k] = (other[k] - dot(&other[k + 1..], tail)) / pivot;
        });
        row[k] = pivot;
    }
}

/// Sixteen rows of a block while they are rounded; the rows are lanes.
struct Tile {
    /// `[input]`
    weights: Vec<[f64; TILE_ROWS]>,
    /// What was added to the weights.
    added: Vec<[f64; TILE_ROWS]>,
    /// What is rounded: `[input]`.
    targets: Vec<[f64; TILE_ROWS]>,
    /// `e`, `[input]`
    errors: Vec<[f64; TILE_ROWS]>,
    /// `[input]`
    quanta: Vec<[i8; TILE_ROWS]>,
    /// `[group]`
    scales: Vec<[f32; TILE_ROWS]>,
}

impl Tile {
    fn new(rows: &[f32], inputs: usize, block: &Block) -> Self {
        let mut weights = vec![[0.0; TILE_ROWS]; block.len];
        for (lane, row) in rows.chunks(inputs).enumerate() {
            for (w, &value) in weights.iter_mut().zip(&row[block.start..]) {
                w[lane] = f64::from(value);
            }
        }
        let mut added = vec![[0.0; TILE_ROWS]; block.len];
        if let Some(correction) = &block.correction {
            correct(&weights, correction, &mut added);
            for (w, added) in weights.iter_mut().zip(&added) {
                w.iter_mut().zip(added).for_each(|(w, added)| *w += added);
            }
        }
        Self {
            added,
            targets: weights.clone(),
            errors: vec![[0.0; TILE_ROWS]; block.len],
            quanta: vec![[0; TILE_ROWS]; block.len],
            weights,
            scales: Vec::new(),
        }
    }

    /// The scales of the group that begins with an input.
    fn choose(&mut self, first: usize, group: usize, multiplier: f32, importance: &[f32]) {
        let span = first..self.targets.len().min(first + group);
        let importance = &importance[span.clone()];
        self.scales.push(std::array::from_fn(|lane| {
            let targets: Vec<f32> =
                self.targets[span.clone()].iter().map(|t| t[lane] as f32).collect();
            int4::scale(&targets, importance, multiplier)
        }));
    }

    /// The steps of a group; zero where it stays zeros.
    fn steps(&self, group: usize, multiplier: f32) -> [f32; TILE_ROWS] {
        self.scales[group].map(|scale| scale * multiplier)
    }

    /// Gives integers and scales to rows; the block begins at input `start`.
    fn store(
        &self,
        group: usize,
        start: usize,
        inputs: usize,
        quanta: &mut [i8],
        scales: &mut [f16],
    ) {
        let groups = inputs.div_ceil(group);
        let lanes = quanta.chunks_mut(padded_inputs(inputs)).zip(scales.chunks_mut(groups));
        for (lane, (quanta, scales)) in lanes.enumerate() {
            let quanta = quanta[start..][..self.quanta.len()].chunks_mut(group);
            let groups = quanta.zip(self.quanta.chunks(group)).zip(&self.scales);
            for (((quanta, from), chosen), scale) in groups.zip(&mut scales[start / group..]) {
                quanta.iter_mut().zip(from).for_each(|(q, from)| *q = from[lane]);
                *scale = narrow(int4::settled(chosen[lane], quanta));
            }
        }
    }

    fn squared_error(&self, rows: usize) -> f64 {
        let inputs = self.errors.iter().zip(&self.added);
        let squares = |(e, added): (&[f64; TILE_ROWS], &[f64; TILE_ROWS])| -> f64 {
            e.iter().zip(added).take(rows).map(|(e, added)| (e - added).powi(2)).sum()
        };
        inputs.map(squares).sum()
    }
}

/// `target` as an integer, and the error that it leaves of `weight`. A group of zeros stays one.
#[inline(always)]
fn round(target: f64, weight: f64, step: f32) -> (i8, f64) {
    if step == 0.0 {
        return (0, weight);
    }
    let q = int4::quantum(target as f32, step);
    (q, weight - f64::from(q) * f64::from(step))
}

vectorized! {
    /// Rounds the inputs of a panel, each after the errors of those before it.
    fn round_panel(
        tile: &mut Tile,
        coefficients: &[f64],
        panel: Range<usize>,
        steps: &[f32; TILE_ROWS],
    ) {
        let len = tile.targets.len();
        for j in panel.clone() {
            let mut target = tile.targets[j];
            for i in panel.start..j {
                let coefficient = coefficients[j * len + i];
                for (target, e) in target.iter_mut().zip(&tile.errors[i]) {
                    *target += coefficient * e;
                }
            }
            for lane in 0..TILE_ROWS {
                let (q, e) = round(target[lane], tile.weights[j][lane], steps[lane]);
                (tile.quanta[j][lane], tile.errors[j][lane]) = (q, e);
            }
        }
    }
}

vectorized! {
    /// Rounds inputs again, each with the errors of all others as they are.
    fn round_again(
        tile: &mut Tile,
        gram: &[f64],
        inputs: Range<usize>,
        steps: &[f32; TILE_ROWS],
    ) {
        let len = tile.errors.len();
        for j in inputs {
            let row = &gram[j * len..][..len];
            let mut sum = [0.0; TILE_ROWS];
            for (h, e) in row.iter().zip(&tile.errors) {
                for (sum, e) in sum.iter_mut().zip(e) {
                    *sum += h * e;
                }
            }
            for lane in 0..TILE_ROWS {
                let weight = tile.weights[j][lane];
                let target = weight + sum[lane] / row[j] - tile.errors[j][lane];
                let (q, e) = round(target, weight, steps[lane]);
                (tile.quanta[j][lane], tile.errors[j][lane]) = (q, e);
            }
        }
    }
}

vectorized! {
    /// Adds the errors of a panel to the targets of the inputs after it.
    fn feed(tile: &mut Tile, coefficients: &[f64], panel: Range<usize>) {
        let len = tile.targets.len();
        for (k, target) in tile.targets.iter_mut().enumerate().skip(panel.end) {
            let coefficients = &coefficients[k * len..][panel.clone()];
            let mut sum = *target;
            for (coefficient, errors) in coefficients.iter().zip(&tile.errors[panel.clone()]) {
                for (sum, e) in sum.iter_mut().zip(errors) {
                    *sum += coefficient * e;
                }
            }
            *target = sum;
        }
    }
}

vectorized! {
    /// `added = w M`
    fn correct(
        weights: &[[f64; TILE_ROWS]],
        correction: &[f64],
        added: &mut [[f64; TILE_ROWS]],
    ) {
        for (added, column) in added.iter_mut().zip(correction.chunks(weights.len())) {
            let mut sum = [0.0; TILE_ROWS];
            for (coefficient, w) in column.iter().zip(weights) {
                for (sum, w) in sum.iter_mut().zip(w) {
                    *sum += coefficient * w;
                }
            }
            *added = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::int4::{GROUP, multiplier, quantize_row};

    /// Activations of inputs that depend on each other, some of which are never used.
    fn activations(inputs: usize, tokens: usize) -> Activations {
        let mut x = 1u32;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 16) as i32 % 8000 - 4000
        };
        let mut activations = Activations::default();
        for token in 0..tokens {
            let common = next();
            let value = |i: usize| if i % 7 == 6 { 0 } else { next() + common * (i as i32 % 3) };
            activations.q.extend((0..inputs).map(value).map(|q| q as i16));
            activations.scales.push(if token % 5 == 4 { 0.5 } else { 1.0 } / 4096.0);
        }
        activations
    }

    fn weights(rows: usize, inputs: usize) -> Vec<f32> {
        (0..rows * inputs).map(|i| ((i * 7919 % 1009) as f32 / 504.0 - 1.0) * 0.1).collect()
    }

    /// What a row loses on the activations.
    fn loss(activations: &Activations, inputs: usize, errors: &[f64]) -> f64 {
        let tokens = activations.q.chunks(inputs).zip(&activations.scales);
        let product = |(q, &scale): (&[i16], &f32)| -> f64 {
            let sum: f64 = q.iter().zip(errors).map(|(&q, e)| f64::from(q) * e).sum();
            (sum * f64::from(scale)).powi(2)
        };
        tokens.map(product).sum()
    }

    fn quantize(inputs: usize, rows: &[f32]) -> (Vec<i8>, Vec<f16>) {
        let feedback = Feedback::new(&activations(inputs, 300), None, inputs);
        let multiplier = multiplier(0.1);
        let mut quanta = vec![0; 16 * padded_inputs(inputs)];
        let mut scales = vec![f16::ZERO; 16 * inputs.div_ceil(GROUP)];
        feedback.quantize(rows, inputs, GROUP, multiplier, &mut quanta, &mut scales);
        (quanta, scales)
    }

    /// What error feedback and rounding to nearest lose of each row, on some of the inputs.
    fn losses(inputs: usize, rows: usize, span: Range<usize>) -> Vec<[f64; 2]> {
        let (w, multiplier) = (weights(rows, inputs), multiplier(0.1));
        let (padded, groups) = (padded_inputs(inputs), inputs.div_ceil(GROUP));
        let (quanta, scales) = quantize(inputs, &w);
        let seen = activations(inputs, 300);
        let row = |(row, w): (usize, &[f32])| {
            let loss = |quanta: &[i8], scales: &[f16]| {
                let step = |i: usize| f64::from(scales[i / GROUP].to_f32() * multiplier);
                let error = |i: usize| f64::from(w[i]) - f64::from(quanta[i]) * step(i);
                let errors: Vec<f64> =
                    (0..inputs).map(|i| if span.contains(&i) { error(i) } else { 0.0 }).collect();
                loss(&seen, inputs, &errors)
            };
            let (mut nearest, mut steps) = (vec![0; padded], vec![f16::ZERO; groups]);
            quantize_row(w, GROUP, multiplier, &mut nearest, &mut steps);
            [loss(&quanta[row * padded..], &scales[row * groups..]), loss(&nearest, &steps)]
        };
        w.chunks(inputs).enumerate().map(row).collect()
    }

    #[test]
    fn a_row_loses_less_than_to_nearest() {
        for [fed, nearest] in losses(100, 3, 0..100) {
            assert!(fed < 0.7 * nearest, "{fed} {nearest}");
        }
    }

    /// More inputs than feed their errors to each other.
    #[test]
    fn every_block_of_a_long_row_loses_less() {
        let inputs = BLOCK + 100;
        for block in [0..BLOCK, BLOCK..inputs] {
            for [fed, nearest] in losses(inputs, 2, block.clone()) {
                assert!(fed < nearest, "{block:?}: {fed} {nearest}");
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        let w = weights(16, 300);
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| quantize(300, &w))
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn a_triangle_times_itself_is_the_gram_matrix() {
        let len = 70;
        let seen = activations(len, 200);
        let plain = damped(&gram(&seen.fixed(len, seen.largest(len)), len), len, 1e6);
        let mut triangle = plain.clone();
        factor(&mut triangle, len);
        for i in 0..len {
            for j in i..len {
                let product: f64 =
                    (j..len).map(|m| triangle[i * len + m] * triangle[j * len + m]).sum();
                let expected = plain[i * len + j];
                assert!((product - expected).abs() < 1e-9 * plain[i * len + i].max(1.0) * 1e3);
            }
        }
    }

    /// The weights of a model whose activations are scaled take the scale up, as far as they may.
    #[test]
    fn weights_take_up_a_part_of_the_difference() {
        let inputs = 32;
        let seen = activations(inputs, 300);
        let mut wanted = seen.clone();
        wanted.scales.iter_mut().for_each(|scale| *scale *= 2.0);
        let feedback = Feedback::new(&seen, Some(&wanted), inputs);
        let block = &feedback.blocks[0];
        let tile = Tile::new(&weights(1, inputs), inputs, block);
        let part: f64 =
            tile.added.iter().zip(&tile.weights).map(|(a, w)| a[0] * (w[0] - a[0])).sum();
        let square: f64 = tile.added.iter().map(|a| a[0] * a[0]).sum();
        assert!(part > 0.0 && square > 0.0, "{part} {square}");
    }

    #[test]
    fn without_activations_nothing_is_divided_by_zero() {
        let none = Activations { q: vec![0; 64], scales: vec![0.0, f32::NAN] };
        let feedback = Feedback::new(&none, None, 32);
        let (mut quanta, mut scales) = (vec![0; 16 * 32], vec![f16::ZERO; 16]);
        let w = weights(2, 32);
        feedback.quantize(&w, 32, GROUP, multiplier(0.1), &mut quanta, &mut scales);
        assert!(scales[..2].iter().all(|scale| scale.is_normal()));
    }
}
