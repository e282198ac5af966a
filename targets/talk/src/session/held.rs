//! Answers held to a grammar.
//!
//! ```text
//! thought   free, but that its end brings no text of the answer along, only white space
//! answer    the grammar's from its first byte to its last
//! ```
//!
//! Texts of the grammar may have a stop's text in them, inside of a string for one. So stops are not
//! looked for: a token with which a stop's text begins ends the answer where the grammar may end.
//! Tokens are limited so that the answer is complete within the session's: a thought ends in time
//! for the shortest answer.

use kinglet::grammar::{Accepted, Constraint, Limits, Suspended};
use kinglet::sampler::SampleError;

use super::answer::{Answer, Finish, Piece, end};
use super::reading::{Reading, THOUGHT_END};
use super::{Session, uncancelled};
use crate::error::TalkError;
use crate::grammar::{MaskCache, OwnedGrammar, Vocabulary};

/// Longest part of a stop that is looked for among the tokens, bytes.
const MOST_STOP: usize = 16;

/// What holds the answers of a session.
#[derive(Debug)]
pub(super) struct Holder {
    masks: MaskCache,
    /// Tokens that may bring text after a thought's end.
    crossing: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Holds the next answers to a grammar, or no more; thoughts are free. An answer that is under
    /// way is [settled](Self::settle).
    ///
    /// # Errors
    ///
    /// [`TalkError::Constraint`] when the vocabulary lacks a byte of the grammar, or
    /// [`SessionOptions::answer_tokens`](super::SessionOptions::answer_tokens) are too few for its
    /// shortest text; the grammar in force stays. And as [`settle`](Self::settle).
    pub fn set_grammar(&mut self, grammar: Option<OwnedGrammar>) -> Result<(), TalkError> {
        if grammar == self.options.grammar {
            return Ok(());
        }
        if let Some(grammar) = &grammar {
            self.constraint(grammar, self.options.answer_tokens)?;
        }
        self.settle()?;
        self.options.grammar = grammar;
        self.take_grammar();
        Ok(())
    }

    /// Prepares for another grammar.
    pub(super) fn take_grammar(&mut self) {
        if self.options.grammar.is_none() {
            return;
        }
        let tokenizer = &self.tokenizer;
        let holder = self.holder.get_or_insert_with(|| {
            let crosses = |&token: &u32| {
                let bytes = tokenizer.token(token).unwrap_or_default();
                bytes.iter().rev().skip(1).any(|byte| Some(byte) == THOUGHT_END.last())
            };
            Holder {
                masks: MaskCache::new(Vocabulary::new(tokenizer).into()),
                crossing: (0..tokenizer.vocab_len() as u32).filter(crosses).collect(),
            }
        });
        holder.masks.clear();
    }

    /// Refuses answers that have fewer tokens than the shortest text of the grammar.
    pub(super) fn check_grammar(&self) -> Result<(), TalkError> {
        if let Some(grammar) = &self.options.grammar {
            self.constraint(grammar, self.options.answer_tokens)?;
        }
        Ok(())
    }

