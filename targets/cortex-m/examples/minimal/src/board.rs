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
pub(crate) const INSTRUCTIONS_PER_TICK: u64 = 40;

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
pub(crate) fn report(tokens: u32, ticks: u64, stack: usize) -> ! {
    println!("tokens: {tokens}");
    println!("instructions per token: {}", ticks * INSTRUCTIONS_PER_TICK / u64::from(tokens));
    println!("stack bytes of a token: {stack}");
    println!("stack bytes: {}", stack_top() - untouched());
    process::exit(0)
}

/// Bytes of stack that `f` takes at most.
#[inline(never)]
pub(crate) fn stack_of(f: impl FnOnce()) -> usize {
    let pointer = cortex_m::register::msp::read() as usize;
    // A few words for the calls that paint.
    let below = pointer - 64;
    let painted = stack_end().addr();
    for i in 0..(below - painted) / size_of::<u32>() {
        // SAFETY: the stack's memory, below all that is in use.
        unsafe { stack_end().add(i).write_volatile(cortex_m_rt::STACK_PAINT_VALUE) };
    }
    f();
    pointer - untouched()
}

fn stack_end() -> *mut u32 {
    unsafe extern "C" {
        static mut _stack_end: u32;
    }
    &raw mut _stack_end
}

fn stack_top() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
    }
    (&raw const _stack_start).addr()
}

/// The lowest address of the stack that was written since it was painted.
fn untouched() -> usize {
    let mut word = stack_end();
    // SAFETY: the stack's memory; this function's own frame ends the search.
    while unsafe { word.read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    word.addr()
}
