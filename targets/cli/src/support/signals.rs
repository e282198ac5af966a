//! Signals: those that end the program leave nothing half-written, Ctrl-C can save first, and a
//! model's file that is cut short while it is mapped is a message.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGBUS, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// From now on, the signals that ask the program to end remove its partial files first, and
/// then end it as they would have, so that the caller sees which it was. A second one does
/// not wait for that. Signals that the caller has the program ignore, as `nohup` does, stay so.
///
/// Where the system refuses a handler or a thread, all stays as it was.
///
/// `but` is a signal that the program handles itself.
pub(crate) fn abandon_files(but: Option<c_int>) {
    let signals: Vec<_> = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|&signal| Some(signal) != but && !is_ignored(signal))
        .collect();
    let _ = handle(&signals);
}

/// From now on, the first Ctrl-C sets the flag that is returned, for the program to end in its own
/// time; a second one ends it at once. Where the caller has the program ignore it, it stays so.
pub(crate) fn interruptible() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    if !is_ignored(SIGINT) {
        // In this order, for the first signal must not find what it sets.
        let _ = flag::register_conditional_default(SIGINT, Arc::clone(&interrupted));
        let _ = flag::register(SIGINT, Arc::clone(&interrupted));
    }
    interrupted
}

/// From now on, the signal that the system sends where a mapped file has become shorter ends the
/// program with a message.
pub(crate) fn explain_bus_error() {
    const MESSAGE: &[u8] = b"kinglet: the model's file was cut short while it was read; \
        copy it again, and do not write to a file that is in use\n";
    const FAILED: c_int = 2;
    let handler = || {
        // SAFETY: both functions are async-signal-safe; the bytes are a constant.
        unsafe {
            libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
            libc::_exit(FAILED);
        }
    };
    // SAFETY: the handler calls only functions that are async-signal-safe, and does not return to
    // the instruction that cannot be completed.
    let _ = unsafe { low_level::register(SIGBUS, handler) };
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

/// Whether the caller has the program ignore a signal.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one, into room for one.
    let known = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: the call has written it where it says that it succeeded.
    known && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
