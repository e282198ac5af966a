//! The threads of a conversion.
//!
//! A system may refuse threads (`ulimit -u`, a container's limit). The pool that spreads work over
//! the cores then has fewer, down to the caller's own; what has to have a thread says so.

use std::io;
use std::sync::mpsc;
use std::thread;

/// Threads besides the pool's: one writes, one hashes the checkpoint, one waits for the disk.
const OTHERS: usize = 3;

/// Starts the pool with as many threads as the system gives, up to one for each core. Without
/// effect where the program has started it already.
pub(crate) fn ensure() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // Asked before, because a pool that cannot start can never be started again.
    let threads = available(cores + OTHERS).saturating_sub(OTHERS);
    let pool = rayon::ThreadPoolBuilder::new();
    let _ = match threads {
        // A pool of one is the caller itself, which is there in any case.
        0 => pool.num_threads(1).use_current_thread().build_global(),
        threads => pool.num_threads(threads).build_global(),
    };
}

/// Whether the pool's threads are others than the caller's own, which may then wait for what uses
/// them.
pub(crate) fn are_apart() -> bool {
    rayon::current_thread_index().is_none()
}

/// How many of `wanted` threads the system gives.
fn available(wanted: usize) -> usize {
    let mut waiting = Vec::new();
    for _ in 0..wanted {
        let (release, wait) = mpsc::channel::<()>();
        // It ends when `release` is dropped.
        match thread::Builder::new().spawn(move || wait.recv().is_err()) {
            Ok(handle) => waiting.push((release, handle)),
            Err(_) => break,
        }
    }
    let count = waiting.len();
    for (release, handle) in waiting {
        drop(release);
        let _ = handle.join();
    }
    count
}

/// The error of a thread that has to be there, told from one of the file that it works on.
pub(crate) fn refused(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the system refuses to start a thread: {error}"))
}
