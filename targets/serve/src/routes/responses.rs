//! `/v1/responses`: conversations that the server remembers.
//!
//! A request may go on with an earlier response by its id. What is kept of one are its turns, a few
//! bytes; the states of its borders are in the cache of prompts, so that going on reads what is new,
//! and where they have made room for others the whole is read again, with the same answer.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use serde_json::{Map, Value, json};

use super::{Answer, Shared, body};
use crate::app::{App, now};
use crate::error::ApiError;
use crate::generate::{Start, Texts, apart, begin, collect, conversation_start};
use crate::responses::Stored;
use crate::sse::{self, Gone, Stream};
use crate::text::{Ending, Event, Finish};
use crate::wire::parts::{Usage, shortest};
use crate::wire::{Conversation, Fields, Options};

struct Asked {
    conversation: Conversation,
    /// The system's messages, which later responses have as well; `instructions` are of this one.
    system: Option<String>,
    start: Start,
    options: Options,
    thought_tokens: Option<usize>,
    store: bool,
    /// The response as far as it is known before it is written.
    object: Value,
    id: String,
}

fn read(app: &App, bytes: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(bytes)?;
    for field in ["state", "return_state", "stream_options"] {
        fields.only(field, &[])?;
    }
    fields.only("n", &[json!(1)])?;
    let instructions: Option<String> = fields.take("instructions")?;
    let previous: Option<String> = fields.take("previous_response_id")?;
    let input: Value = fields.need("input")?;
    let metadata: Map<String, Value> = fields.take("metadata")?.unwrap_or_default();
    let store = fields.take("store")?.unwrap_or(true);
    let effort = reasoning(&mut fields)?;
    let mut options = Options::take(app, &mut fields, &["max_output_tokens"])?;
    options.include_usage = false;
    let thought_tokens = fields.take("reasoning_budget")?;
    neutral(&mut fields)?;
    let most = app.limits.messages;
    let mut conversation = Conversation::read(messages(input)?, "input", most)?;
    conversation.thinking = effort.as_deref().map_or_else(
        || Ok(app.served.thinking()),
        |effort| super::chat::effort(app, effort, "reasoning.effort"),
    )?;
    fields.finish()?;
    if let Some(id) = &previous {
        let missing = || {
            ApiError::not_found(format!(
                "there is no response `{id}`: it was not stored, was deleted, or has made room"
            ))
            .of("previous_response_id")
        };
        let earlier = app.responses().get(id).ok_or_else(missing)?;
        if earlier.system.is_some() && conversation.system.is_some() {
            let message = "the system's messages stand before all others; use instructions";
            return Err(ApiError::field("input", message));
        }
        let mut turns = earlier.turns.clone();
        turns.append(&mut conversation.turns);
        conversation.turns = turns;
        conversation.system = conversation.system.or_else(|| earlier.system.clone());
        if conversation.turns.len() > most {
            return Err(ApiError::request(format!("the conversation has more than {most} turns")));
        }
    }
    let system = conversation.system.clone();
    let texts = instructions.iter().chain(&system);
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    conversation.system = (!texts.is_empty()).then(|| texts.join("\n"));
    let start = conversation_start(app, &conversation, None)?;
    let id = app.id("resp_");
    let object = json!({
        "id": id,
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": instructions,
        "max_output_tokens": options.most,
        "metadata": metadata,
        "model": app.served.id,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": previous,
        "reasoning": { "effort": effort, "summary": null },
        "seed": options.seed,
        "store": store,
        "temperature": shortest(options.sampling.temperature),
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": [],
        "top_p": shortest(options.sampling.top_p),
        "truncation": "disabled",
        "usage": null,
    });
    Ok(Asked { conversation, system, start, options, thought_tokens, store, object, id })
}

fn reasoning(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let Some(value) = fields.take::<Value>("reasoning")? else { return Ok(None) };
    let mut fields = Fields::of(value, "reasoning")?;
    let effort = fields.take("effort")?;
    fields.only("summary", &[])?;
    fields.finish()?;
    Ok(effort)
}

