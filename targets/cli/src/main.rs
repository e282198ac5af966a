//! The program `kinglet`: runs, quantizes and measures RWKV models.

mod args;
#[cfg(all(feature = "pull", any(unix, windows)))]
mod catalogue;
mod commands;
mod support;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
#[cfg(all(feature = "chat", any(unix, windows)))]
use commands::chat;
#[cfg(all(feature = "grammar", any(unix, windows)))]
use commands::grammar;
#[cfg(feature = "manual")]
use commands::manual;
#[cfg(all(feature = "serve", any(unix, windows)))]
use commands::serve;
use commands::{bench, digest, fit, info, logits, perplexity, run, tokenize};
#[cfg(feature = "quantizer")]
use commands::{export, quantize, state};
#[cfg(all(feature = "pull", any(unix, windows)))]
use commands::{list, pull, rm};
#[cfg(unix)]
use support::signals;
use support::{stdout, terminal};

/// The status of a program that was used wrongly or was given wrong input.
const FAILED: u8 = 2;
/// The status of `fit` when the model does not.
const UNFIT: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    terminal::set_quiet(cli.quiet);
    let command = cli.command.unwrap_or_default();
    #[cfg(unix)]
    signals::explain_bus_error();
    #[cfg(unix)]
    if command.handles_signals() {
        // A client that has gone is no reason to end.
    } else if command.writes() {
        let own = command.handles_interrupts().then_some(signal_hook::consts::SIGINT);
        signals::abandon_files(own);
    } else {
        // Whoever reads the output may stop, as `head` does: end quietly then.
        sigpipe::reset();
    }
    let result = match command {
        Command::Run(args) => run::run(&args),
        #[cfg(all(feature = "chat", any(unix, windows)))]
        Command::Chat(args) => chat::run(&args),
        #[cfg(all(feature = "serve", any(unix, windows)))]
        Command::Serve(args) => serve::run(&args),
        #[cfg(all(feature = "pull", any(unix, windows)))]
        Command::Pull(args) => pull::run(&args),
        #[cfg(all(feature = "pull", any(unix, windows)))]
        Command::List(args) => list::run(&args),
        #[cfg(all(feature = "pull", any(unix, windows)))]
        Command::Rm(args) => rm::run(&args),
        #[cfg(feature = "quantizer")]
        Command::Quantize(args) => quantize::run(&args),
        #[cfg(feature = "quantizer")]
        Command::State(args) => state::run(&args),
        #[cfg(not(feature = "quantizer"))]
        Command::LeftOut(_) => Err(anyhow::anyhow!(args::left_out())),
        #[cfg(all(feature = "grammar", any(unix, windows)))]
        Command::Grammar(args) => grammar::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Fit(args) => match fit::run(&args) {
            Ok(false) if stdout::flush().is_ok() => return ExitCode::from(UNFIT),
            answer => answer.map(|_| ()),
        },
        Command::Perplexity(args) => perplexity::run(&args),
        #[cfg(feature = "quantizer")]
        Command::Export(args) => export::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Digest(args) => digest::run(&args),
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "manual")]
        Command::Completions(args) => manual::completions(&args),
        #[cfg(feature = "manual")]
        Command::Man(args) => manual::man(&args),
    };
    match result.and_then(|()| Ok(stdout::flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has had enough.
        Err(error) if terminal::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::from(FAILED)
        }
    }
}
