//! The user LEDs of the board's FPGA.

const LEDS: *mut u32 = 0x4002_8000 as *mut u32;

/// Switches the first LED.
pub fn set(on: bool) {
    // SAFETY: a register of this board, which nothing else uses.
    unsafe { LEDS.write_volatile(u32::from(on)) }
}
