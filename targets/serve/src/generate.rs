//! From a request to texts under way, and to the state after one.

use std::sync::Arc;

use kinglet::sampler::Sampler;
use kinglet_talk::schedule::Snapshot;
use kinglet_talk::template::{END_OF_TEXT, Past};
use kinglet_talk::{Prompt, Reading};
use tokio::sync::{mpsc, oneshot};

use crate::admission::Place;
use crate::app::App;
use crate::engine::Job;
use crate::error::ApiError;
use crate::states::Kept;
use crate::text::{Ending, Event, Reader, SPARE_EVENTS, Text, Writer, Writing};
use crate::wire::{Conversation, Options};

/// Borders of a prompt at which states are kept: those of the last question, and of what stands
/// before the first. Between them are states that only a conversation that is forked would use.
const LAST_BORDERS: usize = 2;

/// A prompt whose texts are to be written.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) prompt: Prompt,
    /// Whether its text is left as it is.
    pub(crate) is_plain: bool,
    /// The template's stops, where there is one.
    pub(crate) stops: Vec<Vec<u8>>,
}

/// Texts under way. Dropped, nobody wants them any more.
pub(crate) struct Texts {
    events: mpsc::Receiver<(usize, Event)>,
    /// How many have not ended.
    left: usize,
}

impl Texts {
    /// What comes next of one of the texts, by its index; `None` after the end of all of them.
    pub(crate) async fn next(&mut self) -> Option<(usize, Event)> {
        if self.left == 0 {
            return None;
        }
        let next = self.events.recv().await;
        if matches!(next, Some((_, Event::End(_))) | None) {
            self.left -= 1;
        }
        next
    }
}

/// A text that has come to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) text: Text,
    pub(crate) ending: Ending,
}

/// Waits for all texts: `[prompt][choice]`.
pub(crate) async fn collect(app: &App, mut texts: Texts) -> Result<Vec<Whole>, ApiError> {
    let mut gathered: Vec<(Text, Option<Ending>)> = Vec::new();
    while let Some((index, event)) = texts.next().await {
        while gathered.len() <= index {
            gathered.push((Text::default(), None));
        }
        let (whole, end) = &mut gathered[index];
        match event {
            Event::Text(text) => {
                whole.piece.thought += &text.piece.thought;
                whole.piece.answer += &text.piece.answer;
                whole.logprobs.extend(text.logprobs);
            }
            Event::End(ending) => *end = Some(ending?),
        }
    }
    let whole = gathered.into_iter().map(|(text, ending)| Some(Whole { text, ending: ending? }));
    whole.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()).ok_or_else(|| app.failed())
}

/// Begins to write `choices` texts to each prompt: all, or none.
pub(crate) fn begin(
    app: &App,
    starts: &[Start],
    options: &Options,
    logprobs: Option<usize>,
    thought_tokens: Option<usize>,
) -> Result<Texts, ApiError> {
    let count = starts.len() * options.choices;
    if count > app.limits.choices {
        let most = app.limits.choices;
        return Err(ApiError::request(format!(
            "{count} texts are asked for; at most {most} are written at once"
        )));
    }
    for start in starts {
        check_prompt(app, &start.prompt.tokens)?;
    }
    let places = app.admission.take(count).inspect_err(|_| app.metrics.refused())?;
    let (sender, events) = mpsc::channel(count * (options.most + SPARE_EVENTS));
    let counts = if options.sampling.has_penalties() { app.served.drawable() } else { 0 };
    for (index, place) in places.into_iter().enumerate() {
        let start = &starts[index / options.choices];
        // Each choice has a seed of its own, and is the text that a request with that seed gets.
        let seed = options.seed.wrapping_add((index % options.choices) as u64);
        let sampler = Sampler::with_counts(options.sampling, seed, vec![0.0; counts]);
        let sampler = sampler.map_err(|error| ApiError::request(error.to_string()))?;
        let Prompt { tokens, borders, opening, .. } = &start.prompt;
        let writing = Writing {
            sampler,
            bias: options.bias.clone(),
            stops: [&start.stops[..], &options.stops].concat(),
            reading: Reading::new(opening, start.is_plain),
            logprobs,
            most: options.most,
            thought_tokens,
            prompt: tokens.len(),
        };
        let target = (index, sender.clone());
        let writer = Writer::new(writing, (&app.served, &app.metrics), target, place);
        app.submit(Job {
            start: options.state.as_ref().map(Kept::snapshot),
            prompt: tokens.clone(),
            borders: kept_borders(borders),
            shared: options.shared,
            keep: false,
            draw: Box::new(writer),
        })?;
    }
    Ok(Texts { events, left: count })
}

/// Refuses prompts that are empty or too long, or have tokens that are none.
pub(crate) fn check_prompt(app: &App, tokens: &[u32]) -> Result<(), ApiError> {
    let most = app.limits.prompt_tokens;
    if tokens.is_empty() {
        return Err(ApiError::request("the prompt is empty; there is nothing to go on from"));
    }
    if tokens.len() > most {
        let found = tokens.len();
        return Err(ApiError::request(format!(
            "the prompt has {found} tokens; at most {most} are read"
        )));
    }
    let vocab = app.served.header.shape.vocab;
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        None => Ok(()),
        Some(token) => Err(ApiError::request(format!(
            "token {token} of the prompt is outside the vocabulary (0 to {})",
            vocab - 1
        ))),
    }
}

