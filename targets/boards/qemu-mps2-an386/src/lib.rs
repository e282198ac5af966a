//! QEMU's machine `mps2-an386`: a Cortex-M4 with an FPU. Time is not real here, because QEMU
//! executes an instruction in each nanosecond.
#![no_std]

pub mod led;
pub mod time;
pub mod watchdog;

use core::panic::PanicInfo;

use kinglet_boards::{Board, Memory};

/// The board.
#[derive(Clone, Copy, Debug)]
pub struct Mps2;

impl Board for Mps2 {
    const NAME: &'static str = "qemu-mps2-an386";
    const CORE: &'static str = "Cortex-M4";
    const CLOCK: Option<u32> = None;
    const MEMORIES: &'static [Memory] = &[
        Memory { name: "SSRAM1", start: 0, bytes: 4 << 20 },
        Memory { name: "SSRAM2", start: 0x2000_0000, bytes: 4 << 20 },
        Memory { name: "PSRAM", start: 0x2100_0000, bytes: 16 << 20 },
    ];

    fn micros() -> Option<u64> {
        None
    }

    fn instructions() -> Option<u32> {
        Some(time::instructions())
    }

    fn stack_end() -> usize {
        kinglet_boards::cortex_m::stack_end()
    }

    fn write(text: &str) {
        semihosting::print!("{text}");
    }

    fn halt(success: bool) -> ! {
        semihosting::process::exit(if success { 0 } else { 101 })
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    kinglet_boards::fail::<Mps2>(info)
}
