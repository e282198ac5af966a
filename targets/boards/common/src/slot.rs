//! A place for what a program has once, such as its console.

use core::cell::RefCell;

use critical_section::Mutex;

/// A place for a value, which one at a time uses: while it is in use it is not there.
#[derive(Debug)]
pub struct Slot<T>(Mutex<RefCell<Option<T>>>);

impl<T: Send> Slot<T> {
    /// An empty place.
    pub const fn new() -> Self {
        Self(Mutex::new(RefCell::new(None)))
    }

    /// Puts `value` there.
    pub fn put(&self, value: T) {
        critical_section::with(|section| self.0.borrow_ref_mut(section).replace(value));
    }

    /// Uses the value with interrupts on; `None` where there is none, or whoever was interrupted
    /// uses it.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = critical_section::with(|section| self.0.borrow_ref_mut(section).take())?;
        let result = f(&mut value);
        self.put(value);
        Some(result)
    }
}

impl<T: Send> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}
