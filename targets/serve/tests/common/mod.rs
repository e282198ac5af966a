//! A server of the story teller in this process, and a client that does as it is told.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kinglet::{Cpu, Model, Requirements, Scalar};
use kinglet_serve::{Config, Served, StateType, Stop, serve};
use kinglet_talk::{Choice, Template};
use serde_json::Value;

/// Places of the server.
pub(crate) const SLOTS: usize = 4;
const MAX_BATCH: usize = 16;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_template(config, None)
    }

    /// The story teller under another template than it was trained on.
    pub(crate) fn with_template(config: Config, template: Option<&str>) -> Self {
        let template = template.map(|name| Template::named(name).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new();
        let handle = stop.clone();
        let thread = thread::spawn(move || {
            let model = Model::open(kinglet_stories::MODEL).unwrap();
            let needs = Requirements::of::<f32>(model.shape(), MAX_BATCH);
            let mut state = vec![0.0; SLOTS * needs.state];
            let mut workspace = vec![0.0; needs.workspace];
            let mut engine =
                Cpu::new(model, Scalar, MAX_BATCH, &mut state, &mut workspace).unwrap();
            let mut served = Served::new(&model, "stories", StateType::F32).unwrap();
            if let Some(template) = template {
                served = served.with_template(Choice { template, reason: "a test".into() });
            }
            serve(&mut engine, served, listener, &config, &handle).unwrap();
        });
        Self { address, stop, thread: Some(thread) }
    }

    pub(crate) fn stop(&self) {
        self.stop.stop();
    }

    /// Waits for the end.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn send(&self, head: &str, body: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request(head, body).as_slice()).unwrap();
        Reply::read(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"), b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
        self.send(&head, body.to_string().as_bytes())
    }

    /// Waits until no text has a place and none waits.
    pub(crate) fn wait_idle(&self) {
        let start = Instant::now();
        loop {
            let metrics = self.get("/metrics").body;
            let metrics = String::from_utf8(metrics).unwrap();
            let is_zero = |name: &str| metrics.lines().any(|line| line == format!("{name} 0"));
            if is_zero("kinglet_requests_processing") && is_zero("kinglet_requests_deferred") {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{metrics}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A counter of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("kinglet_{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// The bytes of a request; the head's lines end with `\r\n`.
pub(crate) fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{head}Connection: close\r\n").into_bytes();
    if !body.is_empty() {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A server that refuses a body may close before it has read all of it.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let mut body = bytes[end + 4..].to_vec();
        if head.contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The object of an answer that is none.
    pub(crate) fn error(&self) -> Value {
        let error = self.json()["error"].clone();
        for name in ["message", "type"] {
            assert!(error[name].is_string(), "{error}");
        }
        for name in ["param", "code"] {
            assert!(error.get(name).is_some(), "{error}");
        }
        error
    }

    /// The data of a stream's events, each ended by an empty line; comments are left out.
    pub(crate) fn events(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"));
        let text = str::from_utf8(&self.body).unwrap();
        let whole = text.strip_suffix("\n\n").unwrap();
        let events = whole.split("\n\n").filter(|event| !event.starts_with(':'));
        events.map(|event| event.rsplit("data: ").next().unwrap().to_owned()).collect()
    }

    /// The objects of a stream that ends with `[DONE]`.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let mut events = self.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { return body };
        let len = usize::from_str_radix(str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return body;
        }
        body.extend(&bytes[end + 2..end + 2 + len]);
        bytes = &bytes[end + 4 + len..];
    }
}
