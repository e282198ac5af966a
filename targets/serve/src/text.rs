//! A text on its way from logits to a client: tokens are drawn, read as thought and answer, and sent
//! on as far as no stop can begin in them.
//!
//! The engine's thread never waits for a client: the channel has room for the whole answer, whose
//! length is bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinglet::sampler::{Sampler, is_uncounted};
use kinglet_talk::schedule::{Draw, End, Reason, Snapshot};
use kinglet_talk::{Piece, Reading, THOUGHT_END};
use tokio::sync::mpsc;

use crate::admission::Place;
use crate::error::ApiError;
use crate::logprobs::{Distribution, TokenLogprob};
use crate::metrics::Metrics;
use crate::model::Served;

/// Events of a text beside its tokens': its end, and one more to be sure.
pub(crate) const SPARE_EVENTS: usize = 2;

/// What becomes of a text.
#[derive(Debug)]
pub(crate) enum Event {
    Text(Text),
    End(Result<Ending, ApiError>),
}

/// Text that tokens completed.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) piece: Piece,
    pub(crate) logprobs: Vec<TokenLogprob>,
}

impl Text {
    fn is_empty(&self) -> bool {
        self.piece == Piece::default() && self.logprobs.is_empty()
    }
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model ended it, or a stop did.
    Stop,
    /// It has as many tokens as it may have.
    Length,
}

impl Finish {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// How a text ended, and what it took.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) finish: Finish,
    pub(crate) prompt: usize,
    pub(crate) cached: usize,
    pub(crate) drawn: usize,
    /// Tokens of the thought among them.
    pub(crate) thought: usize,
    /// Its tokens before a stop, and the bytes that the token in which the stop began had before it.
    pub(crate) tokens: Vec<u32>,
    pub(crate) rest: Vec<u8>,
    /// From the place until the first token, and from there to the end.
    pub(crate) read_time: Duration,
    pub(crate) write_time: Duration,
}

/// What a text is written by.
pub(crate) struct Writing {
    pub(crate) sampler: Sampler<Vec<f32>>,
    /// Added to the logits of these tokens.
    pub(crate) bias: Vec<(u32, f32)>,
    pub(crate) stops: Vec<Vec<u8>>,
    pub(crate) reading: Reading,
    /// How many of the most probable tokens are told beside each, if any is.
    pub(crate) logprobs: Option<usize>,
    /// Most tokens.
    pub(crate) most: usize,
    /// Tokens after which a thought is ended.
    pub(crate) thought_tokens: Option<usize>,
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
}

/// A text under way.
pub(crate) struct Writer {
    writing: Writing,
    served: Arc<Served>,
    metrics: Arc<Metrics>,
    /// Which of the request's texts it is.
    index: usize,
    events: mpsc::Sender<(usize, Event)>,
    /// Freed when the text has ended.
    _place: Place,
    submitted: Instant,
    begun: Option<Instant>,
    first: Option<Instant>,
    cached: usize,
    drawn: usize,
    thought: usize,
    tokens: Vec<u32>,
    /// Where each of them ends in the text, bytes.
    ends: Vec<usize>,
    /// Tokens that are to come whatever the model says.
    forced: VecDeque<u32>,
    /// Logprobs of tokens whose text is held back, and where they begin.
    held: VecDeque<(usize, TokenLogprob)>,
    raw: Vec<f32>,
    finish: Option<(Finish, Vec<u8>)>,
    failed: Option<ApiError>,
}

impl Writer {
    pub(crate) fn new(
        writing: Writing,
        (served, metrics): (&Arc<Served>, &Arc<Metrics>),
        (index, events): (usize, mpsc::Sender<(usize, Event)>),
        place: Place,
    ) -> Self {
        Self {
            writing,
            served: Arc::clone(served),
            metrics: Arc::clone(metrics),
            index,
            events,
            _place: place,
            submitted: Instant::now(),
            begun: None,
            first: None,
            cached: 0,
            drawn: 0,
            thought: 0,
            tokens: Vec::new(),
            ends: Vec::new(),
            forced: VecDeque::new(),
            held: VecDeque::new(),
            raw: Vec::new(),
            finish: None,
            failed: None,
        }
    }

    /// Draws a token, and tells how probable it was.
    fn pick(&mut self, logits: &mut [f32]) -> Result<(u32, Option<TokenLogprob>), ApiError> {
        let drawable = self.served.drawable();
        let logits = &mut logits[..drawable];
        if self.writing.logprobs.is_some() {
            self.raw.clear();
            self.raw.extend_from_slice(logits);
        }
        for &(token, bias) in &self.writing.bias {
            logits[token as usize] += bias;
        }
        let token = match self.forced.pop_front() {
            Some(token) => token,
            None => {
                let token = self.writing.sampler.sample(logits);
                token.map_err(|error| ApiError::internal(error.to_string()))?
            }
        };
        let top = self.writing.logprobs;
        let logprob = top.map(|top| Distribution::new(&self.raw).token(token, top));
        Ok((token, logprob))
    }