/// Fields of OpenAI's that have nothing to say here but what is so anyway.
fn neutral(fields: &mut Fields) -> Result<(), ApiError> {
    fields.only("text", &[json!({}), json!({ "format": { "type": "text" } })])?;
    fields.only("tools", &[json!([])])?;
    fields.only("tool_choice", &[json!("none"), json!("auto")])?;
    fields.only("parallel_tool_calls", &[json!(true), json!(false)])?;
    fields.only("truncation", &[json!("disabled")])?;
    fields.only("include", &[json!([])])?;
    fields.only("background", &[json!(false)])
}

/// Items of an input as messages.
fn messages(input: Value) -> Result<Value, ApiError> {
    let items = match input {
        Value::String(text) => return Ok(json!([{ "role": "user", "content": text }])),
        Value::Array(items) => items,
        _ => return Err(ApiError::field("input", "input must be a text or a list of items")),
    };
    let mut messages = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("input[{index}]");
        let Value::Object(mut item) = item else {
            return Err(ApiError::field(&*place, format!("{place} must be an object")));
        };
        match item.remove("type").as_ref().map_or(Some("message"), Value::as_str) {
            Some("message") => {
                // What an earlier output has of itself.
                let _ = (item.remove("id"), item.remove("status"));
                messages.push(Value::Object(item));
            }
            // Thoughts are no part of history.
            Some("reasoning") => {}
            _ => {
                let message = format!("{place}.type: messages alone are read");
                return Err(ApiError::unsupported(format!("{place}.type"), message));
            }
        }
    }
    Ok(Value::Array(messages))
}

pub(super) async fn create(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let shared = Arc::clone(&app);
    let asked = apart(move || read(&shared, &bytes)).await?;
    let starts = std::slice::from_ref(&asked.start);
    let texts = begin(&app, starts, &asked.options, None, asked.thought_tokens)?;
    if asked.options.stream {
        let shared = Arc::clone(&app);
        return Ok(sse::answer(&app, |stream| streamed(shared, asked, texts, stream)));
    }
    let whole = collect(&app, texts).await?.remove(0);
    let (thought, answer) = (whole.text.piece.thought, whole.text.piece.answer);
    let items = Items::new(&app);
    Ok(super::json(&complete(&app, &asked, &items, (&thought, &answer), &whole.ending)))
}

/// Names of what a response puts out.
struct Items {
    reasoning: String,
    message: String,
}

impl Items {
    fn new(app: &App) -> Self {
        Self { reasoning: app.id("rs_"), message: app.id("msg_") }
    }

    fn reasoning(&self, thought: &str) -> Value {
        json!({
            "id": self.reasoning,
            "type": "reasoning",
            "summary": [],
            "content": [{ "type": "reasoning_text", "text": thought }],
        })
    }

    fn message(&self, status: &str, content: &[Value]) -> Value {
        json!({
            "id": self.message,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        })
    }
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

const fn status(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "completed",
        Finish::Length => "incomplete",
    }
}

/// The response, which is stored if that is wanted.
fn complete(
    app: &App,
    asked: &Asked,
    items: &Items,
    (thought, answer): (&str, &str),
    ending: &Ending,
) -> Value {
    let mut object = asked.object.clone();
    let status = status(ending.finish);
    object["status"] = json!(status);
    if ending.finish == Finish::Length {
        object["incomplete_details"] = json!({ "reason": "max_output_tokens" });
    }
    let message = items.message(status, &[part(answer)]);
    object["output"] = match thought {
        "" => json!([message]),
        thought => json!([items.reasoning(thought), message]),
    };
    let usage = Usage::of(std::slice::from_ref(ending), 1);
    object["usage"] = json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": { "cached_tokens": usage.cached },
        "output_tokens": usage.drawn,
        "output_tokens_details": { "reasoning_tokens": usage.thought },
        "total_tokens": usage.prompt + usage.drawn,
    });
    if asked.store {
        let turns = asked.conversation.answered(answer);
        let stored = Stored { object: object.clone(), system: asked.system.clone(), turns };
        app.responses().put(&asked.id, stored);
    }
    object
}

/// Events with numbers that ascend.
struct Numbered {
    stream: Stream,
    number: u64,
}

impl Numbered {
    async fn send(&mut self, kind: &str, mut event: Value) -> Result<(), Gone> {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.number);
        self.number += 1;
        self.stream.event(kind, &event).await
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        // Clients look for `error` alone, or for an event of that type.
        let mut event = error.json();
        for name in ["message", "code", "param"] {
            event[name] = event["error"][name].clone();
        }
        self.send("error", event).await
    }
}

