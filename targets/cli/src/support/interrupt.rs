//! Ctrl-C that stops what is under way, and not the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first Ctrl-C; a second one ends the program, unless the first was
/// [taken](Self::take) meanwhile.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on, Ctrl-C sets it.
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        return Self(super::signals::interruptible());
        #[cfg(not(unix))]
        return Self(interruptible());
    }

    /// Whether Ctrl-C came since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(not(unix))]
fn interruptible() -> Arc<AtomicBool> {
    use signal_hook::consts::SIGINT;
    use signal_hook::flag;

    let interrupted = Arc::new(AtomicBool::new(false));
    // In this order, for the first signal must not find what it sets.
    let _ = flag::register_conditional_default(SIGINT, Arc::clone(&interrupted));
    let _ = flag::register(SIGINT, Arc::clone(&interrupted));
    interrupted
}
