//! What a text of the grammar says, and what it does to the pins.

use semihosting::println;
use serde::Deserialize;

/// A command: an object of one member, `{"led":"on"}` or `{"servo":{"angle":90}}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    Led(Switch),
    Servo {
        /// Degrees, at most 180: the schema says so.
        angle: u8,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    On,
    Off,
}

impl Command {
    /// Reads a whole text of the grammar. It cannot fail as long as this type is what the schema
    /// describes.
    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        let (command, len) = serde_json_core::from_slice(text).ok()?;
        (len == text.len()).then_some(command)
    }

    pub(crate) fn perform(&self, pins: &mut impl Pins) {
        match self {
            Self::Led(switch) => pins.set_led(matches!(switch, Switch::On)),
            Self::Servo { angle } => pins.turn_servo(*angle),
        }
    }
}

/// What a board can do.
pub(crate) trait Pins {
    fn set_led(&mut self, is_on: bool);
    fn turn_servo(&mut self, degrees: u8);
}

/// The pins of a board that has none: it says what they would do. A product's HAL sets an output
/// and the duty of a PWM channel.
pub(crate) struct ShownPins;

impl Pins for ShownPins {
    fn set_led(&mut self, is_on: bool) {
        println!("LED: {}", if is_on { "on" } else { "off" });
    }

    fn turn_servo(&mut self, degrees: u8) {
        // A pulse of 1 to 2 ms, every 20 ms.
        println!("servo: {degrees} degrees, {} us", 1000 + u32::from(degrees) * 1000 / 180);
    }
}
