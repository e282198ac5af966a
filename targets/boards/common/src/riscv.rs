//! Cycles and instructions of RISC-V cores.

use core::arch::asm;

/// `mcycle`, modulo 2^32.
pub fn cycles() -> u32 {
    let cycles;
    // SAFETY: reads a register that every core has in machine mode.
    unsafe { asm!("csrr {}, mcycle", out(reg) cycles, options(nomem, nostack)) };
    cycles
}

/// `minstret`, modulo 2^32.
pub fn instructions() -> u32 {
    let instructions;
    // SAFETY: as in `cycles`.
    unsafe { asm!("csrr {}, minstret", out(reg) instructions, options(nomem, nostack)) };
    instructions
}
