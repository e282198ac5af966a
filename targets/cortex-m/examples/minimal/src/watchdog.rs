//! The watchdog of Arm's MPS2 boards: when it is not fed in time it interrupts, and resets the
//! board if it is not fed in that time again.

use cortex_m_rt::exception;
use semihosting::{println, process};

/// Counts a second.
pub(crate) const FREQUENCY: u32 = 25_000_000;

const LOAD: *mut u32 = 0x4000_8000 as *mut u32;
const CONTROL: *mut u32 = 0x4000_8008 as *mut u32;
const CLEAR: *mut u32 = 0x4000_800C as *mut u32;
/// Interrupt and reset are enabled.
const ENABLED: u32 = 0b11;

/// Starts it: from now on it is to be fed within `counts`.
pub(crate) fn start(counts: u32) {
    // SAFETY: registers of this board, which nothing else uses.
    unsafe {
        LOAD.write_volatile(counts);
        CONTROL.write_volatile(ENABLED);
    }
}

/// Lets it count anew.
pub(crate) fn feed() {
    // SAFETY: as in `start`.
    unsafe { CLEAR.write_volatile(1) }
}

/// A product waits for the reset here; an emulator ends.
#[exception]
unsafe fn NonMaskableInt() -> ! {
    println!("FAILED: the watchdog was not fed");
    process::exit(1)
}
