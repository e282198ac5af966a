//! States that clients keep, and go on from.

mod common;

use common::{Reply, Server};
use kinglet::format::state_file::{StateFile, StateSummary};
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::{Cpu, Engine, Model, Requirements, Scalar, Section, Tokenizer};
use kinglet_serve::{Config, Limits};
use serde_json::{Value, json};

fn text(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["choices"][0]["text"].as_str().unwrap().to_owned()
}

fn put(server: &Server, name: &str, file: &[u8]) -> Reply {
    server.send(&format!("PUT /v1/states/{name} HTTP/1.1\r\nHost: localhost\r\n"), file)
}

fn delete(server: &Server, name: &str) -> Reply {
    server.send(&format!("DELETE /v1/states/{name} HTTP/1.1\r\nHost: localhost\r\n"), b"")
}

#[test]
fn a_state_goes_on_as_the_whole_text_does() {
    let server = Server::new(Config::default());
    let complete = |body: &Value| server.post("/v1/completions", body);
    let (before, after) = ("Once upon a time there was a bird. ", "The bird");
    let begin = json!({ "prompt": before, "max_tokens": 1, "seed": 1, "logit_bias": {"0": 100},
        "return_state": {"name": "bird"} });
    let reply = complete(&begin);
    assert_eq!(text(&reply), "");
    let tokens = reply.json()["usage"]["prompt_tokens"].clone();
    assert_eq!(reply.json()["state"]["tokens"], tokens);
    // A text's tokens may be others than those of its parts.
    let tokens = |text: &str, begins: bool| {
        let reply = server.post("/tokenize", &json!({ "content": text, "add_special": begins }));
        reply.json()["tokens"].as_array().unwrap().clone()
    };
    let prompt = [tokens(before, true), tokens(after, false)].concat();
    let whole = json!({ "prompt": prompt, "max_tokens": 20, "seed": 9 });
    let expected = text(&complete(&whole));
    let part =
        |state: Value| json!({ "prompt": after, "max_tokens": 20, "seed": 9, "state": state });
    assert_eq!(text(&complete(&part(json!("bird")))), expected);
    // As a file, by the way of a client, in another server.
    let inline = complete(&json!({ "prompt": before, "max_tokens": 1, "seed": 1,
        "logit_bias": {"0": 100}, "return_state": "base64" }));
    let file = inline.json()["state"]["base64"].clone();
    let other = Server::new(Config::default());
    let reply = other.post("/v1/completions", &part(json!({ "base64": file })));
    assert_eq!(text(&reply), expected);
    // Kept, forked, listed, deleted.
    let file = server.get("/v1/states/bird").body;
    assert_eq!(put(&other, "copy", &file).status, 200);
    assert_eq!(text(&other.post("/v1/completions", &part(json!("copy")))), expected);
    assert_eq!(other.get("/v1/states/copy").body, file);
    assert_eq!(other.post("/v1/states/copy/fork", &json!({ "name": "fork" })).status, 200);
    assert_eq!(delete(&other, "copy").json()["deleted"], true);
    assert_eq!(text(&other.post("/v1/completions", &part(json!("fork")))), expected);
    let list = other.get("/v1/states").json();
    assert_eq!(
        (list["data"].as_array().unwrap().len(), &list["data"][0]["name"]),
        (1, &json!("fork"))
    );
    for reply in [delete(&other, "copy"), other.get("/v1/states/copy")] {
        assert_eq!(reply.status, 404);
        reply.error();
    }
}

#[test]
fn the_file_is_the_programs() {
    let server = Server::new(Config::default());
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 11, "seed": 5,
        "return_state": {"name": "s"} });
    let begun = text(&server.post("/v1/completions", &body));
    let file = server.get("/v1/states/s").body;
    let summary = StateSummary::parse(&file).unwrap();
    assert_eq!(summary.element, "f32");
    // As `kinglet run --state` goes on: with the next token first.
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::new(model, Scalar, 1, &mut state, &mut workspace).unwrap();
    let mut values = vec![0.0; model.shape().state_len()];
    let next = StateFile::<f32>::read(model.header(), &file, &mut values).unwrap();
    engine.load_state(0, &values).unwrap();
    let mut logits = vec![0.0; model.shape().vocab];
    engine.step(0, next.unwrap(), &mut logits).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::greedy(), 0).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..15 {
        let token = sampler.sample(&mut logits).unwrap();
        bytes.extend(tokenizer.token(token).unwrap_or_default());
        engine.step(0, token, &mut logits).unwrap();
    }
    // The server goes on with the same, from the state and from the text.
    let greedy = json!({ "prompt": "", "max_tokens": 15, "temperature": 0, "state": "s",
        "logit_bias": {} });
    let found = text(&server.post("/v1/completions", &greedy));
    assert_eq!(String::from_utf8_lossy(&bytes), found);
    assert!(!begun.is_empty());
}

