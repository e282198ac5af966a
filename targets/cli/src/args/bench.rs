//! Options of `bench`.

#[cfg(feature = "boards")]
use std::path::PathBuf;

use clap::Args;
use kinglet::kernels::weights::WeightType;

use super::parse::{Official, measured, official, share, threads, weights};
use super::{DeviceArgs, PlacedModelArgs, ResidenceArgs, StateTypeArgs};

/// What the columns mean, for `--help`.
const COLUMNS: &str = "\
Columns:
  prefill, decode   tokens per second of the prompt and of the text, median (smallest-largest)
  ms p50, p99       time of a token that half of them, and 99 of 100, do not exceed
  MB/token          what a token reads: weights and state, but for what zeros spare
  GB/s              that, times the rate of decoding
  memory GB/s       how fast this machine reads memory with as many threads, measured in between
  ratio             share of it that decoding reaches: near 100 % nothing faster is possible with
                    these bytes
  peak MB           most memory of the process";

#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true, after_help = COLUMNS)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    /// Random weights of an official shape, made in memory, instead of a file:
    /// rwkv7-0.1b, rwkv7-0.4b, rwkv7-1.5b, rwkv7-2.9b, rwkv7-7.2b
    #[arg(long, value_name = "SHAPE", conflicts_with_all = ["chosen", "verify", "preload", "lock"], value_parser = official)]
    pub(crate) shape: Option<Official>,
    /// Bits of the random weights, 8 or 4: what `kinglet quantize --bits` would write
    #[arg(long, value_name = "BITS", default_value = "8", requires = "shape", conflicts_with = "chosen", value_parser = weights)]
    pub(crate) bits: WeightType,
    /// Tokens of the prompt
    #[arg(short = 'p', long = "prompt-tokens", alias = "prompt", value_name = "N", default_value_t = 512, value_parser = measured)]
    pub(crate) prompt: usize,
    /// Tokens generated
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 128, value_parser = measured)]
    pub(crate) tokens: usize,
    /// Texts that are generated together, a token of each in a step, each with a state of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = measured)]
    pub(crate) sequences: usize,
    /// Thread counts, measured one after the other; the physical cores if not given
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = threads)]
    pub(crate) threads: Vec<usize>,
    /// Times that prompt and generation are measured
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = measured)]
    pub(crate) repeats: usize,
    /// Share of zero activations in the channel mix of random weights, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, requires = "shape", conflicts_with = "chosen", value_parser = share::<f64>)]
    pub(crate) ffn_sparsity: f64,
    /// Kernel set, by its name or the end of one; the fastest that this machine has if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) state: StateTypeArgs,
    /// Tokens of the prompt computed together; what `run` takes if not given
    #[arg(long, alias = "block", value_name = "N", value_parser = measured)]
    pub(crate) batch: Option<usize>,
    #[cfg(feature = "boards")]
    #[command(flatten)]
    pub(crate) board: Option<BoardArgs>,
    /// Prints JSON: an array with an object for each thread count
    #[arg(long, group = "format")]
    pub(crate) json: bool,
    /// Prints comma-separated values
    #[arg(long, group = "format")]
    pub(crate) csv: bool,
    /// Prints a line of JSON for each thread count that others can compare: the machine, its clock
    /// and what holds it back, the model, rates, memory, time to the first token, digest
    #[arg(long, group = "format")]
    pub(crate) record: bool,
    /// Prints a Markdown table
    #[arg(long, group = "format")]
    pub(crate) md: bool,
}

/// The record of a board, in the place of a measurement here.
#[cfg(feature = "boards")]
#[derive(Args, Clone, Debug)]
pub(crate) struct BoardArgs {
    /// Reads the record that a board has printed, checks its digest here, and tells tokens per
    /// second, those per MHz, and the bytes that a token reads. A serial port is read at 115,200
    /// baud until a record comes; `-` is standard input
    #[arg(
        long = "board",
        value_name = "FILE|PORT",
        required = false,
        conflicts_with_all = ["shape", "threads", "kernel", "device", "state_type", "record"]
    )]
    pub(crate) source: PathBuf,
    /// Adds the record to a table of boards, comma-separated values, in the place of the board's
    /// earlier one, and prints the whole table
    #[arg(long, value_name = "FILE", requires = "source")]
    pub(crate) table: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    use super::*;

    fn bench(line: &str) -> Result<BenchArgs, String> {
        let words = ["kinglet", "bench"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Some(Command::Bench(args)), .. }) => Ok(args),
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
        assert_eq!(args.bits, WeightType::Int8);
        assert_eq!(bench("--shape rwkv7-0.4b --bits 4").unwrap().bits, WeightType::Int4);
        assert_eq!(args.sequences, 1);
        assert!(args.threads.is_empty() && args.shape.is_none() && args.batch.is_none());
    }

    #[test]
    fn earlier_spellings_of_flags_are_taken() {
        assert_eq!(bench("--block 7").unwrap().batch, Some(7));
        let digest = Cli::try_parse_from(["kinglet", "digest", "--chunk", "7"]).unwrap();
        let Some(Command::Digest(digest)) = digest.command else { panic!("another command") };
        assert_eq!(digest.batch, 7);
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

    #[cfg(feature = "boards")]
    #[test]
    fn bench_takes_a_board() {
        let board = bench("--board /dev/ttyACM0 --table boards.csv").unwrap().board.unwrap();
        assert_eq!(board.source.to_str(), Some("/dev/ttyACM0"));
        assert_eq!(board.table.unwrap().to_str(), Some("boards.csv"));
        assert!(bench("").unwrap().board.is_none());
        for (line, said) in [
            ("--board a --shape rwkv7-0.1b", "cannot be used with"),
            ("--board a --record", "cannot be used with"),
            ("--board a -t 2", "cannot be used with"),
            ("--table a.csv", "--board <FILE|PORT>"),
        ] {
            let error = bench(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn bench_says_what_is_wrong() {
        for (line, said) in [
            ("--shape rwkv7-3b", "rwkv7-0.1b, rwkv7-0.4b, rwkv7-1.5b, rwkv7-2.9b"),
            ("--shape rwkv7-0.1b -m a.kinglet", "cannot be used with"),
            ("-m a.kinglet --ffn-sparsity 0.5", "cannot be used with"),
            ("--shape rwkv7-0.1b --preload", "cannot be used with"),
            ("--shape rwkv7-0.1b --lock", "cannot be used with"),
            ("--ffn-sparsity 0.5", "--shape <SHAPE>"),
            ("--bits 4", "--shape <SHAPE>"),
            ("--shape rwkv7-0.1b --bits 5", "8 or 4 bits"),
            ("--shape rwkv7-0.1b --ffn-sparsity 1.5", "not in 0 to 1"),
            ("--shape rwkv7-0.1b --ffn-sparsity NaN", "not in 0 to 1"),
            ("-p 18446744073709551615", "give less than 1048576"),
            ("-p 1000000000000", "give less than 1048576"),
            ("-n 1048576", "give less than 1048576"),
            ("-p -1", "not a whole number from 0"),
            ("--ffn-sparsity -0.5 --shape rwkv7-0.1b", "not in 0 to 1"),
            ("-p 0", "0 does nothing"),
            ("-n 0", "0 does nothing"),
            ("-r 0", "0 does nothing"),
            ("--sequences 0", "0 does nothing"),
            ("-t 1,0", "not a number from 1 to 256"),
            ("-t 2-4", "not a number from 1 to 256"),
            ("-t 1,x", "not a number from 1 to 256"),
            ("--json --csv", "cannot be used with"),
            ("--json --record", "cannot be used with"),
        ] {
            let error = bench(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
