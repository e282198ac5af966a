//! Several texts on one engine: their tokens share each pass over the weights.
//!
//! A [`Scheduler`] knows tokens and states, no text and no network. Each [`Request`] brings a prompt
//! and a [`Draw`], which makes a token of logits, sees each token before the next pass, and may end
//! the text after any of them. In a pass every text that is being written goes on by a token, and
//! what room is left reads prompts, the same share of each. Texts join and leave between passes.
//!
//! An engine's numbers do not depend on what else is in a batch, nor on how a prompt is divided. So
//! a text is the same, bit for bit, whatever the others do, and whether its prompt was read or found
//! in the [`PrefixCache`].

mod prefix_cache;
mod slot;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use kinglet::engine::{BatchToken, Engine, StepError};

pub use self::prefix_cache::{CacheStats, PrefixCache};
use self::slot::Slot;
use crate::error::TalkError;

/// What makes a text of logits: sampler, grammar, stops, and whoever waits for it.
pub trait Draw {
    /// Whether anybody still wants the text. It is asked before every pass, while the text waits
    /// and while its prompt is read too.
    fn is_wanted(&self) -> bool {
        true
    }

    /// The text has got a place, and `cached` tokens of its prompt need not be read.
    fn begin(&mut self, cached: usize) {
        let _ = cached;
    }

    /// Draws the token that the text goes on with from `logits`, `[vocab]`, which may be
    /// overwritten. `None` ends the text.
    fn draw(&mut self, logits: &mut [f32]) -> Option<u32>;

    /// The text has ended.
    fn end(self: Box<Self>, end: End);
}

/// A state to go on from. Its copies share the memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// `[Shape::state_len]`
    pub state: Arc<[f32]>,
    /// `[vocab]`: the logits after the last token, if they are known.
    pub logits: Option<Arc<[f32]>>,
}

/// A text to be written.
pub struct Request<'a> {
    /// Where it begins; the model's start state if absent.
    pub start: Option<Snapshot>,
    /// Tokens to be read first. It may be empty where the start has logits.
    pub prompt: Vec<u32>,
    /// Lengths of the prompt's beginnings at which a state is worth keeping, such as the borders of
    /// turns.
    pub borders: Vec<usize>,
    /// Whether states of other prompts are used for it, and its own are kept for others. It changes
    /// the time alone.
    pub shared: bool,
    /// Whether [`End::snapshot`] is wanted.
    pub keep: bool,
    /// What writes it.
    pub draw: Box<dyn Draw + 'a>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut request = f.debug_struct("Request");
        request.field("prompt", &self.prompt.len()).field("keep", &self.keep);
        request.finish_non_exhaustive()
    }
}

/// How a text ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// Tokens of the prompt that did not have to be read.
    pub cached: usize,
    /// Tokens drawn.
    pub drawn: usize,
    /// State and logits after the last token, if they were asked for and the text was
    /// [`Drawn`](Reason::Drawn).
    pub snapshot: Option<Snapshot>,
}

/// Why a text ended.
#[derive(Debug)]
pub enum Reason {
    /// [`Draw::draw`] ended it.
    Drawn,
    /// Nobody wanted it any more.
    Unwanted,
    /// It cannot go on; the others do.
    Failed(TalkError),
}

/// How a [`Scheduler`] divides its work.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleOptions {
    /// Most texts that wait for a place.
    pub waiting: usize,
    /// Most prompt tokens in a pass in which texts are written as well: what one of their tokens may
    /// take longer for them.
    pub prompt_tokens: usize,
    /// Bytes of states that the prefix cache keeps; 0 keeps none.
    pub cache_bytes: usize,
    /// A state of a prompt is kept every so many tokens as well.
    pub cache_every: usize,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        Self { waiting: 64, prompt_tokens: 32, cache_bytes: 256 << 20, cache_every: 512 }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Tokens of prompts that were read.
    pub read: usize,
    /// Texts that went on by a token that they had drawn.
    pub written: usize,
}

/// How far a text is that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Tokens of its prompt.
    pub prompt: usize,
    /// Tokens that did not have to be read.
    pub cached: usize,
    /// Tokens of the prompt that its state has taken in.
    pub read: usize,
    /// Tokens drawn.
    pub drawn: usize,
}

