//! The board's watchdog: when it is not fed in time it interrupts.

use cortex_m_rt::exception;
use kinglet_boards::Board;

/// Counts a millisecond.
const COUNTS: u32 = 25_000;

const LOAD: *mut u32 = 0x4000_8000 as *mut u32;
const CONTROL: *mut u32 = 0x4000_8008 as *mut u32;
const CLEAR: *mut u32 = 0x4000_800C as *mut u32;
/// Interrupt and reset are enabled.
const ENABLED: u32 = 0b11;

/// Starts it: from now on it is to be fed each `milliseconds`.
pub fn start(milliseconds: u32) {
    // SAFETY: registers of this board, which nothing else uses.
    unsafe {
        LOAD.write_volatile(COUNTS * milliseconds);
        CONTROL.write_volatile(ENABLED);
    }
}

/// Lets it count anew.
pub fn feed() {
    // SAFETY: as in `start`.
    unsafe { CLEAR.write_volatile(1) }
}

/// A product waits for the reset here; an emulator ends.
#[exception]
unsafe fn NonMaskableInt() -> ! {
    crate::Mps2::write("\nFAILED: the watchdog was not fed\n");
    crate::Mps2::halt(false)
}
