//! Standard output whose errors say what could not be written.
//!
//! `println!` panics on a full disk. Commands print by [`outln!`](outln) or write to [`Stdout`],
//! and end with status 2 and one line instead.

use std::fmt;
use std::io::{self, Write};

/// The standard output of the program, locked for as long as the value lives.
pub(crate) struct Stdout(io::StdoutLock<'static>);

impl Stdout {
    pub(crate) fn lock() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(cannot_write)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(cannot_write)
    }
}

/// The error with what it is about; its kind stays, because a closed pipe is no failure.
fn cannot_write(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}

/// Writes a line.
pub(crate) fn line(text: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = Stdout::lock();
    out.write_fmt(text)?;
    out.write_all(b"\n")
}

/// Writes what is still buffered, at the end of the program.
pub(crate) fn flush() -> io::Result<()> {
    Stdout::lock().flush()
}

/// `println!` that returns an [`io::Result`].
macro_rules! outln {
    () => { $crate::support::stdout::line(format_args!("")) };
    ($($argument:tt)*) => { $crate::support::stdout::line(format_args!($($argument)*)) };
}
pub(crate) use outln;
