//! Memory that is counted: a parser that asks for more than it may ends the process, which
//! libFuzzer reports with the input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Ends the process where `more` bytes exceed the limit: libFuzzer's hook aborts at a panic, so
/// that none leaves the allocator. Another panic's message may take what it needs.
fn take(more: usize) {
    let live = LIVE.fetch_add(more, Relaxed).saturating_add(more);
    if live > LIMIT.load(Relaxed) && !std::thread::panicking() {
        LIMIT.store(usize::MAX, Relaxed);
        panic!("{more} bytes asked for, {live} in all");
    }
}

fn give(less: usize) {
    LIVE.fetch_sub(less, Relaxed);
}

// SAFETY: everything is the system allocator's; counting changes nothing.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as required of the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size.saturating_sub(layout.size()));
        give(layout.size().saturating_sub(size));
        // SAFETY: as required of the caller.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Runs `f`, during which no more than `limit` bytes may be asked for beyond those held now.
pub fn within<R>(limit: usize, f: impl FnOnce() -> R) -> R {
    LIMIT.store(LIVE.load(Relaxed).saturating_add(limit), Relaxed);
    let result = f();
    LIMIT.store(usize::MAX, Relaxed);
    result
}
