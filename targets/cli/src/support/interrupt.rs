//! Ctrl-C that stops what is under way, and not the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::low_level;

/// Set by the first Ctrl-C; a second one ends the program, unless the first was
/// [taken](Self::take) meanwhile.
pub(crate) struct Interrupt(Arc<Flags>);

#[derive(Default)]
struct Flags {
    came: AtomicBool,
    /// Whether the first one ends the program.
    ends: AtomicBool,
    /// Whether it is meant for another program.
    elsewhere: AtomicBool,
}

impl Interrupt {
    /// From now on, Ctrl-C sets it. Where the caller has the program ignore it, it stays so.
    pub(crate) fn new() -> Self {
        let flags = Arc::<Flags>::default();
        #[cfg(unix)]
        if super::signals::is_ignored(SIGINT) {
            return Self(flags);
        }
        let handled = Arc::clone(&flags);
        let handler = move || {
            if handled.elsewhere.load(Ordering::SeqCst) {
                return;
            }
            if handled.came.swap(true, Ordering::SeqCst) || handled.ends.load(Ordering::SeqCst) {
                let _ = low_level::emulate_default_handler(SIGINT);
            }
        };
        // SAFETY: the handler does nothing but load and store atomics and call a function that is
        // async-signal-safe.
        let _ = unsafe { low_level::register(SIGINT, handler) };
        Self(flags)
    }

    /// Whether Ctrl-C came since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.0.came.swap(false, Ordering::SeqCst)
    }

    /// Whether the first Ctrl-C from now on ends the program, which waits for others then and has
    /// nothing to stop.
    pub(crate) fn set_ends(&self, ends: bool) {
        self.0.ends.store(ends, Ordering::SeqCst);
    }

    /// Does something during which Ctrl-C is meant for another program of the terminal.
    pub(crate) fn leave_to<T>(&self, other: impl FnOnce() -> T) -> T {
        self.0.elsewhere.store(true, Ordering::SeqCst);
        let done = other();
        self.0.elsewhere.store(false, Ordering::SeqCst);
        done
    }

    /// Ends the program as Ctrl-C does, so that the caller sees it.
    pub(crate) fn end() {
        let _ = low_level::emulate_default_handler(SIGINT);
    }
}