    /// Takes a drawn token in; whether the text goes on.
    fn take(&mut self, token: u32, logprob: Option<TokenLogprob>) -> bool {
        self.drawn += 1;
        self.metrics.drawn();
        if self.served.ends(token) {
            self.finish = Some((Finish::Stop, Vec::new()));
            return false;
        }
        let served = Arc::clone(&self.served);
        let bytes = served.token(token);
        if is_uncounted(bytes) {
            self.writing.sampler.accept_uncounted(token);
        } else {
            self.writing.sampler.accept(token);
        }
        let Writing { reading, stops, .. } = &mut self.writing;
        self.thought += usize::from(reading.is_thinking());
        let before = reading.bytes();
        let mut text = Text::default();
        self.held.extend(logprob.map(|logprob| (before, logprob)));
        self.tokens.push(token);
        self.ends.push(before + bytes.len());
        let stop = reading.push(bytes, stops, &mut text.piece);
        let sure = match stop {
            Some((_, at)) => at,
            None => reading.possible_stop().unwrap_or(before + bytes.len()),
        };
        while self.held.front().is_some_and(|(start, _)| *start < sure) {
            text.logprobs.extend(self.held.pop_front().map(|(_, logprob)| logprob));
        }
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
        if let Some((_, at)) = stop {
            self.held.clear();
            let rest = self.cut(at);
            self.finish = Some((Finish::Stop, rest));
            return false;
        }
        if self.drawn >= self.writing.most {
            self.finish = Some((Finish::Length, Vec::new()));
            return false;
        }
        self.end_thought();
        true
    }

    /// Takes the tokens back that end after byte `at`; the bytes that the first of them has before it.
    fn cut(&mut self, at: usize) -> Vec<u8> {
        let kept = self.ends.partition_point(|&end| end <= at);
        let start = kept.checked_sub(1).map_or(0, |last| self.ends[last]);
        let bytes = self.tokens.get(kept).map(|&token| self.served.token(token));
        let rest = bytes.and_then(|bytes| bytes.get(..at - start)).unwrap_or_default().to_vec();
        self.tokens.truncate(kept);
        self.ends.truncate(kept);
        rest
    }

    /// Ends a thought whose tokens are spent.
    fn end_thought(&mut self) {
        let Writing { reading, thought_tokens, .. } = &self.writing;
        let is_spent = thought_tokens.is_some_and(|most| self.thought >= most);
        if is_spent && reading.can_end_thought() && self.forced.is_empty() {
            self.forced.extend(self.served.tokenizer().encode(THOUGHT_END).map_while(Result::ok));
        }
    }

    fn send(&self, event: Event) {
        // There is room for the whole answer, so that the only failure is that nobody listens.
        let _ = self.events.try_send((self.index, event));
    }

    fn ending(&mut self) -> Option<Ending> {
        let (finish, rest) = self.finish.take()?;
        let mut text = Text::default();
        // Nothing is left of it where a stop was found.
        text.piece.answer = self.writing.reading.show_held();
        text.logprobs.extend(self.held.drain(..).map(|(_, logprob)| logprob));
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
        let now = Instant::now();
        let begun = self.begun.unwrap_or(now);
        let first = self.first.unwrap_or(now);
        Some(Ending {
            finish,
            prompt: self.writing.prompt,
            cached: self.cached,
            drawn: self.drawn,
            thought: self.thought,
            tokens: std::mem::take(&mut self.tokens),
            rest,
            read_time: first - begun,
            write_time: now - first,
        })
    }
}

impl Draw for Writer {
    fn is_wanted(&self) -> bool {
        !self.events.is_closed()
    }

    fn begin(&mut self, cached: usize) {
        self.begun = Some(Instant::now());
        self.cached = cached;
        self.end_thought();
    }

    fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        if self.first.is_none() {
            let now = Instant::now();
            self.first = Some(now);
            self.metrics.first_token(now - self.submitted);
        }
        match self.pick(logits) {
            Ok((token, logprob)) => self.take(token, logprob).then_some(token),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }

    fn end(mut self: Box<Self>, end: End) {
        let outcome = match (end.reason, self.failed.take()) {
            (_, Some(error)) => Err(error),
            (Reason::Failed(error), _) => Err(error.into()),
            (Reason::Unwanted, _) => Err(ApiError::unavailable("the server ends")),
            (Reason::Drawn, _) => {
                self.ending().ok_or_else(|| ApiError::internal("the text ended without an end"))
            }
        };
        self.metrics.ended(&outcome);
        self.send(Event::End(outcome));
    }
}

/// Reads a prompt, and gives the state after it.
pub(crate) struct Reader {
    pub(crate) done: Option<tokio::sync::oneshot::Sender<Result<Snapshot, ApiError>>>,
    pub(crate) _place: Place,
}

impl Draw for Reader {
    fn is_wanted(&self) -> bool {
        self.done.as_ref().is_some_and(|done| !done.is_closed())
    }

    fn draw(&mut self, _: &mut [f32]) -> Option<u32> {
        None
    }

    fn end(mut self: Box<Self>, end: End) {
        let outcome = match (end.reason, end.snapshot) {
            (Reason::Drawn, Some(snapshot)) => Ok(snapshot),
            (Reason::Failed(error), _) => Err(error.into()),
            _ => Err(ApiError::internal("the state was not kept")),
        };
        if let Some(done) = self.done.take() {
            let _ = done.send(outcome);
        }
    }
}
