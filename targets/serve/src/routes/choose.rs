//! `/v1/choose`: which of several texts the model would go on with. The prompt is read once, and
//! each text begins with a copy of its state.

use std::sync::Arc;

use axum::extract::{Request, State};
use kinglet_talk::Thinking;
use kinglet_talk::schedule::{Draw, End, Reason, Snapshot};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Answer, Shared, body};
use crate::admission::Place;
use crate::app::App;
use crate::engine::Job;
use crate::error::ApiError;
use crate::generate::{Start, apart, check_prompt, conversation_start, snapshot_of, text_start};
use crate::logprobs::Distribution;
use crate::wire::{Conversation, Fields};

/// Most texts, and bytes of one.
const MOST: usize = 32;
const MOST_BYTES: usize = 4096;

struct Asked {
    start: Start,
    /// `[choice][token]`
    choices: Vec<Vec<u32>>,
    shared: bool,
}

fn read(app: &App, bytes: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(bytes)?;
    let model: Option<String> = fields.take("model")?;
    app.check_model(model.as_deref())?;
    let prompt: Option<String> = fields.take("prompt")?;
    let messages: Option<Value> = fields.take("messages")?;
    let choices: Vec<String> = fields.need("choices")?;
    let shared = fields.take("cache_prompt")?.unwrap_or(true);
    fields.finish()?;
    if !(2..=MOST).contains(&choices.len()) {
        let message = format!("choices has {} texts; 2 to {MOST} are taken", choices.len());
        return Err(ApiError::field("choices", message));
    }
    // In an answer a space stands before the first word.
    let (start, space) = match (prompt, messages) {
        (Some(prompt), None) => (text_start(app, &prompt, None)?, ""),
        (None, Some(messages)) => {
            let most = app.limits.messages;
            let mut conversation = Conversation::read(messages, "messages", most)?;
            conversation.thinking = Thinking::None;
            (conversation_start(app, &conversation, None)?, " ")
        }
        _ => return Err(ApiError::field("prompt", "give either `prompt` or `messages`")),
    };
    check_prompt(app, &start.prompt.tokens)?;
    let space = if start.is_plain { "" } else { space };
    let mut encoded = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        let place = format!("choices[{index}]");
        if !(1..=MOST_BYTES).contains(&choice.len()) {
            let message =
                format!("{place} has {} bytes; 1 to {MOST_BYTES} are taken", choice.len());
            return Err(ApiError::field(place, message));
        }
        let text = format!("{space}{choice}");
        let tokens: Result<Vec<u32>, _> = app.served.tokenizer().encode(text.as_bytes()).collect();
        encoded.push(tokens.map_err(|error| ApiError::field(place, error.to_string()))?);
    }
    Ok(Asked { start, choices: encoded, shared })
}

pub(super) async fn create(State(app): Shared, request: Request) -> Answer {
    let bytes = body(&app, request, app.limits.body).await?;
    let shared = Arc::clone(&app);
    let Asked { start, choices, shared } = apart(move || read(&shared, &bytes)).await?;
    // All places at once, so that a request that was begun does not fail for the want of one.
    let refused = |_: &ApiError| app.metrics.refused();
    let mut places = app.admission.take(choices.len() + 1).inspect_err(refused)?;
    let place = places.pop().ok_or_else(|| app.failed())?;
    let prompt = start.prompt.tokens.len();
    let snapshot = snapshot_of(&app, None, start.prompt.tokens, shared, place).await?;
    let mut waiting = Vec::new();
    for (tokens, place) in choices.iter().zip(places) {
        waiting.push(score(&app, &snapshot, tokens.clone(), place)?);
    }
    let mut sums = Vec::new();
    for sum in waiting {
        sums.push(sum.await.map_err(|_| app.failed())??);
    }
    let best = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mass: f64 = sums.iter().map(|sum| libm::exp(sum - best)).sum();
    let mut ranking: Vec<usize> = (0..sums.len()).collect();
    ranking.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
    let answers: Vec<Value> = choices
        .iter()
        .zip(&sums)
        .enumerate()
        .map(|(index, (tokens, &sum))| {
            json!({
                "index": index,
                "logprob": sum,
                "tokens": tokens.len(),
                "perplexity": libm::exp(-sum / tokens.len() as f64),
                "probability": libm::exp(sum - best) / mass,
            })
        })
        .collect();
    Ok(super::json(&json!({
        "object": "choice",
        "model": app.served.id,
        "best": ranking[0],
        "ranking": ranking,
        "choices": answers,
        "usage": { "prompt_tokens": prompt },
    })))
}

/// Goes on with tokens that are given, and sums how probable each was.
struct Scorer {
    tokens: Vec<u32>,
    at: usize,
    sum: f64,
    drawable: usize,
    done: Option<oneshot::Sender<Result<f64, ApiError>>>,
    _place: Place,
}

fn score(
    app: &App,
    snapshot: &Snapshot,
    tokens: Vec<u32>,
    place: Place,
) -> Result<oneshot::Receiver<Result<f64, ApiError>>, ApiError> {
    let (done, sum) = oneshot::channel();
    let drawable = app.served.drawable();
    let scorer = Scorer { tokens, at: 0, sum: 0.0, drawable, done: Some(done), _place: place };
    app.submit(Job {
        start: Some(snapshot.clone()),
        prompt: Vec::new(),
        borders: Vec::new(),
        shared: false,
        keep: false,
        draw: Box::new(scorer),
    })?;
    Ok(sum)
}

impl Draw for Scorer {
    fn is_wanted(&self) -> bool {
        self.done.as_ref().is_some_and(|done| !done.is_closed())
    }

    fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        let token = *self.tokens.get(self.at)?;
        let distribution = Distribution::new(&logits[..self.drawable]);
        self.sum += f64::from(distribution.logprob(token));
        self.at += 1;
        // The state after the last token is of no use.
        (self.at < self.tokens.len()).then_some(token)
    }

    fn end(mut self: Box<Self>, end: End) {
        let outcome = match end.reason {
            Reason::Failed(error) => Err(error.into()),
            _ => Ok(self.sum),
        };
        if let Some(done) = self.done.take() {
            let _ = done.send(outcome);
        }
    }
}
