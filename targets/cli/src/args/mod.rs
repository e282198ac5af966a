//! The command line: the commands, and their options in a file for each kind.
//!
//! One flag means one thing in every command. Spellings of earlier versions stay as hidden
//! aliases.

mod bench;
mod common;
mod inspect;
mod parse;
#[cfg(feature = "quantizer")]
mod quantizer;
mod run;
mod sampling;
mod size;

use clap::{Parser, Subcommand};

pub(crate) use self::bench::BenchArgs;
pub(crate) use self::common::{EngineArgs, ModelArgs, ResidenceArgs, StateType, StateTypeArgs};
pub(crate) use self::inspect::{
    DigestArgs, FitArgs, InfoArgs, LogitsArgs, PerplexityArgs, TokenizeArgs,
};
pub(crate) use self::parse::Stop;
#[cfg(feature = "quantizer")]
pub(crate) use self::quantizer::{ExportArgs, QuantizeArgs, StateArgs};
pub(crate) use self::run::RunArgs;
pub(crate) use self::sampling::SamplingArgs;
#[cfg(test)]
pub(crate) use self::size::parse_size;

/// Runs RWKV language models: the same text from the same seed on every machine.
#[derive(Debug, Parser)]
#[command(name = "kinglet", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes text that continues a prompt; without one, tells a story
    Run(RunArgs),
    /// Converts a checkpoint (.pth, .safetensors) into a model file
    #[cfg(feature = "quantizer")]
    Quantize(QuantizeArgs),
    /// Makes a state file, for `run --state`, of a tuned state (.pth, .safetensors)
    #[cfg(feature = "quantizer")]
    State(StateArgs),
    /// Shows a model's shape, sizes and provenance
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
}

impl Command {
    /// Whether it writes a file, which is wanted whatever becomes of the standard output.
    #[cfg(unix)]
    pub(crate) const fn writes(&self) -> bool {
        match self {
            Self::Run(args) => args.save_state.is_some(),
            #[cfg(feature = "quantizer")]
            Self::Quantize(_) | Self::State(_) | Self::Export(_) => true,
            Self::Logits(_) => true,
            Self::Info(_)
            | Self::Fit(_)
            | Self::Perplexity(_)
            | Self::Tokenize(_)
            | Self::Digest(_)
            | Self::Bench(_) => false,
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(RunArgs::default())
    }
}
