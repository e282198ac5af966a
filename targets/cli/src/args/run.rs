//! Options of `run`.

use std::path::PathBuf;

use clap::{Args, Parser};

#[cfg(all(feature = "grammar", any(unix, windows)))]
use super::HeldArgs;
use super::parse::{Stop, stop, whole};
use super::{EngineArgs, ModelArgs, ResidenceArgs, SamplingArgs};

#[derive(Args, Clone, Debug)]
// So that the error says what is accepted, not that `-1` is no option.
#[command(allow_negative_numbers = true)]
pub(crate) struct RunArgs {
    /// Text to continue; `-` reads it from standard input
    pub(crate) prompt: Option<String>,
    /// Reads the text to continue from a file; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Most tokens to generate; the end of the text may come before
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 512, value_parser = whole::<usize>)]
    pub(crate) tokens: usize,
    /// Ends the text where this one comes, which is not shown; may be given several times. `\n`,
    /// `\t` and `\\` stand for a line break, a tab and a backslash
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = stop)]
    pub(crate) stop: Vec<Stop>,
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    #[command(flatten)]
    pub(crate) held: HeldArgs,
    /// Goes on past the token that ends a turn, which models from GGUF files name: the text
    /// otherwise ends there
    #[arg(long)]
    pub(crate) ignore_turns: bool,
    /// Goes on from a state that --save-state or `kinglet state` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Writes the state at the end, for --state; with -n 0, that after the prompt; with Ctrl-C,
    /// that after the token under way. Without --seed, --state goes on with the sampler's
    /// generator and counts: the text is that of one run
    #[arg(long, value_name = "FILE")]
    pub(crate) save_state: Option<PathBuf>,
    /// Replaces a --save-state that is there and no state file
    #[arg(long)]
    pub(crate) force: bool,
    /// Leaves the prompt out of the output
    #[arg(long)]
    pub(crate) no_echo: bool,
    /// Prints JSON, an object a line: each token as it comes, and at the end what was done
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

impl Default for RunArgs {
    fn default() -> Self {
        /// The options alone, as their attributes default them.
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            args: RunArgs,
        }
        Alone::parse_from(["kinglet"]).args
    }
}