/// Why a request was not taken; it comes back.
#[derive(Debug)]
pub struct Refused<'a> {
    /// The request.
    pub request: Request<'a>,
    /// Why.
    pub reason: RefusedReason,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// As many wait as may.
    #[error("{0} texts are waiting already")]
    Full(usize),
    /// There is nothing to draw from: the prompt is empty, and the start has no logits.
    #[error("the prompt is empty")]
    Empty,
    /// A token of the prompt is outside the vocabulary.
    #[error("token {found} of the prompt is outside the vocabulary (0 to {})", .vocab - 1)]
    Token {
        /// The token.
        found: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// State or logits have not the model's length.
    #[error("the start has {found} elements, expected {expected}")]
    Start {
        /// Elements.
        found: usize,
        /// Elements of this model.
        expected: usize,
    },
}

/// Writes texts together. The [module](self) says how.
pub struct Scheduler<'a> {
    engine: &'a mut dyn Engine,
    options: ScheduleOptions,
    cache: PrefixCache,
    waiting: VecDeque<Request<'a>>,
    /// `[sequence]`
    slots: Vec<Option<Slot<'a>>>,
    /// The sequence whose prompt has the first share of the next pass.
    turn: usize,
    batch: Vec<BatchToken>,
    /// `[sequences][vocab]`
    logits: Vec<f32>,
}

impl fmt::Debug for Scheduler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scheduler = f.debug_struct("Scheduler");
        scheduler.field("running", &self.running()).field("waiting", &self.waiting.len());
        scheduler.field("cache", &self.cache.stats()).finish_non_exhaustive()
    }
}

impl<'a> Scheduler<'a> {
    /// A scheduler of all sequences of an engine, but no more than its batches have tokens.
    #[must_use]
    pub fn new(engine: &'a mut dyn Engine, options: ScheduleOptions) -> Self {
        let sequences = engine.sequences().min(engine.max_batch());
        let logits = vec![0.0; sequences * engine.shape().vocab];
        Self {
            engine,
            options,
            cache: PrefixCache::new(options.cache_bytes),
            waiting: VecDeque::new(),
            slots: (0..sequences).map(|_| None).collect(),
            turn: 0,
            batch: Vec::new(),
            logits,
        }
    }

