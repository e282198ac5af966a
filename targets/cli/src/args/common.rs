//! Options that several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kinglet::num::state_dtype::{StateElement, f16};

use super::DeviceArgs;
use super::parse::threads;

/// The model that a command works on.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ModelArgs {
    /// Model file (.kinglet), or the name of a model that `kinglet list` shows; the built-in story
    /// teller if not given
    #[arg(short, long, value_name = "MODEL", group = "chosen")]
    #[cfg_attr(
        not(feature = "built-in-model"),
        arg(
            help = "Model file (.kinglet), or a name in the models folder; this build brings none along"
        )
    )]
    pub(crate) model: Option<PathBuf>,
    /// Checks the checksums of the whole file and its content hash first. Without it the checksums
    /// of a file below 64 MB are checked each time, those of a larger one once
    #[arg(long)]
    pub(crate) verify: bool,
}

/// The model of a command that has no other argument without a name.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PlacedModelArgs {
    /// The model, as --model names it
    #[arg(value_name = "MODEL", group = "chosen")]
    placed: Option<PathBuf>,
    #[command(flatten)]
    named: ModelArgs,
}

impl PlacedModelArgs {
    /// The model, wherever it stands.
    pub(crate) fn chosen(&self) -> ModelArgs {
        let mut chosen = self.named.clone();
        chosen.model = chosen.model.or_else(|| self.placed.clone());
        chosen
    }
}

/// Where the model's file is while a command computes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ResidenceArgs {
    /// Reads the whole file of -m into memory first, so that no token waits for the disk
    #[arg(long)]
    pub(crate) preload: bool,
    /// Reads the file of -m in and keeps it there (mlock); `ulimit -l` must allow its size
    #[arg(long)]
    pub(crate) lock: bool,
}

/// How a command computes. The numbers depend on the state's type and on nothing else of it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EngineArgs {
    /// Kernel set, by its name or the end of one; the fastest that this machine has if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    /// Number of threads; the physical cores if not given
    #[arg(short, long, value_name = "N", allow_hyphen_values = true, value_parser = threads)]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) state: StateTypeArgs,
}

/// What the state is kept in.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct StateTypeArgs {
    /// What the state is kept in; f16 takes half the memory and rounds after every token
    #[arg(long, value_name = "TYPE", value_enum, default_value_t)]
    pub(crate) state_type: StateType,
}

/// The type of a state's elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateType {
    #[default]
    F32,
    F16,
}

impl StateType {
    /// The name, as on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::F32 => f32::NAME,
            Self::F16 => f16::NAME,
        }
    }

    /// Bytes of an element.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<f16>(),
        }
    }
}
