//! The board's MX25R6435F, read in place at 0x1200_0000 by four lines at 32 MHz.

use core::mem;

use embassy_nrf::Peri;
use embassy_nrf::peripherals::{P0_17, P0_19, P0_20, P0_21, P0_22, P0_23, QSPI};
use embassy_nrf::qspi::{self, Frequency, Qspi, ReadOpcode};

/// Commands of the flash's data sheet.
const READ_STATUS: u8 = 0x05;
const WRITE_STATUS: u8 = 0x01;
/// Of the status: it takes all four lines.
const QUAD_ENABLED: u8 = 1 << 6;

/// The board's wires.
pub(crate) struct Pins {
    pub(crate) clock: Peri<'static, P0_19>,
    pub(crate) select: Peri<'static, P0_17>,
    pub(crate) data:
        (Peri<'static, P0_20>, Peri<'static, P0_21>, Peri<'static, P0_22>, Peri<'static, P0_23>),
}

/// Maps the flash.
///
/// # Panics
///
/// When the flash does not answer.
pub(crate) fn map(qspi: Peri<'static, QSPI>, pins: Pins) {
    let mut config = qspi::Config::default();
    config.capacity = 8 << 20;
    config.frequency = Frequency::M32;
    config.read_opcode = ReadOpcode::Read4io;
    let (data0, data1, data2, data3) = pins.data;
    let mut flash = Qspi::new(
        qspi,
        crate::Interrupts,
        pins.clock,
        pins.select,
        data0,
        data1,
        data2,
        data3,
        config,
    );
    let mut status = [0];
    let answered = flash.blocking_custom_instruction(READ_STATUS, &[], &mut status);
    answered.expect("the QSPI flash does not answer");
    if status[0] & QUAD_ENABLED == 0 {
        let status = [status[0] | QUAD_ENABLED];
        let answered = flash.blocking_custom_instruction(WRITE_STATUS, &status, &mut []);
        answered.expect("the QSPI flash does not answer");
    }
    // Dropped, it would be switched off.
    mem::forget(flash);
}
