//! Threads that share regions of a few microseconds.
//!
//! A region is a number of chunks, which the caller and the workers claim one
//! by one. The design follows from two facts: a token passes through a hundred
//! regions, so starting and ending one may cost no more than a few transfers of
//! a cache line; and a machine may have fewer free cores than the pool has
//! threads, so nobody may depend on a thread that is not running.
//!
//! * The caller works too, and can do a whole region alone. It waits for chunks
//!   that a worker has claimed, never for a worker: one that is not scheduled, or
//!   wakes late, finds nothing to claim and is not missed.
//! * Whoever waits [spins](Spin) for a moment and then sleeps. A worker without work
//!   gives its core back, and so does a caller whose last chunk is in the hands
//!   of a preempted worker: the core is then free for that worker.
//! * Where other programs want the cores, too, nobody spins ([`Contention`]): a thread
//!   that spins uses its share of a core up, and has to wait when there is work. On
//!   two cores beside two busy programs, two threads were 2 to 10 % slower than one
//!   when they spun, and are 13 to 30 % faster (medians). On a core of its own a
//!   thread should spin: to wake one takes longer, and costs a token 16 %.
//!
//! # Why it is sound
//!
//! A job is a pointer to a closure on the caller's stack; it is read by threads
//! that may be arbitrarily late. What they may read is decided by one rule: *a
//! job is read only between a claim and the report that its chunk is finished.*
//!
//! * `unclaimed` is set to the number of chunks after the job was written. A
//!   claim takes one from it, and counts only if something was left. The store
//!   releases and the claim acquires (other claims in between are
//!   read-modify-writes, which continue the release sequence), so whoever holds
//!   a claim sees the job of the region that the claim is for. A late thread that
//!   claims from a newer region than the one it woke for simply helps the newer.
//! * `unfinished` counts the chunks that are not reported. Reports release and
//!   the caller acquires, so when it reads zero, every read of the job and every
//!   write of a chunk has happened. Only then does it return, and only then can
//!   the next region write the job.
//! * A claim that finds nothing leaves `unclaimed` below zero, where the next
//!   region's store overwrites it. It is below zero by at most one per thread,
//!   since a thread tries only after reading a positive number.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::contention::Contention;
use super::spin::Spin;
use super::sync::thread::{self, JoinHandle, Thread};
use super::sync::{Arc, AtomicBool, AtomicIsize, AtomicUsize, Condvar, Guarded, Mutex, MutexGuard};

/// In `unfinished`: the caller sleeps until the last report.
const WAITING: usize = 1 << (usize::BITS - 1);

type Payload = Box<dyn Any + Send>;

/// Keeps what different threads write on different cache lines; two, because
/// processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// A closure on the caller's stack, without its type.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), usize),
    closure: *const (),
    chunks: usize,
}

impl Job {
    fn new<F: Fn(usize) + Sync>(closure: &F, chunks: usize) -> Self {
        /// # Safety
        ///
        /// `closure` points to an `F` that may be shared with this thread.
        unsafe fn call<F: Fn(usize)>(closure: *const (), chunk: usize) {
            // SAFETY: as required of the caller.
            unsafe { (*closure.cast::<F>())(chunk) }
        }
        Self { call: call::<F>, closure: (&raw const *closure).cast(), chunks }
    }
}

/// The chunks to claim, and the job that whoever claims one reads.
struct Queue {
    /// Chunks of the region that nobody has claimed; none if not positive.
    unclaimed: AtomicIsize,
    /// Whether a chunk has panicked; the others are then skipped.
    failed: AtomicBool,
    /// Whether the workers are to end.
    ending: AtomicBool,
    job: Guarded<Job>,
}

/// A worker as the others see it.
#[derive(Debug, Default)]
struct Worker {
    asleep: AtomicBool,
    /// Set by the worker before it first sleeps.
    thread: OnceLock<Thread>,
}

struct Shared {
    queue: Line<Queue>,
    /// Chunks of the region that are not reported, and [`WAITING`].
    unfinished: Line<AtomicUsize>,
    /// Whether to sleep without spinning; rarely written.
    impatient: Line<AtomicBool>,
    workers: Box<[Worker]>,
    /// The payload of the first panic of a chunk.
    payload: Mutex<Option<Payload>>,
    /// Held by a caller that goes to sleep, until it does.
    falling_asleep: Mutex<()>,
    finished: Condvar,
}

// SAFETY: `job` is the only part that is not `Sync`. It is written by a caller
// that owns the pool's `busy` flag while no chunk is claimed, and read under a
// claim (see the module's text). The closure that it points to is `Sync`, and
// outlives the region.
unsafe impl Sync for Shared {}
// SAFETY: nothing in it belongs to a thread; for the job's pointer, see above.
unsafe impl Send for Shared {}

