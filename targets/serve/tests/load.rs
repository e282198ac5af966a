//! Many clients at once: each gets, byte for byte, the text that it gets alone.

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Server, request};
use kinglet::sampler::Pcg32;
use kinglet_serve::{Config, Limits, ScheduleOptions};
use serde_json::{Value, json};

const CLIENTS: usize = 8;
const REQUESTS: usize = 160;

/// A request of a few kinds, some of which begin alike, with a text of its own.
fn body(index: usize) -> Value {
    let mut rng = Pcg32::new(index as u64);
    let mut below = |most: usize| (rng.next_f32() * most as f32) as usize;
    let beginnings = ["Once upon a time there was a bird", "A dog", "The little girl went home"];
    let mut prompt = beginnings[below(3)].to_owned();
    if below(3) > 0 {
        prompt += &format!(" called number{index}secret");
    }
    let mut body = json!({ "prompt": prompt, "max_tokens": 1 + below(24), "seed": below(50),
        "temperature": 1, "top_p": 0.9, "stream": below(2) == 0 });
    match below(4) {
        0 => body["stop"] = json!([" the", ". "]),
        1 => body["frequency_penalty"] = json!(0.5),
        2 => body["cache_prompt"] = json!(false),
        _ => {}
    }
    body
}

/// Sends a request and gives its text.
fn text(server: &Server, body: &Value) -> String {
    let reply = server.post("/v1/completions", body);
    assert_eq!(reply.status, 200, "{body}: {reply:?}");
    if body["stream"] == false {
        return reply.json()["choices"][0]["text"].as_str().unwrap().to_owned();
    }
    let chunks = reply.chunks();
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect()
}

/// Does something wrong: cuts an answer off, sends what is none, or too much of it.
fn misbehave(server: &Server, index: usize) {
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    let bytes = match index % 4 {
        0 | 1 => {
            let body = json!({ "prompt": vec![9; 1 + 97 * (index % 7)], "max_tokens": 4000,
                "logit_bias": {"0": -100}, "stream": true });
            request(head, body.to_string().as_bytes())
        }
        2 => request(head, b"{\"prompt\": \"a"),
        _ => format!("{head}Content-Length: 99999999999\r\n\r\nxx").into_bytes(),
    };
    let mut stream = server.connect();
    stream.write_all(&bytes).unwrap();
    let mut some = vec![0; 1 + index % 700];
    let _ = stream.read(&mut some);
}

#[test]
fn each_of_many_gets_the_text_that_it_gets_alone() {
    let schedule = ScheduleOptions { cache_bytes: 3 << 20, ..ScheduleOptions::default() };
    let limits = Limits { queue: 64, ..Limits::default() };
    let server = Server::new(Config { schedule, limits, ..Config::default() });
    let next = AtomicUsize::new(0);
    let mut texts: Vec<(usize, String)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut texts = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= REQUESTS {
                            return texts;
                        }
                        if index % 5 == 4 {
                            misbehave(&server, index);
                        } else {
                            texts.push((index, text(&server, &body(index))));
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    server.wait_idle();
    assert!(server.metric("state_cache_hits_total") > 10.0);
    assert!(server.metric("state_cache_evicted_total") > 10.0);
    assert!(server.metric("texts_unfinished_total") > 5.0);
    // Alone, one after the other, and nothing is kept.
    let schedule = ScheduleOptions { cache_bytes: 0, ..ScheduleOptions::default() };
    let alone = Server::new(Config { schedule, ..Config::default() });
    texts.sort();
    assert_eq!(texts.len(), REQUESTS - REQUESTS / 5);
    for (index, found) in &texts {
        assert_eq!(*found, text(&alone, &body(*index)), "{}", body(*index));
    }
    assert_eq!(alone.metric("state_cache_hits_total"), 0.0);
    // Nobody's own text is in another's answer.
    for (index, _) in &texts {
        let secret = format!("number{index}secret");
        assert!(texts.iter().all(|(other, text)| other == index || !text.contains(&secret)));
    }
}
