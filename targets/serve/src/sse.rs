//! Server-sent events: an answer as it is written.
//!
//! A task reads the texts and frames them; the connection takes its bytes as fast as its client
//! does. The end of the connection ends the task, and with it the texts.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::app::App;
use crate::error::ApiError;
use crate::generate::Texts;
use crate::text::Event;

/// Events that wait for a connection beside the texts' own.
const ROOM: usize = 16;

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// A stream to a client.
pub(crate) struct Stream {
    out: mpsc::Sender<Bytes>,
    ping: Duration,
}

/// Answers with what `write` sends.
pub(crate) fn answer<F>(app: &App, write: impl FnOnce(Stream) -> F) -> Response<Body>
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (out, bytes) = mpsc::channel(ROOM);
    let stream = Stream { out, ping: app.limits.ping_time };
    tokio::spawn(write(stream));
    let mut response = Response::new(Body::new(Events(bytes)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // What nginx would gather otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Stream {
    /// What comes next of the texts; a comment shows a client that waits for long that the
    /// connection lives.
    pub(crate) async fn next(&self, texts: &mut Texts) -> Result<Option<(usize, Event)>, Gone> {
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(self.ping, texts.next()) => next,
                () = self.out.closed() => return Err(Gone),
            };
            match next {
                Ok(next) => return Ok(next),
                Err(_) => self.send(": ping\n\n".to_owned()).await?,
            }
        }
    }

    async fn send(&self, text: String) -> Result<(), Gone> {
        self.out.send(text.into()).await.map_err(|_| Gone)
    }

    pub(crate) async fn data(&self, value: &Value) -> Result<(), Gone> {
        self.send(format!("data: {value}\n\n")).await
    }

    /// An event with its name, as the Responses API has them.
    pub(crate) async fn event(&self, name: &str, value: &Value) -> Result<(), Gone> {
        self.send(format!("event: {name}\ndata: {value}\n\n")).await
    }

    /// An error after the headers are sent: clients read it from the stream.
    pub(crate) async fn error(&self, error: &ApiError) -> Result<(), Gone> {
        self.data(&error.json()).await
    }

    pub(crate) async fn done(&self) -> Result<(), Gone> {
        self.send("data: [DONE]\n\n".to_owned()).await
    }
}

/// The body of a stream.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
