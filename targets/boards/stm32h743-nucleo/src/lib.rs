//! NUCLEO-H743ZI2: a Cortex-M7 at 400 MHz with its caches on, the console on the debugger's serial
//! port (USART 3, PD8, 115,200 baud), LED 1 on PB0.
#![no_std]

use core::panic::PanicInfo;

use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::mode::Blocking;
use embassy_stm32::peripherals::IWDG1;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk,
    VoltageScale,
};
use embassy_stm32::time::Hertz;
use embassy_stm32::usart::{self, UartTx};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{Config, Peri};
use embassy_time::{Duration, Instant};
use kinglet_boards::{Board, Memory, Slot, model};

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Nucleo;

static CONSOLE: Slot<UartTx<'static, Blocking>> = Slot::new();

const _: () = assert!(model::LEN <= 1792 << 10, "the model is larger than its region of memory.x");

impl Board for Nucleo {
    const NAME: &'static str = "stm32h743";
    const CORE: &'static str = "Cortex-M7";
    const CLOCK: Option<u32> = Some(400_000_000);
    const MEMORIES: &'static [Memory] = &[
        Memory { name: "flash", start: 0x0800_0000, bytes: 2 << 20 },
        Memory { name: "DTCM", start: 0x2000_0000, bytes: 128 << 10 },
        Memory { name: "AXI SRAM", start: 0x2400_0000, bytes: 512 << 10 },
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
    /// LED 1.
    pub led: Output<'static>,
    /// The chip's watchdog.
    pub watchdog: Watchdog,
}

/// Starts the clocks, the caches, the console and the counter of cycles.
///
/// # Panics
///
/// When it is called twice.
pub fn init() -> Parts {
    let mut core = cortex_m::Peripherals::take().expect("taken once");
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
    let p = embassy_stm32::init(clocks());
    let uart = UartTx::new_blocking(p.USART3, p.PD8, usart::Config::default());
    CONSOLE.put(uart.expect("115,200 baud"));
    kinglet_boards::cortex_m::dwt::start();
    Parts { led: Output::new(p.PB0, Level::Low, Speed::Low), watchdog: Watchdog(p.IWDG1) }
}

/// 400 MHz from the 8 MHz that the debugger gives.
fn clocks() -> Config {
    let mut config = Config::default();
    config.rcc.hse = Some(Hse { freq: Hertz::mhz(8), mode: HseMode::Bypass });
    config.rcc.pll1 = Some(Pll {
        source: PllSource::HSE,
        prediv: PllPreDiv::DIV1,
        mul: PllMul::MUL100,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV2;
    config.rcc.apb1_pre = APBPrescaler::DIV2;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config.rcc.apb3_pre = APBPrescaler::DIV2;
    config.rcc.apb4_pre = APBPrescaler::DIV2;
    config.rcc.voltage_scale = VoltageScale::Scale1;
    config
}

/// The chip's watchdog, which does not run yet.
pub struct Watchdog(Peri<'static, IWDG1>);

impl Watchdog {
    /// How long it waits: several pieces, each less than a hundredth of a token.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Starts it.
    pub fn start(self) -> IndependentWatchdog<'static, IWDG1> {
        let mut watchdog = IndependentWatchdog::new(self.0, Self::TIMEOUT.as_micros() as u32);
        watchdog.unleash();
        watchdog
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kinglet_boards::fail::<Nucleo>(info)
}
