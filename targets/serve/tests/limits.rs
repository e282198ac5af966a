//! What clients may not do, and what becomes of those that go.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{Reply, SLOTS, Server, request};
use kinglet_serve::{Config, Limits};
use serde_json::{Value, json};

fn with_limits(limits: Limits) -> Server {
    Server::new(Config { limits, ..Config::default() })
}

/// A text that nothing ends for a long time.
fn endless(stream: bool) -> Value {
    json!({ "prompt": "Once", "max_tokens": 60_000, "logit_bias": {"0": -100}, "stream": stream })
}

/// Sends a request, and gives the connection.
fn start(server: &Server, body: &Value) -> TcpStream {
    let mut stream = server.connect();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    stream.write_all(&request(head, body.to_string().as_bytes())).unwrap();
    stream
}

/// Waits until as many texts have a place and wait.
fn wait_for(server: &Server, running: usize, waiting: usize) {
    let start = Instant::now();
    let counts = [("requests_processing", running), ("requests_deferred", waiting)];
    while counts.iter().any(|&(name, count)| server.metric(name) != count as f64) {
        assert!(start.elapsed() < Duration::from_secs(60), "{running} {waiting}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_comes_beyond_the_queue_is_told_to_come_again() {
    let server = with_limits(Limits { queue: 2, ..Limits::default() });
    let running: Vec<TcpStream> = (0..SLOTS + 2).map(|_| start(&server, &endless(true))).collect();
    wait_for(&server, SLOTS, 2);
    let reply = server.post("/v1/completions", &json!({ "prompt": "Once" }));
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert_eq!(reply.error()["type"], "rate_limit_error");
    assert_eq!(server.metric("requests_refused_total"), 1.0);
    // Those that wait for nothing are served.
    assert_eq!(server.get("/health").status, 200);
    drop(running);
    server.wait_idle();
    let reply = server.post("/v1/completions", &json!({ "prompt": "Once", "max_tokens": 2 }));
    assert_eq!(reply.status, 200);
}

#[test]
fn who_goes_frees_the_place() {
    let server = Server::new(Config::default());
    // In the middle of a stream, and of an answer that comes whole.
    for stream in [true, false] {
        let connections: Vec<TcpStream> =
            (0..SLOTS + 3).map(|_| start(&server, &endless(stream))).collect();
        // Some have a place, and some wait for one.
        wait_for(&server, SLOTS, 3);
        drop(connections);
        server.wait_idle();
    }
    assert_eq!(server.metric("texts_unfinished_total"), 2.0 * (SLOTS + 3) as f64);
    // While its prompt is read.
    let long = json!({ "prompt": vec![7; 200_000], "max_tokens": 2 });
    let connection = start(&server, &long);
    wait_for(&server, 1, 0);
    let slots = server.get("/slots").json();
    let slot = slots.as_array().unwrap().iter().find(|slot| slot["is_processing"] == true);
    assert_eq!(slot.unwrap()["tokens_predicted"], 0);
    drop(connection);
    server.wait_idle();
    assert_eq!(server.metric("prompt_tokens_total"), 0.0);
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    let server = Server::new(Config::default());
    let body =
        json!({ "prompt": "Once", "max_tokens": 3000, "logit_bias": {"0": -100}, "stream": true });
    // Their answers are longer than what the system keeps of a connection.
    let silent: Vec<TcpStream> = (0..SLOTS).map(|_| start(&server, &body)).collect();
    let reply = server.post("/v1/completions", &json!({ "prompt": "Once", "max_tokens": 5 }));
    assert_eq!(reply.status, 200);
    server.wait_idle();
    // Nothing of them is lost.
    for mut stream in silent {
        assert!(Reply::read(&mut stream).chunks().len() > 1000);
    }
}

#[test]
fn who_takes_nothing_is_left() {
    let write_time = Duration::from_millis(300);
    let server = with_limits(Limits { write_time, ..Limits::default() });
    let body = json!({ "prompt": "Once", "max_tokens": 40_000, "logit_bias": {"0": -100},
        "stream": true, "logprobs": 20 });
    let _silent = start(&server, &body);
    wait_for(&server, 1, 0);
    server.wait_idle();
    assert_eq!(server.metric("texts_unfinished_total"), 1.0);
}

#[test]
fn bodies_are_bounded_in_length_and_time() {
    let limits = Limits { body: 1000, read_time: Duration::from_millis(300), ..Limits::default() };
    let server = with_limits(limits);
    let reply = server.post("/v1/completions", &json!({ "prompt": "a".repeat(2000) }));
    assert_eq!(reply.status, 413);
    reply.error();
    // A length that is not told.
    let mut stream = server.connect();
    let head =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..3 {
        let _ = stream.write_all(format!("200\r\n{}\r\n", "a".repeat(0x200)).as_bytes());
    }
    assert_eq!(Reply::read(&mut stream).status, 413);
    // A body that does not come, and a head that does not.
    let mut stream = server.connect();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut stream).status, 408);
    let mut stream = server.connect();
    stream.write_all(b"POST /v1/completions HT").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    // What is not HTTP ends the connection and nothing else.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", &[0xFF; 4096]] {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut rest);
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn prompts_are_bounded() {
    let server = with_limits(Limits { prompt_tokens: 20, messages: 2, ..Limits::default() });
    let reply = server.post("/v1/completions", &json!({ "prompt": "a, b. ".repeat(30) }));
    assert_eq!(reply.status, 400);
    assert!(reply.error()["message"].as_str().unwrap().contains("at most 20"));
    let message = json!({"role": "user", "content": "a"});
    let messages = json!({ "messages": [message, message, message] });
    let reply = server.post("/v1/chat/completions", &messages);
    assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("messages")));
}

