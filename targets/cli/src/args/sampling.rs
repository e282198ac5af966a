//! Options of the sampler, as `run` has them.

use clap::Args;
use kinglet::sampler::SamplerOptions;

use super::parse::finite;

const TEMPERATURE: f32 = 0.8;
const TOP_P: f32 = 0.9;

/// How tokens are drawn.
#[derive(Args, Clone, Debug)]
pub(crate) struct SamplingArgs {
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
}

impl SamplingArgs {
    /// The options of the sampler.
    pub(crate) fn options(&self) -> SamplerOptions {
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
