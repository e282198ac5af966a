//! Options of `serve`.

use std::path::PathBuf;

use clap::Args;

use super::size::parse_size;
use super::{EngineArgs, PlacedModelArgs, ResidenceArgs};

/// Most texts that are written at once: more share a pass without being faster together.
const MAX_SLOTS: usize = 64;

#[derive(Args, Clone, Debug)]
// So that the error says what is accepted, not that `-1` is no option.
#[command(allow_negative_numbers = true)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) model: PlacedModelArgs,
    #[command(flatten)]
    pub(crate) residence: ResidenceArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Address or name to listen at; 0.0.0.0 is all of this machine's
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen at; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Asks clients for a key, which is a line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Texts that are written at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = slots)]
    pub(crate) slots: usize,
    /// Memory for states of prompts that were read before, and again as much for states that
    /// clients keep; a sixteenth of the machine's, up to 256M, if not given. 0 keeps none
    #[arg(long, value_name = "SIZE", value_parser = cache_size)]
    pub(crate) state_cache: Option<u64>,
    /// Keeps the states that clients name in this folder as well, from one start to the next
    #[arg(long, value_name = "FOLDER")]
    pub(crate) states: Option<PathBuf>,
    /// Lets pages of this origin use the server, such as https://app.example; `*` lets in all. May
    /// be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors_origin: Vec<String>,
    /// A name by which browsers may call the server, besides localhost, numbers and --host. May be
    /// given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// The text around questions and answers: g1, world, raven, instruct or plain; chosen from the
    /// model if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
}

fn slots(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_SLOTS).contains(number));
    number.ok_or_else(|| format!("not a number from 1 to {MAX_SLOTS}"))
}

fn cache_size(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_size(text) }
}
