//! What the projects of `targets/boards` share. A board's folder says what its memory, clock and
//! console are ([`Board`]); all else is here.
//!
//! | program | of the board's folder | here |
//! |---|---|---|
//! | `story` | starts the board | [`Teller::story`] |
//! | `watchdog` | tasks for the watchdog and an LED | [`Teller::story_in_pieces`] |
//! | `record` | starts the board | [`record`] |
//!
//! The model is not in the image. It lies in a flash region of its own, where it was flashed once,
//! and is checked at boot in pieces ([`model`]). The buffers are statics whose lengths follow at
//! compile time from the header of the same file, in sections of their own ([`buffers`]).
#![no_std]

#[cfg(test)]
extern crate std;

pub mod buffers;
mod console;
#[cfg(all(target_arch = "arm", target_os = "none"))]
pub mod cortex_m;
mod error;
pub mod model;
mod program;
mod record;
#[cfg(all(target_arch = "riscv32", target_os = "none"))]
pub mod riscv;
mod slot;
mod stack;
mod teller;
#[cfg(test)]
mod tests;
#[cfg(all(target_arch = "arm", target_os = "none"))]
pub mod two_cores;

pub use console::{Console, fail};
pub use error::Error;
pub use program::{run, run_in_pieces};
pub use record::record;
pub use slot::Slot;
pub use teller::Teller;

/// The engine of a board that computes on one core.
pub type Engine = kinglet_cortex_m::Engine<'static>;

/// Memory with addresses of its own.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// As the data sheet calls it.
    pub name: &'static str,
    /// Its first address.
    pub start: usize,
    /// Its length in bytes.
    pub bytes: usize,
}

/// A board, for the programs that run on it. Nothing of it is a value, because a panic has none.
pub trait Board {
    /// The name, as `kinglet fit --board` has it.
    const NAME: &'static str;
    /// The core, as its designer calls it.
    const CORE: &'static str;
    /// Cores that compute.
    const CORES: u32 = 1;
    /// The core's clock in Hz; `None` where there is none, under emulation.
    const CLOCK: Option<u32>;
    /// Flash and RAM that buffers may lie in.
    const MEMORIES: &'static [Memory];

    /// Microseconds since some time; `None` where time is not real.
    fn micros() -> Option<u64>;

    /// The core's cycles, modulo 2^32; `None` where it does not count them.
    fn cycles() -> Option<u32> {
        None
    }

    /// Instructions that the core has executed, modulo 2^32; `None` where it does not count them.
    fn instructions() -> Option<u32> {
        None
    }

    /// The lowest address that the stack may grow to.
    fn stack_end() -> usize;

    /// Writes to the console, and waits until the text has room.
    fn write(text: &str);

    /// The program is at its end.
    fn halt(success: bool) -> ! {
        let _ = success;
        loop {
            core::hint::spin_loop();
        }
    }
}
