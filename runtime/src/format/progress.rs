//! How far a job has come that is done in pieces.

/// How far a job has come that is done in pieces, so that firmware can do something else between
/// them: checking a model, writing or loading a state. Bytes, of which the caller says how many a
/// piece has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
#[non_exhaustive]
pub struct Progress {
    /// Bytes done.
    pub done: usize,
    /// All bytes.
    pub total: usize,
}

impl Progress {
    /// Whether nothing is left to do.
    pub const fn is_complete(self) -> bool {
        self.done == self.total
    }
}
