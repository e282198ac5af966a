//! Handing a job to the other core.
//!
//! A job is a closure on the first core's stack. One word is shared, the address of the job that
//! is not done:
//!
//! ```text
//! first core                              second core, for ever
//!     job = the second closure                while job is null: wait
//!     tell                                    run it
//!     run the first closure                   job = null
//!     while job is not null: wait             tell
//! ```
//!
//! Loads and stores of a word are enough, which ARMv6-M has too. Either store releases and the
//! loads acquire (a DMB, or STL and LDA): the second core sees what the closure refers to as the
//! first core left it, and the first core all that the closure has written.
//!
//! # Why it is sound
//!
//! Only the first core stores an address, and only where the word is null; only the second core
//! stores null, when it has run the closure and dropped it. Until the first core has seen that it
//! does not leave [`join`](SecondCore::join), also not by a panic, so the closure and whatever it
//! borrows outlive its run.

use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Release};

/// How a core learns that the other one has written to memory that they share.
///
/// With SEV and WFE, whose event a core keeps until its next WFE:
///
/// ```ignore
/// impl Mailbox for Events {
///     fn tell(&self) {
///         cortex_m::asm::dsb(); // The write before the event.
///         cortex_m::asm::sev();
///     }
///     fn wait(&self) {
///         cortex_m::asm::wfe();
///     }
/// }
/// ```
///
/// The FIFO of an RP2040 or RP2350 may take their place: a word in `tell`, unless the FIFO is full
/// and the other core told already.
pub trait Mailbox: Sync {
    /// Tells the other core that memory has changed. Does not wait for it.
    fn tell(&self);

    /// Waits until the other core has told, unless it has since this core last waited. May return
    /// earlier: whoever waits looks at the memory again.
    fn wait(&self);
}

impl<M: Mailbox> Mailbox for &M {
    fn tell(&self) {
        (*self).tell();
    }

    fn wait(&self) {
        (*self).wait();
    }
}

/// A core that runs what another one gives it.
///
/// A `static` of the firmware: the second core [serves](Self::serve), the first has a
/// [`TwoCores`](super::TwoCores) over it.
#[derive(Debug)]
pub struct SecondCore<M> {
    /// The job that is not done, or null.
    job: AtomicPtr<Call>,
    mailbox: M,
}

/// The start of a [`Job`]: runs it, given its address.
#[derive(Debug)]
struct Call(unsafe fn(*mut Call));

/// A closure that is run once.
#[repr(C)]
struct Job<F> {
    call: Call,
    closure: ManuallyDrop<F>,
}

impl<F: FnOnce()> Job<F> {
    fn new(closure: F) -> Self {
        /// # Safety
        ///
        /// `job` is the address of a `Job<F>` that nobody else uses and that was not run.
        unsafe fn call<F: FnOnce()>(job: *mut Call) {
            // SAFETY: as required of the caller; the job is `repr(C)`, so that its address is that
            // of `call`.
            let closure = unsafe { ManuallyDrop::take(&mut (*job.cast::<Job<F>>()).closure) };
            closure();
        }
        Self { call: Call(call::<F>), closure: ManuallyDrop::new(closure) }
    }
}

/// In the place of a job: one has panicked, and its core with it.
fn failed() -> *mut Call {
    ptr::without_provenance_mut(1)
}

impl<M: Mailbox> SecondCore<M> {
    /// A core that is reached by `mailbox`.
    pub const fn new(mailbox: M) -> Self {
        Self { job: AtomicPtr::new(ptr::null_mut()), mailbox }
    }

    /// How the cores reach each other.
    pub const fn mailbox(&self) -> &M {
        &self.mailbox
    }

    /// The second core's loop: runs what it is given, for ever.
    ///
    /// # Safety
    ///
    /// One core serves, no other and in no interrupt.
    pub unsafe fn serve(&self) -> ! {
        loop {
            // SAFETY: as required of the caller.
            if !unsafe { self.serve_one() } {
                self.mailbox.wait();
            }
        }
    }

    /// Runs a job if there is one; whether there was.
    ///
    /// # Safety
    ///
    /// As for [`serve`](Self::serve).
    pub unsafe fn serve_one(&self) -> bool {
        let job = self.job.load(Acquire);
        if job.is_null() || job == failed() {
            return false;
        }
        // On unwinding, which firmware does not do, the first core is told as well.
        let done = OnDrop(|| {
            self.job.store(failed(), Release);
            self.mailbox.tell();
        });
        // SAFETY: the word is the address of a job that `join` keeps until it is null again; by
        // the caller's promise nobody else runs it.
        unsafe { ((*job).0)(job) };
        core::mem::forget(done);
        self.job.store(ptr::null_mut(), Release);
        self.mailbox.tell();
        true
    }

    /// Runs `first` here and `second` on the second core, at the same time; one after the other
    /// within another `join`.
    ///
    /// # Panics
    ///
    /// When `first` does, or `second` where panics unwind.
    ///
    /// # Safety
    ///
    /// No two cores or threads join at the same time, but for a `join` within the closures.
    pub(super) unsafe fn join(&self, first: impl FnOnce(), second: impl FnOnce() + Send) {
        // Within a job, whose address is the word's until it has run: this core is the second.
        if !self.job.load(Acquire).is_null() {
            first();
            second();
            return;
        }
        let mut job = Job::new(second);
        self.job.store((&raw mut job).cast(), Release);
        self.mailbox.tell();
        let done = OnDrop(|| self.wait());
        first();
        drop(done);
        assert!(self.job.load(Acquire).is_null(), "the second core has panicked");
    }

    /// Waits until the job is done.
    #[inline(always)]
    fn wait(&self) {
        loop {
            let job = self.job.load(Acquire);
            if job.is_null() || job == failed() {
                return;
            }
            self.mailbox.wait();
        }
    }
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    #[inline(always)]
    fn drop(&mut self) {
        (self.0)();
    }
}