    /// Holds an answer of that many tokens.
    fn constraint<'g>(
        &self,
        grammar: &'g OwnedGrammar,
        tokens: usize,
    ) -> Result<Constraint<'g>, TalkError>
    where
        'a: 'g,
    {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let limits = Limits { tokens, ..Limits::NONE };
        let mut constraint = Constraint::new(grammar.view(), self.tokenizer, limits)?;
        let stops = self.stops.iter().flat_map(|stop| self.beginnings(stop));
        for token in self.options.end_of_turn.into_iter().chain(stops) {
            if constraint.end_with(token).is_err() {
                break;
            }
        }
        Ok(constraint)
    }

    /// The tokens with which a text may begin, the longest first.
    fn beginnings(&self, text: &[u8]) -> impl Iterator<Item = u32> {
        let most = text.len().min(MOST_STOP);
        let one = |len: usize| {
            let mut tokens = self.tokenizer.encode(text.get(..len)?);
            let token = tokens.next()?.ok()?;
            tokens.next().is_none().then_some(token)
        };
        (1..=most).rev().filter_map(one)
    }

    /// The constraint after what a turn has of its answer; `None` without a grammar, or before the
    /// answer.
    pub(super) fn held_after(&self, turn: usize) -> Result<Option<Suspended>, TalkError> {
        let Some(grammar) = &self.options.grammar else { return Ok(None) };
        let mut reading = Reading::new(&self.opening(turn)?, self.template.is_plain());
        let mut written = self.turns[turn].tokens.iter();
        while !reading.is_answering() {
            let Some(&token) = written.next() else { return Ok(None) };
            let bytes = self.tokenizer.token(token).unwrap_or_default();
            if reading.opens_answer(bytes).is_some_and(|rest| !rest.trim_ascii().is_empty()) {
                return Err(TalkError::OffGrammar);
            }
            reading.push(bytes, &[], &mut Piece::default());
        }
        let written = written.as_slice();
        let most = written.len().saturating_add(self.options.answer_tokens);
        let mut constraint = self.constraint(grammar, most)?;
        for &token in written {
            if constraint.accept(token) != Ok(Accepted::Text) {
                return Err(TalkError::OffGrammar);
            }
        }
        Ok(Some(constraint.suspend()))
    }

    /// Holds an answer that has just begun, after a thought.
    pub(super) fn hold(&self, answer: &mut Answer) -> Result<(), TalkError> {
        if let Some(grammar) = &self.options.grammar
            && answer.held.is_none()
            && answer.reading.is_answering()
        {
            let left = self.options.answer_tokens.saturating_sub(answer.tokens);
            let most = left.max(self.shortest());
            answer.held = Some(self.constraint(grammar, most)?.suspend());
        }
        Ok(())
    }

    /// Bytes of the shortest answer.
    fn shortest(&self) -> usize {
        let grammar = self.options.grammar.as_ref().map(OwnedGrammar::view);
        grammar.map_or(0, |grammar| grammar.start().shortest(&grammar) as usize)
    }

    /// Whether a thought has to end here, so that the tokens that are left suffice for an answer of
    /// the grammar.
    pub(super) fn needs_answer(&self, answer: &Answer) -> bool {
        let end = || self.tokenizer.encode(THOUGHT_END).count();
        self.options.grammar.is_some()
            && answer.reading.is_thinking()
            && answer.tokens + end() + self.shortest() >= self.options.answer_tokens
    }

    /// Draws a token before an answer that is to be held.
    pub(super) fn sample_before_answer(&mut self, answer: &Answer) -> Result<u32, SampleError> {
        let drawable = self.tokenizer.vocab_len().min(self.logits.len());
        let logits = &mut self.logits[..drawable];
        let (tokenizer, reading) = (&self.tokenizer, &answer.reading);
        let brings = |token: u32| {
            let rest = reading.opens_answer(tokenizer.token(token).unwrap_or_default());
            rest.map(|rest| !rest.trim_ascii().is_empty())
        };
        if !reading.is_thinking() {
            return self.sampler.sample_where(logits, |token| brings(token) == Some(false));
        }
        let ends = [tokenizer.end_of_text(), self.options.end_of_turn];
        let crossing = self.holder.iter().flat_map(|holder| &holder.crossing).copied();
        let crossing = crossing.filter(|&token| brings(token) == Some(true));
        for token in ends.into_iter().flatten().chain(crossing) {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        self.sampler.sample(logits)
    }

    /// Draws a token of an answer that is held.
    pub(super) fn draw_held(
        &mut self,
        last: usize,
        answer: &mut Answer,
        held: Suspended,
    ) -> Result<Option<Piece>, TalkError> {
        let (Some(grammar), Some(holder)) = (self.options.grammar.clone(), &mut self.holder) else {
            return Ok(end(answer, Finish::Complete));
        };
        let mut constraint = held.resume(grammar.view(), self.tokenizer);
        if constraint.is_over() {
            return Ok(end(answer, Finish::Complete));
        }
        let drawable = self.tokenizer.vocab_len().min(self.logits.len());
        let logits = &mut self.logits[..drawable];
        let token = holder.masks.sample(&constraint, &mut self.sampler, logits)?;
        self.stats.drawn += 1;
        answer.tokens += 1;
        answer.ready = false;
        if constraint.accept(token)? == Accepted::End {
            return Ok(self.end_held(last, answer, token));
        }
        self.accept(token);
        let mut shown = Piece::default();
        let bytes = self.tokenizer.token(token).unwrap_or_default();
        answer.reading.push(bytes, &[], &mut shown);
        self.feed(&[token], true, &mut uncancelled)?;
        self.turns[last].tokens.push(token);
        answer.ready = true;
        answer.finish = constraint.is_over().then_some(Finish::Complete);
        answer.held = Some(constraint.suspend());
        Ok(Some(shown))
    }

    /// Ends an answer with a token that is no part of it.
    fn end_held(&mut self, last: usize, answer: &mut Answer, token: u32) -> Option<Piece> {
        if Some(token) == self.tokenizer.end_of_text() {
            self.turns[last].ended = true;
            return end(answer, Finish::EndOfText);
        }
        let bytes = self.tokenizer.token(token).unwrap_or_default();
        let stop = self.stops.iter().find(|stop| stop.starts_with(bytes));
        let stop = stop.filter(|_| Some(token) != self.options.end_of_turn);
        let text = String::from_utf8_lossy(stop.map_or(bytes, |stop| stop)).into_owned();
        end(answer, Finish::Stop(text))
    }
}