impl Shared {
    fn new(workers: usize) -> Self {
        let queue = Queue {
            unclaimed: AtomicIsize::new(0),
            failed: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            job: Guarded::new(Job::new(&|_| (), 0)),
        };
        Self {
            queue: Line(queue),
            unfinished: Line::default(),
            impatient: Line::default(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            payload: Mutex::default(),
            falling_asleep: Mutex::default(),
            finished: Condvar::new(),
        }
    }

    fn has_chunks(&self) -> bool {
        self.queue.0.unclaimed.load(Relaxed) > 0
    }

    /// Spins once; whether to sleep now.
    fn is_over(&self, spin: &mut Spin) -> bool {
        spin.is_over(|| self.impatient.0.load(Relaxed))
    }

    fn is_ending(&self) -> bool {
        self.queue.0.ending.load(Relaxed)
    }

    /// Opens a region of `job`.
    ///
    /// # Safety
    ///
    /// No other region is open, and the job's closure lives until
    /// `unfinished` has been read as zero, with [`Acquire`].
    unsafe fn publish(&self, job: Job) {
        // SAFETY: without an open region there is no claim, and nobody reads.
        unsafe { self.queue.0.job.set(job) }
        self.unfinished.0.store(job.chunks, Relaxed);
        self.queue.0.unclaimed.store(job.chunks as isize, Release);
    }

    /// Claims and runs chunks until none is left. Returns their number, which
    /// the caller must report.
    fn work(&self) -> usize {
        let queue = &self.queue.0;
        let mut finished = 0;
        while queue.unclaimed.load(Relaxed) > 0 {
            let left = queue.unclaimed.fetch_sub(1, Acquire);
            if left <= 0 {
                break;
            }
            // SAFETY: this thread holds a claim that is not reported.
            let job = unsafe { queue.job.get() };
            if !queue.failed.load(Relaxed) {
                // SAFETY: the region's caller keeps the closure until the report.
                let run = || unsafe { (job.call)(job.closure, job.chunks - left as usize) };
                // The caller of the region gets the panic, and with it the
                // responsibility for what the closure left behind.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
                    self.fail(payload);
                }
            }
            finished += 1;
        }
        finished
    }

    #[cold]
    fn fail(&self, payload: Payload) {
        let mut first = lock(&self.payload);
        let later = match *first {
            None => first.replace(payload),
            Some(_) => Some(payload),
        };
        drop(first);
        // Dropping it runs code that may panic again; what that panics with is never dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(later))) {
            std::mem::forget(again);
        }
        self.queue.0.failed.store(true, Relaxed);
    }

    /// Reports `finished` chunks, as a worker.
    fn report(&self, finished: usize) {
        if self.unfinished.0.fetch_sub(finished, Release) == WAITING + finished {
            // The caller holds the lock from setting the flag until it sleeps.
            drop(lock(&self.falling_asleep));
            self.finished.notify_one();
        }
    }

    /// Waits until all chunks are reported.
    fn join(&self) {
        let mut spin = Spin::default();
        while self.unfinished.0.load(Acquire) != 0 {
            if self.is_over(&mut spin) {
                let mut guard = lock(&self.falling_asleep);
                let mut unfinished = self.unfinished.0.fetch_or(WAITING, Acquire);
                while unfinished & !WAITING != 0 {
                    guard = self.finished.wait(guard).unwrap_or_else(PoisonError::into_inner);
                    unfinished = self.unfinished.0.load(Acquire);
                }
                return;
            }
        }
    }

    /// Wakes up to `count` sleeping workers.
    ///
    /// A worker that is just falling asleep may be missed. It sleeps through this
    /// region then, and the next one wakes it: no region needs it.
    fn wake(&self, count: usize) {
        let asleep =
            |worker: &&Worker| worker.asleep.load(Relaxed) && worker.asleep.swap(false, Acquire);
        for worker in self.workers.iter().filter(asleep).take(count) {
            if let Some(thread) = worker.thread.get() {
                thread.unpark();
            }
        }
    }

    /// The life of worker `index`.
    fn serve(&self, index: usize) {
        let worker = &self.workers[index];
        worker.thread.get_or_init(thread::current);
        while !self.is_ending() {
            let mut spin = Spin::default();
            while !self.has_chunks() && !self.is_ending() && !self.is_over(&mut spin) {}
            if !self.has_chunks() {
                self.sleep(worker);
                if self.has_chunks() {
                    // The caller wakes one; each that wakes in time wakes two more.
                    self.wake(2);
                }
            }
            let finished = self.work();
            if finished > 0 {
                self.report(finished);
            }
        }
    }

    /// Sleeps until woken, or until the pool ends.
    fn sleep(&self, worker: &Worker) {
        // Whoever sees it sees the handle, too, by which the worker is woken.
        worker.asleep.store(true, Release);
        while worker.asleep.load(Relaxed) && !self.is_ending() {
            thread::park();
        }
        worker.asleep.store(false, Relaxed);
    }
}

