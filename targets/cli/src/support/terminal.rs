//! What goes to standard error: messages and progress.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Whether `--quiet` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on, only errors are said.
pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether only results and errors are wanted.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Reports why the program failed, with every cause.
pub(crate) fn error(error: &anyhow::Error) {
    say(&format!("kinglet: {error:#}"));
}

/// Says something beside the output, unless `--quiet` was given.
pub(crate) fn note(message: &str) {
    if !is_quiet() {
        say(message);
    }
}

fn say(message: &str) {
    // Nobody may be listening, which is no reason to end.
    let _ = writeln!(io::stderr(), "{message}");
}

/// Whether the output's reader is gone.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.into_iter().any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An output whose reader may stop, as `head` does: what is written from then on is
/// dropped, for a file depends on the work that remains.
pub(crate) struct IgnoreBrokenPipe<W>(Option<W>);

impl<W: Write> IgnoreBrokenPipe<W> {
    pub(crate) fn new(output: W) -> Self {
        Self(Some(output))
    }

    /// Does `f` with the output while it is read.
    fn attempt<T>(&mut self, f: impl FnOnce(&mut W) -> io::Result<T>, dropped: T) -> io::Result<T> {
        let Some(output) = &mut self.0 else { return Ok(dropped) };
        match f(output) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(dropped)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for IgnoreBrokenPipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|output| output.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(W::flush, ())
    }
}

/// How long nothing is said of the time that is left: the first steps tell too little of it.
const ESTIMATED_AFTER: Duration = Duration::from_secs(2);

/// What there is to say of the time that is left.
fn left(elapsed: Duration, eta: Duration) -> String {
    match elapsed < ESTIMATED_AFTER {
        true => String::new(),
        false => format!(" · {:#} left", HumanDuration(eta)),
    }
}

/// A progress bar over `len` units on a terminal, nothing elsewhere.
/// `template` shows the position; indicatif's placeholders, and `{left}` for the time.
pub(crate) fn progress(len: u64, template: &str) -> ProgressBar {
    let bar = if io::stderr().is_terminal() && !is_quiet() {
        ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr_with_hz(10))
    } else {
        ProgressBar::hidden()
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A bar without it is one still.
        let _ = out.write_str(&left(state.elapsed(), state.eta()));
    }));
    bar
}

/// Text of a file or a model without the characters that command a terminal.
pub(crate) fn visible(text: &str) -> String {
    text.chars().filter(|&c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_once_it_is_known() {
        let second = Duration::from_secs(1);
        assert_eq!(left(second, 660 * second), "");
        assert_eq!(left(2 * second, 60 * second), " · 60s left");
        assert_eq!(left(9 * second, 660 * second), " · 11m left");
    }

    #[test]
    fn what_commands_a_terminal_is_left_out() {
        assert_eq!(visible("a\u{1b}[2Jb\r\n\tc\u{9b}1m\u{7f}"), "a[2Jb\n\tc1m");
    }
}
