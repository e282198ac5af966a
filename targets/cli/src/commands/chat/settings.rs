//! Options that `/set` shows and changes, by the names that they have on the command line.

use anyhow::{Result, anyhow, bail};
use kinglet::sampler::SamplerOptions;
use kinglet_talk::{Session, Settings};

/// Names, and what may stand after them.
pub(super) const KEYS: [(&str, &str); 10] = [
    ("temp", "0 is greedy"),
    ("top-p", "0 to 1"),
    ("top-k", "0 keeps all"),
    ("min-p", "0 to 1"),
    ("presence", "from 0"),
    ("frequency", "from 0"),
    ("penalty-decay", "0 to 1"),
    ("tokens", "most of an answer"),
    ("think-budget", "tokens of a thought, or none"),
    ("seed", "of what is drawn from here on"),
];

/// The options with their values, a line each.
pub(super) fn show(session: &Session<'_>, seed: Option<u64>) -> String {
    let settings = session.settings();
    let lines = KEYS.map(|(key, what)| {
        let value = value(&settings, seed, key);
        format!("{:<24}{what}", format!("{key} {value}"))
    });
    lines.join("\n")
}

fn value(settings: &Settings, seed: Option<u64>, key: &str) -> String {
    let SamplerOptions { temperature, top_p, top_k, min_p, presence, frequency, penalty_decay } =
        settings.sampling;
    match key {
        "temp" => temperature.to_string(),
        "top-p" => top_p.to_string(),
        "top-k" => top_k.to_string(),
        "min-p" => min_p.to_string(),
        "presence" => presence.to_string(),
        "frequency" => frequency.to_string(),
        "penalty-decay" => penalty_decay.to_string(),
        "tokens" => settings.answer_tokens.to_string(),
        "think-budget" => {
            settings.thought_tokens.map_or_else(|| "none".to_owned(), |tokens| tokens.to_string())
        }
        _ => seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string()),
    }
}

/// Sets an option.
pub(super) fn set(session: &mut Session<'_>, key: &str, value: &str) -> Result<()> {
    let key = match key {
        "temperature" => "temp",
        "n" => "tokens",
        key => key,
    };
    if key == "seed" {
        return Ok(session.reseed(whole(key, value)?)?);
    }
    let mut settings = session.settings();
    let sampling = &mut settings.sampling;
    match key {
        "temp" => sampling.temperature = not_negative(key, value)?,
        "top-p" => sampling.top_p = share(key, value)?,
        "top-k" => sampling.top_k = whole(key, value)?,
        "min-p" => sampling.min_p = share(key, value)?,
        "presence" => sampling.presence = not_negative(key, value)?,
        "frequency" => sampling.frequency = not_negative(key, value)?,
        "penalty-decay" => sampling.penalty_decay = share(key, value)?,
        "tokens" => settings.answer_tokens = positive(key, value)?,
        "think-budget" if value == "none" => settings.thought_tokens = None,
        "think-budget" => settings.thought_tokens = Some(whole(key, value)?),
        _ => bail!("there is no option {key}; there are {}", KEYS.map(|(key, _)| key).join(", ")),
    }
    session.set_sampling(settings.sampling).map_err(|error| anyhow!("{error}"))?;
    session.set_thinking(settings.thinking, settings.thought_tokens);
    session.set_answer_tokens(settings.answer_tokens);
    Ok(())
}

fn whole<T: std::str::FromStr>(key: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| anyhow!("{key} {value}: not a whole number from 0, or too large"))
}

fn positive(key: &str, value: &str) -> Result<usize> {
    match whole(key, value)? {
        0 => bail!("{key} 0 does nothing; give 1 or more"),
        number => Ok(number),
    }
}

fn not_negative(key: &str, value: &str) -> Result<f32> {
    within(key, value, f32::MAX, "not a number from 0")
}

fn share(key: &str, value: &str) -> Result<f32> {
    within(key, value, 1.0, "not in 0 to 1")
}

fn within(key: &str, value: &str, most: f32, wrong: &str) -> Result<f32> {
    let number = value.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| anyhow!("{key} {value}: {wrong}"))
}
