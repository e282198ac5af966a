//! Text to the board's console.

use core::fmt::{self, Write};
use core::marker::PhantomData;

use crate::Board;

/// The console of a board, for `write!`.
#[derive(Clone, Copy, Debug)]
pub struct Console<B>(PhantomData<B>);

impl<B: Board> Console<B> {
    /// The console, which has no state here.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B: Board> Default for Console<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Board> Write for Console<B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        B::write(text);
        Ok(())
    }
}

/// Says why the program ends, and ends it: for errors and panics.
pub fn fail<B: Board>(reason: &dyn fmt::Display) -> ! {
    // The console never fails.
    let _ = writeln!(Console::<B>::new(), "\nFAILED: {reason}");
    B::halt(false)
}
