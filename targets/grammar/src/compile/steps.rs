//! The budget: steps, not seconds, so that the result does not depend on the machine.

use std::cell::Cell;

use crate::CompileError;

/// Steps that may still be taken.
pub(super) struct Steps {
    left: Cell<u64>,
    limit: u64,
}

impl Steps {
    pub(super) const fn new(limit: u64) -> Self {
        Self { left: Cell::new(limit), limit }
    }

    pub(super) fn take(&self, steps: usize) -> Result<(), CompileError> {
        match self.left.get().checked_sub(steps as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(CompileError::Budget { limit: self.limit }),
        }
    }

    /// Whether trying for a smaller table is worth it: what was taken is a small part.
    pub(super) const fn are_plenty(&self) -> bool {
        self.left.get() > self.limit / 10 * 9
    }
}
