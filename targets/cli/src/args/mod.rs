//! The command line: the commands, and their options in a file for each kind.
//!
//! One flag means one thing in every command. Spellings of earlier versions stay as hidden
//! aliases. `-q` and `--json` are in every command, and `-` is standard input wherever a text or a
//! list is read.

mod bench;
#[cfg(all(feature = "chat", any(unix, windows)))]
mod chat;
mod common;
mod device;
#[cfg(all(feature = "grammar", any(unix, windows)))]
mod grammar;
mod inspect;
#[cfg(feature = "manual")]
mod manual;
#[cfg(all(feature = "pull", any(unix, windows)))]
mod models;
mod parse;
#[cfg(feature = "quantizer")]
mod quantizer;
mod run;
mod sampling;
#[cfg(all(feature = "serve", any(unix, windows)))]
mod serve;
mod size;

use clap::{Parser, Subcommand};

pub(crate) use self::bench::BenchArgs;
#[cfg(feature = "boards")]
pub(crate) use self::bench::BoardArgs;
#[cfg(all(feature = "chat", any(unix, windows)))]
pub(crate) use self::chat::ChatArgs;
pub(crate) use self::common::{
    EngineArgs, ModelArgs, PlacedModelArgs, ResidenceArgs, StateType, StateTypeArgs,
};
pub(crate) use self::device::{Device, DeviceArgs};
#[cfg(all(feature = "grammar", any(unix, windows)))]
pub(crate) use self::grammar::{GrammarArgs, HeldArgs, Notation};
pub(crate) use self::inspect::{
    DigestArgs, FitArgs, InfoArgs, LogitsArgs, PerplexityArgs, TokenizeArgs,
};
#[cfg(feature = "manual")]
pub(crate) use self::manual::{CompletionsArgs, ManArgs};
#[cfg(all(feature = "pull", any(unix, windows)))]
pub(crate) use self::models::{ListArgs, PullArgs, RmArgs};
pub(crate) use self::parse::{MAX_THREADS, Stop};
#[cfg(feature = "quantizer")]
pub(crate) use self::quantizer::{ExportArgs, QuantizeArgs, StateArgs};
pub(crate) use self::run::RunArgs;
pub(crate) use self::sampling::SamplingArgs;
#[cfg(all(feature = "serve", any(unix, windows)))]
pub(crate) use self::serve::ServeArgs;
#[cfg(test)]
pub(crate) use self::size::parse_size;

/// What the status says, for `--help` and the manual.
const STATUS: &str = "\
Status:
  0      done; for `fit`, the model fits
  1      `fit` alone: the model does not fit
  2      wrong use, wrong input, or something could not be read, written or allocated;
         a line on standard error says what
  128+N  ended by signal N, as a shell shows it: 130 is Ctrl-C

A closed output, as `| head` leaves it, is no failure: a command that writes a file goes on
without a reader and ends with 0, others end by the signal of the pipe, 141.

Results are on standard output. Progress (on a terminal), notes and summaries are on standard
error. `-` is standard input wherever a text or a list is read.";

/// What this build leaves out.
#[cfg(not(feature = "quantizer"))]
const LEFT_OUT: &[&str] = &[
    "`quantize`, `state`, `export`, `pull`, `list`, `rm`",
    #[cfg(not(all(feature = "chat", any(unix, windows))))]
    "`chat`",
    #[cfg(not(all(feature = "grammar", any(unix, windows))))]
    "`grammar`, `--grammar`, `--json-schema`",
    #[cfg(not(all(feature = "serve", any(unix, windows))))]
    "`serve`",
    #[cfg(not(feature = "manual"))]
    "`completions`, `man`",
    #[cfg(not(feature = "decay"))]
    "`info --decay`",
];

/// What this build leaves out, and what to do about it.
#[cfg(not(feature = "quantizer"))]
pub(crate) fn left_out() -> String {
    format!(
        "Left out of this build: {}. Do it on another machine with a full build: a model file runs \
         on all",
        LEFT_OUT.join(", ")
    )
}

/// Whatever was given to a command that is left out.
#[cfg(not(feature = "quantizer"))]
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LeftOutArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<std::ffi::OsString>,
}

