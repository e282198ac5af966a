//! How long a thread waits before it sleeps.

use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps: longer than the serial stretches
/// between the regions of a token, and than waking a thread takes; short beside
/// a time slice.
pub(super) const SPIN: Duration = Duration::from_micros(50);
/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 32;

/// A wait that is bounded in time.
#[derive(Debug, Default)]
pub(super) struct Spin {
    spins: u32,
    start: Option<Instant>,
}

impl Spin {
    /// Spins once; whether that was enough, or nearly so for the impatient.
    pub(super) fn is_over(&mut self, impatient: impl Fn() -> bool) -> bool {
        std::hint::spin_loop();
        self.spins += 1;
        if !self.spins.is_multiple_of(SPINS_PER_LOOK) {
            return false;
        }
        impatient() || self.start.get_or_insert_with(Instant::now).elapsed() > SPIN
    }
}
