//! The nRF52840 DK: a Cortex-M4 at 64 MHz, the console on the debugger's serial port (P0.06,
//! 115,200 baud), LED 1 on P0.13, the model in the MX25R6435F on QSPI.
#![no_std]

mod flash;

use core::panic::PanicInfo;

use embassy_nrf::config::{Config, HfclkSource, LfclkSource};
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::peripherals::{QSPI, UARTE0, WDT};
use embassy_nrf::uarte::{self, UarteTx};
use embassy_nrf::wdt::{self, WatchdogHandle};
use embassy_nrf::{Peri, bind_interrupts, qspi};
use embassy_time::{Duration, Instant};
use kinglet_boards::{Board, Memory, Slot, cortex_m, model};

bind_interrupts!(struct Interrupts {
    QSPI => qspi::InterruptHandler<QSPI>;
    UARTE0 => uarte::InterruptHandler<UARTE0>;
});

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Dk;

static CONSOLE: Slot<UarteTx<'static>> = Slot::new();

const _: () = assert!(model::LEN <= 8 << 20, "the model is larger than the QSPI flash");

impl Board for Dk {
    const NAME: &'static str = "nrf52840";
    const CORE: &'static str = "Cortex-M4";
    const CLOCK: Option<u32> = Some(64_000_000);
    const MEMORIES: &'static [Memory] = &[
        Memory { name: "flash", start: 0, bytes: 1 << 20 },
        Memory { name: "QSPI flash", start: 0x1200_0000, bytes: 8 << 20 },
        Memory { name: "RAM", start: 0x2000_0000, bytes: 256 << 10 },
    ];

    fn micros() -> Option<u64> {
        Some(Instant::now().as_micros())
    }

    fn cycles() -> Option<u32> {
        Some(cortex_m::dwt::cycles())
    }

    fn stack_end() -> usize {
        cortex_m::stack_end()
    }

    fn write(text: &str) {
        // It copies what lies in flash, which the UART's DMA does not read.
        CONSOLE.with(|uart| uart.blocking_write(text.as_bytes()));
    }
}

/// What a program does with the board, besides the console.
pub struct Parts {
    /// LED 1, which is on at low level.
    pub led: Output<'static>,
    /// The chip's watchdog.
    pub watchdog: Watchdog,
}

/// Starts the clocks, the console, the counter of cycles, and maps the QSPI flash.
pub fn init() -> Parts {
    let mut config = Config::default();
    // The UART's baud rate and the record's time need crystals.
    config.hfclk_source = HfclkSource::ExternalXtal;
    config.lfclk_source = LfclkSource::ExternalXtal;
    let p = embassy_nrf::init(config);
    let mut config = uarte::Config::default();
    config.baudrate = uarte::Baudrate::Baud115200;
    CONSOLE.put(UarteTx::new(p.UARTE0, Interrupts, p.P0_06, config));
    cortex_m::dwt::start();
    let pins =
        flash::Pins { clock: p.P0_19, select: p.P0_17, data: (p.P0_20, p.P0_21, p.P0_22, p.P0_23) };
    flash::map(p.QSPI, pins);
    Parts {
        led: Output::new(p.P0_13, Level::High, OutputDrive::Standard),
        watchdog: Watchdog(p.WDT),
    }
}

/// The chip's watchdog, which does not run yet.
pub struct Watchdog(Peri<'static, WDT>);

impl Watchdog {
    /// How long it waits: several pieces, each less than a hundredth of a token.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Starts it.
    pub fn start(self) -> WatchdogHandle {
        let mut config = wdt::Config::default();
        config.timeout_ticks = (Self::TIMEOUT.as_millis() * 32_768 / 1000) as u32;
        let Ok((_, [handle])) = wdt::Watchdog::try_new(self.0, config) else {
            panic!("the watchdog runs with another timeout: reset the board by its power");
        };
        handle
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kinglet_boards::fail::<Dk>(info)
}
