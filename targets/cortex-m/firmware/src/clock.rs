//! Instructions or cycles, from whatever counts on this core.
//!
//! QEMU with `-icount shift=0` executes an instruction in each nanosecond of
//! its virtual time, and SysTick counts that time at the board's clock: a loop
//! of known length tells how many instructions a tick is. Silicon counts
//! cycles, in the DWT where the core has it, in SysTick where not.

use core::arch::asm;

/// The unit of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Ticks, each one cycle.
    Cycles,
    /// Ticks; their number for the loop of [`LOOP`] instructions.
    Instructions(u32),
}

/// A counter that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    counter: counter::Counter,
    unit: Unit,
}

/// Instructions of the calibrating loop.
const LOOP: u32 = 4_000_000;
/// A tick of fewer instructions than this is a cycle of silicon.
const EMULATED: u32 = 4;

impl Clock {
    /// Starts counting.
    pub(crate) fn start() -> Self {
        let counter = counter::Counter::start();
        let start = counter.now();
        run_loop();
        let ticks = counter.between(start, counter.now());
        let exact = counter::COUNTS_INSTRUCTIONS;
        let emulated = exact || ticks < LOOP / EMULATED;
        let unit = if emulated { Unit::Instructions(ticks) } else { Unit::Cycles };
        Self { counter, unit }
    }

    /// The name of the unit of [`count`](Self::count).
    pub(crate) const fn unit(&self) -> &'static str {
        match self.unit {
            Unit::Cycles => "cycles",
            Unit::Instructions(_) => "instructions",
        }
    }

    /// A point in time.
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        #[cfg(feature = "two-cores")]
        return self.counter.now().wrapping_sub(crate::cores::both());
        #[cfg(not(feature = "two-cores"))]
        self.counter.now()
    }

    /// Ticks since `start`, less than a wrap of the counter ago.
    #[inline]
    pub(crate) fn since(&self, start: u32) -> u32 {
        self.counter.between(start, self.now())
    }

    /// Instructions or cycles of `ticks` ticks.
    pub(crate) fn count(&self, ticks: u64) -> u64 {
        match self.unit {
            Unit::Cycles => ticks,
            Unit::Instructions(of_loop) => ticks * u64::from(LOOP) / u64::from(of_loop.max(1)),
        }
    }
}

/// Runs [`LOOP`] instructions, two in each turn.
fn run_loop() {
    let turns = LOOP / 2;
    // SAFETY: counts a register down; changes nothing else but the flags.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("2: subs {n}, {n}, #1", "bne 2b", n = inout(reg) turns => _, options(nomem, nostack));
        #[cfg(target_arch = "riscv32")]
        asm!("2: addi {n}, {n}, -1", "bnez {n}, 2b", n = inout(reg) turns => _, options(nomem, nostack));
    }
}

#[cfg(target_arch = "arm")]
mod counter {
    use cortex_m::Peripherals;
    use cortex_m::peripheral::SYST;
    use cortex_m::peripheral::syst::SystClkSource;

    /// Values that SysTick takes.
    const SYSTICK_WRAP: u32 = 1 << 24;

    pub(super) const COUNTS_INSTRUCTIONS: bool = false;

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Counter {
        SysTick,
        #[cfg_attr(armv6m, expect(dead_code, reason = "the DWT of ARMv6-M has no such counter"))]
        Dwt,
    }

    impl Counter {
        pub(super) fn start() -> Self {
            let Some(mut core) = Peripherals::take() else { return Self::SysTick };
            core.SYST.set_clock_source(SystClkSource::Core);
            core.SYST.set_reload(SYSTICK_WRAP - 1);
            core.SYST.clear_current();
            core.SYST.enable_counter();
            #[cfg(not(armv6m))]
            {
                core.DCB.enable_trace();
                core.DWT.enable_cycle_counter();
                let start = Self::Dwt.now();
                if Self::Dwt.now() != start {
                    return Self::Dwt;
                }
            }
            Self::SysTick
        }

        #[inline]
        pub(super) fn now(self) -> u32 {
            match self {
                Self::SysTick => SYSTICK_WRAP - 1 - SYST::get_current(),
                #[cfg(not(armv6m))]
                Self::Dwt => cortex_m::peripheral::DWT::cycle_count(),
                #[cfg(armv6m)]
                Self::Dwt => 0,
            }
        }

        #[inline]
        pub(super) fn between(self, start: u32, end: u32) -> u32 {
            let ticks = end.wrapping_sub(start);
            match self {
                Self::SysTick => ticks % SYSTICK_WRAP,
                Self::Dwt => ticks,
            }
        }
    }
}

#[cfg(target_arch = "riscv32")]
mod counter {
    pub(super) const COUNTS_INSTRUCTIONS: bool = true;

    /// The counter of retired instructions.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Counter;

    impl Counter {
        pub(super) fn start() -> Self {
            Self
        }

        #[inline]
        pub(super) fn now(self) -> u32 {
            riscv::register::minstret::read() as u32
        }

        #[inline]
        pub(super) fn between(self, start: u32, end: u32) -> u32 {
            end.wrapping_sub(start)
        }
    }
}
