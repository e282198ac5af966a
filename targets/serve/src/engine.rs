//! The engine's thread: passes while there is something to write, and sleep otherwise.
//!
//! ```text
//! until nobody can ask any more and nothing is left to do:
//!     take the orders that have come; wait for one if there is nothing to do
//!     a pass over the weights
//!     show on the board how far the texts are
//! ```

use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kinglet::engine::{Engine, StepError};
use kinglet_talk::TalkError;
use kinglet_talk::schedule::{
    CacheStats, Draw, End, Reason, Request, ScheduleOptions, Scheduler, SlotStatus, Snapshot,
};

/// A text to be written, on its way to the engine's thread.
pub(crate) struct Job {
    pub(crate) start: Option<Snapshot>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) borders: Vec<usize>,
    pub(crate) shared: bool,
    pub(crate) keep: bool,
    pub(crate) draw: Box<dyn Draw + Send>,
}

/// How far everything is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// `[sequence]`
    pub(crate) slots: Vec<Option<SlotStatus>>,
    pub(crate) waiting: usize,
    pub(crate) cache: CacheStats,
    pub(crate) passes: u64,
    /// Tokens of prompts that were read.
    pub(crate) read: u64,
    /// Tokens of texts that were taken in.
    pub(crate) written: u64,
    /// Why the engine does not work any more.
    pub(crate) failed: Option<StepError>,
}

/// Where the engine's thread shows how far it is.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Progress>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    fn show(&self, scheduler: &Scheduler<'_>) {
        let mut progress = self.lock();
        progress.slots.clear();
        progress.slots.extend(scheduler.slots());
        progress.waiting = scheduler.waiting();
        progress.cache = scheduler.cache().stats();
    }
}

/// Writes texts until nobody can ask for one any more.
///
/// # Errors
///
/// When the engine does not work any more; every text has then ended with the error.
pub(crate) fn run(
    engine: &mut dyn Engine,
    options: ScheduleOptions,
    jobs: &Receiver<Job>,
    board: &Board,
) -> Result<(), StepError> {
    let mut scheduler = Scheduler::new(engine, options);
    board.show(&scheduler);
    loop {
        loop {
            match jobs.try_recv() {
                Ok(job) => submit(&mut scheduler, job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if scheduler.is_idle() => return Ok(()),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        if scheduler.is_idle() {
            match jobs.recv() {
                Ok(job) => submit(&mut scheduler, job),
                Err(_) => return Ok(()),
            }
        }
        let pass = scheduler.pass();
        let mut progress = board.lock();
        match pass {
            Ok(pass) => {
                progress.passes += 1;
                progress.read += pass.read as u64;
                progress.written += pass.written as u64;
            }
            Err(error) => {
                progress.failed = Some(error);
                return Err(error);
            }
        }
        drop(progress);
        board.show(&scheduler);
    }
}

fn submit(scheduler: &mut Scheduler<'_>, job: Job) {
    let Job { start, prompt, borders, shared, keep, draw } = job;
    if let Err(refused) = scheduler.submit(Request { start, prompt, borders, shared, keep, draw }) {
        let reason = Reason::Failed(TalkError::Refused(refused.reason));
        refused.request.draw.end(End { reason, cached: 0, drawn: 0, snapshot: None });
    }
}
