//! Detection of contention: whether other programs want the cores that this one computes on.
//!
//! The caller of a region computes or spins from its begin to its end, so an undisturbed caller
//! has a core all that time. Over a window of several time slices
//!
//! ```text
//! share = CPU time of the calling thread / time that it had a region open
//! ```
//!
//! is near 1 when it has the core to itself, and well below when the scheduler gives the core
//! to others, or when it sleeps because a worker that holds a chunk was preempted. A caller
//! that sleeps instead of spinning lowers the share by itself, so a verdict cannot be revised
//! by watching on: every [`RETRY`] windows one is taken for undisturbed, and spins.

use std::thread::{self, ThreadId};
use std::time::Duration;

/// The time over which a share is taken: several time slices.
const WINDOW: Duration = Duration::from_millis(40);
/// The share of the time in regions for which a caller that is not disturbed has a
/// core. Measured on two cores with two threads: 0.94 to 0.99, or 0.78 to 0.95 when
/// they sleep between regions; 0.4 to 0.6 beside one or two busy programs.
const UNDISTURBED: f64 = 0.75;
/// Disturbed windows in a row until one is taken for undisturbed.
const RETRY: u32 = 48;

/// Watches how much of the time in regions their caller has a core: it is without one
/// while another program has it, and while it sleeps because a worker is without one.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    /// Time in regions since the window began.
    in_regions: Duration,
    /// The caller, and how long it had computed, when the window began.
    caller: Option<(ThreadId, Duration)>,
    /// The last windows in a row that were disturbed; none when they come to [`RETRY`].
    disturbed: u32,
}

impl Contention {
    /// Whether the caller was without a core for much of the last window; `false`
    /// where the system does not tell, and now and then for a window.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.disturbed > 0
    }

    /// Notes that the calling thread had a region open for `elapsed`.
    pub(crate) fn region(&mut self, elapsed: Duration) {
        self.in_regions += elapsed;
        if self.in_regions >= WINDOW
            && let Some(computed) = thread_time()
        {
            self.window(thread::current().id(), computed);
        }
    }

    /// Ends a window, by the end of which `caller` had computed for `computed`.
    ///
    /// CPU time is measured over the whole window, time between regions included. A caller that
    /// computes much between regions can therefore hide mild contention, but one that waits
    /// there for something else is never taken for a preempted one.
    fn window(&mut self, caller: ThreadId, computed: Duration) {
        let disturbed = self.caller.is_some_and(|(thread, before)| {
            let computed = computed.saturating_sub(before);
            thread == caller && computed < self.in_regions.mul_f64(UNDISTURBED)
        });
        self.disturbed = if disturbed { (self.disturbed + 1) % RETRY } else { 0 };
        self.caller = Some((caller, computed));
        self.in_regions = Duration::ZERO;
    }
}

/// How long the calling thread has had a core. Miri has no clock that tells.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
fn thread_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::ThreadCPUTime).try_into().ok()
}

#[cfg(any(not(any(target_os = "linux", target_os = "android")), miri))]
fn thread_time() -> Option<Duration> {
    None
}

#[cfg(test)]
impl Contention {
    /// One whose first window was disturbed.
    pub(crate) fn disturbed() -> Self {
        Self { disturbed: 1, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Whether a thread is disturbed after each window, given in milliseconds, by
    /// the end of which it had computed for as many.
    fn windows(contention: &mut Contention, thread: ThreadId, windows: &[(u64, u64)]) -> Vec<bool> {
        let mut window = |&(elapsed, computed)| {
            contention.in_regions = Duration::from_millis(elapsed);
            contention.window(thread, Duration::from_millis(computed));
            contention.is_disturbed()
        };
        windows.iter().map(&mut window).collect()
    }

    #[test]
    fn less_than_three_quarters_disturb() {
        let mut contention = Contention::default();
        let found = windows(
            &mut contention,
            thread::current().id(),
            &[(40, 0), (40, 31), (40, 60), (80, 119), (80, 190), (40, 190), (40, 300)],
        );
        assert_eq!(found, [false, false, true, true, false, true, false]);
    }

    #[test]
    fn now_and_then_a_window_is_taken_for_undisturbed() {
        let mut contention = Contention::default();
        let all = [(40, 0); 2 * RETRY as usize + 2];
        let windows = windows(&mut contention, thread::current().id(), &all);
        let undisturbed = windows.iter().enumerate().filter(|(_, disturbed)| !**disturbed);
        assert_eq!(undisturbed.map(|(i, _)| i).collect::<Vec<_>>(), [0, 48, 96]);
    }

    #[test]
    fn threads_are_not_compared() {
        let mut contention = Contention::default();
        let here = thread::current().id();
        let other = thread::spawn(|| thread::current().id()).join().unwrap();
        assert_eq!(windows(&mut contention, here, &[(50, 100), (50, 100)]), [false, true]);
        assert_eq!(windows(&mut contention, other, &[(50, 0), (50, 50)]), [false, false]);
    }

    #[test]
    fn the_clock_is_that_of_the_thread() {
        let Some(before) = thread_time() else { return };
        thread::sleep(WINDOW);
        let start = Instant::now();
        while thread_time() == Some(before) {
            assert!(start.elapsed() < Duration::from_secs(60), "no time passes");
        }
        let mut contention = Contention::default();
        contention.region(WINDOW / 2);
        assert_eq!(contention.caller, None, "a window ended early");
        contention.region(WINDOW / 2);
        assert!(contention.caller.is_some_and(|(_, computed)| computed > before));
    }
}
