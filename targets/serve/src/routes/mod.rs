//! The addresses, and what stands before all of them.

mod chat;
mod choose;
mod completions;
mod models;
mod openapi;
mod page;
mod responses;
mod states;
mod status;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::generate::state_of;
use crate::states::Kept;
use crate::wire::{Options, ReturnState};

/// The answer of an address.
type Answer = Result<Response<Body>, ApiError>;
type Shared = State<Arc<App>>;

/// Addresses that need no key: they tell nothing, or are what a browser needs to ask for one.
const PUBLIC: &[&str] = &["/", "/health", "/v1/health", "/openapi.json"];

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .route("/health", get(status::health))
        .route("/v1/health", get(status::health))
        .route("/props", get(status::props))
        .route("/slots", get(status::slots))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .route("/v1/completions", post(completions::create))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::one).delete(responses::delete))
        .route("/v1/states", get(states::list))
        .route("/v1/states/{name}", get(states::one).put(states::put).delete(states::delete))
        .route("/v1/states/{name}/fork", post(states::fork))
        .route("/v1/choose", post(choose::create))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .fallback(|| async { ApiError::not_found("there is nothing here; /openapi.json has all") })
        .method_not_allowed_fallback(|| async { ApiError::method() })
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Lets in who may ask, and tells a browser whose page may read the answer.
async fn guard(State(app): Shared, request: Request, next: Next) -> Response<Body> {
    let origin = match app.hosts.check(request.headers()) {
        Ok(origin) => origin,
        Err(error) => return error.into_response(),
    };
    let mut response = if request.method() == Method::OPTIONS && origin.is_some() {
        preflight()
    } else {
        let path = request.uri().path();
        let is_public = PUBLIC.contains(&path) || path.starts_with("/page/");
        match app.keys.check(request.headers()) {
            Err(error) if !is_public => error.into_response(),
            _ => next.run(request).await,
        }
    };
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What a page of another site, which was let in, may send.
fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, PUT, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // `*` does not stand for the header of the key.
    let names = HeaderValue::from_static("authorization, content-type, *");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// An answer in JSON.
pub(crate) fn json(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The body of a request, if it comes in time and is no longer than `most` bytes.
async fn body(app: &App, request: Request, most: usize) -> Result<Bytes, ApiError> {
    if stated_len(request.headers()).is_some_and(|len| len > most as u64) {
        return Err(ApiError::too_large(most));
    }
    let limited = Limited::new(request.into_body(), most);
    match tokio::time::timeout(app.limits.read_time, limited.collect()).await {
        Err(_) => Err(ApiError::too_slow()),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(most)),
        Ok(Err(error)) => Err(ApiError::request(format!("the body: {error}"))),
    }
}

fn stated_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Keeps the state after a text as it was asked for; what the answer says of it.
async fn return_state(
    app: &Arc<App>,
    options: &Options,
    history: Vec<u32>,
) -> Result<Option<Value>, ApiError> {
    let Some(wanted) = &options.return_state else { return Ok(None) };
    let kept = state_of(app, options.state.as_ref(), history, options.shared).await?;
    match wanted {
        ReturnState::Inline => inline(app, &kept).map(Some),
        ReturnState::Named(name) => {
            app.keep_state(name, &kept).await?;
            Ok(Some(states::described(name, &kept)))
        }
    }
}

/// A state with its file.
fn inline(app: &App, kept: &Kept) -> Result<Value, ApiError> {
    use base64::Engine as _;
    let file = base64::prelude::BASE64_STANDARD.encode(kept.file(&app.served)?);
    Ok(json!({ "base64": file, "tokens": kept.tokens }))
}
