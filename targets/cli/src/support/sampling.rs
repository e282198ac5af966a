//! The sampler's options as flags and as JSON.

use kinglet::sampler::SamplerOptions;
use serde_json::{Value, json};

/// The flags that give the same text again, from the same start.
pub(crate) fn flags(options: &SamplerOptions, seed: Option<u64>) -> String {
    let SamplerOptions { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay } =
        *options;
    let mut flags = format!("--temp {temperature} --top-p {top_p} --top-k {top_k}");
    for (name, value) in [("min-p", min_p), ("presence", presence), ("frequency", frequency)] {
        if value != 0.0 {
            flags += &format!(" --{name} {value}");
        }
    }
    if options.has_penalties() {
        flags += &format!(" --penalty-decay {penalty_decay}");
    }
    if let Some(seed) = seed {
        flags += &format!(" --seed {seed}");
    }
    flags
}

/// The options under the names of their flags.
pub(crate) fn sampling_json(options: &SamplerOptions) -> Value {
    let SamplerOptions { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay } =
        *options;
    json!({
        "temperature": shortest(temperature),
        "top_k": top_k,
        "top_p": shortest(top_p),
        "min_p": shortest(min_p),
        "presence": shortest(presence),
        "frequency": shortest(frequency),
        "penalty_decay": shortest(penalty_decay),
    })
}

/// The shortest decimal that is this f32: 0.6, not 0.6000000238418579.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}
