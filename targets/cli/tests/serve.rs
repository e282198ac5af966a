//! `kinglet serve` as a process: its line, its signals, and what it refuses.

#![cfg(all(feature = "serve", feature = "built-in-model", unix))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

fn kinglet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    command.arg("serve").args(args);
    command
}

/// A server that is under way, and its address.
fn start(args: &[&str]) -> (Child, String) {
    let mut command = kinglet(args);
    let mut child = command.args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("the built-in model is served at http://");
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, address)
}

fn post(address: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

fn read(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: the process is a child that was not waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

#[test]
fn an_answer_ends_before_the_program_does() {
    for stop in [libc::SIGTERM, libc::SIGINT] {
        let (mut child, address) = start(&["--slots", "2", "--threads", "1"]);
        let body = r#"{"prompt": "Once", "max_tokens": 3000, "seed": 1, "stream": true,
            "logit_bias": {"0": -100}}"#;
        let mut stream = post(&address, "/v1/completions", body);
        let mut first = [0; 64];
        stream.read_exact(&mut first).unwrap();
        signal(&child, stop);
        assert!(read(stream).ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let (mut child, address) = start(&["--threads", "1"]);
    let body =
        r#"{"prompt": "Once", "max_tokens": 60000, "logit_bias": {"0": -100}, "stream": true}"#;
    let mut stream = post(&address, "/v1/completions", body);
    let mut first = [0; 64];
    stream.read_exact(&mut first).unwrap();
    // Two of one kind may count as one.
    signal(&child, libc::SIGTERM);
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), None);
}

#[test]
fn the_text_is_that_of_run() {
    let (mut child, address) = start(&["--state-cache", "0", "--template", "g1"]);
    let body = r#"{"prompt": "Once upon a time", "max_tokens": 30, "seed": 5}"#;
    let answer = read(post(&address, "/v1/completions", body));
    let run = Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["-q", "run", "Once upon a time", "-n", "30", "--seed", "5"])
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    let text =
        text.trim_end().strip_prefix("Once upon a time").unwrap_or(text.trim_end()).to_owned();
    let text = serde_json::to_string(&text).unwrap();
    assert!(answer.contains(text.trim_matches('"')), "{text} in {answer}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_work_is_told_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("keys");
    std::fs::write(&empty, "\n").unwrap();
    let missing = folder.path().join("none");
    let cases = [
        (vec!["--port", &*port], "--port"),
        (vec!["--template", "gpt"], "g1, world"),
        (vec!["--api-key-file", empty.to_str().unwrap()], "has no key"),
        (vec!["--states", missing.to_str().unwrap(), "--port", "0"], "none"),
        (vec!["--slots", "0"], "1 to 64"),
        (vec!["--state-cache", "x"], "512K"),
    ];
    for (args, message) in cases {
        let output = kinglet(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(message), "{args:?}: {error}");
    }
}