/// Nothing but panics elsewhere can poison these locks, and they guard no
/// invariant that a panic could break.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads, of which the caller is one.
///
/// Dropping it ends and joins the others.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// Whether a region is open; only its owner may open one.
    busy: Line<AtomicBool>,
    contention: Mutex<Contention>,
}

impl Pool {
    /// A pool of `threads`, the caller included; of fewer when the operating
    /// system refuses to start one.
    pub(crate) fn new(threads: usize) -> Self {
        let workers = threads.saturating_sub(1);
        let shared = Arc::new(Shared::new(workers));
        let mut pool = Self {
            shared,
            handles: Vec::new(),
            busy: Line::default(),
            contention: Mutex::default(),
        };
        for index in 0..workers {
            let shared = Arc::clone(&pool.shared);
            let name = format!("kinglet-{}", index + 1);
            match thread::Builder::new().name(name).spawn(move || shared.serve(index)) {
                Ok(handle) => pool.handles.push(handle),
                Err(_) => break,
            }
        }
        pool
    }

    /// Number of threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Runs `f(0)` to `f(chunks - 1)`, each once, in any order and on any
    /// thread of the pool. Does not allocate.
    ///
    /// From inside a chunk, or while another thread has a region open, the
    /// calling thread runs all of them itself.
    ///
    /// # Panics
    ///
    /// When a chunk does: with the first one's payload, after all running chunks
    /// have ended. Chunks not begun by then are left out. The pool stays usable.
    pub(crate) fn for_each(&self, chunks: usize, f: &(impl Fn(usize) + Sync)) {
        if chunks <= 1 || self.handles.is_empty() || self.busy.0.swap(true, Acquire) {
            (0..chunks).for_each(f);
            return;
        }
        let shared = &*self.shared;
        let start = Instant::now();
        // SAFETY: `busy` is ours, so the last region's owner has joined it. `f` is
        // borrowed until this one is joined below; nothing in between unwinds.
        unsafe { shared.publish(Job::new(f, chunks)) };
        shared.wake(1);
        let finished = shared.work();
        if shared.unfinished.0.fetch_sub(finished, AcqRel) != finished {
            shared.join();
        }
        self.watch(start.elapsed());
        let failed = shared.queue.0.failed.swap(false, Relaxed);
        let payload = if failed { lock(&shared.payload).take() } else { None };
        self.busy.0.store(false, Release);
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }

    /// Lets the threads sleep at once as long as a region that took so long, and
    /// those before it, show that other programs want the cores.
    fn watch(&self, elapsed: Duration) {
        let mut contention = lock(&self.contention);
        contention.region(elapsed);
        let impatient = &self.shared.impatient.0;
        if impatient.load(Relaxed) != contention.is_disturbed() {
            impatient.store(contention.is_disturbed(), Relaxed);
        }
    }

    /// Runs `f` on each of `parts`, as [`for_each`](Self::for_each) does, and
    /// leaves `None` in their places.
    pub(crate) fn consume<S: Send>(&self, parts: &mut [Option<S>], f: &(impl Fn(S) + Sync)) {
        let slots = Slots(Cell::from_mut(parts).as_slice_of_cells());
        self.for_each(slots.0.len(), &|chunk| {
            let slots = &slots;
            if let Some(part) = slots.0[chunk].take() {
                f(part);
            }
        });
    }
}

/// Parts that are taken by whoever claims their index.
struct Slots<'a, S>(&'a [Cell<Option<S>>]);

