//! What the pool's threads share, by one name: the model of the pool (`tests/loom`) takes the same
//! source with loom's types in their place.

use std::cell::UnsafeCell;

pub(super) use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize};
pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(super) use std::thread;

/// A value whose accesses its owner orders.
pub(super) struct Guarded<T>(UnsafeCell<T>);

impl<T: Copy> Guarded<T> {
    pub(super) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    ///
    /// No other thread sets the value at the same time.
    pub(super) unsafe fn get(&self) -> T {
        // SAFETY: as required of the caller.
        unsafe { *self.0.get() }
    }

    /// # Safety
    ///
    /// No other thread gets or sets the value at the same time.
    pub(super) unsafe fn set(&self, value: T) {
        // SAFETY: as required of the caller.
        unsafe { *self.0.get() = value }
    }
}
