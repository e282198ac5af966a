//! How much stack a call takes.

/// Bytes that are painted: several times what a token takes.
#[cfg(target_os = "none")]
const PAINTED: usize = 16 << 10;
#[cfg(target_os = "none")]
const PAINT: u32 = 0x7E57_57AC;

/// Runs `f`, and tells the bytes of stack that it took at most, interrupts included: the whole of
/// what was painted where it took more.
///
/// `end`: the lowest address that the stack may grow to
#[cfg(target_os = "none")]
#[inline(never)]
pub(crate) fn of(end: usize, f: impl FnOnce()) -> Option<usize> {
    let pointer = pointer();
    // A few words for the loop that paints.
    let top = (pointer - 64) & !3;
    let bottom = end.next_multiple_of(4).max(top.saturating_sub(PAINTED));
    for at in (bottom..top).step_by(4) {
        // SAFETY: the stack's memory, below all that is in use.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(at).write_volatile(PAINT) };
    }
    f();
    let untouched = (bottom..top).step_by(4).find(|&at| {
        // SAFETY: as above; this function's own frame is above it.
        unsafe { core::ptr::with_exposed_provenance::<u32>(at).read_volatile() != PAINT }
    });
    Some(pointer - untouched.unwrap_or(top))
}

/// Other machines are not measured.
#[cfg(not(target_os = "none"))]
pub(crate) fn of(_: usize, f: impl FnOnce()) -> Option<usize> {
    f();
    None
}

/// The stack pointer.
#[cfg(target_os = "none")]
#[inline(always)]
fn pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        #[cfg(target_arch = "arm")]
        core::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        core::arch::asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}
