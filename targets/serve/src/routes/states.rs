//! `/v1/states`: states by name. A state is the program's state file, so that what a server has
//! begun goes on in the program, in another server, or on a board.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::{Answer, Shared, body};
use crate::error::ApiError;
use crate::states::{Kept, check_name};
use crate::wire::Fields;

/// Bytes that may follow the state in its file: what the program keeps of a session.
const SECTIONS: usize = 1 << 20;

pub(super) fn described(name: &str, kept: &Kept) -> Value {
    json!({
        "name": name,
        "object": "state",
        "created": kept.created,
        "tokens": kept.tokens,
        "bytes": kept.state.len() * size_of::<f32>(),
    })
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no state `{name}`"))
}

pub(super) async fn list(State(app): Shared) -> Answer {
    let states: Vec<Value> =
        app.states().iter().map(|(name, kept)| described(name, kept)).collect();
    Ok(super::json(&json!({ "object": "list", "data": states })))
}

/// The state file.
pub(super) async fn one(State(app): Shared, Path(name): Path<String>) -> Answer {
    let kept = app.states().get(&name).ok_or_else(|| missing(&name))?;
    let mut response = Response::new(Body::from(kept.file(&app.served)?));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Keeps a state file under a name, in the place of one that has it.
pub(super) async fn put(State(app): Shared, Path(name): Path<String>, request: Request) -> Answer {
    check_name(&name)?;
    let bytes = body(&app, request, app.served.state_file_len() + SECTIONS).await?;
    let kept = Kept::open(&app.served, &bytes)?;
    let answer = described(&name, &kept);
    app.keep_state(&name, &kept).await?;
    Ok(super::json(&answer))
}

pub(super) async fn delete(State(app): Shared, Path(name): Path<String>) -> Answer {
    if !app.forget_state(&name)? {
        return Err(missing(&name));
    }
    Ok(super::json(&json!({ "name": name, "object": "state", "deleted": true })))
}

/// Keeps a state under another name as well: `{"name"}`. Nothing is copied.
pub(super) async fn fork(State(app): Shared, Path(name): Path<String>, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let mut fields = Fields::parse(&bytes)?;
    let other: String = fields.need("name")?;
    fields.finish()?;
    let kept = app.states().get(&name).ok_or_else(|| missing(&name))?;
    app.keep_state(&other, &kept).await?;
    Ok(super::json(&described(&other, &kept)))
}