#[test]
fn names_and_pages_of_others_are_refused() {
    let server = Server::new(Config {
        hosts: vec!["box.lan".into()],
        origins: vec!["https://app.example".into()],
        ..Config::default()
    });
    let get = |lines: &str| server.send(&format!("GET /v1/models HTTP/1.1\r\n{lines}"), b"");
    assert_eq!(get("Host: box.lan:8080\r\n").status, 200);
    let reply = get("Host: rebound.example\r\n");
    assert_eq!(reply.status, 403);
    reply.error();
    assert_eq!(get("").status, 400);
    let reply = get("Host: localhost\r\nOrigin: https://evil.example\r\n");
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, None));
    let reply = get("Host: localhost\r\nOrigin: https://app.example\r\n");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(get("Host: localhost\r\n").header("access-control-allow-origin"), None);
    let head = "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
                Access-Control-Request-Method: POST\r\n";
    let reply = server.send(&format!("{head}Origin: https://app.example\r\n"), b"");
    assert_eq!(reply.status, 204);
    assert!(reply.header("access-control-allow-methods").unwrap().contains("post"));
    assert_eq!(server.send(&format!("{head}Origin: null\r\n"), b"").status, 403);
}

#[test]
fn a_key_is_asked_for() {
    let server = Server::new(Config { keys: vec!["s3cret".into()], ..Config::default() });
    let reply = server.get("/v1/models");
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("bearer")));
    assert_eq!(reply.error()["type"], "authentication_error");
    let with = |key: &str| {
        let head =
            format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n");
        server.send(&head, b"").status
    };
    assert_eq!(with("Bearer s3cret"), 200);
    assert_eq!(with("Bearer wrong"), 401);
    assert_eq!(with("s3cret"), 401);
    for path in ["/slots", "/metrics", "/props", "/v1/states"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    for path in ["/health", "/", "/openapi.json"] {
        assert_ne!(server.get(path).status, 401, "{path}");
    }
}

#[test]
fn answers_end_before_the_server_does() {
    let server = Server::new(Config::default());
    let body =
        json!({ "prompt": "Once", "max_tokens": 2000, "logit_bias": {"0": -100}, "stream": true });
    let mut stream = start(&server, &body);
    wait_for(&server, 1, 0);
    server.stop();
    // The answer comes whole.
    assert!(Reply::read(&mut stream).chunks().len() > 1000);
    server.join();
    // One that does not end in time is broken off.
    let grace = Duration::from_millis(200);
    let server = with_limits(Limits { grace, ..Limits::default() });
    let mut stream = start(&server, &endless(true));
    wait_for(&server, 1, 0);
    server.stop();
    server.join();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
}
