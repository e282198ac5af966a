//! The endpoints of OpenAI's interface, as its clients read them.

mod common;

use common::{Reply, Server};
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::{Cpu, Engine, Model, Requirements, Scalar, Section, Tokenizer};
use kinglet_serve::Config;
use serde_json::{Value, json};

fn server() -> Server {
    Server::new(Config::default())
}

fn text(reply: &Reply) -> String {
    reply.json()["choices"][0]["text"].as_str().unwrap().to_owned()
}

/// The text that `kinglet run` writes: a step for each token.
fn run(prompt: &str, options: SamplerOptions, seed: u64, most: usize) -> String {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::new(model, Scalar, 1, &mut state, &mut workspace).unwrap();
    let mut logits = vec![0.0; model.shape().vocab];
    engine.step(0, 0, &mut logits).unwrap();
    for token in tokenizer.encode(prompt.as_bytes()) {
        engine.step(0, token.unwrap(), &mut logits).unwrap();
    }
    let mut sampler = Sampler::new(options, seed).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..most {
        let token = sampler.sample(&mut logits).unwrap();
        if token == 0 {
            break;
        }
        bytes.extend(tokenizer.token(token).unwrap());
        engine.step(0, token, &mut logits).unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_completion_is_the_text_that_the_program_writes() {
    let server = server();
    let body = json!({ "model": "stories", "prompt": "Once upon a time", "max_tokens": 40,
        "seed": 7, "temperature": 0.8, "top_p": 0.9 });
    let reply = server.post("/v1/completions", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    let options = SamplerOptions { temperature: 0.8, top_p: 0.9, ..SamplerOptions::STORIES };
    assert_eq!(text(&reply), run("Once upon a time", options, 7, 40));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    assert_eq!(answer["usage"]["completion_tokens"], 40);
    let prompt = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(answer["usage"]["total_tokens"].as_u64(), Some(prompt + 40));
    assert_eq!(answer["timings"]["predicted_n"], 40);
    assert_eq!(answer["seed"], 7);
    // Again: the prompt is not read, and the text is the same.
    let again = server.post("/v1/completions", &body);
    assert_eq!(text(&again), text(&reply));
    assert_eq!(again.json()["usage"]["prompt_tokens_details"]["cached_tokens"], prompt);
    // Nor is it shared where that is not wanted.
    let mut apart = body.clone();
    apart["cache_prompt"] = json!(false);
    let apart = server.post("/v1/completions", &apart);
    assert_eq!(text(&apart), text(&reply));
    assert_eq!(apart.json()["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

#[test]
fn choices_are_the_texts_of_seeds_that_follow() {
    let server = server();
    let body = |seed: u64, n: u64| json!({ "prompt": ["Once", "A bird"], "max_tokens": 12, "seed": seed, "n": n });
    let all = server.post("/v1/completions", &body(5, 3)).json();
    let choices = all["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 6);
    for choice in 0..3 {
        let one = server.post("/v1/completions", &body(5 + choice, 1)).json();
        for prompt in 0..2 {
            let index = prompt * 3 + choice as usize;
            assert_eq!(choices[index]["index"], index);
            assert_eq!(choices[index]["text"], one["choices"][prompt]["text"]);
        }
    }
    assert_eq!(all["usage"]["completion_tokens"], 72);
}

#[test]
fn a_prompt_may_be_tokens() {
    let server = server();
    let tokens = server.post("/tokenize", &json!({ "content": "Once upon", "add_special": true }));
    let tokens = tokens.json()["tokens"].clone();
    let with = |prompt: Value| {
        text(
            &server
                .post("/v1/completions", &json!({ "prompt": prompt, "max_tokens": 9, "seed": 1 })),
        )
    };
    assert_eq!(with(tokens.clone()), with(json!("Once upon")));
    assert_eq!(with(json!([tokens])), with(json!(["Once upon"])));
}

#[test]
fn a_stream_is_the_answer_in_pieces() {
    let server = server();
    let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 30, "seed": 3, "n": 2,
        "stop": [" the", "zzz"] });
    let whole = server.post("/v1/completions", &body).json();
    body["stream"] = json!(true);
    let chunks = server.post("/v1/completions", &body).chunks();
    for index in 0..2 {
        let mine = chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        let pieces: String =
            mine.clone().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(whole["choices"][index]["text"], pieces);
        let last = mine.clone().next_back().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], whole["choices"][index]["finish_reason"]);
        assert!(!pieces.contains(" the"), "{pieces}");
    }
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert_eq!(
        chunks.last().unwrap()["timings"]["predicted_n"],
        whole["usage"]["completion_tokens"]
    );
    // Usage comes where it is asked for, alone, before the end.
    body["stream_options"] = json!({ "include_usage": true });
    let chunks = server.post("/v1/completions", &body).chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[test]
fn a_stop_ends_a_text_and_is_not_shown() {
    let server = server();
    let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 60, "seed": 3 });
    let free = text(&server.post("/v1/completions", &body));
    // Somewhere in the middle, from inside a word to inside the next.
    let at = free[20..].find(' ').unwrap() + 20;
    let stop = &free[at - 1..at + 2];
    body["stop"] = json!(stop);
    let reply = server.post("/v1/completions", &body);
    assert_eq!(text(&reply), free[..free.find(stop).unwrap()]);
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "stop");
    // A stop at once is obeyed too.
    let first = &free[..1];
    body["stop"] = json!(first);
    assert_eq!(text(&server.post("/v1/completions", &body)), "");
}

#[test]
fn logprobs_have_bytes_and_sum_to_one() {
    let server = server();
    let body = json!({ "messages": [{"role": "user", "content": "Once upon"}], "seed": 2,
        "max_tokens": 8, "logprobs": true, "top_logprobs": 20, "temperature": 0 });
    let answer = server.post("/v1/chat/completions", &body).json();
    let content = &answer["choices"][0]["logprobs"]["content"];
    let told = content.as_array().unwrap();
    assert_eq!(told.len(), 8);
    let mut bytes = Vec::new();
    for token in told {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 20);
        // The most probable is what was drawn.
        assert_eq!(top[0]["token"], token["token"]);
        assert_eq!(top[0]["logprob"], token["logprob"]);
        let mass: f64 = top.iter().map(|top| top["logprob"].as_f64().unwrap().exp()).sum();
        assert!(mass > 0.3 && mass < 1.0 + 1e-5, "{mass}");
        bytes.extend(token["bytes"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u8));
    }
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
    // The form of completions, in a stream as well.
    let mut body = json!({ "prompt": "Once upon", "seed": 2, "max_tokens": 8, "logprobs": 2 });
    let whole = server.post("/v1/completions", &body).json();
    let logprobs = &whole["choices"][0]["logprobs"];
    let tokens = logprobs["tokens"].as_array().unwrap();
    let joined: String = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(whole["choices"][0]["text"], joined);
    assert_eq!(logprobs["text_offset"][1], tokens[0].as_str().unwrap().chars().count());
    body["stream"] = json!(true);
    let chunks = server.post("/v1/completions", &body).chunks();
    let offsets: Vec<Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["text_offset"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(logprobs["text_offset"], json!(offsets));
}

#[test]
fn a_bias_forces_and_bans() {
    let server = server();
    let token = server.post("/tokenize", &json!({ "content": " dog" })).json()["tokens"][0].clone();
    let mut body = json!({ "prompt": "Once", "max_tokens": 3, "temperature": 0 });
    body["logit_bias"] = json!({ token.to_string(): 100 });
    let forced = server.post("/v1/completions", &body);
    let dog = server.post("/detokenize", &json!({ "tokens": [token, token, token] })).json();
    assert_eq!(json!(text(&forced)), dog["content"]);
    body["logit_bias"] = json!({});
    let free = text(&server.post("/v1/completions", &body));
    let first = server.post("/tokenize", &json!({ "content": free })).json()["tokens"][0].clone();
    body["logit_bias"] = json!({ first.to_string(): -100 });
    assert_ne!(text(&server.post("/v1/completions", &body)), free);
}

#[test]
fn a_chat_is_answered() {
    let server = Server::with_template(Config::default(), Some("g1"));
    let messages = json!([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Tell a story."},
    ]);
    let mut body = json!({ "messages": messages, "max_completion_tokens": 24, "seed": 1 });
    let reply = server.post("/v1/chat/completions", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    body["stream"] = json!(true);
    let chunks = server.post("/v1/chat/completions", &body).chunks();
    let delta = |chunk: &Value| chunk["choices"][0]["delta"].clone();
    assert_eq!(delta(&chunks[0])["role"], "assistant");
    assert_eq!(delta(&chunks[0])["content"], "");
    assert_eq!(delta(chunks.last().unwrap()), json!({}));
    let pieces: String = chunks
        .iter()
        .filter_map(|chunk| Some(delta(chunk)["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(answer["choices"][0]["message"]["content"], pieces);
    let template = server.post("/apply-template", &json!({ "messages": messages })).json();
    assert_eq!(
        template["prompt"],
        "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Tell a story.\n\n\
         Assistant: <think>\n</think"
    );
    let tokens = template["tokens"].as_array().unwrap().len();
    assert_eq!(answer["usage"]["prompt_tokens"], tokens);
    // The next turn finds the states of this one.
    let mut longer = messages.as_array().unwrap().clone();
    longer.push(json!({"role": "assistant", "content": "A story."}));
    longer.push(json!({"role": "user", "content": "More."}));
    let next = server.post("/v1/chat/completions", &json!({ "messages": longer, "max_tokens": 2 }));
    let cached = &next.json()["usage"]["prompt_tokens_details"]["cached_tokens"];
    let opening = server.post("/tokenize", &json!({ "content": "Assistant: <think>\n</think" }));
    assert_eq!(*cached, tokens - opening.json()["tokens"].as_array().unwrap().len());
}

#[test]
fn a_thought_is_told_apart_and_has_a_budget() {
    let server = Server::with_template(Config::default(), Some("g1"));
    let body = json!({ "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 60,
        "seed": 1, "reasoning_effort": "high", "reasoning_budget": 5 });
    let answer = server.post("/v1/chat/completions", &body).json();
    let message = &answer["choices"][0]["message"];
    assert!(!message["reasoning_content"].as_str().unwrap().is_empty(), "{message}");
    assert!(!message["content"].as_str().unwrap().is_empty(), "{message}");
    let thought =
        answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!((5..30).contains(&thought), "{thought}");
    let mut stream = body.clone();
    stream["stream"] = json!(true);
    let chunks = server.post("/v1/chat/completions", &stream).chunks();
    let joined = |name: &str| -> String {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str()).collect()
    };
    assert_eq!(message["content"], joined("content"));
    assert_eq!(message["reasoning_content"], joined("reasoning_content"));
    // The story teller's own template has no thoughts.
    let plain = self::server();
    let reply = plain.post("/v1/chat/completions", &body);
    assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("reasoning_effort")));
}

#[test]
fn what_is_wrong_is_named() {
    let server = server();
    let chat = "/v1/chat/completions";
    let user = json!([{"role": "user", "content": "Hi"}]);
    let cases = [
        (chat, json!({ "messages": user, "foo": 1 }), "foo"),
        (chat, json!({ "messages": user, "tools": [{"type": "function"}] }), "tools"),
        (
            chat,
            json!({ "messages": user, "response_format": {"type": "json_object"} }),
            "response_format",
        ),
        (chat, json!({ "messages": user, "store": true }), "store"),
        (chat, json!({ "messages": user, "n": 0 }), "n"),
        (chat, json!({ "messages": user, "n": 1000 }), "n"),
        (chat, json!({ "messages": user, "max_tokens": 0 }), "max_tokens"),
        (
            chat,
            json!({ "messages": user, "max_tokens": 3, "max_completion_tokens": 3 }),
            "max_tokens",
        ),
        (chat, json!({ "messages": user, "max_tokens": 1_000_000 }), "max_tokens"),
        (chat, json!({ "messages": user, "temperature": -1 }), "temperature"),
        (chat, json!({ "messages": user, "temperature": "hot" }), "temperature"),
        (chat, json!({ "messages": user, "top_p": 1.5 }), "top_p"),
        (chat, json!({ "messages": user, "presence_penalty": -1 }), "presence_penalty"),
        (chat, json!({ "messages": user, "top_logprobs": 2 }), "top_logprobs"),
        (chat, json!({ "messages": user, "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (chat, json!({ "messages": user, "stop": 3 }), "stop"),
        (chat, json!({ "messages": user, "stop": vec!["a"; 17] }), "stop"),
        (chat, json!({ "messages": user, "stop": "a".repeat(300) }), "stop"),
        (chat, json!({ "messages": user, "stream_options": {} }), "stream_options"),
        (chat, json!({ "messages": user, "seed": 1.5 }), "seed"),
        (chat, json!({ "messages": user, "logit_bias": {"9999999": 1} }), "logit_bias"),
        (chat, json!({ "messages": user, "state": {"base64": "AAAA"} }), "state.base64"),
        (chat, json!({ "messages": user, "return_state": {"name": "a/b"} }), "return_state.name"),
        (chat, json!({ "messages": [{"role": "user", "content": 3}] }), "messages[0].content"),
        (chat, json!({}), "messages"),
        ("/v1/completions", json!({ "prompt": "a", "echo": true }), "echo"),
        ("/v1/completions", json!({ "prompt": "a", "suffix": "b" }), "suffix"),
        ("/v1/completions", json!({ "prompt": {} }), "prompt"),
        ("/v1/completions", json!({ "prompt": [] }), "prompt"),
        ("/v1/completions", json!({}), "prompt"),
        ("/tokenize", json!({ "content": 3 }), "content"),
        ("/detokenize", json!({ "tokens": [4096] }), "tokens"),
    ];
    for (path, body, param) in cases {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, 400, "{body}: {:?}", reply.json());
        let error = reply.error();
        assert_eq!(error["param"], param, "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let reply = server.post(chat, &json!({ "messages": user, "model": "gpt-9" }));
    assert_eq!((reply.status, &reply.error()["param"]), (404, &json!("model")));
    let reply = server.post(chat, &json!({ "messages": user, "state": "none" }));
    assert_eq!((reply.status, &reply.error()["param"]), (404, &json!("state")));
    let reply = server.post("/v1/completions", &json!({ "prompt": [5000] }));
    assert_eq!(reply.status, 400);
    let reply = server.get("/v1/completions");
    assert_eq!(reply.status, 405);
    reply.error();
    let reply = server.get("/v2");
    assert_eq!(reply.status, 404);
    reply.error();
}

#[test]
fn the_model_is_listed() {
    let server = server();
    let list = server.get("/v1/models").json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("stories")));
    assert_eq!(list["data"][0]["meta"]["state_bytes"], 64 + 4 * 6 * 128 * 66);
    assert_eq!(server.get("/v1/models/stories").json(), list["data"][0]);
    assert_eq!(server.get("/v1/models/other").status, 404);
    assert_eq!(server.get("/health").json(), json!({ "status": "ok" }));
    assert_eq!(server.get("/props").json()["total_slots"], common::SLOTS);
    assert_eq!(server.get("/slots").json().as_array().unwrap().len(), common::SLOTS);
    assert!(server.get("/").head.contains("text/html"));
    assert_eq!(server.get("/page/..%2fx").status, 404);
}

#[test]
fn a_response_is_gone_on_with() {
    let server = Server::with_template(Config::default(), Some("g1"));
    let body = |input: &str, previous: &Value| {
        json!({ "input": input, "max_output_tokens": 12, "seed": 4, "instructions": "Be brief.",
            "previous_response_id": previous, "metadata": {"a": "b"} })
    };
    let reply = server.post("/v1/responses", &body("Hi", &Value::Null));
    assert_eq!(reply.status, 200, "{reply:?}");
    let first = reply.json();
    assert_eq!((&first["object"], &first["status"]), (&json!("response"), &json!("incomplete")));
    assert_eq!(first["incomplete_details"]["reason"], "max_output_tokens");
    let text = |response: &Value| response["output"][0]["content"][0]["text"].clone();
    let second = server.post("/v1/responses", &body("More", &first["id"])).json();
    // As a chat with the same messages.
    let messages = json!([{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": text(&first)},
        {"role": "user", "content": "More"}]);
    let chat = json!({ "messages": messages, "max_tokens": 12, "seed": 4 });
    let chat = server.post("/v1/chat/completions", &chat).json();
    assert_eq!(chat["choices"][0]["message"]["content"], text(&second));
    assert_eq!(chat["usage"]["prompt_tokens"], second["usage"]["input_tokens"]);
    assert!(second["usage"]["input_tokens_details"]["cached_tokens"].as_u64() > Some(0));
    // It is there until it is deleted.
    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    assert_eq!(server.get(&path).json(), first);
    let head = format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n");
    assert_eq!(server.send(&head, b"").json()["deleted"], true);
    assert_eq!(server.get(&path).status, 404);
    let reply = server.post("/v1/responses", &body("More", &first["id"]));
    assert_eq!((reply.status, &reply.error()["param"]), (404, &json!("previous_response_id")));
    // Nor is one kept that was not to be.
    let mut apart = body("Hi", &Value::Null);
    apart["store"] = json!(false);
    let apart = server.post("/v1/responses", &apart).json();
    let path = format!("/v1/responses/{}", apart["id"].as_str().unwrap());
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn a_response_streams_its_events_in_order() {
    let server = Server::with_template(Config::default(), Some("g1"));
    let mut body = json!({ "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "max_output_tokens": 40, "seed": 4, "reasoning": {"effort": "low"}, "reasoning_budget": 4 });
    let whole = server.post("/v1/responses", &body).json();
    body["stream"] = json!(true);
    let reply = server.post("/v1/responses", &body);
    let events: Vec<Value> =
        reply.events().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let named = format!("event: {}\n", event["type"].as_str().unwrap());
        assert!(String::from_utf8_lossy(&reply.body).contains(&named));
    }
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete",
        ]
    );
    let joined = |kind: &str| -> String {
        let deltas = events.iter().filter(|event| event["type"] == kind);
        deltas.map(|event| event["delta"].as_str().unwrap()).collect()
    };
    assert_eq!(whole["output"][0]["content"][0]["text"], joined("response.reasoning_text.delta"));
    assert_eq!(whole["output"][1]["content"][0]["text"], joined("response.output_text.delta"));
    assert_eq!(events.last().unwrap()["response"]["usage"], {
        let mut usage = whole["usage"].clone();
        usage["input_tokens_details"]["cached_tokens"] = usage["input_tokens"].clone();
        usage
    });
}

#[test]
fn a_choice_is_what_the_model_would_write() {
    let server = server();
    let body = json!({ "prompt": "Once upon a", "choices": [" time", " refrigerator", " zebra"] });
    let reply = server.post("/v1/choose", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!((&answer["best"], &answer["ranking"][0]), (&json!(0), &json!(0)));
    let sum: f64 = (0..3).map(|at| answer["choices"][at]["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    // The sum of what logprobs tell of a text that is forced.
    let tokens = server.post("/tokenize", &json!({ "content": " time" })).json()["tokens"].clone();
    let first = tokens[0].to_string();
    let forced = json!({ "prompt": "Once upon a", "max_tokens": 1, "temperature": 0, "logprobs": 0,
        "logit_bias": { first: 100 } });
    let forced = server.post("/v1/completions", &forced).json();
    let logprob = forced["choices"][0]["logprobs"]["token_logprobs"][0].as_f64().unwrap();
    if tokens.as_array().unwrap().len() == 1 {
        assert!((answer["choices"][0]["logprob"].as_f64().unwrap() - logprob).abs() < 1e-6);
    }
    let chat = json!({ "messages": [{"role": "user", "content": "Once upon a"}],
        "choices": [" time", " zebra"] });
    assert_eq!(server.post("/v1/choose", &chat).json()["best"], 0);
    for (body, param) in [
        (json!({ "prompt": "a", "choices": ["a"] }), "choices"),
        (json!({ "prompt": "a", "choices": ["a", ""] }), "choices[1]"),
        (json!({ "choices": ["a", "b"] }), "prompt"),
    ] {
        let reply = server.post("/v1/choose", &body);
        assert_eq!((reply.status, &reply.error()["param"]), (400, &json!(param)));
    }
}
