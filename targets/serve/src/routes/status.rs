//! How the server is.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use kinglet::sampler::SamplerOptions;
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::wire::parts::shortest;

pub(super) async fn health(State(app): Shared) -> Answer {
    match app.board.progress().failed {
        Some(_) => Err(app.failed()),
        None => Ok(super::json(&json!({ "status": "ok" }))),
    }
}

pub(super) async fn props(State(app): Shared) -> Answer {
    let served = &app.served;
    let limits = app.limits;
    Ok(super::json(&json!({
        "default_generation_settings": {
            "params": sampling(&served.options),
            "max_tokens": limits.default_tokens,
        },
        "total_slots": served.slots,
        "model": served.id,
        "model_path": served.id,
        "chat_template": served.template().name(),
        "chat_template_reason": served.choice.reason,
        "chat_template_caps": { "supports_thinking": served.template().thinks() },
        "build_info": concat!("kinglet-", env!("CARGO_PKG_VERSION")),
        "limits": {
            "body_bytes": limits.body,
            "messages": limits.messages,
            "prompt_tokens": limits.prompt_tokens,
            "max_tokens": limits.answer_tokens,
            "stops": limits.stops,
            "n": limits.choices,
            "queue": limits.queue,
            "state_bytes": limits.state_bytes,
        },
    })))
}

fn sampling(options: &SamplerOptions) -> Value {
    json!({
        "temperature": shortest(options.temperature),
        "top_k": options.top_k,
        "top_p": shortest(options.top_p),
        "min_p": shortest(options.min_p),
        "presence_penalty": shortest(options.presence),
        "frequency_penalty": shortest(options.frequency),
        "penalty_decay": shortest(options.penalty_decay),
    })
}

/// Counts alone: nobody sees another's text.
pub(super) async fn slots(State(app): Shared) -> Answer {
    let progress = app.board.progress();
    let slots = progress.slots.iter().enumerate().map(|(id, slot)| match slot {
        None => json!({ "id": id, "is_processing": false }),
        Some(slot) => json!({
            "id": id,
            "is_processing": true,
            "prompt_tokens": slot.prompt,
            "prompt_tokens_cached": slot.cached,
            "prompt_tokens_processed": slot.read,
            "tokens_predicted": slot.drawn,
        }),
    });
    Ok(super::json(&Value::Array(slots.collect())))
}

pub(super) async fn metrics(State(app): Shared) -> Response<Body> {
    let kept = app.states().kept();
    let mut response = Response::new(Body::from(app.metrics.text(&app.board.progress(), kept)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
