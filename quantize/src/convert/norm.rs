//! LayerNorm ln0 and DeepEmbed's product, which are folded into tables: in f64, rounded once.

use crate::multiversion::vectorized;

/// Epsilon of LayerNorm.
const LN_EPS: f64 = 1e-5;

/// Mean, and reciprocal of the standard deviation.
pub(super) type Moments = (f64, f64);

/// The moments of every row of `[row][width]`.
pub(super) fn moments(rows: &[f32], width: usize) -> Vec<Moments> {
    /// Each row has one sum, in ascending order, whose additions wait for each other; those
    /// of several rows do not.
    const TOGETHER: usize = 4;
    let mut all = Vec::with_capacity(rows.len() / width);
    for rows in rows.chunks(TOGETHER * width) {
        if rows.len() == TOGETHER * width {
            let rows: [&[f32]; TOGETHER] = std::array::from_fn(|i| &rows[i * width..][..width]);
            all.extend(moments_of(rows));
        } else {
            all.extend(rows.chunks(width).flat_map(|row| moments_of([row])));
        }
    }
    all
}

/// The moments of rows of the same length.
fn moments_of<const N: usize>(rows: [&[f32]; N]) -> [Moments; N] {
    let width = rows[0].len();
    let len = width as f64;
    let sums = |f: &dyn Fn(usize, f64) -> f64| {
        let mut sums = [0.0; N];
        for column in 0..width {
            for (i, (sum, row)) in sums.iter_mut().zip(rows).enumerate() {
                *sum += f(i, f64::from(row[column]));
            }
        }
        sums
    };
    let means = sums(&|_, x| x).map(|sum| sum / len);
    let squares = sums(&|i, x| (x - means[i]).powi(2));
    std::array::from_fn(|i| (means[i], 1.0 / (squares[i] / len + LN_EPS).sqrt()))
}

/// LayerNorm of an embedding row.
#[inline(always)]
pub(super) fn layer_norm(
    row: &[f32],
    (mean, rstd): Moments,
    weight: &[f32],
    bias: &[f32],
) -> impl Iterator<Item = f64> {
    row.iter().zip(weight).zip(bias).map(move |((&x, &weight), &bias)| {
        (f64::from(x) - mean) * rstd * f64::from(weight) + f64::from(bias)
    })
}

vectorized! {
    /// LayerNorm of an embedding row, in place, rounded once.
    pub(super) fn normalize(row: &mut [f32], moments: Moments, weight: &[f32], bias: &[f32]) {
        let (mean, rstd) = moments;
        for ((x, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
            let normed = (f64::from(*x) - mean) * rstd * f64::from(weight) + f64::from(bias);
            *x = normed as f32;
        }
    }
}

/// `rows + x share^T`, rounded once.
///
/// * `rows`: `[row][cols]`
/// * `x`: `[row][width]`
/// * `share`: `[cols][width]`
pub(super) fn add_product(rows: &mut [f32], x: &[f64], share: &[f64], width: usize) {
    /// Rows that use a row of `share` while it is in the cache.
    const TOGETHER: usize = 8;
    let cols = share.len() / width;
    for (rows, x) in rows.chunks_mut(TOGETHER * cols).zip(x.chunks(TOGETHER * width)) {
        for (column, share) in share.chunks(width).enumerate() {
            for (row, x) in x.chunks(width).enumerate() {
                let value = &mut rows[row * cols + column];
                *value = (f64::from(*value) + dot(x, share)) as f32;
            }
        }
    }
}

/// The sum of products, in eight sums that do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a8, a), (b8, b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
}
