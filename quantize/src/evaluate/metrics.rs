//! How close one set of logits is to another.
//!
//! Logits are flat `[position][vocab]`; `reference` is the exact side. All is computed in f64, and
//! a NaN on either side comes out as NaN: a maximum or a comparison would otherwise drop it and
//! call broken logits perfect.

pub use crate::reference::math::widen;

/// Largest |difference|; NaN when any difference is NaN.
///
/// # Panics
///
/// When the lengths differ.
#[must_use]
pub fn max_abs_diff(got: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(got.len(), reference.len());
    // f64::max would drop a NaN and so call broken logits perfect.
    got.iter()
        .zip(reference)
        .map(|(g, r)| (g - r).abs())
        .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

/// Mean |difference| over the standard deviation of all of `reference`.
///
/// # Panics
///
/// When the lengths differ or are zero.
#[must_use]
pub fn relative_mean_abs_diff(got: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(got.len(), reference.len());
    assert!(!got.is_empty());
    let count = got.len() as f64;
    let diff = got.iter().zip(reference).map(|(g, r)| (g - r).abs()).sum::<f64>() / count;
    let mean = reference.iter().sum::<f64>() / count;
    let variance = reference.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / count;
    diff / variance.sqrt()
}

/// Pairs of rows of the two sides.
fn rows<'a>(
    got: &'a [f64],
    reference: &'a [f64],
    vocab: usize,
) -> impl ExactSizeIterator<Item = (&'a [f64], &'a [f64])> {
    assert_eq!(got.len(), reference.len());
    assert!(!got.is_empty() && got.len().is_multiple_of(vocab));
    got.chunks_exact(vocab).zip(reference.chunks_exact(vocab))
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Cosine of the angle between two vectors.
#[must_use]
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Cosine between the two rows of every position.
///
/// # Panics
///
/// When the lengths differ, are zero, or are no multiple of `vocab`.
#[must_use]
pub fn cosines(got: &[f64], reference: &[f64], vocab: usize) -> Vec<f64> {
    rows(got, reference, vocab).map(|(g, r)| cosine(g, r)).collect()
}

/// One minus the mean over positions of [`cosines`].
///
/// # Panics
///
/// As [`cosines`].
#[must_use]
pub fn mean_cosine_loss(got: &[f64], reference: &[f64], vocab: usize) -> f64 {
    1.0 - mean(cosines(got, reference, vocab).into_iter())
}

/// Natural logarithms of the softmax of one row.
#[must_use]
pub fn log_softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    row.iter().map(|x| x - log_sum).collect()
}

/// KL(p || q) in nats between the softmax of two rows of logits.
#[must_use]
pub fn kl_divergence(p: &[f64], q: &[f64]) -> f64 {
    let terms = log_softmax(p).into_iter().zip(log_softmax(q));
    terms.map(|(lp, lq)| lp.exp() * (lp - lq)).sum()
}

/// Mean over positions of KL(reference || got), in nats.
///
/// # Panics
///
/// As [`cosines`].
#[must_use]
pub fn mean_kl_divergence(got: &[f64], reference: &[f64], vocab: usize) -> f64 {
    mean(rows(got, reference, vocab).map(|(g, r)| kl_divergence(r, g)))
}

/// Index of the largest element; the lower one of equals.
///
/// # Panics
///
/// When `row` is empty.
#[must_use]
pub fn argmax(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Fraction of positions at which both sides rank the same token first.
///
/// # Panics
///
/// As [`cosines`].
#[must_use]
pub fn top1_agreement(got: &[f64], reference: &[f64], vocab: usize) -> f64 {
    mean(rows(got, reference, vocab).map(|(g, r)| f64::from(argmax(g) == argmax(r))))
}

/// Cross-entropy in nats of `target` under the softmax of one row.
///
/// # Panics
///
/// When `target` is not an index of `row`.
#[must_use]
pub fn cross_entropy(row: &[f64], target: usize) -> f64 {
    -log_softmax(row)[target]
}

/// Perplexity from the mean cross-entropy in nats per token.
#[must_use]
pub fn perplexity(nats_per_token: f64) -> f64 {
    nats_per_token.exp()
}

/// Bits per byte from the total cross-entropy in nats of a text of `bytes` bytes.
#[must_use]
pub fn bits_per_byte(total_nats: f64, bytes: usize) -> f64 {
    total_nats / core::f64::consts::LN_2 / bytes as f64
}

#[cfg(test)]
mod tests {
    use core::f64::consts::LN_2;

    use super::*;

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "{got} is not {want}");
    }

    #[test]
    fn widening_is_exact() {
        assert_eq!(widen(&[0.1, -3.0]), [f64::from(0.1f32), -3.0]);
    }

    #[test]
    fn largest_difference_keeps_sign_apart_and_nan_in() {
        assert_eq!(max_abs_diff(&[1.0, 2.0, 3.0], &[1.5, 0.0, 3.0]), 2.0);
        assert!(max_abs_diff(&[1.0, f64::NAN, 3.0], &[0.0, 0.0, 0.0]).is_nan());
    }

    #[test]
    fn mean_difference_is_in_standard_deviations() {
        // Standard deviation 2 about the mean 3, mean |difference| 0.5.
        close(relative_mean_abs_diff(&[1.0, 4.0, 1.5, 5.5], &[1.0, 5.0, 1.0, 5.0]), 0.25);
    }

    #[test]
    fn cosine_is_taken_row_by_row() {
        let got = [2.0, 0.0, 1.0, 1.0, 0.0, -3.0];
        let reference = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let all = cosines(&got, &reference, 2);
        close(all[0], 1.0);
        close(all[1], 0.5f64.sqrt());
        close(all[2], -1.0);
        close(mean_cosine_loss(&got, &reference, 2), 1.0 - 0.5f64.sqrt() / 3.0);
    }

    #[test]
    fn softmax_survives_large_logits() {
        let row = log_softmax(&[1e4, 1e4 + 3f64.ln()]);
        assert!((row[0] - 0.25f64.ln()).abs() < 1e-11 && (row[1] - 0.75f64.ln()).abs() < 1e-11);
    }

    #[test]
    fn divergence_goes_from_reference_to_candidate() {
        // p = (1/2, 1/2), q = (1/4, 3/4).
        let (p, q) = ([0.0, 0.0], [0.0, 3f64.ln()]);
        close(kl_divergence(&p, &q), 0.5 * 2f64.ln() + 0.5 * (2.0 / 3.0f64).ln());
        close(kl_divergence(&q, &p), 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln());
        let (got, reference) = ([q, p].concat(), [p, p].concat());
        close(mean_kl_divergence(&got, &reference, 2), kl_divergence(&p, &q) / 2.0);
    }

    #[test]
    fn first_of_equals_wins() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        let got = [0.0, 1.0, 5.0, 5.0, 1.0, 0.0, 0.0, 2.0];
        let reference = [0.0, 2.0, 3.0, 1.0, 0.0, 1.0, 1.0, 2.0];
        close(top1_agreement(&got, &reference, 2), 0.75);
    }

    #[test]
    fn entropy_of_a_fair_choice_is_one_bit() {
        close(cross_entropy(&[7.0, 7.0], 1), LN_2);
        close(cross_entropy(&[0.0, 3f64.ln()], 0), 4f64.ln());
        close(perplexity(LN_2), 2.0);
        close(bits_per_byte(24.0 * LN_2, 6), 4.0);
    }
}
