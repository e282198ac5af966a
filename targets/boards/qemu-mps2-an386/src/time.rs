//! The time of Embassy: milliseconds, counted by the interrupt of SysTick. A HAL brings its own.
//! The same counter tells instructions.

use core::cell::RefCell;
use core::task::Waker;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use embassy_time::{Instant, TICK_HZ};
use embassy_time_queue_utils::Queue;

/// Counts of SysTick a second: the core's clock.
const FREQUENCY: u32 = 25_000_000;
/// Counts of a tick.
const COUNTS: u32 = FREQUENCY / TICK_HZ as u32;
/// QEMU executes an instruction in each nanosecond.
const INSTRUCTIONS_PER_COUNT: u32 = 40;

struct Driver {
    /// The time, and who waits for which.
    inner: Mutex<RefCell<(u64, Queue)>>,
}

impl embassy_time_driver::Driver for Driver {
    fn now(&self) -> u64 {
        interrupt::free(|section| self.inner.borrow(section).borrow().0)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        interrupt::free(|section| {
            let (now, queue) = &mut *self.inner.borrow(section).borrow_mut();
            if queue.schedule_wake(at, waker) {
                queue.next_expiration(*now);
            }
        });
    }
}

embassy_time_driver::time_driver_impl!(static DRIVER: Driver = Driver {
    inner: Mutex::new(RefCell::new((0, Queue::new()))),
});

#[exception]
fn SysTick() {
    interrupt::free(|section| {
        let (now, queue) = &mut *DRIVER.inner.borrow(section).borrow_mut();
        *now += 1;
        queue.next_expiration(*now);
    });
}

/// Starts the time.
pub fn start(mut systick: SYST) {
    systick.set_clock_source(SystClkSource::Core);
    systick.set_reload(COUNTS - 1);
    systick.clear_current();
    systick.enable_interrupt();
    systick.enable_counter();
}

/// Instructions since the start, modulo 2^32, for tasks: interrupts are on.
pub fn instructions() -> u32 {
    let (ticks, counts) = loop {
        let (ticks, counts) = (Instant::now().as_ticks(), SYST::get_current());
        // No tick has ended between the two.
        if Instant::now().as_ticks() == ticks {
            break (ticks as u32, COUNTS - 1 - counts);
        }
    };
    ticks.wrapping_mul(COUNTS).wrapping_add(counts).wrapping_mul(INSTRUCTIONS_PER_COUNT)
}