async fn streamed(
    app: Arc<App>,
    asked: Asked,
    mut texts: Texts,
    stream: Stream,
) -> Result<(), Gone> {
    let mut out = Numbered { stream, number: 0 };
    for kind in ["response.created", "response.in_progress"] {
        out.send(kind, json!({ "response": asked.object })).await?;
    }
    let items = Items::new(&app);
    let (mut thought, mut answer) = (String::new(), String::new());
    let mut index = 0;
    let mut is_begun = false;
    while let Some((_, event)) = out.stream.next(&mut texts).await? {
        match event {
            Event::Text(text) => {
                if !text.piece.thought.is_empty() {
                    if thought.is_empty() {
                        let item =
                            json!({ "id": items.reasoning, "type": "reasoning", "summary": [] });
                        let event = json!({ "output_index": index, "item": item });
                        out.send("response.output_item.added", event).await?;
                    }
                    thought += &text.piece.thought;
                    let event = json!({ "item_id": items.reasoning, "output_index": index,
                        "content_index": 0, "delta": text.piece.thought });
                    out.send("response.reasoning_text.delta", event).await?;
                }
                if !text.piece.answer.is_empty() {
                    if !is_begun {
                        index += end_thought(&mut out, &items, &thought).await?;
                        begin_message(&mut out, &items, index).await?;
                        is_begun = true;
                    }
                    answer += &text.piece.answer;
                    let event = json!({ "item_id": items.message, "output_index": index,
                        "content_index": 0, "delta": text.piece.answer, "logprobs": [] });
                    out.send("response.output_text.delta", event).await?;
                }
            }
            Event::End(Err(error)) => return out.fail(&error).await,
            Event::End(Ok(ending)) => {
                if !is_begun {
                    index += end_thought(&mut out, &items, &thought).await?;
                    begin_message(&mut out, &items, index).await?;
                }
                let status = status(ending.finish);
                let place = json!({ "item_id": items.message, "output_index": index,
                    "content_index": 0 });
                let mut event = place.clone();
                event["text"] = json!(answer);
                event["logprobs"] = json!([]);
                out.send("response.output_text.done", event).await?;
                let mut event = place;
                event["part"] = part(&answer);
                out.send("response.content_part.done", event).await?;
                let item = items.message(status, &[part(&answer)]);
                let event = json!({ "output_index": index, "item": item });
                out.send("response.output_item.done", event).await?;
                let object = complete(&app, &asked, &items, (&thought, &answer), &ending);
                let kind = format!("response.{status}");
                return out.send(&kind, json!({ "response": object })).await;
            }
        }
    }
    out.fail(&app.failed()).await
}

/// Ends the item of the thought, if there is one; how many items there are now.
async fn end_thought(out: &mut Numbered, items: &Items, thought: &str) -> Result<usize, Gone> {
    if thought.is_empty() {
        return Ok(0);
    }
    let event = json!({ "item_id": items.reasoning, "output_index": 0, "content_index": 0,
        "text": thought });
    out.send("response.reasoning_text.done", event).await?;
    let event = json!({ "output_index": 0, "item": items.reasoning(thought) });
    out.send("response.output_item.done", event).await?;
    Ok(1)
}

async fn begin_message(out: &mut Numbered, items: &Items, index: usize) -> Result<(), Gone> {
    let item = items.message("in_progress", &[]);
    let event = json!({ "output_index": index, "item": item });
    out.send("response.output_item.added", event).await?;
    let event = json!({ "item_id": items.message, "output_index": index, "content_index": 0,
        "part": part("") });
    out.send("response.content_part.added", event).await
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no response `{id}`"))
}

pub(super) async fn one(State(app): Shared, Path(id): Path<String>) -> Answer {
    let stored = app.responses().get(&id).ok_or_else(|| missing(&id))?;
    Ok(super::json(&stored.object))
}

pub(super) async fn delete(State(app): Shared, Path(id): Path<String>) -> Answer {
    if !app.responses().remove(&id) {
        return Err(missing(&id));
    }
    Ok(super::json(&json!({ "id": id, "object": "response", "deleted": true })))
}
