//! The page: plain files in the program.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, Response, header};

use super::Answer;
use crate::error::ApiError;

/// Name, type and bytes of each file.
const FILES: &[(&str, &str, &[u8])] =
    &[("index.html", "text/html; charset=utf-8", include_bytes!("../../page/index.html"))];

/// Nothing but what this server brings along is loaded, whatever a model's text says.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn index() -> Answer {
    named("index.html")
}

pub(super) async fn file(Path(name): Path<String>) -> Answer {
    named(&name)
}

fn named(name: &str) -> Answer {
    let found = FILES.iter().find(|(file, ..)| *file == name);
    let (_, kind, bytes) = found.ok_or_else(|| ApiError::not_found("the page has no such file"))?;
    let mut response = Response::new(Body::from(*bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
