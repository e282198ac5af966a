//! Options of the commands that read checkpoints or write their form.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use kinglet_quantize::{Bits, Limit};

use super::parse::{above_zero, finite};
use super::sampling::SamplerArgs;
use super::size::parse_file_size;
use super::{ModelArgs, PlacedModelArgs, StateTypeArgs};

/// The keys of the report, for `--help`.
pub(crate) const KEYS: &str = "\
The report of --report compares the model with the checkpoint, computed in float64, on the \
text of --text or on 8 texts of 128 tokens that the model tells itself (temperature 1, \
seeds 1 to 8). Its keys:
  checkpoint, model      the two files
  architecture, content_hash
  text                   the file; null where the model told the texts: then samples has their
                         count, tokens, temperature and first seed
  sequences, positions   texts, each from the start state, and tokens after which the two sides
                         were compared
  kl_mean, kl_max        KL divergence of the model from the checkpoint, nats
  top1_agreement         share of positions with the same most probable token
  cosine_loss            1 - mean cosine of the logits
  scored                 tokens predicted: all but the first of each text
  perplexity_checkpoint, perplexity_int8 (of the model, of int4 as well), perplexity_ratio
  mix                    of --bits auto: size or max_kl, the limit; kl, of the model from int8 where
                         it was chosen, at so many tokens; kl_all_int4; null otherwise
  tensors                the worst first: name, rows, cols, bits (of a weight), group (inputs that
                         share a scale), bits_per_weight (scales and padding included), relative_rms_error (of the rounding, over the rms of
                         the weights), outlier_ratio (largest magnitude over the rms),
                         int4_kl (of --bits auto: what int4 costs in this tensor alone)";

#[derive(Args, Clone, Debug)]
#[command(after_long_help = KEYS, allow_negative_numbers = true)]
pub(crate) struct QuantizeArgs {
    /// Checkpoint: .pth, .safetensors, .st, .gguf, rwkv.cpp .bin, or a Hugging Face directory; of a
    /// file in parts any one. Not standard input, because its end is read before its beginning
    pub(crate) checkpoint: PathBuf,
    /// The published name of the checkpoint that `pull` has under another one
    #[arg(skip)]
    pub(crate) pulled: Option<String>,
    /// Whether something else is said of the result
    #[arg(skip)]
    pub(crate) unsaid: bool,
    /// Model file to write
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Bits of a weight: 8, 4 (every matrix, embedding and head included: 55 to 60 % of the bytes,
    /// and the model loses more), or `auto`, 4 or 8 for each matrix by what it was measured to lose,
    /// within --max-kl 2e-3 where no limit is given [default: 8, or auto with a limit]
    #[arg(long, value_name = "8|4|auto")]
    pub(crate) bits: Option<Width>,
    /// The best model whose file has at most SIZE bytes, everything in it counted: bytes, or a number
    /// with K, M or G (1000, 1000 K, 1000 M). Measuring takes minutes
    #[arg(long, value_name = "SIZE", conflicts_with = "max_kl", value_parser = parse_file_size)]
    pub(crate) size: Option<u64>,
    /// The smallest model within a mean KL divergence, in nats per token. It is measured from int8 on
    /// texts of its own, and a part is left for what int8 loses against the checkpoint
    #[arg(long, value_name = "NATS", value_parser = above_zero)]
    pub(crate) max_kl: Option<f64>,
    /// Text for the error feedback of int4, tokenized as --text is: its first 2,048 tokens; with
    /// `auto` 16,384, and the next 2,048 to measure on. The model tells texts itself if not given.
    /// `none` rounds to nearest, which loses more; with --bits 4 alone
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Adapter to merge first: LoRA, AdaLoRA, PiSSA, DiSHA, MiSS or Bone, as RWKV-PEFT saves
    /// them, a file or Hugging Face PEFT's directory. For PiSSA give the option twice: for the
    /// trained file and for init_pissa.pth
    #[arg(long, value_name = "FILE")]
    pub(crate) lora: Vec<PathBuf>,
    /// LoRA's alpha, as training was given it; a file does not tell, PEFT's directory does
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = finite::<f64>)]
    pub(crate) alpha: Option<f64>,
    /// Tuned state (blocks.N.att.time_state) that every text shall start from
    #[arg(long, alias = "state", value_name = "FILE")]
    pub(crate) tuned_state: Option<PathBuf>,
    /// Vocabulary: RWKV's text form (rwkv_vocab_v20230424.txt) or the same as JSON, vocab.txt of
    /// transformers' RWKV-5, a tokenizer.json with byte-level BPE (20B_tokenizer.json) or of words
    /// (the music models'), or `world` (that of the World and G1 models), `bytes` (ids 0 to 255),
    /// `bytes+1` (1 to 256, 0 ends a text) or `none`; if not given the checkpoint's own, where its
    /// container has one, and `world` where it has 65,536 outputs
    #[arg(long, value_name = "FILE")]
    pub(crate) vocab: Option<PathBuf>,
    /// Replaces an --output or --report that is there and of another kind
    #[arg(long)]
    pub(crate) force: bool,
    /// A line on the weights' licence, kept in the model file
    #[arg(long, value_name = "TEXT")]
    pub(crate) licence: Option<String>,
    /// Prints a line for each tensor as well
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Prints JSON: what was written, and a list of the tensors
    #[arg(long)]
    pub(crate) json: bool,
    /// Compares the model with the checkpoint and writes the figures as JSON; --help
    /// lists its keys
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
    /// Text for the comparison, tokenized with the model's vocabulary; without one a JSON list of
    /// token ids.
    /// Documents stand apart by lines `<|endoftext|>`. The model's own texts if not given
    #[arg(long, value_name = "FILE", requires = "report")]
    pub(crate) text: Option<PathBuf>,
    #[command(
        flatten,
        next_help_heading = "How tokens are to be drawn: the model file states it, and `run` and `chat` begin with it"
    )]
    pub(crate) sampler: SamplerArgs,
}

/// What `--bits` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Width {
    #[value(name = "8")]
    Eight,
    #[value(name = "4")]
    Four,
    Auto,
}

/// The limit of `--bits auto` alone.
const MAX_KL: f64 = 2e-3;

impl QuantizeArgs {
    /// The bits of the weights.
    pub(crate) fn bits(&self) -> Result<Bits> {
        let limit = match (self.size, self.max_kl) {
            (Some(size), _) => Some(("--size", Limit::Size(size))),
            (None, kl) => kl.map(|kl| ("--max-kl", Limit::Kl(kl))),
        };
        Ok(match (self.bits, limit) {
            (Some(Width::Eight | Width::Four), Some((option, _))) => bail!(
                "{option} chooses 4 or 8 bits for each matrix, --bits 8 or 4 is for all of them; \
                 leave one of the two out"
            ),
            (_, Some((_, limit))) => Bits::Auto(limit),
            (Some(Width::Auto), None) => Bits::Auto(Limit::Kl(MAX_KL)),
            (Some(Width::Four), None) => Bits::Four,
            (Some(Width::Eight) | None, None) => Bits::Eight,
        })
    }
}

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
    /// Replaces an --output that is there and no state file
    #[arg(long)]
    pub(crate) force: bool,
    /// Prints what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    /// File to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub(crate) output: PathBuf,
    /// Replaces an --output that is there and no safetensors file
    #[arg(long)]
    pub(crate) force: bool,
    /// Prints what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
