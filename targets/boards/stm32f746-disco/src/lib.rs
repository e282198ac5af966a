//! STM32F746G-DISCO: a Cortex-M7 at 216 MHz with its caches on, the console on the debugger's serial
//! port (USART 1, PA9, 115,200 baud), LED 1 on PI1, the model in the 16 MB on QSPI.
#![no_std]

mod flash;

use core::panic::PanicInfo;

use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::mode::Blocking;
use embassy_stm32::peripherals::IWDG;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllMul, PllPDiv, PllPreDiv, PllSource, Sysclk,
};
use embassy_stm32::time::Hertz;
use embassy_stm32::usart::{self, UartTx};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{Config, Peri};
use embassy_time::{Duration, Instant};
use kinglet_boards::{Board, Memory, Slot, model};

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Disco;

static CONSOLE: Slot<UartTx<'static, Blocking>> = Slot::new();

const _: () = assert!(model::LEN <= 16 << 20, "the model is larger than the QSPI flash");

impl Board for Disco {
    const NAME: &'static str = "stm32f746";
    const CORE: &'static str = "Cortex-M7";
    const CLOCK: Option<u32> = Some(216_000_000);
    const MEMORIES: &'static [Memory] = &[
        Memory { name: "flash", start: 0x0800_0000, bytes: 1 << 20 },
        Memory { name: "QSPI flash", start: 0x9000_0000, bytes: 16 << 20 },
        Memory { name: "DTCM", start: 0x2000_0000, bytes: 64 << 10 },
        Memory { name: "SRAM1 and SRAM2", start: 0x2001_0000, bytes: 256 << 10 },
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

/// Starts the clocks, the caches, the console and the counter of cycles, and maps the QSPI flash.
///
/// # Panics
///
/// When it is called twice.
pub fn init() -> Parts {
    let mut core = cortex_m::Peripherals::take().expect("taken once");
    flash::protect(&mut core.MPU);
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
    let p = embassy_stm32::init(clocks());
    let pins = flash::Pins { clock: p.PB2, select: p.PB6, data: (p.PD11, p.PD12, p.PE2, p.PD13) };
    flash::map(p.QUADSPI, pins);
    let uart = UartTx::new_blocking(p.USART1, p.PA9, usart::Config::default());
    CONSOLE.put(uart.expect("115,200 baud"));
    kinglet_boards::cortex_m::dwt::start();
    Parts { led: Output::new(p.PI1, Level::Low, Speed::Low), watchdog: Watchdog(p.IWDG) }
}

/// 216 MHz from the crystal of 25 MHz.
fn clocks() -> Config {
    let mut config = Config::default();
    config.rcc.hse = Some(Hse { freq: Hertz::mhz(25), mode: HseMode::Oscillator });
    config.rcc.pll_src = PllSource::HSE;
    config.rcc.pll = Some(Pll {
        prediv: PllPreDiv::DIV25,
        mul: PllMul::MUL432,
        divp: Some(PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV1;
    config.rcc.apb1_pre = APBPrescaler::DIV4;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config
}

/// The chip's watchdog, which does not run yet.
pub struct Watchdog(Peri<'static, IWDG>);

impl Watchdog {
    /// How long it waits: several pieces, each less than a hundredth of a token.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Starts it.
    pub fn start(self) -> IndependentWatchdog<'static, IWDG> {
        let mut watchdog = IndependentWatchdog::new(self.0, Self::TIMEOUT.as_micros() as u32);
        watchdog.unleash();
        watchdog
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kinglet_boards::fail::<Disco>(info)
}
