//! The fields that every request for a text may have: how it is drawn and how it ends.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinglet::sampler::{OptionsError, SamplerOptions};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Fields;
use crate::app::App;
use crate::error::ApiError;
use crate::states::Kept;

/// Most logits that a request may change.
const MAX_BIASES: usize = 1024;

/// How the texts of a request are written.
pub(crate) struct Options {
    pub(crate) sampling: SamplerOptions,
    pub(crate) seed: u64,
    /// Most tokens of a text.
    pub(crate) most: usize,
    pub(crate) stops: Vec<Vec<u8>>,
    pub(crate) bias: Vec<(u32, f32)>,
    /// Texts to each prompt.
    pub(crate) choices: usize,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// Whether states of prompts are shared with other requests.
    pub(crate) shared: bool,
    /// Where the text begins.
    pub(crate) state: Option<Kept>,
    pub(crate) return_state: Option<ReturnState>,
}

/// What becomes of the state after the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReturnState {
    /// It stands in the answer.
    Inline,
    /// It is kept under a name.
    Named(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    include_obfuscation: Option<bool>,
}

impl Options {
    /// Takes the fields that all requests for texts have.
    pub(crate) fn take(app: &App, fields: &mut Fields, max: &[&str]) -> Result<Self, ApiError> {
        let limits = &app.limits;
        let model: Option<String> = fields.take("model")?;
        app.check_model(model.as_deref())?;
        // A label of the client's own, which no text depends on.
        let _: Option<String> = fields.take("user")?;
        let _: Option<String> = fields.take("prompt_cache_key")?;
        let _: Option<String> = fields.take("safety_identifier")?;
        fields.only("service_tier", &[json!("auto"), json!("default")])?;
        let stream = fields.take("stream")?.unwrap_or(false);
        let include_usage = stream_options(fields, stream)?;
        let stops = stops(fields, limits.stops, limits.stop_bytes)?;
        let choices = fields.take::<usize>("n")?.unwrap_or(1);
        if !(1..=limits.choices).contains(&choices) {
            let message = format!("n is {choices}; it may be 1 to {}", limits.choices);
            return Err(ApiError::field("n", message));
        }
        let state: Option<Value> = fields.take("state")?;
        let return_state: Option<Value> = fields.take("return_state")?;
        Ok(Self {
            sampling: sampling(fields, app.served.options)?,
            seed: seed(fields)?.unwrap_or_else(|| app.random() % 1_000_000),
            most: most(app, fields, max)?,
            stops,
            bias: bias(fields, app.served.drawable())?,
            choices,
            stream,
            include_usage,
            shared: fields.take("cache_prompt")?.unwrap_or(true),
            state: state.map(|state| open_state(app, state)).transpose()?,
            return_state: return_state.map(return_state_of).transpose()?,
        })
    }
}

fn sampling(fields: &mut Fields, own: SamplerOptions) -> Result<SamplerOptions, ApiError> {
    let options = SamplerOptions {
        temperature: fields.take("temperature")?.unwrap_or(own.temperature),
        top_k: fields.take("top_k")?.unwrap_or(own.top_k),
        top_p: fields.take("top_p")?.unwrap_or(own.top_p),
        min_p: fields.take("min_p")?.unwrap_or(own.min_p),
        presence: fields.take("presence_penalty")?.unwrap_or(own.presence),
        frequency: fields.take("frequency_penalty")?.unwrap_or(own.frequency),
        penalty_decay: fields.take("penalty_decay")?.unwrap_or(own.penalty_decay),
    };
    options.check().map_err(|error| match error {
        OptionsError::OutOfRange { option, .. } => {
            let name = match option.to_string().as_str() {
                "presence" => "presence_penalty".to_owned(),
                "frequency" => "frequency_penalty".to_owned(),
                other => other.replace('-', "_"),
            };
            ApiError::field(name, error.to_string())
        }
        _ => ApiError::request(error.to_string()),
    })?;
    Ok(options)
}

/// The seed; a negative one, which other servers take for none, is a number like others.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let seed: Option<Value> = fields.take("seed")?;
    seed.map(|seed| {
        let signed = seed.as_i64().map(i64::cast_unsigned);
        let wrong = || ApiError::field("seed", "seed must be a whole number of 64 bits");
        seed.as_u64().or(signed).ok_or_else(wrong)
    })
    .transpose()
}

