//! What goes to standard error: messages and progress.
#![expect(clippy::print_stderr, reason = "this is where the program speaks")]

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Reports why the program failed, with every cause.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("kinglet: {error:#}");
}

/// Says something beside the output.
pub(crate) fn note(message: &str) {
    eprintln!("{message}");
}

/// Whether the output's reader is gone.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.into_iter().any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A progress bar over `len` units on a terminal, nothing elsewhere.
/// `template` shows the position; indicatif's placeholders.
pub(crate) fn progress(len: u64, template: &str) -> ProgressBar {
    let bar = if io::stderr().is_terminal() {
        ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr_with_hz(10))
    } else {
        ProgressBar::hidden()
    };
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
