//! The board's N25Q128A or MT25QL128, read in place at 0x9000_0000 by four lines at 108 MHz.
//!
//! Its command "quad output fast read" needs no setting of the flash, and the byte order is that of
//! every programmer.

use core::mem;

use cortex_m::peripheral::MPU;
use embassy_stm32::Peri;
use embassy_stm32::peripherals::{PB2, PB6, PD11, PD12, PD13, PE2, QUADSPI};
use embassy_stm32::qspi::enums::{
    AddressSize, ChipSelectHighTime, DummyCycles, MemorySize, QspiWidth, SampleShifting,
};
use embassy_stm32::qspi::{Config, Qspi, TransferConfig};

/// Quad output fast read, of the flash's data sheet.
const READ: u8 = 0x6B;
const START: u32 = 0x9000_0000;

/// The board's wires.
pub(crate) struct Pins {
    pub(crate) clock: Peri<'static, PB2>,
    pub(crate) select: Peri<'static, PB6>,
    pub(crate) data:
        (Peri<'static, PD11>, Peri<'static, PD12>, Peri<'static, PE2>, Peri<'static, PD13>),
}

/// Maps the flash.
pub(crate) fn map(qspi: Peri<'static, QUADSPI>, pins: Pins) {
    let mut config = Config::default();
    config.memory_size = MemorySize::_16MiB;
    config.address_size = AddressSize::_24bit;
    // Half of the core's 216 MHz; data is sampled half a cycle later.
    config.prescaler = 1;
    config.sample_shifting = SampleShifting::HalfCycle;
    config.cs_high_time = ChipSelectHighTime::_6Cycle;
    let (data0, data1, data2, data3) = pins.data;
    let mut flash =
        Qspi::new_blocking_bank1(qspi, data0, data1, data2, data3, pins.clock, pins.select, config);
    flash.enable_memory_map(&TransferConfig {
        iwidth: QspiWidth::SING,
        awidth: QspiWidth::SING,
        dwidth: QspiWidth::QUAD,
        instruction: READ,
        address: None,
        dummy: DummyCycles::_8,
    });
    // Dropped, it would be switched off.
    mem::forget(flash);
}

/// Keeps the core from reading ahead beyond the flash, where nothing answers: of the 256 MB that
/// QSPI may have, only the first 16 MB are memory, cached and not to be written.
pub(crate) fn protect(mpu: &mut MPU) {
    const ENABLED: u32 = 1;
    const NEVER_EXECUTED: u32 = 1 << 28;
    const READ_ONLY: u32 = 0b110 << 24;
    const CACHED: u32 = 1 << 17;
    /// The exponent of a region's length, less one.
    const fn len(log2: u32) -> u32 {
        (log2 - 1) << 1
    }
    /// Elsewhere memory is as without the MPU.
    const DEFAULT_MAP: u32 = 1 << 2;
    let regions = [
        NEVER_EXECUTED | len(28) | ENABLED,
        NEVER_EXECUTED | READ_ONLY | CACHED | len(24) | ENABLED,
    ];
    // SAFETY: no code lies in these regions, and nothing there is in use yet.
    unsafe {
        for (number, attributes) in regions.into_iter().enumerate() {
            mpu.rnr.write(number as u32);
            mpu.rbar.write(START);
            mpu.rasr.write(attributes);
        }
        mpu.ctrl.write(DEFAULT_MAP | ENABLED);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}
