//! Stack and cycles of Cortex-M cores. The registers are those of Arm's architecture manuals.

/// The lowest address of the stack, where `cortex-m-rt` has linked the program.
pub fn stack_end() -> usize {
    unsafe extern "C" {
        static _stack_end: u32;
    }
    (&raw const _stack_end).addr()
}

/// Cycles by the DWT, which cores from ARMv7-M on have.
pub mod dwt {
    const DEMCR: *mut u32 = 0xE000_EDFC as *mut u32;
    const TRACE_ENABLED: u32 = 1 << 24;
    const CONTROL: *mut u32 = 0xE000_1000 as *mut u32;
    const COUNTER_ENABLED: u32 = 1;
    const COUNTER: *mut u32 = 0xE000_1004 as *mut u32;
    /// A Cortex-M7 lets software write after this key.
    const LOCK: *mut u32 = 0xE000_1FB0 as *mut u32;
    const KEY: u32 = 0xC5AC_CE55;

    /// Starts to count.
    pub fn start() {
        // SAFETY: registers of the core that only trace and debuggers use.
        unsafe {
            DEMCR.write_volatile(DEMCR.read_volatile() | TRACE_ENABLED);
            LOCK.write_volatile(KEY);
            COUNTER.write_volatile(0);
            CONTROL.write_volatile(CONTROL.read_volatile() | COUNTER_ENABLED);
        }
    }

    /// Cycles since, modulo 2^32.
    pub fn cycles() -> u32 {
        // SAFETY: reading it changes nothing.
        unsafe { COUNTER.read_volatile() }
    }
}

/// Cycles by SysTick, for cores without a cycle counter: its 24 bits, and its interrupts, of which
/// the program's handler calls [`overflow`](systick::overflow).
pub mod systick {
    use core::sync::atomic::{AtomicU32, Ordering};

    const CONTROL: *mut u32 = 0xE000_E010 as *mut u32;
    /// Counts the core's clock, and interrupts.
    const ENABLED: u32 = 0b111;
    const RELOAD: *mut u32 = 0xE000_E014 as *mut u32;
    const LAST: u32 = (1 << 24) - 1;
    const CURRENT: *mut u32 = 0xE000_E018 as *mut u32;
    const INTERRUPTS: *mut u32 = 0xE000_ED04 as *mut u32;
    const PENDING: u32 = 1 << 26;

    /// Ticks before the last overflow.
    static BEFORE: AtomicU32 = AtomicU32::new(0);

    /// Starts to count. The program uses SysTick for nothing else.
    pub fn start() {
        // SAFETY: registers of SysTick, which nothing else uses.
        unsafe {
            RELOAD.write_volatile(LAST);
            CURRENT.write_volatile(0);
            CONTROL.write_volatile(ENABLED);
        }
    }

    /// Counts an overflow: the program's handler of the exception `SysTick`.
    pub fn overflow() {
        let before = BEFORE.load(Ordering::Relaxed);
        BEFORE.store(before.wrapping_add(LAST + 1), Ordering::Relaxed);
    }

    /// Ticks since the start, modulo 2^32; for tasks, because interrupts are on there.
    pub fn ticks() -> u32 {
        loop {
            let before = BEFORE.load(Ordering::Relaxed);
            // SAFETY: reading them changes nothing.
            let (current, interrupts) =
                unsafe { (CURRENT.read_volatile(), INTERRUPTS.read_volatile()) };
            // No overflow came between the reads, and none waits for its handler.
            if BEFORE.load(Ordering::Relaxed) == before && interrupts & PENDING == 0 {
                return before.wrapping_add(LAST - current);
            }
        }
    }
}
