//! The core's one performance counter. It has no `mcycle`.

use core::arch::asm;

/// Counts cycles from now on. The registers are `mpcer`, which events, and `mpcmr`, whether.
pub(crate) fn start() {
    const CYCLES: u32 = 1;
    const ENABLED: u32 = 1;
    // SAFETY: nothing else uses the counter.
    unsafe {
        asm!("csrw 0x7E0, {}", "csrw 0x7E1, {}", in(reg) CYCLES, in(reg) ENABLED, options(nostack));
    }
}

/// Cycles since, modulo 2^32: `mpccr`.
pub(crate) fn cycles() -> u32 {
    let cycles;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, 0x7E2", out(reg) cycles, options(nomem, nostack)) };
    cycles
}