/// Runs RWKV language models: the same text from the same seed on every machine.
#[derive(Debug, Parser)]
#[command(name = "kinglet", version, after_long_help = STATUS)]
#[cfg_attr(not(feature = "quantizer"), command(after_help = left_out()))]
pub(crate) struct Cli {
    /// Says nothing beside the results and errors: no progress, notes or summaries
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes text that continues a prompt; without one, tells a story
    #[cfg_attr(
        not(feature = "built-in-model"),
        command(about = "Writes text that continues a prompt")
    )]
    Run(RunArgs),
    /// Talks with a model, and keeps the conversation
    #[cfg(all(feature = "chat", any(unix, windows)))]
    Chat(ChatArgs),
    /// Serves a model over HTTP, as OpenAI's clients ask for it
    #[cfg(all(feature = "serve", any(unix, windows)))]
    Serve(ServeArgs),
    /// Downloads a model and converts it; alone, lists the models to be had
    #[cfg(all(feature = "pull", any(unix, windows)))]
    Pull(PullArgs),
    /// Lists the models in the models folder
    #[cfg(all(feature = "pull", any(unix, windows)))]
    List(ListArgs),
    /// Removes models from the models folder
    #[cfg(all(feature = "pull", any(unix, windows)))]
    Rm(RmArgs),
    /// Converts a checkpoint (.pth, .safetensors) into a model file
    #[cfg(feature = "quantizer")]
    Quantize(QuantizeArgs),
    /// Makes a state file, for `run --state`, of a tuned state (.pth, .safetensors)
    #[cfg(feature = "quantizer")]
    State(StateArgs),
    /// The commands that this build leaves out
    #[cfg(not(feature = "quantizer"))]
    #[command(
        name = "quantize",
        aliases = ["state", "export", "pull", "list", "rm"],
        hide = true
    )]
    #[cfg_attr(not(all(feature = "chat", any(unix, windows))), command(alias = "chat"))]
    #[cfg_attr(not(all(feature = "grammar", any(unix, windows))), command(alias = "grammar"))]
    #[cfg_attr(not(all(feature = "serve", any(unix, windows))), command(alias = "serve"))]
    #[cfg_attr(not(feature = "manual"), command(aliases = ["completions", "man"]))]
    LeftOut(LeftOutArgs),
    /// Compiles a grammar (GBNF, JSON Schema, regular expression) for --grammar
    #[cfg(all(feature = "grammar", any(unix, windows)))]
    Grammar(GrammarArgs),
    /// Shows a model's shape, sizes and provenance, or what a state file holds
    Info(InfoArgs),
    /// Says what a model needs, and whether a board has it: status 0 if so, 1 if not
    Fit(FitArgs),
    /// Measures how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Writes the dequantized weights as f32 safetensors under the official names
    ///
    /// For looking at what the model computes with: LayerNorm ln0 is folded into emb.weight and
    /// absent. The file keeps the grid of its weights, so that `quantize` makes the same model of
    /// it.
    #[cfg(feature = "quantizer")]
    Export(ExportArgs),
    /// Writes the logits after every token of a list, as .npy
    Logits(LogitsArgs),
    /// Shows the tokens of a text, or the text of tokens
    Tokenize(TokenizeArgs),
    /// Prints a checksum of logits: the same on every machine that computes the same bits
    Digest(DigestArgs),
    /// Measures how fast a model runs here, beside the speed of this machine's memory
    Bench(BenchArgs),
    /// Prints completions for a shell, to be read by it
    #[cfg(feature = "manual")]
    Completions(CompletionsArgs),
    /// Writes the manual pages, one for each command, into a folder
    #[cfg(feature = "manual")]
    Man(ManArgs),
}

impl Command {
    /// Whether it writes a file, which is wanted whatever becomes of the standard output.
    #[cfg(unix)]
    pub(crate) const fn writes(&self) -> bool {
        match self {
            Self::Run(args) => args.save_state.is_some(),
            #[cfg(feature = "chat")]
            Self::Chat(_) => true,
            #[cfg(feature = "serve")]
            Self::Serve(_) => false,
            #[cfg(feature = "quantizer")]
            Self::Quantize(_) | Self::State(_) | Self::Export(_) => true,
            #[cfg(not(feature = "quantizer"))]
            Self::LeftOut(_) => false,
            Self::Logits(_) => true,
            #[cfg(all(feature = "grammar", any(unix, windows)))]
            Self::Grammar(_) => true,
            #[cfg(feature = "decay")]
            Self::Info(args) => args.output.is_some(),
            #[cfg(not(feature = "decay"))]
            Self::Info(_) => false,
            #[cfg(all(feature = "pull", any(unix, windows)))]
            Self::Pull(args) => args.model.is_some(),
            #[cfg(all(feature = "pull", any(unix, windows)))]
            Self::Rm(_) => true,
            #[cfg(all(feature = "pull", any(unix, windows)))]
            Self::List(_) => false,
            Self::Fit(_)
            | Self::Perplexity(_)
            | Self::Tokenize(_)
            | Self::Digest(_)
            | Self::Bench(_) => false,
            #[cfg(feature = "manual")]
            Self::Completions(_) => false,
            #[cfg(feature = "manual")]
            Self::Man(_) => true,
        }
    }
}

#[cfg(unix)]
impl Command {
    /// Whether it handles the signals that end programs, and readers that stop reading.
    pub(crate) const fn handles_signals(&self) -> bool {
        match self {
            #[cfg(feature = "serve")]
            Self::Serve(_) => true,
            _ => false,
        }
    }

    /// Whether Ctrl-C is its own to handle: `run` saves its state, an answer of `chat` stops.
    pub(crate) const fn handles_interrupts(&self) -> bool {
        match self {
            Self::Run(_) => true,
            #[cfg(feature = "chat")]
            Self::Chat(_) => true,
            _ => false,
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(RunArgs::default())
    }
}
