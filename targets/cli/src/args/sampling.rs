//! Options of the sampler.
//!
//! They have no defaults here: a model file may state its own, and a kind of model has some
//! ([`SamplerOptions::for_model`]).

use clap::Args;
use kinglet::sampler::SamplerOptions;

use super::parse::{not_negative, share, whole};

/// How tokens are drawn, and from which seed.
#[derive(Args, Clone, Debug)]
pub(crate) struct SamplingArgs {
    #[command(
        flatten,
        next_help_heading = "How tokens are drawn (what is not given is the model's own: `kinglet info` shows it)"
    )]
    pub(crate) sampler: SamplerArgs,
    /// Seed of the choice; drawn, and shown at the end, if not given
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = whole::<u64>)]
    pub(crate) seed: Option<u64>,
}

/// How tokens are drawn.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SamplerArgs {
    /// Spread of the choice; 0 always takes the most probable token
    #[arg(long = "temp", value_name = "T", allow_hyphen_values = true, value_parser = not_negative)]
    pub(crate) temperature: Option<f32>,
    /// Keeps the most probable tokens that together have this probability; 1 keeps all
    #[arg(long, value_name = "P", allow_hyphen_values = true, value_parser = share::<f32>)]
    pub(crate) top_p: Option<f32>,
    /// Keeps this many of the most probable tokens; 0 keeps all
    #[arg(long, value_name = "K", allow_hyphen_values = true, value_parser = whole::<u32>)]
    pub(crate) top_k: Option<u32>,
    /// Keeps tokens that have this share of the largest probability; 0 keeps all
    #[arg(long, value_name = "P", allow_hyphen_values = true, value_parser = share::<f32>)]
    pub(crate) min_p: Option<f32>,
    /// Taken off the logit of every token that was generated before
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = not_negative)]
    pub(crate) presence: Option<f32>,
    /// Taken off for each time that a token was generated before
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = not_negative)]
    pub(crate) frequency: Option<f32>,
    /// What remains of those counts after each token
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = share::<f32>)]
    pub(crate) penalty_decay: Option<f32>,
}

impl SamplerArgs {
    /// The options of the sampler: those given, and `own` of the model.
    pub(crate) fn options(&self, own: SamplerOptions) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            presence: self.presence.unwrap_or(own.presence),
            frequency: self.frequency.unwrap_or(own.frequency),
            penalty_decay: self.penalty_decay.unwrap_or(own.penalty_decay),
        }
    }

    /// Whether any is given.
    #[cfg(feature = "quantizer")]
    pub(crate) fn is_any(&self) -> bool {
        let numbers = [
            self.temperature,
            self.top_p,
            self.min_p,
            self.presence,
            self.frequency,
            self.penalty_decay,
        ];
        self.top_k.is_some() || numbers.iter().any(Option::is_some)
    }
}
