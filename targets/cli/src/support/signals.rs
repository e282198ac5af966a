//! Signals that end the program while it writes a file: nothing half-written is left.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// From now on, the signals that ask the program to end remove its partial files first, and
/// then end it as they would have, so that the caller sees which it was. A second one does
/// not wait for that. Signals that the caller has the program ignore, as `nohup` does, stay so.
///
/// Where the system refuses a handler or a thread, all stays as it was.
pub(crate) fn abandon_files() {
    let signals: Vec<_> =
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let _ = handle(&signals);
}

fn handle(signals: &[c_int]) -> io::Result<()> {
    let mut arriving = Signals::new(signals)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = arriving.forever().next() {
            kinglet_quantize::abandon();
            let _ = low_level::emulate_default_handler(signal);
        }
    })?;
    for &signal in signals {
        let again = Arc::new(AtomicBool::new(false));
        // In this order, for the first signal must not find what it sets.
        flag::register_conditional_default(signal, Arc::clone(&again))?;
        flag::register(signal, again)?;
    }
    Ok(())
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one, into room for one.
    let known = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: the call has written it where it says that it succeeded.
    known && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
