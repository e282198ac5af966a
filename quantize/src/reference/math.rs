//! The few operations that the papers' equations are made of.
//!
//! All in f64, in the plainest order, for many tokens at a time: a row of a matrix is read from the
//! checkpoint once for all of them, which is most of the time that a large model takes. Nothing is
//! shared with the runtime's kernels, which this is there to judge.

use core::ops::Range;

/// f32 values as f64, which loses nothing.
#[must_use]
pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

use rayon::prelude::*;

use super::{Error, Source};
use crate::checkpoint;

/// Epsilon of every LayerNorm over the channels.
const LAYER_NORM_EPS: f64 = 1e-5;
/// Epsilon of the per-head norm of versions 5 to 7: training normalised x / 8
/// with 1e-5, which is x with 64 times as much.
const GROUP_NORM_EPS: f64 = 64e-5;

/// Vectors of consecutive tokens, `[token][channel]`.
pub(super) type Batch = Vec<Vec<f64>>;

/// Rows that a thread reads and multiplies at a time: they stay in its cache
/// while all tokens pass by.
const PANEL_ROWS: usize = 16;
/// Panels whose products are held apart before they are put in their places.
const PANELS: usize = 64;

/// A matrix `[row][column]`.
pub(super) struct Matrix<'a> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) weights: Weights<'a>,
}

/// Where a matrix is.
pub(super) enum Weights<'a> {
    /// In memory.
    Held(Vec<f64>),
    /// In a checkpoint, from a row on; read whenever it is needed.
    Stored(checkpoint::Tensor<'a>, usize),
}

impl Matrix<'_> {
    /// Consecutive rows, `[row][column]`.
    pub(super) fn read(&self, rows: Range<usize>) -> Vec<f64> {
        match &self.weights {
            Weights::Held(data) => data[rows.start * self.cols..rows.end * self.cols].to_vec(),
            Weights::Stored(tensor, first) => {
                let mut values = vec![0.0; rows.len() * self.cols];
                tensor.read_rows(first + rows.start..first + rows.end, &mut values);
                widen(&values)
            }
        }
    }

    /// All rows.
    pub(super) fn read_all(&self) -> Vec<f64> {
        self.read(0..self.rows)
    }

    /// W x for every token, for matrices stored `[out, in]`.
    pub(super) fn mul(&self, xs: &[Vec<f64>]) -> Batch {
        let mut ys = vec![vec![0.0; self.rows]; xs.len()];
        let panel = |first: usize| first..self.rows.min(first + PANEL_ROWS);
        let starts: Vec<usize> = (0..self.rows).step_by(PANEL_ROWS).collect();
        for starts in starts.chunks(PANELS) {
            // [panel][token][row]
            let products: Vec<Vec<f64>> = starts
                .par_iter()
                .map(|&first| products(&self.read(panel(first)), self.cols, xs))
                .collect();
            for (&first, products) in starts.iter().zip(products) {
                let rows = panel(first);
                for (y, products) in ys.iter_mut().zip(products.chunks_exact(rows.len())) {
                    y[rows.clone()].copy_from_slice(products);
                }
            }
        }
        ys
    }

    /// x W for every token, for the low-rank matrices stored `[in, out]`.
    pub(super) fn left_mul(&self, xs: &[Vec<f64>]) -> Batch {
        let mut ys = vec![vec![0.0; self.cols]; xs.len()];
        for first in (0..self.rows).step_by(PANEL_ROWS) {
            let rows = first..self.rows.min(first + PANEL_ROWS);
            let weights = self.read(rows.clone());
            ys.par_iter_mut().zip(xs).for_each(|(y, x)| {
                assert_eq!(x.len(), self.rows);
                for (&x, row) in x[rows.clone()].iter().zip(weights.chunks_exact(self.cols)) {
                    y.iter_mut().zip(row).for_each(|(y, w)| *y += x * w);
                }
            });
        }
        ys
    }
}

/// The products of every token with every row of `panel`, `[token][row]`.
fn products(panel: &[f64], cols: usize, xs: &[Vec<f64>]) -> Vec<f64> {
    let mut all = Vec::with_capacity(xs.len() * panel.len() / cols);
    for x in xs {
        let mut fours = panel.chunks_exact(4 * cols);
        for four in &mut fours {
            let (ab, cd) = four.split_at(2 * cols);
            let ((a, b), (c, d)) = (ab.split_at(cols), cd.split_at(cols));
            all.extend(dots([a, b, c, d], x));
        }
        all.extend(fours.remainder().chunks_exact(cols).map(|row| dot(row, x)));
    }
    all
}

/// Sum of products.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    dots([a], b)[0]
}

