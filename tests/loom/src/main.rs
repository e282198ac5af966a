//! The pool's handshake in every order in which its threads can run (loom).
//!
//! The source is the pool's own (`targets/host/src/threads/pool.rs`) over loom's atomics, locks
//! and threads, which explore what the memory model allows: a value read too early, two threads
//! in one chunk, a caller that returns before a chunk has ended, a wake-up that is lost for ever.
//!
//!     cargo run --release -- [deep]
//!
//! Three stand-ins: nobody spins, since a thread that waits in the model is not to be scheduled;
//! time does not pass, so that other programs never want the cores; what threads share is loom's.

#[path = "."]
mod threads {
    pub(crate) mod contention {
        //! Stands in for the measure of other programs' load: there is none.

        use std::time::Duration;

        #[derive(Debug, Default)]
        pub(crate) struct Contention;

        impl Contention {
            pub(crate) fn is_disturbed(&self) -> bool {
                false
            }

            pub(crate) fn region(&mut self, _elapsed: Duration) {}
        }
    }

    pub(crate) mod spin {
        //! Stands in for a wait that is bounded in time: it is over.

        #[derive(Debug, Default)]
        pub(super) struct Spin;

        impl Spin {
            pub(super) fn is_over(&mut self, impatient: impl Fn() -> bool) -> bool {
                impatient();
                true
            }
        }
    }

    pub(crate) mod sync {
        //! Stands in for the types that threads share.

        use std::sync::atomic::Ordering;

        use loom::cell::UnsafeCell;

        pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize};
        pub(super) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
        pub(super) use loom::thread;

        /// A store that takes the place of another thread's concurrent subtraction comes after it,
        /// because nothing lies between what a subtraction reads and what it writes. loom lets the
        /// storing thread read the difference all the same, which no machine does; a swap has seen
        /// it.
        pub(super) struct AtomicIsize(loom::sync::atomic::AtomicIsize);

        impl AtomicIsize {
            pub(super) fn new(value: isize) -> Self {
                Self(loom::sync::atomic::AtomicIsize::new(value))
            }

            pub(super) fn load(&self, order: Ordering) -> isize {
                self.0.load(order)
            }

            pub(super) fn store(&self, value: isize, order: Ordering) {
                self.0.swap(value, order);
            }

            pub(super) fn fetch_sub(&self, value: isize, order: Ordering) -> isize {
                self.0.fetch_sub(value, order)
            }
        }

        pub(super) struct Guarded<T>(UnsafeCell<T>);

        impl<T: Copy> Guarded<T> {
            pub(super) fn new(value: T) -> Self {
                Self(UnsafeCell::new(value))
            }

            pub(super) unsafe fn get(&self) -> T {
                // SAFETY: as required of the caller; loom checks it.
                self.0.with(|value| unsafe { *value })
            }

            pub(super) unsafe fn set(&self, value: T) {
                // SAFETY: as required of the caller; loom checks it.
                self.0.with_mut(|place| unsafe { *place = value });
            }
        }
    }

    #[path = "../../../targets/host/src/threads/pool.rs"]
    #[allow(dead_code, reason = "the model takes a part of it")]
    pub(crate) mod pool;
}

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use threads::pool::Pool;

/// A cell that one chunk writes, which loom checks.
struct Slot(UnsafeCell<usize>);

// SAFETY: the model is that a chunk alone writes it, and the caller reads it after the region.
unsafe impl Sync for Slot {}

impl Slot {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self, more: usize) {
        // SAFETY: loom checks it.
        self.0.with_mut(|value| unsafe { *value += more });
    }

    fn value(&self) -> usize {
        // SAFETY: loom checks it.
        self.0.with(|value| unsafe { *value })
    }
}

/// Regions of so many chunks, one after another; each chunk runs once, and its writes are the
/// caller's when the region has ended.
fn regions(threads: usize, chunks: &[usize]) {
    let pool = Pool::new(threads);
    assert_eq!(pool.threads(), threads);
    for &chunks in chunks {
        let slots: Vec<_> = (0..chunks).map(|_| Slot::new()).collect();
        pool.for_each(chunks, &|chunk| slots[chunk].add(chunk + 1));
        assert!(slots.iter().map(Slot::value).eq(1..=chunks));
    }
}

/// A chunk that panics: the caller gets it, and the pool goes on.
fn panics() {
    let pool = Pool::new(2);
    let region = std::panic::AssertUnwindSafe(|| {
        pool.for_each(2, &|chunk| {
            if chunk == 1 {
                std::panic::resume_unwind(Box::new("chunk 1"));
            }
        });
    });
    let payload = std::panic::catch_unwind(region).expect_err("a panic");
    assert_eq!(payload.downcast_ref(), Some(&"chunk 1"));
    let slots = [Slot::new(), Slot::new()];
    pool.for_each(2, &|chunk| slots[chunk].add(1));
    assert_eq!(slots.map(|slot| slot.value()), [1, 1]);
}

/// Two callers of one pool: one has the workers, the other works alone.
fn callers() {
    let pool = loom::sync::Arc::new(Pool::new(2));
    let other = {
        let pool = loom::sync::Arc::clone(&pool);
        loom::thread::spawn(move || {
            let slots = [Slot::new(), Slot::new()];
            pool.for_each(2, &|chunk| slots[chunk].add(1));
            assert_eq!(slots.map(|slot| slot.value()), [1, 1]);
        })
    };
    let slots = [Slot::new(), Slot::new()];
    pool.for_each(2, &|chunk| slots[chunk].add(1));
    assert_eq!(slots.map(|slot| slot.value()), [1, 1]);
    other.join().expect("the other caller");
}

/// Explores a model; `preemptions` bounds how often a thread is stopped where it need not be.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    static ORDERS: AtomicUsize = AtomicUsize::new(0);
    ORDERS.store(0, Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    let start = std::time::Instant::now();
    builder.check(move || {
        ORDERS.fetch_add(1, Relaxed);
        model();
    });
    let bound = preemptions.map_or("any".to_owned(), |bound| format!("up to {bound}"));
    println!(
        "{name}: {} orders, {bound} preemptions, {:.1} s",
        ORDERS.load(Relaxed),
        start.elapsed().as_secs_f32()
    );
}

fn main() {
    // One preemption more where there is time.
    let more = usize::from(std::env::args().nth(1).is_some_and(|arg| arg == "deep"));
    explore("2 threads that end", None, || regions(2, &[]));
    explore("2 threads, 2 chunks", Some(3 + more), || regions(2, &[2]));
    explore("2 threads, 2 and 3 chunks", Some(2 + more), || regions(2, &[2, 3]));
    explore("3 threads, 2 chunks", Some(1 + more), || regions(3, &[2]));
    explore("3 threads, 3 and 2 chunks", Some(1), || regions(3, &[3, 2]));
    explore("a chunk that panics", Some(2 + more), panics);
    explore("2 callers", Some(1 + more), callers);
}
