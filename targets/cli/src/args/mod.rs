//! The command line.

pub(crate) mod size;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::sampler::SamplerOptions;
use kinglet_quantize::synthetic::OFFICIAL;

use self::size::parse_size;

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
    /// absent, so that `quantize` refuses the file.
    #[cfg(feature = "quantizer")]
    Export(ExportArgs),
    /// Writes the logits after every token of a list, as .npy
    Logits(LogitsArgs),
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

/// The model that a command works on.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ModelArgs {
    /// Model file (.kinglet); the built-in story teller if not given
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Checks the checksums of the whole file first; done anyway below 64 MB
    #[arg(long)]
    pub(crate) verify: bool,
}

/// Where the model's file is while a command computes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ResidenceArgs {
    /// Reads the whole model file into memory first, so that no token waits for the disk
    #[arg(long, requires = "model")]
    pub(crate) preload: bool,
    /// Reads the model file in and keeps it there (mlock); `ulimit -l` must allow its size
    #[arg(long, requires = "model")]
    pub(crate) lock: bool,
}

/// How a command computes; of this the numbers depend on the state's type alone.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EngineArgs {
    /// Kernel set; the fastest that this machine has if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    /// Number of threads; the physical cores if not given
    #[arg(short, long, value_name = "N")]
    pub(crate) threads: Option<usize>,
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

#[derive(Args, Clone, Debug)]
// So that the error says what is accepted, not that `-1` is no option.
#[command(allow_negative_numbers = true)]
pub(crate) struct RunArgs {
    /// Text to continue; `-` reads it from standard input
    pub(crate) prompt: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Most tokens to generate; the end of the text may come before
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 512)]
    pub(crate) tokens: usize,
    /// Spread of the choice; 0 always takes the most probable token
    #[arg(long = "temp", value_name = "T", default_value_t = TEMPERATURE, allow_hyphen_values = true, value_parser = finite::<f32>)]
    pub(crate) temperature: f32,
    /// Keeps the most probable tokens that together have this probability; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = TOP_P, allow_hyphen_values = true, value_parser = finite::<f32>)]
    pub(crate) top_p: f32,
    /// Keeps this many of the most probable tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: u32,
    /// Keeps tokens that have this share of the largest probability; 0 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_hyphen_values = true, value_parser = finite::<f32>)]
    pub(crate) min_p: f32,
    /// Taken off the logit of every token that was generated before
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true, value_parser = finite::<f32>)]
    pub(crate) presence: f32,
    /// Taken off for each time that a token was generated before
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true, value_parser = finite::<f32>)]
    pub(crate) frequency: f32,
    /// What remains of those counts after each token
    #[arg(long, value_name = "X", default_value_t = 0.996, allow_hyphen_values = true, value_parser = finite::<f32>)]
    pub(crate) penalty_decay: f32,
    /// Seed of the choice; drawn, and shown at the end, if not given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Goes on from a state that --save-state or `kinglet state` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Writes the state at the end, for --state; with -n 0, that after the prompt.
    /// Keeps where the model stands, not the sampler's counts and generator
    #[arg(long, value_name = "FILE")]
    pub(crate) save_state: Option<PathBuf>,
}

const TEMPERATURE: f32 = 0.8;
const TOP_P: f32 = 0.9;

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

impl RunArgs {
    pub(crate) fn sampler_options(&self) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            presence: self.presence,
            frequency: self.frequency,
            penalty_decay: self.penalty_decay,
        }
    }
}

#[cfg(feature = "quantizer")]
/// The keys of the report, for `--help`.
pub(crate) const KEYS: &str = "\
The report of --report compares the int8 model with the checkpoint, computed in float64, on the \
text of --text or on 8 texts of 128 tokens that the int8 model tells itself (temperature 1, \
seeds 1 to 8). Its keys:
  checkpoint, model      the two files
  architecture, content_hash
  text                   the file; null where the model told the texts: then samples has their
                         count, tokens, temperature and first seed
  sequences, positions   texts, each from the start state, and tokens after which the two sides
                         were compared
  kl_mean, kl_max        KL divergence of int8 from the checkpoint, nats
  top1_agreement         share of positions with the same most probable token
  cosine_loss            1 - mean cosine of the logits
  scored                 tokens predicted: all but the first of each text
  perplexity_checkpoint, perplexity_int8, perplexity_ratio
  tensors                the worst first: name, rows, cols, group (inputs that share a scale),
                         bits_per_weight, relative_rms_error (of the rounding, over the rms of
                         the weights), outlier_ratio (largest magnitude over the rms)";