// SAFETY: only `Pool::consume` makes one, and it touches each cell in one chunk,
// which one thread runs; what is in the cell may move there, being `Send`.
unsafe impl<S: Send> Sync for Slots<'_, S> {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.0.ending.store(true, Relaxed);
        for handle in self.handles.drain(..) {
            // The other thread sees all earlier stores of this one when `park` returns,
            // now or when it is next called.
            handle.thread().unpark();
            // Workers catch the panics of chunks, and have no others.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::spin::SPIN;
    use super::*;

    /// Every thread count of a small machine, and more than it has cores.
    const THREADS: &[usize] = if cfg!(miri) { &[1, 2, 4] } else { &[1, 2, 3, 4, 16] };

    /// A number of repetitions; fewer under Miri, which takes a thousand times as long.
    fn times(many: usize) -> usize {
        if cfg!(miri) { many.div_ceil(1000).min(20) } else { many }
    }

    fn runs_each_once(pool: &Pool, chunks: usize) {
        let counts: Vec<_> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
        pool.for_each(chunks, &|chunk| {
            counts[chunk].fetch_add(1, Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Relaxed) == 1), "{counts:?}");
    }

    #[test]
    fn each_chunk_runs_once() {
        for &threads in THREADS {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for chunks in (0..70).step_by(if cfg!(miri) { 23 } else { 1 }).chain([times(1000)]) {
                runs_each_once(&pool, chunks);
            }
        }
    }

    #[test]
    fn a_million_regions() {
        let pool = Pool::new(2);
        // Written without atomics: a chunk that ran after its region, or a write
        // that the caller did not see, would show.
        let mut counts = [0u64; 3];
        for region in 1..=times(1_000_000) as u64 {
            let mut parts = counts.each_mut().map(Some);
            pool.consume(&mut parts, &|count: &mut u64| *count += 1);
            assert_eq!(counts, [region; 3]);
        }
    }

    #[test]
    fn more_threads_than_cores() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::new(if cfg!(miri) { 3 } else { 4 * cores });
        for region in 0..times(20_000) {
            runs_each_once(&pool, 1 + region % 40);
            if region % times(2_000) == 0 {
                // Long enough that the workers sleep.
                thread::sleep(4 * SPIN);
            }
        }
    }

    #[test]
    fn threads_that_sleep_at_once() {
        if cfg!(miri) {
            return; // It has no clock that would end the disturbance.
        }
        for &threads in THREADS {
            let mut pool = Pool::new(threads);
            pool.contention = Mutex::new(Contention::disturbed());
            runs_each_once(&pool, 2);
            // Thousands of regions, until the first window has ended.
            let mut chunks = (1..70).cycle();
            while lock(&pool.contention).is_disturbed() && threads > 1 {
                runs_each_once(&pool, chunks.next().unwrap());
            }
        }
    }

    #[test]
    fn several_threads_take_part() {
        let pool = Pool::new(2);
        let threads = Mutex::new(HashSet::new());
        // A worker comes sooner or later, however busy the machine is.
        while lock(&threads).len() < 2 {
            pool.for_each(8, &|_| {
                lock(&threads).insert(thread::current().id());
                thread::yield_now();
            });
        }
    }

    #[test]
    fn a_caller_waits_for_a_slow_worker() {
        let pool = Pool::new(2);
        let caller = thread::current().id();
        let mut slept = false;
        while !slept {
            let mut done = [false; 8];
            let mut parts = done.each_mut().map(Some);
            let by_worker = AtomicBool::new(false);
            pool.consume(&mut parts, &|done: &mut bool| {
                if thread::current().id() != caller && !by_worker.swap(true, Relaxed) {
                    thread::sleep(40 * SPIN);
                }
                *done = true;
            });
            assert_eq!(done, [true; 8]);
            slept = by_worker.into_inner();
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        for &threads in THREADS {
            let pool = Pool::new(threads);
            for guilty in [0, 7, 15] {
                let ended = AtomicUsize::new(0);
                let region = || {
                    pool.for_each(16, &|chunk| {
                        assert!(chunk != guilty, "chunk {chunk}");
                        ended.fetch_add(1, Relaxed);
                    });
                };
                let payload = catch_unwind(AssertUnwindSafe(region)).unwrap_err();
                assert_eq!(payload.downcast_ref(), Some(&format!("chunk {guilty}")));
                assert!(ended.into_inner() < 16);
                runs_each_once(&pool, 16);
            }
        }
    }

    #[test]
    fn parts_are_dropped_once_after_a_panic() {
        let part = Arc::new(());
        let pool = Pool::new(3);
        let mut parts: [_; 16] = std::array::from_fn(|_| Some(Arc::clone(&part)));
        let region = || pool.consume(&mut parts, &|_: Arc<()>| panic!("a part"));
        catch_unwind(AssertUnwindSafe(region)).unwrap_err();
        drop(parts);
        assert_eq!(Arc::strong_count(&part), 1);
    }

    #[test]
    fn regions_in_chunks_and_on_other_threads() {
        let pool = Pool::new(3);
        pool.for_each(8, &|_| runs_each_once(&pool, 5));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..times(2_000)).for_each(|_| runs_each_once(&pool, 9)));
            }
        });
    }

    #[test]
    fn ends_at_any_moment() {
        for round in 0..if cfg!(miri) { 10 } else { 300 } {
            let pool = Pool::new(1 + round % 5);
            if round % 3 > 0 {
                runs_each_once(&pool, 8);
            }
            if round % 7 == 0 {
                thread::sleep(3 * SPIN);
            }
            let shared = Arc::downgrade(&pool.shared);
            drop(pool);
            assert!(shared.upgrade().is_none(), "a worker is left");
        }
    }
}