fn most(app: &App, fields: &mut Fields, names: &[&str]) -> Result<usize, ApiError> {
    let mut found = None;
    for &name in names {
        let most = fields.take::<usize>(name)?;
        match (most, found) {
            (Some(_), Some((other, _))) => {
                let message = format!("{name} and {other} say the same; give one of them");
                return Err(ApiError::field(name, message));
            }
            (Some(most), None) => found = Some((name, most)),
            (None, _) => {}
        }
    }
    let Some((name, most)) = found else { return Ok(app.limits.default_tokens) };
    let limit = app.limits.answer_tokens;
    if !(1..=limit).contains(&most) {
        let message = format!("{name} is {most}; it may be 1 to {limit}");
        return Err(ApiError::field(name, message));
    }
    Ok(most)
}

fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let options: Option<StreamOptions> = fields.take("stream_options")?;
    let Some(options) = options else { return Ok(false) };
    if !stream {
        let message = "stream_options is of a stream; set `stream` or leave it out";
        return Err(ApiError::field("stream_options", message));
    }
    if options.include_obfuscation == Some(true) {
        let name = "stream_options.include_obfuscation";
        return Err(ApiError::unsupported(name, format!("{name} is not supported")));
    }
    Ok(options.include_usage.unwrap_or(false))
}

fn stops(fields: &mut Fields, most: usize, most_bytes: usize) -> Result<Vec<Vec<u8>>, ApiError> {
    let stops = match fields.take::<Value>("stop")? {
        None => Vec::new(),
        Some(value) => match super::fields::read(value, "stop") {
            Ok(Stop::One(stop)) => vec![stop],
            Ok(Stop::Many(stops)) => stops,
            Err(_) => {
                return Err(ApiError::field("stop", "stop must be a text or a list of texts"));
            }
        },
    };
    if stops.len() > most {
        let message = format!("stop has {} texts; at most {most} are taken", stops.len());
        return Err(ApiError::field("stop", message));
    }
    if let Some(stop) = stops.iter().find(|stop| !(1..=most_bytes).contains(&stop.len())) {
        let message =
            format!("a text of stop has {} bytes; each has 1 to {most_bytes}", stop.len());
        return Err(ApiError::field("stop", message));
    }
    Ok(stops.into_iter().map(String::into_bytes).collect())
}

fn bias(fields: &mut Fields, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let bias: BTreeMap<String, f32> = fields.take("logit_bias")?.unwrap_or_default();
    if bias.len() > MAX_BIASES {
        let message = format!("logit_bias has {} tokens; at most {MAX_BIASES}", bias.len());
        return Err(ApiError::field("logit_bias", message));
    }
    bias.into_iter()
        .map(|(token, bias)| {
            let id = token.parse().ok().filter(|&id: &u32| (id as usize) < vocab);
            let wrong = |message| ApiError::field("logit_bias", message);
            let id = id.ok_or_else(|| {
                wrong(format!("logit_bias has `{token}`; tokens are 0 to {}", vocab - 1))
            })?;
            if !(-100.0..=100.0).contains(&bias) {
                return Err(wrong(format!(
                    "the bias of token {id} is {bias}; -100 to 100 are taken"
                )));
            }
            // As OpenAI has it, the least bias bans.
            Ok((id, if bias == -100.0 { f32::NEG_INFINITY } else { bias }))
        })
        .collect()
}

fn open_state(app: &App, state: Value) -> Result<Kept, ApiError> {
    if let Value::String(name) = &state {
        let found = app.states().get(name);
        return found
            .ok_or_else(|| ApiError::not_found(format!("there is no state `{name}`")).of("state"));
    }
    let mut fields = Fields::of(state, "state")?;
    let text: String = fields.need("base64")?;
    fields.finish()?;
    let bytes = BASE64_STANDARD.decode(text);
    let bytes =
        bytes.map_err(|error| ApiError::field("state.base64", format!("state.base64: {error}")))?;
    Kept::open(&app.served, &bytes).map_err(|error| error.of("state.base64"))
}

fn return_state_of(value: Value) -> Result<ReturnState, ApiError> {
    if value == json!("base64") {
        return Ok(ReturnState::Inline);
    }
    if !value.is_object() {
        let message = "return_state must be \"base64\" or {\"name\": NAME}";
        return Err(ApiError::field("return_state", message));
    }
    let mut fields = Fields::of(value, "return_state")?;
    let name: String = fields.need("name")?;
    fields.finish()?;
    crate::states::check_name(&name).map_err(|error| error.of("return_state.name"))?;
    Ok(ReturnState::Named(name))
}
