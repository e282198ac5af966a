//! What else is the board's: panics, and figures of the run.

use core::panic::PanicInfo;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use semihosting::{println, process};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("FAILED: {info}");
    process::exit(101)
}

/// SysTick, which counts down from here.
const RELOAD: u32 = (1 << 24) - 1;
/// QEMU executes an instruction in each nanosecond, and its board counts at 25 MHz. On silicon a
/// tick is a cycle.
const INSTRUCTIONS_PER_TICK: u64 = 40;

/// A clock that runs.
pub(crate) struct Clock(());

impl Clock {
    pub(crate) fn start() -> Self {
        let mut systick = Peripherals::take().expect("taken once").SYST;
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(RELOAD);
        systick.clear_current();
        systick.enable_counter();
        Self(())
    }

    /// A point in time, in ticks.
    pub(crate) fn now(&self) -> u32 {
        RELOAD - SYST::get_current()
    }

    /// Ticks since `start`, less than 2^24 ago.
    pub(crate) fn since(&self, start: u32) -> u32 {
        self.now().wrapping_sub(start) & RELOAD
    }
}

/// Says what a token takes, and ends the run.
pub(crate) fn report(tokens: u32, ticks: u64) -> ! {
    let stack = stack_high_water();
    println!("tokens: {tokens}");
    println!("instructions per token: {}", ticks * INSTRUCTIONS_PER_TICK / u64::from(tokens));
    println!("stack bytes: {stack}");
    process::exit(0)
}

/// Most bytes of stack in use at one time since boot, which painted it.
fn stack_high_water() -> usize {
    unsafe extern "C" {
        static _stack_end: u32;
        static _stack_start: u32;
    }
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let words = (start.addr() - end.addr()) / size_of::<u32>();
    // SAFETY: the words between the two symbols are the stack's memory; below the stack pointer
    // nothing writes them now.
    let untouched = (0..words)
        .take_while(|&i| unsafe { end.add(i).read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE)
        .count();
    (words - untouched) * size_of::<u32>()
}