fn kept_borders(borders: &[usize]) -> Vec<usize> {
    let last = borders.iter().rev().take(LAST_BORDERS).rev();
    borders.iter().take(1).chain(last).copied().collect()
}

/// Does something that takes the time of a long text, where it holds nobody up.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
}

/// The prompt of a conversation's answer; after a state, of what the state has not read.
pub(crate) fn conversation_start(
    app: &App,
    conversation: &Conversation,
    state: Option<&Kept>,
) -> Result<Start, ApiError> {
    let (template, tokenizer) = (app.served.template(), app.served.tokenizer());
    let Conversation { system, turns, .. } = conversation;
    let past = Past { system: system.as_deref(), turns };
    let mut prompt = match state {
        None => Prompt::begin(template, &tokenizer, past)?,
        Some(_) if system.is_some() => {
            let message =
                "a state has read its system text already; leave the system's messages out";
            return Err(ApiError::field("messages", message));
        }
        Some(state) => {
            let mut prompt = Prompt::after(state.next);
            prompt.go_on(template, &tokenizer, turns)?;
            prompt
        }
    };
    prompt.ask(template, &tokenizer, past, conversation.question())?;
    Ok(Start { prompt, is_plain: template.is_plain(), stops: template.stops() })
}

/// The tokens of a conversation with its answer, as later turns have them.
pub(crate) fn conversation_history(
    app: &App,
    conversation: &Conversation,
    state: Option<&Kept>,
    answer: &str,
) -> Result<Vec<u32>, ApiError> {
    let (template, tokenizer) = (app.served.template(), app.served.tokenizer());
    let turns = conversation.answered(answer);
    let past = Past { system: conversation.system.as_deref(), turns: &turns };
    let prompt = match state {
        None => Prompt::begin(template, &tokenizer, past)?,
        Some(state) => {
            let mut prompt = Prompt::after(state.next);
            prompt.go_on(template, &tokenizer, &turns)?;
            prompt
        }
    };
    Ok(prompt.tokens)
}

/// The start of a text without roles.
pub(crate) fn text_start(app: &App, text: &str, state: Option<&Kept>) -> Result<Start, ApiError> {
    let text = text.replace(END_OF_TEXT, "");
    let tokenizer = app.served.tokenizer();
    let mut tokens = match state {
        Some(state) => Vec::from_iter(state.next),
        None => Vec::from_iter(tokenizer.end_of_text()),
    };
    for token in tokenizer.encode(text.as_bytes()) {
        tokens.push(token?);
    }
    let prompt = Prompt::plain(tokens, text);
    Ok(Start { prompt, is_plain: true, stops: Vec::new() })
}

/// The tokens of a text and of what followed it.
pub(crate) fn text_history(
    app: &App,
    start: &Start,
    ending: &Ending,
) -> Result<Vec<u32>, ApiError> {
    let mut tokens = [&start.prompt.tokens[..], &ending.tokens].concat();
    for token in app.served.tokenizer().encode(&ending.rest) {
        tokens.push(token?);
    }
    Ok(tokens)
}

/// The state of a text, computed as if it had been read at once. The last token is left to whoever
/// goes on with it.
pub(crate) async fn state_of(
    app: &App,
    start: Option<&Kept>,
    mut tokens: Vec<u32>,
    shared: bool,
) -> Result<Kept, ApiError> {
    let read = start.and_then(|start| start.tokens);
    let count = match start {
        None => Some(tokens.len()),
        Some(start) => read.map(|read| read + tokens.len() - usize::from(start.next.is_some())),
    };
    let next = tokens.pop();
    if tokens.is_empty() {
        let state = match start {
            Some(start) => Arc::clone(&start.state),
            None => return Err(ApiError::request("the text has too few tokens for a state")),
        };
        return Ok(Kept::new(state, next, count));
    }
    check_prompt(app, &tokens)?;
    let mut places = app.admission.take(1).inspect_err(|_| app.metrics.refused())?;
    let place = places.pop().ok_or_else(|| app.failed())?;
    let Snapshot { state, .. } = snapshot_of(app, start, tokens, shared, place).await?;
    Ok(Kept::new(state, next, count))
}

/// Reads tokens, and gives state and logits after the last.
pub(crate) async fn snapshot_of(
    app: &App,
    start: Option<&Kept>,
    tokens: Vec<u32>,
    shared: bool,
    place: Place,
) -> Result<Snapshot, ApiError> {
    let (done, snapshot) = oneshot::channel();
    app.submit(Job {
        start: start.map(Kept::snapshot),
        prompt: tokens,
        borders: Vec::new(),
        shared,
        keep: true,
        draw: Box::new(Reader { done: Some(done), _place: place }),
    })?;
    snapshot.await.map_err(|_| app.failed())?
}
