//! The few operations that the papers' equations are made of.

use super::{Error, Source};

/// Epsilon of every LayerNorm over the channels.
const LAYER_NORM_EPS: f64 = 1e-5;
/// Epsilon of the per-head norm of versions 5 to 7: training normalised x / 8
/// with 1e-5, which is x with 64 times as much.
const GROUP_NORM_EPS: f64 = 64e-5;

/// A matrix `[row][column]`.
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) data: Vec<f64>,
}

impl Matrix {
    pub(super) fn row(&self, index: usize) -> &[f64] {
        &self.data[index * self.cols..][..self.cols]
    }

    /// W x, for matrices stored `[out, in]`.
    pub(super) fn mul(&self, x: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|i| dot(self.row(i), x)).collect()
    }

    /// x W, for the low-rank matrices stored `[in, out]`.
    pub(super) fn left_mul(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.rows);
        let mut y = vec![0.0; self.cols];
        for (i, &xi) in x.iter().enumerate() {
            y.iter_mut().zip(self.row(i)).for_each(|(y, w)| *y += xi * w);
        }
        y
    }
}

/// Sum of products, in four independent sums: one would wait for its own
/// additions, and the whole reference with it.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let ((a4, a_rest), (b4, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// f over the elements of one vector.
pub(super) fn map(a: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    a.iter().map(|&a| f(a)).collect()
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

/// Token shift of versions 4 and 5: `mix` is the share of the current token.
pub(super) fn mix_current(current: &[f64], previous: &[f64], mix: &[f64]) -> Vec<f64> {
    let (now, before) = (mul(current, mix), map2(previous, mix, |p, m| p * (1.0 - m)));
    add(&now, &before)
}

/// Token shift of versions 6 and 7: `mix` is the share of the previous token.
pub(super) fn mix_previous(current: &[f64], previous: &[f64], mix: &[f64]) -> Vec<f64> {
    let difference = map2(previous, current, |p, c| p - c);
    add(current, &mul(&difference, mix))
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
    pub(super) fn take(source: &mut Source, name: &str, channels: usize) -> Result<Self, Error> {
        Ok(Self {
            weight: source.vector(&format!("{name}.weight"), channels)?,
            bias: source.vector(&format!("{name}.bias"), channels)?,
        })
    }

    /// LayerNorm over all channels.
    pub(super) fn layer(&self, x: &[f64]) -> Vec<f64> {
        self.affine(&normalise(x, LAYER_NORM_EPS))
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
