//! `/v1/chat/completions`: a question is answered.

use std::sync::Arc;

use axum::extract::{Request, State};
use kinglet_talk::Thinking;
use kinglet_talk::template::Effort;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::completions::check_logprobs;
use super::{Answer, Shared, body, return_state};
use crate::app::{App, now};
use crate::error::ApiError;
use crate::generate::{
    Start, Texts, apart, begin, collect, conversation_history, conversation_start,
};
use crate::sse::{self, Gone, Stream};
use crate::text::{Ending, Event};
use crate::wire::parts::{Usage, chat_logprobs, timings};
use crate::wire::{Conversation, Fields, Options};

struct Asked {
    conversation: Conversation,
    start: Start,
    options: Options,
    logprobs: Option<usize>,
    thought_tokens: Option<usize>,
    id: String,
    created: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateOptions {
    enable_thinking: Option<bool>,
}

fn read(app: &App, bytes: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(bytes)?;
    let max = ["max_completion_tokens", "max_tokens"];
    let options = Options::take(app, &mut fields, &max)?;
    let messages: Value = fields.need("messages")?;
    let mut conversation = Conversation::read(messages, "messages", app.limits.messages)?;
    conversation.thinking = thinking(app, &mut fields)?;
    let thought_tokens = fields.take("reasoning_budget")?;
    let wanted = fields.take("logprobs")?.unwrap_or(false);
    let top = fields.take::<usize>("top_logprobs")?;
    check_logprobs(app, top, "top_logprobs")?;
    if top.is_some() && !wanted {
        let message = "top_logprobs is of logprobs; set `logprobs` or leave it out";
        return Err(ApiError::field("top_logprobs", message));
    }
    neutral(&mut fields)?;
    fields.finish()?;
    if options.return_state.is_some() && options.choices != 1 {
        let message = "return_state is of one answer; ask for n = 1";
        return Err(ApiError::field("return_state", message));
    }
    let start = conversation_start(app, &conversation, options.state.as_ref())?;
    let logprobs = wanted.then(|| top.unwrap_or(0));
    let (id, created) = (app.id("chatcmpl-"), now());
    Ok(Asked { conversation, start, options, logprobs, thought_tokens, id, created })
}

/// Fields of OpenAI's that have nothing to say here but what is so anyway.
fn neutral(fields: &mut Fields) -> Result<(), ApiError> {
    fields.only("response_format", &[json!({ "type": "text" })])?;
    fields.only("tools", &[json!([])])?;
    fields.only("tool_choice", &[json!("none"), json!("auto")])?;
    fields.only("parallel_tool_calls", &[json!(true), json!(false)])?;
    fields.only("modalities", &[json!(["text"])])?;
    fields.only("reasoning_format", &[json!("deepseek"), json!("auto")])?;
    fields.only("store", &[json!(false)])?;
    fields.only("verbosity", &[json!("medium")])
}

/// How the model is to think.
pub(super) fn thinking(app: &App, fields: &mut Fields) -> Result<Thinking, ApiError> {
    let wanted: Option<String> = fields.take("reasoning_effort")?;
    let template: Option<TemplateOptions> = fields.take("chat_template_kwargs")?;
    match (wanted, template.and_then(|template| template.enable_thinking)) {
        (Some(wanted), _) => effort(app, &wanted, "reasoning_effort"),
        (None, Some(true)) => thinks(app, Thinking::Full(Effort::Unsaid), "chat_template_kwargs"),
        (None, _) => Ok(app.served.thinking()),
    }
}

/// How the model is to think for an effort of OpenAI's, which stands in `field`.
pub(super) fn effort(app: &App, effort: &str, field: &str) -> Result<Thinking, ApiError> {
    let effort = match effort {
        "none" => return Ok(app.served.thinking()),
        "minimal" | "low" => Effort::ABit,
        "medium" => Effort::Think,
        "high" | "xhigh" => Effort::ALot,
        other => {
            let message = format!(
                "{field} is `{other}`; there are none, minimal, low, medium, high and xhigh"
            );
            return Err(ApiError::field(field, message));
        }
    };
    thinks(app, Thinking::Full(effort), field)
}

fn thinks(app: &App, thinking: Thinking, field: &str) -> Result<Thinking, ApiError> {
    let template = app.served.template();
    if template.thinks() {
        return Ok(thinking);
    }
    let name = template.name();
    let message = format!("{field}: models of the template {name} have no thoughts; leave it out");
    Err(ApiError::unsupported(field, message))
}

pub(super) async fn create(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let shared = Arc::clone(&app);
    let asked = apart(move || read(&shared, &bytes)).await?;
    let starts = std::slice::from_ref(&asked.start);
    let texts = begin(&app, starts, &asked.options, asked.logprobs, asked.thought_tokens)?;
    if asked.options.stream {
        let shared = Arc::clone(&app);
        return Ok(sse::answer(&app, |stream| streamed(shared, asked, texts, stream)));
    }
    let whole = collect(&app, texts).await?;
    let endings: Vec<Ending> = whole.iter().map(|whole| whole.ending.clone()).collect();
    let choices: Vec<Value> = whole
        .iter()
        .enumerate()
        .map(|(index, whole)| {
            let piece = &whole.text.piece;
            let mut message =
                json!({ "role": "assistant", "content": piece.answer, "refusal": null });
            if !piece.thought.is_empty() {
                message["reasoning_content"] = json!(piece.thought);
            }
            let told = asked.logprobs.map(|_| chat_logprobs(&app.served, &whole.text.logprobs));
            json!({
                "index": index,
                "message": message,
                "logprobs": told,
                "finish_reason": whole.ending.finish.name(),
            })
        })
        .collect();
    let mut answer = frame(&app, &asked, "chat.completion", choices);
    answer["usage"] = Usage::of(&endings, asked.options.choices).json();
    finish(&app, &asked, &endings, &whole[0].text.piece.answer, &mut answer).await?;
    Ok(super::json(&answer))
}

/// What stands in the last part of an answer.
async fn finish(
    app: &Arc<App>,
    asked: &Asked,
    endings: &[Ending],
    text: &str,
    answer: &mut Value,
) -> Result<(), ApiError> {
    answer["timings"] = timings(endings, asked.options.choices);
    if asked.options.return_state.is_some() {
        let state = asked.options.state.as_ref();
        let history = conversation_history(app, &asked.conversation, state, text)?;
        answer["state"] = return_state(app, &asked.options, history).await?.unwrap_or_default();
    }
    Ok(())
}

fn frame(app: &App, asked: &Asked, object: &str, choices: Vec<Value>) -> Value {
    json!({
        "id": asked.id,
        "object": object,
        "created": asked.created,
        "model": app.served.id,
        "system_fingerprint": app.fingerprint(),
        "seed": asked.options.seed,
        "choices": choices,
    })
}

async fn streamed(
    app: Arc<App>,
    asked: Asked,
    mut texts: Texts,
    stream: Stream,
) -> Result<(), Gone> {
    let count = asked.options.choices;
    let chunk = |index: usize, delta: Value, told: Option<Value>, finish: Option<&str>| {
        let choice =
            json!({ "index": index, "delta": delta, "logprobs": told, "finish_reason": finish });
        let mut chunk = frame(&app, &asked, "chat.completion.chunk", vec![choice]);
        if asked.options.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    for index in 0..count {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        stream.data(&chunk(index, delta, None, None)).await?;
    }
    let mut answer = String::new();
    let mut endings: Vec<Option<Ending>> = vec![None; count];
    while let Some((index, event)) = stream.next(&mut texts).await? {
        match event {
            Event::Text(text) => {
                let mut delta = Map::new();
                if !text.piece.thought.is_empty() {
                    delta.insert("reasoning_content".to_owned(), json!(text.piece.thought));
                }
                if !text.piece.answer.is_empty() {
                    delta.insert("content".to_owned(), json!(text.piece.answer));
                    if asked.options.return_state.is_some() {
                        answer += &text.piece.answer;
                    }
                }
                let told = asked.logprobs.map(|_| chat_logprobs(&app.served, &text.logprobs));
                stream.data(&chunk(index, Value::Object(delta), told, None)).await?;
            }
            Event::End(Err(error)) => return stream.error(&error).await,
            Event::End(Ok(ending)) => {
                let mut last = chunk(index, json!({}), None, Some(ending.finish.name()));
                endings[index] = Some(ending);
                if endings.iter().all(Option::is_some) {
                    let all: Vec<Ending> = endings.iter().flatten().cloned().collect();
                    if let Err(error) = finish(&app, &asked, &all, &answer, &mut last).await {
                        return stream.error(&error).await;
                    }
                }
                stream.data(&last).await?;
            }
        }
    }
    let endings: Vec<Ending> = endings.into_iter().flatten().collect();
    if endings.len() < count {
        return stream.error(&app.failed()).await;
    }
    if asked.options.include_usage {
        let mut last = frame(&app, &asked, "chat.completion.chunk", Vec::new());
        last["usage"] = Usage::of(&endings, count).json();
        stream.data(&last).await?;
    }
    stream.done().await
}