#[cfg(feature = "quantizer")]
#[derive(Args, Clone, Debug)]
#[command(after_long_help = KEYS, allow_negative_numbers = true)]
pub(crate) struct QuantizeArgs {
    /// Checkpoint: .pth, .safetensors, .st, .gguf, rwkv.cpp .bin, or a Hugging Face directory
    pub(crate) checkpoint: PathBuf,
    /// Model file to write
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Adapter to merge first: LoRA, PiSSA, DiSHA or Bone, as RWKV-PEFT saves them. For
    /// PiSSA give the option twice: for the trained file and for init_pissa.pth
    #[arg(long, value_name = "FILE")]
    pub(crate) lora: Vec<PathBuf>,
    /// LoRA's alpha, as training was given it; its files do not tell
    #[arg(long, value_name = "N", requires = "lora", allow_hyphen_values = true, value_parser = finite::<f64>)]
    pub(crate) alpha: Option<f64>,
    /// Tuned state (blocks.N.att.time_state) that every text shall start from
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Vocabulary: RWKV's text form (rwkv_vocab_v20230424.txt), a tokenizer.json with byte-level
    /// BPE (20B_tokenizer.json), or `bytes` (ids 0 to 255) or `bytes+1` (1 to 256, 0 ends a text);
    /// the checkpoint's own if not given, where its container has one
    #[arg(long, value_name = "FILE")]
    pub(crate) vocab: Option<PathBuf>,
    /// A line on the weights' licence, kept in the model file
    #[arg(long, value_name = "TEXT")]
    pub(crate) licence: Option<String>,
    /// Prints totals only, not a line for each tensor
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Compares the int8 model with the checkpoint and writes the figures as JSON; --help
    /// lists its keys
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
    /// Text for the comparison, tokenized with --vocab; without --vocab a JSON list of token ids.
    /// Documents stand apart by lines `<|endoftext|>`. The model's own texts if not given
    #[arg(long, value_name = "FILE", requires = "report")]
    pub(crate) text: Option<PathBuf>,
}

#[cfg(feature = "quantizer")]
#[derive(Args, Clone, Debug)]
pub(crate) struct StateArgs {
    /// Tuned state (blocks.N.att.time_state): .pth or .safetensors
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) state_type: StateTypeArgs,
    /// State file to write
    #[arg(short, long, value_name = "NAME.state")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// A known board; `kinglet fit` alone lists them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["flash", "ram"])]
    pub(crate) board: Option<String>,
    /// Flash, such as 2M; if not given beside --ram, the model is held in RAM
    #[arg(long, value_name = "SIZE", requires = "ram", value_parser = parse_size)]
    pub(crate) flash: Option<u64>,
    /// RAM, such as 512K
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) ram: Option<u64>,
    /// Counts the memory that presence and frequency penalties need
    #[arg(long)]
    pub(crate) penalties: bool,
    #[command(flatten)]
    pub(crate) state: StateTypeArgs,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct PerplexityArgs {
    /// Text file; a line `<|endoftext|>` separates documents
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "quantizer")]
#[derive(Args, Clone, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// File to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// JSON file with a list of token ids
    #[arg(long, value_name = "FILE.json")]
    pub(crate) tokens: PathBuf,
    /// File to write: f32 `[tokens, vocab]`
    #[arg(short, long, value_name = "OUT.npy")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct DigestArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Number of tokens to feed: token i is (7919 i + 1) mod vocab
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) tokens: usize,
    /// Tokens computed together; the result does not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) chunk: usize,
    /// Saves the state half way and goes on from the saved copy in a new engine
    #[arg(long)]
    pub(crate) restore: bool,
}

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    /// Random weights of an official shape, made in memory, instead of a file:
    /// rwkv7-0.1b, rwkv7-0.4b, rwkv7-1.5b, rwkv7-2.9b
    #[arg(long, value_name = "SHAPE", conflicts_with_all = ["model", "verify", "preload", "lock"], value_parser = official)]
    pub(crate) shape: Option<Official>,
    /// Tokens of the prompt
    #[arg(short = 'p', long = "prompt", value_name = "N", default_value_t = 512, value_parser = positive)]
    pub(crate) prompt: usize,
    /// Tokens generated
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 128, value_parser = positive)]
    pub(crate) tokens: usize,
    /// Thread counts, measured one after the other; the physical cores if not given
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    pub(crate) threads: Vec<usize>,
    /// Times that prompt and generation are measured
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub(crate) repeats: usize,
    /// Share of zero activations in the channel mix of random weights, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, requires = "shape", conflicts_with = "model", value_parser = share)]
    pub(crate) ffn_sparsity: f64,
    /// Kernel set; the fastest that this machine has if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    #[command(flatten)]
    pub(crate) state: StateTypeArgs,
    /// Tokens of the prompt computed together; what `run` takes if not given
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) block: Option<usize>,
    /// Prints JSON: an array with an object for each thread count
    #[arg(long, group = "format")]
    pub(crate) json: bool,
    /// Prints comma-separated values
    #[arg(long, group = "format")]
    pub(crate) csv: bool,
    /// Prints a Markdown table
    #[arg(long, group = "format")]
    pub(crate) md: bool,
}

