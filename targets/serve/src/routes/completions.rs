//! `/v1/completions`: a text goes on.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared, body, return_state};
use crate::app::{App, now};
use crate::error::ApiError;
use crate::generate::{Start, Texts, apart, begin, collect, text_history, text_start};
use crate::sse::{self, Gone, Stream};
use crate::states::Kept;
use crate::text::{Ending, Event};
use crate::wire::parts::{Usage, completion_logprobs, timings};
use crate::wire::{Fields, Options};
use kinglet_talk::Prompt;

/// The forms of a prompt.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Lists(Vec<Vec<u32>>),
}

struct Asked {
    starts: Vec<Start>,
    options: Options,
    logprobs: Option<usize>,
    id: String,
    created: u64,
}

fn read(app: &App, bytes: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(bytes)?;
    let options = Options::take(app, &mut fields, &["max_tokens", "n_predict"])?;
    let prompts: Value = fields.need("prompt")?;
    let prompts = crate::wire::fields::read(prompts, "prompt").map_err(|_| {
        let message = "prompt must be a text, a list of texts, of tokens, or of lists of tokens";
        ApiError::field("prompt", message)
    })?;
    let logprobs = fields.take::<usize>("logprobs")?;
    check_logprobs(app, logprobs, "logprobs")?;
    fields.only("echo", &[json!(false)])?;
    fields.only("suffix", &[json!("")])?;
    fields.only("best_of", &[json!(1)])?;
    fields.finish()?;
    let starts = starts(app, prompts, options.state.as_ref())?;
    if options.return_state.is_some() && starts.len() * options.choices != 1 {
        let message = "return_state is of one text; ask for one prompt and n = 1";
        return Err(ApiError::field("return_state", message));
    }
    Ok(Asked { starts, options, logprobs, id: app.id("cmpl-"), created: now() })
}

pub(super) fn check_logprobs(app: &App, count: Option<usize>, name: &str) -> Result<(), ApiError> {
    let most = app.limits.logprobs;
    match count {
        Some(count) if count > most => {
            Err(ApiError::field(name, format!("{name} is {count}; it may be 0 to {most}")))
        }
        _ => Ok(()),
    }
}

fn starts(app: &App, prompts: Prompts, state: Option<&Kept>) -> Result<Vec<Start>, ApiError> {
    let tokens = |tokens: Vec<u32>| {
        let next = state.and_then(|state| state.next);
        let tokens = next.into_iter().chain(tokens).collect();
        let prompt = Prompt::plain(tokens, String::new());
        Start { prompt, is_plain: true, stops: Vec::new() }
    };
    let most = app.limits.choices;
    let count = match &prompts {
        Prompts::Texts(texts) => texts.len(),
        Prompts::Lists(lists) => lists.len(),
        _ => 1,
    };
    if count > most {
        let message = format!("prompt has {count} prompts; at most {most} are taken");
        return Err(ApiError::field("prompt", message));
    }
    let starts: Vec<Start> = match prompts {
        Prompts::Text(text) => vec![text_start(app, &text, state)?],
        Prompts::Texts(texts) => {
            texts.iter().map(|text| text_start(app, text, state)).collect::<Result<_, _>>()?
        }
        Prompts::Tokens(list) => vec![tokens(list)],
        Prompts::Lists(lists) => lists.into_iter().map(tokens).collect(),
    };
    if starts.is_empty() {
        return Err(ApiError::field("prompt", "prompt is an empty list"));
    }
    Ok(starts)
}

pub(super) async fn create(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let shared = Arc::clone(&app);
    let asked = apart(move || read(&shared, &bytes)).await?;
    let texts = begin(&app, &asked.starts, &asked.options, asked.logprobs, None)?;
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
            let logprobs = asked
                .logprobs
                .map(|_| completion_logprobs(&app.served, &whole.text.logprobs, &mut 0));
            json!({
                "index": index,
                "text": whole.text.piece.answer,
                "logprobs": logprobs,
                "finish_reason": whole.ending.finish.name(),
            })
        })
        .collect();
    let mut answer = frame(&app, &asked, choices);
    answer["usage"] = Usage::of(&endings, asked.options.choices).json();
    finish(&app, &asked, &endings, &mut answer).await?;
    Ok(super::json(&answer))
}

/// What stands in the last part of an answer.
async fn finish(
    app: &Arc<App>,
    asked: &Asked,
    endings: &[Ending],
    answer: &mut Value,
) -> Result<(), ApiError> {
    answer["timings"] = timings(endings, asked.options.choices);
    if asked.options.return_state.is_some() {
        let history = text_history(app, &asked.starts[0], &endings[0])?;
        answer["state"] = return_state(app, &asked.options, history).await?.unwrap_or_default();
    }
    Ok(())
}

fn frame(app: &App, asked: &Asked, choices: Vec<Value>) -> Value {
    json!({
        "id": asked.id,
        "object": "text_completion",
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
    let count = asked.starts.len() * asked.options.choices;
    let chunk = |index: usize, text: &str, logprobs: Option<Value>, finish: Option<&str>| {
        let choice =
            json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish });
        let mut chunk = frame(&app, &asked, vec![choice]);
        if asked.options.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let mut offsets = vec![0; count];
    let mut endings: Vec<Option<Ending>> = vec![None; count];
    while let Some((index, event)) = stream.next(&mut texts).await? {
        match event {
            Event::Text(text) => {
                let told = asked
                    .logprobs
                    .map(|_| completion_logprobs(&app.served, &text.logprobs, &mut offsets[index]));
                stream.data(&chunk(index, &text.piece.answer, told, None)).await?;
            }
            Event::End(Err(error)) => return stream.error(&error).await,
            Event::End(Ok(ending)) => {
                let mut last = chunk(index, "", None, Some(ending.finish.name()));
                endings[index] = Some(ending);
                if endings.iter().all(Option::is_some) {
                    let all: Vec<Ending> = endings.iter().flatten().cloned().collect();
                    if let Err(error) = finish(&app, &asked, &all, &mut last).await {
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
        let mut last = frame(&app, &asked, Vec::new());
        last["usage"] = Usage::of(&endings, asked.options.choices).json();
        stream.data(&last).await?;
    }
    stream.done().await
}
