//! The progress of a conversion of several phases, as one number of weights.

use super::Progress;

/// Divides a conversion among its phases, each of which takes some steps of all.
pub(super) struct Phases<'p> {
    progress: Progress<'p>,
    weights: u64,
    all: u64,
    before: u64,
}

impl<'p> Phases<'p> {
    /// Of a conversion of some weights, in as many steps.
    pub(super) fn new(progress: Progress<'p>, weights: u64, steps: u64) -> Self {
        Self { progress, weights, all: steps.max(1), before: 0 }
    }

    /// The next phase, which counts whatever it likes.
    pub(super) fn next(&mut self, steps: u64) -> impl FnMut(u64, u64) + '_ {
        let Self { progress, weights, all, before } = self;
        let first = u128::from(*before);
        *before += steps;
        let (weights, steps, all) = (*weights, u128::from(steps), u128::from(*all));
        move |done, of| {
            let of = u128::from(of.max(1));
            let part = first * of + steps * u128::from(done).min(of);
            progress((u128::from(weights) * part / (all * of)) as u64, weights);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another() {
        let mut seen = Vec::new();
        let mut progress = |done, all| seen.push((done, all));
        let mut phases = Phases::new(&mut progress, 100, 4);
        phases.next(1)(1, 2);
        let mut second = phases.next(3);
        second(0, 7);
        second(7, 7);
        // More than all of a phase is not of the next one.
        second(9, 7);
        drop(second);
        assert_eq!(seen, [(12, 100), (25, 100), (100, 100), (100, 100)]);
    }
}