    /// Takes a request, which waits for a place.
    ///
    /// # Errors
    ///
    /// Too many wait already, or its prompt or start do not suit the model. Its [`Draw`] is not
    /// ended.
    pub fn submit(&mut self, request: Request<'a>) -> Result<(), Box<Refused<'a>>> {
        match self.refusal(&request) {
            None => {
                self.waiting.push_back(request);
                Ok(())
            }
            Some(reason) => Err(Box::new(Refused { request, reason })),
        }
    }

    fn refusal(&self, request: &Request<'a>) -> Option<RefusedReason> {
        let shape = self.engine.shape();
        if self.waiting.len() >= self.options.waiting {
            return Some(RefusedReason::Full(self.waiting.len()));
        }
        if let Some(start) = &request.start {
            let logits = start.logits.as_ref().map_or(shape.vocab, |logits| logits.len());
            let lens = [(start.state.len(), shape.state_len()), (logits, shape.vocab)];
            if let Some((found, expected)) = lens.into_iter().find(|(a, b)| a != b) {
                return Some(RefusedReason::Start { found, expected });
            }
        }
        let has_logits = request.start.as_ref().is_some_and(|start| start.logits.is_some());
        if request.prompt.is_empty() && !has_logits {
            return Some(RefusedReason::Empty);
        }
        let vocab = shape.vocab;
        let strange = request.prompt.iter().find(|&&token| token as usize >= vocab);
        strange.map(|&found| RefusedReason::Token { found, vocab })
    }

    /// The places, `[sequence]`, and how far the texts are that have them.
    pub fn slots(&self) -> impl Iterator<Item = Option<SlotStatus>> {
        self.slots.iter().map(|slot| {
            slot.as_ref().map(|slot| SlotStatus {
                prompt: slot.prompt,
                cached: slot.cached,
                read: slot.read.min(slot.prompt),
                drawn: slot.tokens.len() - slot.prompt,
            })
        })
    }

    /// Texts that have a place.
    #[must_use]
    pub fn running(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Texts that wait for one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running() == 0 && self.waiting.is_empty()
    }

    /// The states kept of prompts.
    #[must_use]
    pub fn cache(&self) -> &PrefixCache {
        &self.cache
    }

    /// Forgets all states kept of prompts.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// Lets unwanted texts go, gives free places to those that wait, and advances all texts by one
    /// pass over the weights.
    ///
    /// # Errors
    ///
    /// The engine does not work any more, and every text has ended with the error. What fails for
    /// one text ends that one alone.
    pub fn pass(&mut self) -> Result<Pass, StepError> {
        self.drop_unwanted();
        self.admit();
        let (shares, pass) = self.plan();
        if self.batch.is_empty() {
            return Ok(pass);
        }
        let vocab = self.engine.shape().vocab;
        let rows = self.batch.iter().filter(|token| token.logits).count();
        let logits = &mut self.logits[..rows * vocab];
        match self.engine.forward(&self.batch, logits) {
            Ok(()) => {}
            Err(StepError::NonFinite) => {
                self.recover(&shares);
                return Ok(pass);
            }
            Err(error) => {
                for sequence in 0..self.slots.len() {
                    self.end(sequence, Reason::Failed(error.into()));
                }
                return Err(error);
            }
        }
        let mut row = 0;
        for (sequence, share) in shares {
            let Some(slot) = &mut self.slots[sequence] else { continue };
            slot.read += share;
            let has_logits = slot.is_ready();
            let start = row * vocab;
            row += usize::from(has_logits);
            self.keep(sequence, has_logits.then_some(start));
            if has_logits {
                self.draw(sequence, start);
            }
        }
        Ok(pass)
    }

    /// Lets texts go that nobody wants.
    fn drop_unwanted(&mut self) {
        for index in (0..self.waiting.len()).rev() {
            if !self.waiting[index].draw.is_wanted()
                && let Some(request) = self.waiting.remove(index)
            {
                let (cached, drawn, snapshot) = (0, 0, None);
                request.draw.end(End { reason: Reason::Unwanted, cached, drawn, snapshot });
            }
        }
        for sequence in 0..self.slots.len() {
            if self.slots[sequence].as_ref().is_some_and(|slot| !slot.draw.is_wanted()) {
                self.end(sequence, Reason::Unwanted);
            }
        }
    }

    /// Gives free places to texts that wait, in their order.
    fn admit(&mut self) {
        for sequence in 0..self.slots.len() {
            while self.slots[sequence].is_none()
                && let Some(request) = self.waiting.pop_front()
            {
                let found = match &request.start {
                    Some(start) => Some((0, start.clone())),
                    None if request.shared => self.cache.find(&request.prompt),
                    None => None,
                };
                let cached = found.as_ref().map_or(0, |(len, _)| *len);
                let from = found.map(|(_, snapshot)| snapshot);
                let mut slot = Slot::new(request, cached);
                slot.draw.begin(cached);
                let is_ready = slot.is_ready();
                self.slots[sequence] = Some(slot);
                let set = match &from {
                    Some(snapshot) => self.engine.load_state(sequence, &snapshot.state),
                    None => self.engine.reset(sequence),
                };
                let logits = from.and_then(|snapshot| snapshot.logits);
                match (set, logits) {
                    (Err(error), _) => self.end(sequence, Reason::Failed(error.into())),
                    (Ok(()), Some(logits)) if is_ready => {
                        self.logits[..logits.len()].copy_from_slice(&logits);
                        self.draw(sequence, 0);
                    }
                    (Ok(()), _) => {}
                }
            }
        }
    }

    /// Fills the batch; how many tokens of which sequence, in its order.
    fn plan(&mut self) -> (Vec<(usize, usize)>, Pass) {
        self.batch.clear();
        let places = self.slots.len();
        let running = |slot: &&Option<Slot<'_>>| slot.as_ref().is_some_and(Slot::is_written);
        let written = self.slots.iter().filter(running).count();
        let mut room = self.engine.max_batch() - written;
        if written > 0 {
            room = room.min(self.options.prompt_tokens.max(1));
        }
        let mut shares = vec![0; places];
        let order = (0..places).map(|place| (self.turn + place) % places);
        let readers: Vec<usize> = order
            .filter(|&at| self.slots[at].as_ref().is_some_and(|slot| !slot.is_written()))
            .collect();
        for (index, &sequence) in readers.iter().enumerate() {
            let Some(slot) = &self.slots[sequence] else { continue };
            let share = room.div_ceil(readers.len() - index);
            shares[sequence] = share.min(slot.until_border(self.options.cache_every));
            room -= shares[sequence];
        }
        self.turn = (self.turn + 1) % places;
        let read = shares.iter().sum();
        for (sequence, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            if slot.is_written() {
                shares[sequence] = 1;
            }
            let end = slot.read + shares[sequence];
            self.batch.extend((slot.read..end).map(|at| BatchToken {
                token: slot.tokens[at],
                sequence,
                logits: at + 1 == slot.tokens.len(),
            }));
        }
        let shares = shares.into_iter().enumerate().filter(|&(_, share)| share > 0).collect();
        (shares, Pass { read, written })
    }

    /// Keeps the state of a prompt that has come to a border. `logits` is where its logits start.
    fn keep(&mut self, sequence: usize, logits: Option<usize>) {
        let Some(slot) = &self.slots[sequence] else { return };
        let tokens = &slot.tokens[..slot.read];
        if self.options.cache_bytes == 0
            || !slot.is_at_border(self.options.cache_every)
            || self.cache.has(tokens, logits.is_some())
        {
            return;
        }
        let shape = self.engine.shape();
        let mut state = vec![0.0; shape.state_len()];
        let logits = logits.map(|start| self.logits[start..start + shape.vocab].into());
        if self.engine.store_state(sequence, &mut state).is_ok() {
            let snapshot = Snapshot { state: state.into(), logits };
            self.cache.insert(tokens, snapshot);
        }
    }

    /// Lets a text draw from its logits, which start at `start`.
    fn draw(&mut self, sequence: usize, start: usize) {
        let Some(slot) = &mut self.slots[sequence] else { return };
        let vocab = self.engine.shape().vocab;
        let logits = &mut self.logits[start..start + vocab];
        let known = slot.keep.then(|| Arc::from(&*logits));
        match slot.draw.draw(logits) {
            Some(token) if (token as usize) < vocab => slot.tokens.push(token),
            Some(found) => {
                let error = StepError::Token { found, vocab };
                self.end(sequence, Reason::Failed(error.into()));
            }
            None => {
                slot.logits = known;
                self.end(sequence, Reason::Drawn);
            }
        }
    }

    /// Ends a text, if there is one, and frees its place.
    fn end(&mut self, sequence: usize, reason: Reason) {
        let Some(slot) = self.slots[sequence].take() else { return };
        let mut snapshot = None;
        if slot.keep && matches!(reason, Reason::Drawn) {
            let mut state = vec![0.0; self.engine.shape().state_len()];
            if self.engine.store_state(sequence, &mut state).is_ok() {
                snapshot = Some(Snapshot { state: state.into(), logits: slot.logits.clone() });
            }
        }
        let (cached, drawn) = (slot.cached, slot.tokens.len() - slot.prompt);
        slot.draw.end(End { reason, cached, drawn, snapshot });
    }

    /// After a pass that met a number that is not finite: the states in it are unspecified, and
    /// whose number it was is not known. Each text is read again alone, from its beginning; those
    /// that fail alone end, and the others go on as if nothing had been.
    fn recover(&mut self, shares: &[(usize, usize)]) {
        let vocab = self.engine.shape().vocab;
        for &(sequence, share) in shares {
            let Some(slot) = &mut self.slots[sequence] else { continue };
            let set = match &slot.start {
                Some(start) => self.engine.load_state(sequence, &start.state),
                None => self.engine.reset(sequence),
            };
            slot.read += share;
            let tokens = &slot.tokens[..slot.read];
            let logits = &mut self.logits[..vocab];
            let outcome = set.map_err(TalkError::from).and_then(|()| {
                self.engine.prefill(sequence, tokens, logits).map_err(TalkError::from)
            });
            match outcome {
                Err(error) => self.end(sequence, Reason::Failed(error)),
                Ok(()) if slot.is_ready() => self.draw(sequence, 0),
                Ok(()) => {}
            }
        }
    }
}

impl Drop for Scheduler<'_> {
    fn drop(&mut self) {
        for sequence in 0..self.slots.len() {
            self.end(sequence, Reason::Unwanted);
        }
        for request in self.waiting.drain(..) {
            let (cached, drawn, snapshot) = (0, 0, None);
            request.draw.end(End { reason: Reason::Unwanted, cached, drawn, snapshot });
        }
    }
}
