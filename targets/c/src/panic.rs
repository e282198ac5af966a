//! The message that a panic handler gives the program.

use core::panic::PanicInfo;

/// Room for a message.
const CAPACITY: usize = 160;

/// The text of a panic, "file:line: message", cut where it does not fit.
///
/// Put together without `core::fmt`, which would take some kilobytes of flash; so
/// of a message with values in it only the place is told.
#[derive(Debug)]
pub struct PanicMessage {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl PanicMessage {
    /// The message of a panic.
    pub fn new(info: &PanicInfo<'_>) -> Self {
        let place = info.location().map(|location| (location.file(), location.line()));
        Self::of(place, info.message().as_str().unwrap_or("panic"))
    }

    fn of(place: Option<(&str, u32)>, text: &str) -> Self {
        let mut message = Self { bytes: [0; CAPACITY], len: 0 };
        if let Some((file, line)) = place {
            message.push(file.as_bytes());
            message.push(b":");
            message.push_number(line);
            message.push(b": ");
        }
        message.push(text.as_bytes());
        message
    }

    /// Its bytes, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
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

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    fn text(place: Option<(&str, u32)>, text: &str) -> String {
        String::from_utf8(PanicMessage::of(place, text).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_message_names_its_place() {
        assert_eq!(text(Some(("cpu.rs", 120)), "no such sequence"), "cpu.rs:120: no such sequence");
        assert_eq!(text(Some(("a.rs", 0)), ""), "a.rs:0: ");
        assert_eq!(text(Some(("a.rs", u32::MAX)), "x"), "a.rs:4294967295: x");
        assert_eq!(text(None, "panic"), "panic");
    }

    #[test]
    fn a_long_message_is_cut() {
        let long = "abc".repeat(100);
        assert_eq!(text(None, &long), long[..CAPACITY]);
        assert_eq!(text(Some((&long, 7)), "x"), long[..CAPACITY]);
    }
}
