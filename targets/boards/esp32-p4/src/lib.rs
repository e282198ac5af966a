//! An ESP32-P4 with 4 MB of flash or more: one of its RV32IMAFC cores at 400 MHz, the console on
//! USB or UART 0, whichever is connected, an LED on GPIO 20.
#![no_std]

mod flash;

use core::panic::PanicInfo;

use embassy_time::Duration;
use esp_hal::clock::CpuClock;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::peripherals::{FROM_CPU_INTR0, TIMG1};
use esp_hal::time::Instant;
use esp_hal::timer::timg::{MwdtStage, Timer, TimerGroup, Wdt};
use kinglet_boards::{Board, Memory, model, riscv};

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Esp32P4;

const _: () = assert!(model::LEN <= 0x2F_0000, "the model is larger than its partition");

impl Board for Esp32P4 {
    const NAME: &'static str = "esp32-p4";
    const CORE: &'static str = "RV32IMAFC";
    const CLOCK: Option<u32> = Some(400_000_000);
    const MEMORIES: &'static [Memory] = &[
        Memory { name: "flash", start: 0x4000_0000, bytes: 64 << 20 },
        Memory { name: "L2MEM", start: 0x4FF0_0000, bytes: 768 << 10 },
    ];

    fn micros() -> Option<u64> {
        Some(Instant::now().duration_since_epoch().as_micros())
    }

    fn cycles() -> Option<u32> {
        Some(riscv::cycles())
    }

    fn instructions() -> Option<u32> {
        Some(riscv::instructions())
    }

    fn stack_end() -> usize {
        unsafe extern "C" {
            static _stack_end: u32;
        }
        /// Bytes below which esp-hal keeps its guard.
        const GUARD: usize = 64;
        (&raw const _stack_end).addr() + GUARD
    }

    fn write(text: &str) {
        esp_println::print!("{text}");
    }
}

/// What a program does with the board, besides the console.
pub struct Parts {
    /// The LED.
    pub led: Output<'static>,
    /// A watchdog of the chip.
    pub watchdog: Watchdog,
    /// For the scheduler of `esp-rtos`, on which Embassy's executor runs.
    pub timer: Timer<'static>,
    /// For the same.
    pub interrupt: FROM_CPU_INTR0<'static>,
}

/// Starts the clock and the console, and maps the model.
pub fn init() -> Parts {
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    flash::map();
    Parts {
        led: Output::new(p.GPIO20, Level::Low, OutputConfig::default()),
        watchdog: Watchdog(TimerGroup::new(p.TIMG1).wdt),
        timer: TimerGroup::new(p.TIMG0).timer0,
        interrupt: p.FROM_CPU_INTR0,
    }
}

/// A watchdog of the chip, which does not run yet.
pub struct Watchdog(Wdt<TIMG1<'static>>);

impl Watchdog {
    /// How long it waits: several pieces, each less than a hundredth of a token.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Starts it.
    pub fn start(&mut self) {
        let timeout = esp_hal::time::Duration::from_millis(Self::TIMEOUT.as_millis());
        self.0.set_timeout(MwdtStage::Stage0, timeout);
        self.0.enable();
    }

    /// Lets it wait anew.
    pub fn feed(&mut self) {
        self.0.feed();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kinglet_boards::fail::<Esp32P4>(info)
}
