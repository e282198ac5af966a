//! `kinglet-c` as a static library, with a panic handler that the program chooses.
//!
//! By default a panic calls `kinglet_panic(message, size)`, which the program
//! defines: a firmware resets or halts there. Without the feature
//! `panic-handler` it loops. A program that has a Rust panic handler of its own
//! links `kinglet-c` instead of this.
#![no_std]

use core::panic::PanicInfo;

pub use kinglet_c::*;
#[cfg(feature = "soft-float")]
use kinglet_soft_float as _;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report(info);
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(not(feature = "panic-handler"))]
fn report(_info: &PanicInfo<'_>) {}

#[cfg(feature = "panic-handler")]
fn report(info: &PanicInfo<'_>) {
    unsafe extern "C" {
        fn kinglet_panic(message: *const core::ffi::c_char, size: usize);
    }
    let message = PanicMessage::new(info);
    // SAFETY: the program defines it as the header says; the message lives until it returns.
    unsafe { kinglet_panic(message.as_bytes().as_ptr().cast(), message.as_bytes().len()) };
}
