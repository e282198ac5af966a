//! The modes of the floating-point unit that change results.

/// Whether floats are computed as the numbers' contract has it: rounded to nearest even,
/// subnormals and NaN payloads kept. Cores without a unit compute in software,
/// which has no modes.
pub(crate) fn fp_mode_is_ieee() -> bool {
    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    {
        /// Rounding mode, flush to zero, default NaN, f16 without infinities.
        const MODES: u32 = 0b11 << 22 | 1 << 24 | 1 << 25 | 1 << 26;
        let fpscr: u32;
        // SAFETY: reads a register that code for this ABI may use; without the
        // unit switched on, none of it would have come so far.
        unsafe {
            core::arch::asm!("vmrs {}, fpscr", out(reg) fpscr, options(nomem, nostack, preserves_flags));
        }
        fpscr & MODES == 0
    }
    #[cfg(riscv_fpu)]
    {
        let rounding: usize;
        // SAFETY: reads a register; without the unit switched on, none of the code for this ABI
        // would have come so far.
        unsafe {
            core::arch::asm!("csrr {}, frm", out(reg) rounding, options(nomem, nostack, preserves_flags));
        }
        // To nearest even. There is no other mode: subnormals are always kept.
        rounding == 0
    }
    #[cfg(not(any(all(target_arch = "arm", target_abi = "eabihf"), riscv_fpu)))]
    true
}