#[test]
fn a_chat_goes_on_from_a_state_as_from_its_messages() {
    let server = Server::with_template(Config::default(), Some("g1"));
    let chat = |body: &Value| {
        let reply = server.post("/v1/chat/completions", body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    };
    let content = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
    let first = json!({ "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}],
        "max_tokens": 9, "seed": 1, "return_state": {"name": "turn-1"} });
    let answer = content(&chat(&first));
    let mut streamed = first.clone();
    streamed["stream"] = json!(true);
    streamed["return_state"] = json!({ "name": "streamed" });
    let chunks = server.post("/v1/chat/completions", &streamed).chunks();
    assert_eq!(chunks.last().unwrap()["state"]["name"], "streamed");
    let more = json!({"role": "user", "content": "More"});
    let whole = json!({ "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": answer}, more], "max_tokens": 9, "seed": 2 });
    let expected = content(&chat(&whole));
    for state in ["turn-1", "streamed"] {
        let part = json!({ "messages": [more], "max_tokens": 9, "seed": 2, "state": state });
        assert_eq!(content(&chat(&part)), expected);
    }
    assert_eq!(server.get("/v1/states/turn-1").body, server.get("/v1/states/streamed").body);
    let again =
        json!({ "messages": [{"role": "system", "content": "T"}, more], "state": "turn-1" });
    let reply = server.post("/v1/chat/completions", &again);
    assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("messages")));
}

#[test]
fn states_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config { states: Some(folder.path().to_owned()), ..Config::default() };
    let body = |value: &str| json!({ "prompt": value, "max_tokens": 2, "seed": 1, "return_state": {"name": "a"} });
    let server = Server::new(config());
    for prompt in ["Once", "A dog"] {
        assert_eq!(server.post("/v1/completions", &body(prompt)).status, 200);
    }
    let file = server.get("/v1/states/a").body;
    assert_eq!(server.post("/v1/states/a/fork", &json!({ "name": "b" })).status, 200);
    assert_eq!(server.post("/v1/states/a/fork", &json!({ "name": "c" })).status, 200);
    assert_eq!(delete(&server, "c").status, 200);
    drop(server);
    // Whatever else is there.
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let server = Server::new(config());
    assert_eq!(server.get("/v1/states/a").body, file);
    assert_eq!(server.get("/v1/states").json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(std::fs::read(folder.path().join("b.state")).unwrap(), file);
    // What cannot be written is not kept either.
    std::fs::remove_dir_all(folder.path()).unwrap();
    let reply = server.post("/v1/states/a/fork", &json!({ "name": "d" }));
    assert_eq!(reply.status, 500);
    assert_eq!(server.get("/v1/states/d").status, 404);
}

#[test]
fn a_text_that_cannot_go_on_is_told_in_its_stream() {
    let server = Server::new(Config::default());
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    // Finite, but nothing that can be computed with.
    let state = vec![f32::MAX; model.shape().state_len()];
    let mut file = vec![0; StateFile::<f32>::len(model.shape())];
    StateFile::write(model.header(), &state, Some(5), &mut file).unwrap();
    assert_eq!(put(&server, "bad", &file).status, 200);
    let mut body = json!({ "prompt": "Once", "max_tokens": 5, "state": "bad" });
    let reply = server.post("/v1/completions", &body);
    assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("state")));
    body["stream"] = json!(true);
    let reply = server.post("/v1/completions", &body);
    assert_eq!(reply.status, 200);
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["param"], "state");
    body["messages"] = json!([{"role": "user", "content": "Hi"}]);
    body.as_object_mut().unwrap().remove("prompt");
    let reply = server.post("/v1/chat/completions", &body);
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["param"], "state");
    // The others go on.
    let good = json!({ "prompt": "Once", "max_tokens": 5 });
    assert!(!text(&server.post("/v1/completions", &good)).is_empty());
}

#[test]
fn states_are_checked_and_bounded() {
    let limits = Limits { state_bytes: 500_000, ..Limits::default() };
    let server = Server::new(Config { limits, ..Config::default() });
    let body = json!({ "prompt": "Once", "max_tokens": 2, "return_state": {"name": "a"} });
    assert_eq!(server.post("/v1/completions", &body).status, 200);
    let mut file = server.get("/v1/states/a").body;
    assert_eq!(put(&server, "b", &file).status, 200);
    let reply = put(&server, "c", &file);
    assert_eq!(reply.status, 507);
    reply.error();
    assert_eq!(server.metric("named_states"), 2.0);
    file[100] ^= 1;
    for (name, bytes) in [("a", &file[..]), ("a", &file[..80]), ("a", b"x"), (".a", &file[..])] {
        let reply = put(&server, name, bytes);
        assert_eq!(reply.status, 400, "{name}");
        reply.error();
    }
    let reply = put(&server, "a", &vec![0; 3_000_000]);
    assert_eq!(reply.status, 413);
    assert_eq!(server.post("/v1/states/none/fork", &json!({ "name": "x" })).status, 404);
}
