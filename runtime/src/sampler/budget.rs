//! What a poll may still do, so that a pass over the logits can be left between two of them.
//!
//! A unit is about one visit to a logit: a comparison and an addition. It is neither instructions
//! nor time; both depend on the processor. Where floats are emulated a unit takes some 100
//! instructions, elsewhere some 10.

/// Units that are left.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// Passes are left at multiples of this many slots, so that a sum in so many lanes goes on in
    /// the lane where it would be otherwise.
    pub(super) const GRAIN: usize = 16;
    /// Units of a comparison, an addition, or both.
    pub(super) const VISIT: usize = 1;
    /// Units of a penalty: three operations.
    pub(super) const PENALTY: usize = 2;
    /// Units of an exponential: some 25 operations on floats.
    pub(super) const EXP: usize = 16;
    /// Units of a power: a logarithm, an exponential, and two divisions.
    pub(super) const POWER: usize = 32;

    /// At least one, so that every poll gets on.
    pub(super) fn new(units: usize) -> Self {
        Self(units.max(1))
    }

    /// Calls `f` with the slots from `at` on, a piece at a time, and the index of the first of them,
    /// until there are no more. `None` when the budget is spent before that; `at` says how far it
    /// came.
    #[inline(always)]
    pub(super) fn pass(
        &mut self,
        at: &mut usize,
        slots: &mut [f32],
        cost: usize,
        mut f: impl FnMut(usize, &mut [f32]),
    ) -> Option<()> {
        while let Some(rest) = slots.get_mut(*at..).filter(|rest| !rest.is_empty()) {
            let piece = self.take(rest.len(), cost)?.min(rest.len());
            f(*at, &mut rest[..piece]);
            *at += piece;
        }
        Some(())
    }

    /// As many of `wanted` slots as may be visited at `cost` units each, which are taken off: all
    /// of them, or a multiple of the grain. It is a grain at least, which can be too much by less
    /// than that; `None` when no unit is left.
    #[inline(never)]
    pub(super) fn take(&mut self, wanted: usize, cost: usize) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let most = (self.0 / cost).max(Self::GRAIN) / Self::GRAIN * Self::GRAIN;
        let taken = wanted.min(most);
        self.0 = self.0.saturating_sub(taken * cost);
        Some(taken)
    }
}
