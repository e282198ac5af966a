//! The Raspberry Pi Pico 2: two Cortex-M33 at 150 MHz, the console on UART 0 (GP0, 115,200 baud), the LED on
//! GP25.
#![no_std]

use core::panic::PanicInfo;

use embassy_rp::config::Config;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::uart::{self, Blocking, UartTx};
use embassy_rp::watchdog::Watchdog;
use embassy_time::Instant;
use kinglet_boards::{Board, Memory, Slot, model, two_cores};
use static_cell::ConstStaticCell;

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Pico2;

/// The core's clock, as `Config::default` sets it.
const CLOCK: u32 = 150_000_000;

static CONSOLE: Slot<UartTx<'static, Blocking>> = Slot::new();
/// The second core's stack: a share of a product takes less than 2 KB.
static STACK: ConstStaticCell<Stack<4096>> = ConstStaticCell::new(Stack::new());

const _: () = assert!(model::LEN <= 3584 << 10, "the model is larger than its region of memory.x");

impl Board for Pico2 {
    const NAME: &'static str = "rp2350";
    const CORE: &'static str = "Cortex-M33";
    const CORES: u32 = 2;
    const CLOCK: Option<u32> = Some(CLOCK);
    const MEMORIES: &'static [Memory] = &[
        Memory { name: "flash", start: 0x1000_0000, bytes: 4 << 20 },
        Memory { name: "SRAM", start: 0x2000_0000, bytes: 520 << 10 },
    ];

    fn micros() -> Option<u64> {
        Some(Instant::now().as_micros())
    }

    fn cycles() -> Option<u32> {
        Some(kinglet_boards::cortex_m::dwt::cycles())
    }

    fn stack_end() -> usize {
        kinglet_boards::cortex_m::stack_end()
    }

    fn write(text: &str) {
        CONSOLE.with(|uart| uart.blocking_write(text.as_bytes()));
    }
}

/// What a program does with the board, besides the console.
pub struct Parts {
    /// The board's LED.
    pub led: Output<'static>,
    /// The chip's watchdog.
    pub watchdog: Watchdog,
}

/// Starts the clocks, the console, the counter of cycles, and the second core.
pub fn init() -> Parts {
    let p = embassy_rp::init(Config::default());
    let uart = UartTx::new_blocking(p.UART0, p.PIN_0, uart::Config::default());
    CONSOLE.put(uart);
    kinglet_boards::cortex_m::dwt::start();
    spawn_core1(p.CORE1, STACK.take(), || {
        // SAFETY: the second core alone, which is started once.
        unsafe { two_cores::serve() }
    });
    Parts { led: Output::new(p.PIN_25, Level::Low), watchdog: Watchdog::new(p.WATCHDOG) }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kinglet_boards::fail::<Pico2>(info)
}
