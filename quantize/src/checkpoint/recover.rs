//! The functions by which official values follow from those that a container stores.

/// How official values follow from stored ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Recover {
    /// They are the stored values.
    Stored,
    /// Multiplied by a power of two, which is exact.
    Times(f32),
    /// The file stores `ln(x)`.
    Ln,
    /// The file stores `exp(x)`.
    Exp,
    /// The file stores `-exp(x)`.
    MinusExp,
    /// The file stores `exp(-exp(x))`.
    ExpMinusExp,
}

impl Recover {
    pub(super) fn is_exact(self) -> bool {
        matches!(self, Self::Stored | Self::Times(_))
    }

    pub(super) fn apply(self, values: &mut [f32]) {
        let each = |values: &mut [f32], f: fn(f64) -> f64| {
            for value in values {
                *value = f(f64::from(*value)) as f32;
            }
        };
        match self {
            Self::Stored => {}
            Self::Times(factor) => values.iter_mut().for_each(|value| *value *= factor),
            Self::Ln => each(values, f64::exp),
            Self::Exp => each(values, f64::ln),
            Self::MinusExp => each(values, |y| (-y).ln()),
            // A decay that rounded to 0 or 1 comes back as one that rounds there again.
            Self::ExpMinusExp => {
                each(values, |y| (-y.clamp(2f64.powi(-150), 1.0 - 2f64.powi(-25)).ln()).ln());
            }
        }
    }
}
