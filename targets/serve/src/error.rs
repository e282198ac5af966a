//! Errors: OpenAI's object, with a message that says what to do.

use std::fmt;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use kinglet::engine::StepError;
use kinglet::tokenizer::{EncodeError, TokenizerError};
use kinglet_talk::TalkError;
use serde_json::{Value, json};

/// Why a model is not served, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The model has no vocabulary, or one that is damaged.
    #[error("the model's vocabulary: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The system has no thread, socket or timer for it.
    #[error("the server: {0}")]
    System(#[from] std::io::Error),
    /// The folder of states, or a file in it.
    #[error("{}: {error}", path.display())]
    State {
        /// The folder or the file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The engine does not work any more.
    #[error("the engine: {0}")]
    Engine(#[from] StepError),
}

/// An answer that is an error.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds after which it is worth another try.
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let (param, code, retry_after) = (None, None, None);
        Self { status, kind, message: message.into(), param, code, retry_after }
    }

    /// A request that is wrong as a whole.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field with a wrong value.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::request(message);
        Self { param: Some(param.into()), code: Some("invalid_value"), ..error }
    }

    /// A field that means nothing here.
    pub(crate) fn unknown(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!(
            "there is no field `{param}` here; leave it out (a field is never ignored, because you \
             would not get what it asks for)"
        );
        Self { param: Some(param), code: Some("unknown_parameter"), ..Self::request(message) }
    }

    /// A field of OpenAI's whose value is not supported.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::request(message);
        Self { param: Some(param.into()), code: Some("unsupported_parameter"), ..error }
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message);
        Self { code: Some("invalid_api_key"), ..error }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::NOT_FOUND, "not_found_error", message);
        Self { code: Some("not_found"), ..error }
    }

    pub(crate) fn method() -> Self {
        let message = "this address takes other methods; /openapi.json has them";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    pub(crate) fn too_large(most: usize) -> Self {
        let message = format!("the body is longer than the {most} bytes that are read");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    pub(crate) fn too_slow() -> Self {
        let message = "the body did not come within the time that is waited for one";
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
    }

    /// As many texts are being written or wait as may.
    pub(crate) fn full(most: usize) -> Self {
        let message = format!("{most} texts are being written or wait already; try again later");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { code: Some("queue_full"), retry_after: Some(1), ..error }
    }

    /// The store of states or responses has no room.
    pub(crate) fn no_room(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::INSUFFICIENT_STORAGE, "invalid_request_error", message);
        Self { code: Some("no_room"), ..error }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The same error, of a field.
    pub(crate) fn of(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// OpenAI's object.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<TalkError> for ApiError {
    /// An error of what a client sent, where it is one: the engine's own are the server's.
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Template(_) | TalkError::Encode(_) | TalkError::Empty => {
                Self::request(error.to_string())
            }
            TalkError::Options(_) => Self::request(error.to_string()),
            TalkError::State(_) => Self::field("state", error.to_string()),
            // The model's own weights were checked when it was opened.
            TalkError::Step(StepError::NonFinite) => Self::field(
                "state",
                "the text cannot go on: the state is damaged, for a number is out of range",
            ),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<EncodeError> for ApiError {
    fn from(error: EncodeError) -> Self {
        Self::request(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = super::routes::json(&self.json());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
