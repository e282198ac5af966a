//! A text that has a place: the tokens that it has, and how many of them the state has taken in.

use std::sync::Arc;

use super::{Draw, Request, Snapshot};

pub(super) struct Slot<'a> {
    /// Where it begins, if that is not the model's start state.
    pub(super) start: Option<Snapshot>,
    /// The prompt, and what was drawn.
    pub(super) tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub(super) prompt: usize,
    /// How many of them the state has taken in.
    pub(super) read: usize,
    /// How many of them did not have to be read.
    pub(super) cached: usize,
    borders: Vec<usize>,
    /// Whether its states are kept for other prompts.
    shared: bool,
    pub(super) keep: bool,
    /// Those after the last token of a text that has ended.
    pub(super) logits: Option<Arc<[f32]>>,
    pub(super) draw: Box<dyn Draw + 'a>,
}

impl<'a> Slot<'a> {
    /// A text whose state has taken in the first `cached` tokens.
    pub(super) fn new(request: Request<'a>, cached: usize) -> Self {
        let Request { start, prompt: tokens, borders, shared, keep, draw } = request;
        // The tokens do not tell a text with a start of its own from another.
        let shared = shared && start.is_none();
        let (prompt, read, logits) = (tokens.len(), cached, None);
        Self { start, tokens, prompt, read, cached, borders, shared, keep, logits, draw }
    }

    /// Whether the state has taken in all tokens, and the next can be drawn.
    pub(super) fn is_ready(&self) -> bool {
        self.read == self.tokens.len()
    }

    /// Whether its prompt is read, and it goes on by what it draws.
    pub(super) fn is_written(&self) -> bool {
        self.read >= self.prompt
    }

    /// Whether the state is worth keeping: at the prompt's end, at its borders, and every so many
    /// tokens.
    pub(super) fn is_at_border(&self, every: usize) -> bool {
        let is_border = self.read == self.prompt
            || self.borders.contains(&self.read)
            || self.read.is_multiple_of(every.max(1));
        self.shared && self.read <= self.prompt && is_border
    }

    /// How many tokens of the prompt may be read before the next border: at least one.
    pub(super) fn until_border(&self, every: usize) -> usize {
        let rest = self.prompt - self.read;
        if !self.shared {
            return rest;
        }
        let borders = self.borders.iter().filter_map(|&border| border.checked_sub(self.read));
        let next = borders.filter(|&tokens| tokens > 0).min().unwrap_or(rest);
        let every = every.max(1);
        rest.min(next).min(every - self.read % every)
    }
}