/// Name and dimensions of an official model.
pub(crate) type Official = (&'static str, Shape);

fn official(name: &str) -> Result<Official, String> {
    let known = OFFICIAL.into_iter().find(|(known, _)| *known == name);
    known.ok_or_else(|| {
        let names = OFFICIAL.map(|(name, _)| name);
        format!("not a shape that is known; there are {}", names.join(", "))
    })
}

fn finite<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number.into().is_finite() => Ok(number),
        Ok(_) => Err("not a finite number, or too large for one".to_owned()),
        Err(_) => Err("not a number".to_owned()),
    }
}

/// What nobody waits for, and far less than memory has room for.
const MOST_MEASURED: usize = 1 << 20;

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("0 measures nothing; give 1 or more".to_owned()),
        Ok(MOST_MEASURED..) => Err(format!("too many; give less than {MOST_MEASURED}")),
        number => number.map_err(|error| error.to_string()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not in 0 to 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(line: &str) -> Result<BenchArgs, String> {
        let words = ["kinglet", "bench"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Some(Command::Bench(args)) }) => Ok(args),
            Ok(cli) => panic!("another command: {cli:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn bench_has_defaults() {
        let args = bench("").unwrap();
        assert_eq!((args.prompt, args.tokens, args.repeats), (512, 128, 5));
        assert!(args.threads.is_empty() && args.shape.is_none() && args.block.is_none());
    }

    #[test]
    fn bench_takes_a_list_of_threads() {
        let args =
            bench("--shape rwkv7-0.4b -t 1,2,8 -p 64 -n 3 -r 1 --ffn-sparsity 0.87").unwrap();
        assert_eq!(args.threads, [1, 2, 8]);
        assert_eq!((args.prompt, args.tokens, args.repeats), (64, 3, 1));
        assert_eq!(args.ffn_sparsity, 0.87);
        assert_eq!(args.shape.unwrap().1.width, 1024);
    }

    #[test]
    fn bench_says_what_is_wrong() {
        for (line, said) in [
            ("--shape rwkv7-3b", "rwkv7-0.1b, rwkv7-0.4b, rwkv7-1.5b, rwkv7-2.9b"),
            ("--shape rwkv7-0.1b -m a.kinglet", "cannot be used with"),
            ("-m a.kinglet --ffn-sparsity 0.5", "cannot be used with"),
            ("--shape rwkv7-0.1b --preload", "cannot be used with"),
            ("--shape rwkv7-0.1b --lock", "cannot be used with"),
            ("--lock", "--model <MODEL>"),
            ("--ffn-sparsity 0.5", "--shape <SHAPE>"),
            ("--shape rwkv7-0.1b --ffn-sparsity 1.5", "not in 0 to 1"),
            ("--shape rwkv7-0.1b --ffn-sparsity NaN", "not in 0 to 1"),
            ("-p 18446744073709551615", "give less than 1048576"),
            ("-p 1000000000000", "give less than 1048576"),
            ("-n 1048576", "give less than 1048576"),
            ("-p -1", "invalid digit"),
            ("--ffn-sparsity -0.5 --shape rwkv7-0.1b", "not in 0 to 1"),
            ("-p 0", "0 measures nothing"),
            ("-n 0", "0 measures nothing"),
            ("-r 0", "0 measures nothing"),
            ("-t 1,0", "0 measures nothing"),
            ("-t 1,x", "invalid digit"),
            ("--json --csv", "cannot be used with"),
        ] {
            let error = bench(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
