//! Options of the commands that look at a model: `info`, `fit`, `perplexity`, `logits`, `digest`.

use std::path::PathBuf;

use clap::Args;
use kinglet::kernels::weights::WeightType;

use super::parse::{positive, weights};
use super::size::parse_size;
use super::{DeviceArgs, EngineArgs, ModelArgs, PlacedModelArgs, ResidenceArgs, StateTypeArgs};

#[derive(Args, Clone, Debug)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    /// Shows how long each layer remembers: the half-life of its memory, in tokens
    #[cfg(feature = "decay")]
    #[arg(long, conflicts_with_all = ["device", "device_layers"])]
    pub(crate) decay: bool,
    /// What this build leaves out
    #[cfg(not(feature = "decay"))]
    #[arg(long, hide = true)]
    pub(crate) decay: bool,
    /// Text for --decay, with models whose decay depends on it (RWKV-6 and 7); `-` is standard
    /// input. One that the model tells if not given
    #[cfg(feature = "decay")]
    #[arg(long, value_name = "FILE", requires = "decay")]
    pub(crate) text: Option<PathBuf>,
    /// Plot of --decay to write
    #[cfg(feature = "decay")]
    #[arg(short, long, value_name = "OUT.svg", requires = "decay")]
    pub(crate) output: Option<PathBuf>,
    /// Replaces an --output that is there and no SVG
    #[cfg(feature = "decay")]
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    // Shows what the model takes of this device's memory as well
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    /// An official shape instead of a file, before it is downloaded: rwkv7-0.1b, rwkv7-0.4b,
    /// rwkv7-1.5b, rwkv7-2.9b, rwkv7-7.2b, rwkv7-13.3b
    #[cfg_attr(feature = "pull", doc = "and all that `kinglet pull` lists, such as world6-1.6b")]
    #[arg(long, value_name = "SHAPE", conflicts_with_all = ["chosen", "verify"])]
    pub(crate) shape: Option<String>,
    /// A known board; `kinglet fit` alone lists them. The usual names are taken as well
    #[arg(long, value_name = "NAME", conflicts_with_all = ["flash", "ram"])]
    pub(crate) board: Option<String>,
    /// Flash, such as 2M; if not given beside --ram, the model is held in RAM
    #[arg(long, value_name = "SIZE", requires = "ram", value_parser = parse_size)]
    pub(crate) flash: Option<u64>,
    /// RAM, such as 512K
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) ram: Option<u64>,
    /// Bits of a weight, where there is no file yet: what `kinglet quantize --bits` would write
    #[arg(long, value_name = "BITS", value_parser = weights)]
    pub(crate) bits: Option<WeightType>,
    /// Counts the memory that presence and frequency penalties need
    #[arg(long)]
    pub(crate) penalties: bool,
    #[command(flatten)]
    pub(crate) state: StateTypeArgs,
    /// C header to write: the sizes of the model's buffers, its vocabulary and its hash, for firmware
    #[arg(long, value_name = "OUT.h", conflicts_with_all = ["shape", "bits"])]
    pub(crate) header: Option<PathBuf>,
    /// Tokens that the firmware computes together, which its workspace grows with
    #[arg(long, value_name = "N", default_value_t = 1, requires = "header", allow_hyphen_values = true, value_parser = positive)]
    pub(crate) batch: usize,
    /// Replaces a --header that is there and not one of this command
    #[arg(long, requires = "header")]
    pub(crate) force: bool,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct PerplexityArgs {
    /// Text file; a line `<|endoftext|>` separates documents. `-` is standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// JSON file with a list of token ids, as `tokenize --json` prints it; `-` is standard input
    #[arg(long, alias = "tokens", value_name = "FILE.json")]
    pub(crate) ids: PathBuf,
    /// File to write: f32 `[tokens, vocab]`
    #[arg(short, long, value_name = "OUT.npy")]
    pub(crate) output: PathBuf,
    /// Replaces an --output that is there and no .npy file
    #[arg(long)]
    pub(crate) force: bool,
    /// Prints what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct DigestArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Number of tokens to feed: token i is (7919 i + 1) mod vocab
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 64, allow_hyphen_values = true, value_parser = positive)]
    pub(crate) tokens: usize,
    /// Tokens computed together; the result does not depend on it
    #[arg(long, alias = "chunk", value_name = "N", default_value_t = 1, allow_hyphen_values = true, value_parser = positive)]
    pub(crate) batch: usize,
    /// Saves the state half way and goes on from the saved copy in a new engine
    #[arg(long)]
    pub(crate) restore: bool,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TokenizeArgs {
    /// Text, or with --decode token ids; `-` is standard input
    #[arg(required = true)]
    pub(crate) text: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Shows the text of token ids
    #[arg(short, long)]
    pub(crate) decode: bool,
    /// Prints JSON: the ids as a list, which `logits --ids` takes; with --decode the text
    #[arg(long)]
    pub(crate) json: bool,
}
