//! `kinglet-c` as a static library, with a panic handler that the program chooses.
//!
//! By default a panic calls `kinglet_panic(message, size)`, which the program
//! defines: a firmware resets or halts there. Without the feature
//! `panic-handler` it loops. A program that has a Rust panic handler of its own
//! links `kinglet-c` instead of this.
#![no_std]

use core::panic::PanicInfo;

pub use kinglet_c::*;

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
    let message = message::Message::new(info);
    // SAFETY: the program defines it as the header says; the message lives until it returns.
    unsafe { kinglet_panic(message.as_bytes().as_ptr().cast(), message.as_bytes().len()) };
}

#[cfg(feature = "panic-handler")]
mod message {
    use core::panic::PanicInfo;

    /// The text of a panic, cut where it does not fit: "file:line: message".
    ///
    /// Put together without `core::fmt`, which would take some kilobytes of
    /// flash; so a message with values in it is left out, and its place is told.
    pub(crate) struct Message {
        bytes: [u8; 160],
        len: usize,
    }

    impl Message {
        pub(crate) fn new(info: &PanicInfo<'_>) -> Self {
            let mut message = Self { bytes: [0; 160], len: 0 };
            if let Some(location) = info.location() {
                message.push(location.file().as_bytes());
                message.push(b":");
                message.push_number(location.line());
                message.push(b": ");
            }
            message.push(info.message().as_str().unwrap_or("panic").as_bytes());
            message
        }

        pub(crate) fn as_bytes(&self) -> &[u8] {
            self.bytes.get(..self.len).unwrap_or_default()
        }

        fn push(&mut self, bytes: &[u8]) {
            for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
                *place = *byte;
                self.len += 1;
            }
        }

        fn push_number(&mut self, number: u32) {
            let mut digits = [0; 10];
            let mut rest = number;
            let mut first = digits.len();
            for (i, digit) in digits.iter_mut().enumerate().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
                first = i;
                if rest == 0 {
                    break;
                }
            }
            self.push(digits.get(first..).unwrap_or_default());
        }
    }
}
