//! Options of `chat`.

use std::path::PathBuf;

use clap::Args;
use kinglet_talk::Thinking;

#[cfg(feature = "grammar")]
use super::HeldArgs;
use super::parse::{Stop, positive, stop, whole};
use super::{EngineArgs, PlacedModelArgs, ResidenceArgs, SamplingArgs};

#[derive(Args, Clone, Debug)]
// So that the error says what is accepted, not that `-1` is no option.
#[command(allow_negative_numbers = true)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Instructions before the first question
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// The text around questions and answers: g1, world, raven, instruct, plain, or a file with a
    /// Hugging Face chat_template; chosen from the model if not given
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) template: Option<String>,
    /// How the model thinks before it answers: none, fast (an empty thought), full, or think,
    /// a-bit and a-lot, which ask for it; fast if not given and the template has thoughts
    #[arg(long, value_name = "MODE", value_parser = thinking)]
    pub(crate) think: Option<Thinking>,
    /// Ends a thought after this many tokens, 0 before it begins. The `</think>` that does so comes
    /// on top, and counts as tokens of the answer
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = whole::<usize>)]
    pub(crate) think_budget: Option<usize>,
    /// Goes on with the last conversation with this model, or that of --session
    #[arg(long)]
    pub(crate) resume: bool,
    /// Keeps the conversation in this file; in one for each model, in the user's data folder, if
    /// not given. One of a pipe is kept with this or --resume alone
    #[arg(long, value_name = "FILE")]
    pub(crate) session: Option<PathBuf>,
    /// Most tokens of an answer, its thought included; 2048 if not given
    #[arg(short = 'n', long = "tokens", value_name = "N", allow_hyphen_values = true, value_parser = positive)]
    pub(crate) tokens: Option<usize>,
    /// Ends an answer where this text comes, which is not shown; may be given several times. `\n`,
    /// `\t` and `\\` stand for a line break, a tab and a backslash
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = stop)]
    pub(crate) stop: Vec<Stop>,
    #[cfg(feature = "grammar")]
    #[command(flatten)]
    pub(crate) held: HeldArgs,
    /// Prints a line of JSON for each answer: question, thought, answer, tokens (all that the model
    /// wrote, its thought included, but for one that ends the text), and its end, which is end,
    /// stop, length, complete (nothing may follow under its grammar) or interrupt
    #[arg(long)]
    pub(crate) json: bool,
    // Last, for its options have a heading of their own.
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

/// The way to think of that name.
fn thinking(name: &str) -> Result<Thinking, String> {
    Thinking::named(name).ok_or_else(|| {
        let names = Thinking::ALL.map(|(name, _)| name);
        format!("there are {}", names.join(", "))
    })
}
