//! The model that is served.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::app::App;

fn described(app: &App) -> Value {
    let served = &app.served;
    let shape = served.header.shape;
    json!({
        "id": served.id,
        "object": "model",
        "created": app.started,
        "owned_by": "kinglet",
        "meta": {
            "architecture": shape.architecture.to_string(),
            "n_vocab": shape.vocab,
            "n_embd": shape.width,
            "n_layer": shape.layers,
            "size": served.bytes,
            "state_bytes": served.state_file_len(),
            "content_hash": served.header.content_hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        },
    })
}

pub(super) async fn list(State(app): Shared) -> Answer {
    Ok(super::json(&json!({ "object": "list", "data": [described(&app)] })))
}

pub(super) async fn one(State(app): Shared, Path(id): Path<String>) -> Answer {
    app.check_model(Some(&id))?;
    Ok(super::json(&described(&app)))
}