/// Sums of products of several vectors with one, each in four independent sums:
/// one would wait for its own additions, and the whole reference with it.
fn dots<const ROWS: usize>(rows: [&[f64]; ROWS], x: &[f64]) -> [f64; ROWS] {
    let (x4, x_rest) = x.as_chunks::<4>();
    let rows = rows.map(|row| {
        assert_eq!(row.len(), x.len());
        row.as_chunks::<4>()
    });
    let mut sums = [[0.0; 4]; ROWS];
    let fours = rows.map(|(fours, _)| &fours[..x4.len()]);
    for (i, x) in x4.iter().enumerate() {
        for (sums, fours) in sums.iter_mut().zip(fours) {
            for lane in 0..4 {
                sums[lane] += fours[i][lane] * x[lane];
            }
        }
    }
    core::array::from_fn(|row| {
        let rest: f64 = rows[row].1.iter().zip(x_rest).map(|(w, x)| w * x).sum();
        sums[row].iter().sum::<f64>() + rest
    })
}

/// f over the elements of one vector.
pub(super) fn map(a: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    a.iter().map(|&a| f(a)).collect()
}

/// f over the elements of every vector of a block.
pub(super) fn map_each(xs: &[Vec<f64>], f: impl Fn(f64) -> f64) -> Batch {
    xs.iter().map(|x| map(x, &f)).collect()
}

/// f over the elements of two vectors of one length.
pub(super) fn map2(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

pub(super) fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    map2(a, b, |a, b| a + b)
}

pub(super) fn mul(a: &[f64], b: &[f64]) -> Vec<f64> {
    map2(a, b, |a, b| a * b)
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

pub(super) fn relu_squared(x: f64) -> f64 {
    x.max(0.0).powi(2)
}

/// The vectors before each of a block's: `before` the first, then all but the last.
fn previous<'a>(xs: &'a [Vec<f64>], before: &'a [f64]) -> impl Iterator<Item = &'a [f64]> {
    core::iter::once(before).chain(xs.iter().map(Vec::as_slice))
}

/// Token shift of versions 4 and 5: `mix` is the share of the current token.
/// `before` is the input of the token before the block.
pub(super) fn mix_current(xs: &[Vec<f64>], before: &[f64], mix: &[f64]) -> Batch {
    let shifted = xs.iter().zip(previous(xs, before)).map(|(current, previous)| {
        let (now, before) = (mul(current, mix), map2(previous, mix, |p, m| p * (1.0 - m)));
        add(&now, &before)
    });
    shifted.collect()
}

/// Token shift of versions 6 and 7: `mix` is the share of the previous token.
/// `before` is the input of the token before the block.
pub(super) fn mix_previous(xs: &[Vec<f64>], before: &[f64], mix: &[f64]) -> Batch {
    let pairs = xs.iter().zip(previous(xs, before));
    pairs.map(|(current, previous)| towards(current, previous, mix)).collect()
}

/// The same with a mix for each token, `[token][channel]`.
pub(super) fn mix_each_previous(xs: &[Vec<f64>], before: &[f64], mixes: &[Vec<f64>]) -> Batch {
    let pairs = xs.iter().zip(previous(xs, before)).zip(mixes);
    pairs.map(|((current, previous), mix)| towards(current, previous, mix)).collect()
}

/// a + (b - a) share.
pub(super) fn towards(a: &[f64], b: &[f64], share: &[f64]) -> Vec<f64> {
    add(a, &mul(&map2(b, a, |b, a| b - a), share))
}

/// (x - mean) / sqrt(variance + eps), the variance biased.
fn normalise(x: &[f64], eps: f64) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    map(x, |x| (x - mean) / (variance + eps).sqrt())
}

/// Weight and bias `[D]` of a norm.
pub(super) struct Norm {
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Norm {
    /// Takes `name.weight` and `name.bias`.
    pub(super) fn take(
        source: &mut Source<'_>,
        name: &str,
        channels: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            weight: source.vector(&format!("{name}.weight"), channels)?,
            bias: source.vector(&format!("{name}.bias"), channels)?,
        })
    }

    /// LayerNorm over all channels.
    pub(super) fn layer(&self, x: &[f64]) -> Vec<f64> {
        self.affine(&normalise(x, LAYER_NORM_EPS))
    }

    /// LayerNorm of every token.
    pub(super) fn layers(&self, xs: &[Vec<f64>]) -> Batch {
        xs.iter().map(|x| self.layer(x)).collect()
    }

    /// GroupNorm: a norm over each head, then weight and bias over all channels.
    pub(super) fn group(&self, x: &[f64], head_size: usize) -> Vec<f64> {
        let heads = x.chunks_exact(head_size);
        self.affine(&heads.flat_map(|head| normalise(head, GROUP_NORM_EPS)).collect::<Vec<_>>())
    }

    fn affine(&self, x: &[f64]) -> Vec<f64> {
        add(&mul(x, &self.weight), &self.bias)
    }
}
