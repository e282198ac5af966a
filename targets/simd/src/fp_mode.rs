//! The modes of the floating-point unit that change results.

/// Whether this thread computes floats as the numbers' contract has it: rounded to nearest
/// even, subnormals kept, f16 as IEEE has it.
///
/// Threads start so, but a program may change its thread's control register (MXCSR on x86-64,
/// FPCR on AArch64), for instance with a compiler's "fast math" start code. A kernel set's
/// `new` asks once; the mode must not change while the set is used.
#[cfg(target_arch = "x86_64")]
pub fn fp_mode_is_ieee() -> bool {
    const FLUSH_TO_ZERO: u32 = 1 << 15;
    const ROUNDING: u32 = 3 << 13;
    const DENORMALS_ARE_ZERO: u32 = 1 << 6;
    let mut mxcsr = 0u32;
    // SAFETY: SSE is part of x86-64; the instruction writes four bytes to `mxcsr`.
    unsafe {
        core::arch::asm!(
            "stmxcsr [{}]",
            in(reg) &raw mut mxcsr,
            options(nostack, preserves_flags),
        );
    }
    mxcsr & (FLUSH_TO_ZERO | ROUNDING | DENORMALS_ARE_ZERO) == 0
}

/// Whether this thread computes floats as the numbers' contract has it: rounded to nearest
/// even, subnormals kept, f16 as IEEE has it.
///
/// Threads start so, but a program may change its thread's control register (MXCSR on x86-64,
/// FPCR on AArch64), for instance with a compiler's "fast math" start code. A kernel set's
/// `new` asks once; the mode must not change while the set is used.
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub fn fp_mode_is_ieee() -> bool {
    let fpcr: u64;
    // SAFETY: FPCR is readable in user mode, and reading it changes nothing.
    unsafe {
        core::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags));
    }
    /// AHP (26), FZ (24), RMode (23:22), FZ16 (19), NEP (2), AH (1), FIZ (0).
    const CHANGES_RESULTS: u64 = 1 << 26 | 1 << 24 | 3 << 22 | 1 << 19 | 0b111;
    fpcr & CHANGES_RESULTS == 0
}
