//! Sums in the one order, and the norms built on them.
//!
//! Element i is added to `s[i mod 16]` in ascending order from +0.0; then
//! `s[j] += s[j + 8]`, then 4, 2 and 1. Sixteen lanes are one AVX-512
//! register, two AVX ones, four of NEON: each adds the same numbers in the
//! same order, and no lane waits for another.

/// Number of partial sums.
pub const LANES: usize = 16;

/// Sixteen partial sums.
#[derive(Clone, Copy, Debug)]
struct Lanes([f32; LANES]);

impl Lanes {
    /// Folds the partial sums into one.
    #[inline(always)]
    fn total(self) -> f32 {
        let mut s = self.0;
        let mut half = LANES / 2;
        while half > 0 {
            for j in 0..half {
                s[j] += s[j + half];
            }
            half /= 2;
        }
        s[0]
    }
}

/// The sum of `f` over N slices of one length, in the one order.
#[inline(always)]
fn sum_of<const N: usize>(x: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let len = x[0].len();
    let x = x.map(|x| &x[..len]);
    let mut lanes = Lanes([0.0; LANES]);
    let whole = len / LANES * LANES;
    let mut at = 0;
    while at < whole {
        let rows: [&[f32; LANES]; N] = x.map(|x| {
            let Some((row, _)) = x[at..].split_first_chunk() else { unreachable!() };
            row
        });
        for lane in 0..LANES {
            lanes.0[lane] += f(rows.map(|row| row[lane]));
        }
        at += LANES;
    }
    for lane in 0..len - whole {
        lanes.0[lane] += f(x.map(|x| x[whole + lane]));
    }
    lanes.total()
}

/// The sum of `x`.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    sum_of([x], |[x]| x)
}

/// The sum of squares of `x`.
#[inline(always)]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    sum_of([x], |[x]| x * x)
}

/// The sum of `(a * b) * c`.
///
/// # Panics
///
/// When `b` or `c` is shorter than `a`.
#[inline(always)]
pub fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    sum_of([a, b, c], |[a, b, c]| (a * b) * c)
}

/// Mean of `x` and `1 / sqrt(variance + eps)`, the variance being the mean of
/// `(x - mean)^2`, a second pass.
#[inline(always)]
pub fn mean_and_rstd(x: &[f32], eps: f32) -> (f32, f32) {
    let len = x.len() as f32;
    let mean = sum(x) / len;
    let variance = sum_of([x], |[x]| (x - mean) * (x - mean)) / len;
    (mean, 1.0 / libm::sqrtf(variance + eps))
}

/// LayerNorm: `out = ((x - mean) * rstd) * weight + bias`, all of one length.
#[inline(always)]
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let (mean, rstd) = mean_and_rstd(x, eps);
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * rstd) * weight + bias;
    }
}

/// [`layer_norm`] of `x` into itself.
#[inline(always)]
pub fn layer_norm_in_place(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let (mean, rstd) = mean_and_rstd(x, eps);
    for ((x, weight), bias) in x.iter_mut().zip(weight).zip(bias) {
        *x = ((*x - mean) * rstd) * weight + bias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The order as its definition says it, one element at a time.
    fn naive(x: &[f32]) -> f32 {
        let mut s = [0.0f32; 16];
        for (i, x) in x.iter().enumerate() {
            s[i % 16] += x;
        }
        for step in [8, 4, 2, 1] {
            for j in 0..step {
                s[j] += s[j + step];
            }
        }
        s[0]
    }

    proptest! {
        #[test]
        fn sums_in_the_one_order(x in proptest::collection::vec(-1e3f32..1e3, 0..100)) {
            prop_assert_eq!(sum(&x).to_bits(), naive(&x).to_bits());
        }
    }

    #[test]
    fn normalises() {
        let x: [f32; 20] = core::array::from_fn(|i| i as f32 * 0.5 - 3.0);
        let mut out = [0.0; 20];
        layer_norm(&x, &[1.0; 20], &[0.0; 20], 1e-5, &mut out);
        assert!(sum(&out).abs() < 1e-5);
        assert!((sum_of_squares(&out) / 20.0 - 1.0).abs() < 1e-5);
    }
}
