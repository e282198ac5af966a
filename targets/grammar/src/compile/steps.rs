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
            None => {
                self.left.set(0);
                Err(CompileError::Budget { limit: self.limit })
            }
        }
    }

    /// Does something with a quarter of what is left, so that something else can be tried if that
    /// is not enough.
    pub(super) fn try_out<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        let left = self.left.get();
        let part = Self { left: Cell::new(left / 4), limit: self.limit };
        let result = work(&part);
        self.left.set(left - left / 4 + part.left.get());
        result
    }

    /// Whether most are left: then it is worth to try for a smaller table.
    pub(super) fn are_plenty(&self) -> bool {
        self.left.get() > self.limit / 2
    }
}
