//! Answers: drawn a token at a time, until the model or a stop ends them.
//!
//! Text that may begin a stop is held back, across the borders of tokens. The state before its
//! first token is kept, because a stop's text is no part of the turn: the state goes back to it,
//! and what the token had before the stop is read again.

use kinglet::grammar::Suspended;
use kinglet::sampler::is_uncounted;

use super::reading::Reading;
use super::snapshots::Point;
use super::{GENERATOR_LEN, Session, Standing, uncancelled};
use crate::error::TalkError;

/// Text that a token completed: either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Of the thought.
    pub thought: String,
    /// Of the answer.
    pub answer: String,
}

/// Why an answer does not go on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended the text.
    EndOfText,
    /// This text stopped it.
    Stop(String),
    /// It has as many tokens as it may have.
    Length,
    /// It is complete: under the grammar that holds it, nothing may follow.
    Complete,
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reading: Reading,
    /// What holds it to a grammar, from its first byte on.
    pub(super) held: Option<Suspended>,
    /// True while `logits` are those that the answer goes on from.
    pub(super) ready: bool,
    /// Tokens since the answer began or went on.
    pub(super) tokens: usize,
    thought_tokens: usize,
    pub(super) finish: Option<Finish>,
    /// Where a possible stop began: tokens and bytes before it. The state is in `mark`.
    mark: Option<(usize, usize)>,
}

impl Answer {
    fn new(reading: Reading, held: Option<Suspended>) -> Self {
        let (tokens, thought_tokens) = (0, 0);
        Self { reading, held, ready: true, tokens, thought_tokens, finish: None, mark: None }
    }

    /// Lets the answer go on, if the logits are there that it goes on from.
    pub(super) fn resume(&mut self) -> bool {
        self.tokens = 0;
        self.finish = None;
        self.ready
    }
}

impl Session<'_> {
    /// Draws the next token of the answer; returns the text that it completed, `None` when the
    /// answer has ended or paused: [`finish`](Self::finish) says why. A program that wants no more
    /// just does not call it again.
    ///
    /// # Errors
    ///
    /// When the engine or the sampler fails. The answer is then as it was before the token, and
    /// its state is computed again when it is needed.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, TalkError> {
        let standing = std::mem::replace(&mut self.standing, Standing::Lost);
        let Standing::Answering(mut answer) = standing else {
            self.standing = standing;
            return Ok(None);
        };
        let piece = if answer.finish.is_some() || !answer.ready {
            Ok(None)
        } else {
            self.draw(&mut answer)
        };
        if piece.is_ok() {
            self.standing = Standing::Answering(answer);
        } else if let Some(last) = self.turns.len().checked_sub(1) {
            self.note_text(last)?;
        }
        piece
    }

    /// Why the answer does not go on; `None` while it does, and when none is under way.
    #[must_use]
    pub fn finish(&self) -> Option<&Finish> {
        match &self.standing {
            Standing::Answering(answer) => answer.finish.as_ref(),
            _ => None,
        }
    }

    /// Text that was held back because a stop may begin with it: what is left to show of an answer
    /// that the program breaks off.
    pub fn held_back(&mut self) -> String {
        match &mut self.standing {
            Standing::Answering(answer) => answer.reading.show_held(),
            _ => String::new(),
        }
    }

    /// Opens the answer of the last turn; the state is after its question.
    pub(super) fn begin_answer(&mut self) -> Result<(), TalkError> {
        self.check_grammar()?;
        let last = self.last_turn()?;
        let turn = &mut self.turns[last];
        (turn.tokens, turn.ended) = (Vec::new(), false);
        (turn.thought, turn.answer) = (String::new(), String::new());
        self.open_answer(last)
    }

    /// Opens the last answer again and reads what was written of it.
    pub(super) fn rebuild_answer(&mut self, last: usize) -> Result<(), TalkError> {
        self.go_to((last, Point::Asked))?;
        self.open_answer(last)
    }

    /// Reads the opening of a turn's answer and the tokens that were written of it; the state is
    /// after the question.
    fn open_answer(&mut self, turn: usize) -> Result<(), TalkError> {
        self.standing = Standing::Lost;
        let held = self.held_after(turn)?;
        let mut tokens = self.question_tokens(turn)?.1;
        tokens.extend(&self.turns[turn].tokens);
        self.feed(&tokens, true, &mut uncancelled)?;
        self.count_again(turn)?;
        let opening = self.opening(turn)?;
        let mut answer = Answer::new(Reading::new(&opening, self.template.is_plain()), held);
        for &token in &self.turns[turn].tokens {
            answer.thought_tokens += usize::from(answer.reading.is_thinking());
            let bytes = self.tokenizer.token(token).unwrap_or_default();
            // A stop that came in later may stand in what was written before.
            let mut reading = answer.reading.clone();
            if reading.push(bytes, self.stops_in_force(), &mut Piece::default()).is_some() {
                answer.reading.push(bytes, &[], &mut Piece::default());
            } else {
                answer.reading = reading;
            }
        }
        answer.reading.show_held();
        self.standing = Standing::Answering(Box::new(answer));
        Ok(())
    }

    /// Draws a token of an answer that is ready for one.
    fn draw(&mut self, answer: &mut Answer) -> Result<Option<Piece>, TalkError> {
        let last = self.last_turn()?;
        if let Some(held) = answer.held.take() {
            return self.draw_held(last, answer, held);
        }
        let is_held = self.options.grammar.is_some();
        if answer.tokens >= self.options.answer_tokens && !is_held {
            return Ok(end(answer, Finish::Length));
        }
        let mut shown = Piece::default();
        // A budget of no token is spent before the first.
        if self.is_thought_spent(answer) {
            self.end_thought(last, answer, &mut shown)?;
            return Ok(Some(shown));
        }
        let drawable = self.tokenizer.vocab_len().min(self.logits.len());
        let token = if is_held {
            self.sample_before_answer(answer)?
        } else {
            self.sampler.sample(&mut self.logits[..drawable])?
        };
        self.stats.drawn += 1;
        answer.tokens += 1;
        answer.ready = false;
        if Some(token) == self.tokenizer.end_of_text() {
            self.turns[last].ended = true;
            return Ok(end(answer, Finish::EndOfText));
        }
        if Some(token) == self.options.end_of_turn {
            let text = self.tokenizer.token(token).unwrap_or_default();
            let text = String::from_utf8_lossy(text).into_owned();
            return Ok(end(answer, Finish::Stop(text)));
        }
        self.accept(token);
        let bytes = self.tokenizer.token(token).unwrap_or_default();
        let thinking = answer.reading.is_thinking();
        let before = answer.reading.bytes;
        if let Some((stop, at)) = answer.reading.push(bytes, self.stops_in_force(), &mut shown) {
            self.take_back(last, answer, (before, bytes), at)?;
            let stop = String::from_utf8_lossy(&self.stops[stop]).into_owned();
            answer.finish = Some(Finish::Stop(stop));
            return Ok(Some(shown));
        }
        self.mark_possible_stop(last, answer, before)?;
        self.feed(&[token], true, &mut uncancelled)?;
        self.turns[last].tokens.push(token);
        answer.thought_tokens += usize::from(thinking);
        if self.is_thought_spent(answer) {
            self.end_thought(last, answer, &mut shown)?;
        }
        self.hold(answer)?;
        answer.ready = true;
        Ok(Some(shown))
    }

    /// Whether the answer is in a thought whose tokens are spent, where it can end.
    fn is_thought_spent(&self, answer: &Answer) -> bool {
        let spent = self.options.thought_tokens.is_some_and(|most| answer.thought_tokens >= most);
        (spent && answer.reading.can_end_thought()) || self.needs_answer(answer)
    }

    /// The stops that are looked for.
    fn stops_in_force(&self) -> &[Vec<u8>] {
        if self.options.grammar.is_some() { &[] } else { &self.stops }
    }

    /// Ends a thought whose tokens are spent: the model goes on as if it had written the end, whose
    /// tokens count as drawn ones.
    fn end_thought(
        &mut self,
        turn: usize,
        answer: &mut Answer,
        shown: &mut Piece,
    ) -> Result<(), TalkError> {
        let mut tokens = Vec::new();
        for token in self.tokenizer.encode(answer.reading.thought_end()) {
            tokens.push(token?);
        }
        self.feed(&tokens, true, &mut uncancelled)?;
        for &token in &tokens {
            self.accept(token);
            let bytes = self.tokenizer.token(token).unwrap_or_default();
            answer.reading.push(bytes, self.stops_in_force(), shown);
        }
        answer.tokens += tokens.len();
        self.stats.drawn += tokens.len();
        self.turns[turn].tokens.extend(tokens);
        self.hold(answer)
    }

    /// Keeps the state, which is before a token, if a possible stop begins in the token. `before`
    /// are the bytes before it.
    fn mark_possible_stop(
        &mut self,
        turn: usize,
        answer: &mut Answer,
        before: usize,
    ) -> Result<(), TalkError> {
        match answer.reading.possible_stop() {
            None => answer.mark = None,
            Some(at) if at >= before => {
                self.engine.store_state(self.options.sequence, &mut self.mark)?;
                answer.mark = Some((self.turns[turn].tokens.len(), before));
            }
            // It began in an earlier token: the mark there is, or is before, that one.
            Some(_) => {}
        }
        Ok(())
    }

    /// Takes the text of a stop back, whose first byte is byte `at` of what the model wrote. The
    /// state is before the last token, which has these bytes after `before` others.
    fn take_back(
        &mut self,
        turn: usize,
        answer: &Answer,
        (before, bytes): (usize, &[u8]),
        at: usize,
    ) -> Result<(), TalkError> {
        let mut kept = bytes.get(..at.saturating_sub(before)).unwrap_or_default().to_vec();
        if at < before {
            let (tokens, mut position) = answer.mark.unwrap_or_default();
            if answer.mark.is_some() {
                self.engine.load_state(self.options.sequence, &self.mark)?;
            } else {
                self.go_to((turn, Point::Asked))?;
                let opening = self.question_tokens(turn)?.1;
                self.feed(&opening, false, &mut uncancelled)?;
            }
            for token in self.turns[turn].tokens.split_off(tokens) {
                let bytes = self.tokenizer.token(token).unwrap_or_default();
                if position + bytes.len() > at {
                    kept = bytes[..at - position].to_vec();
                    break;
                }
                position += bytes.len();
                self.feed(&[token], false, &mut uncancelled)?;
                self.turns[turn].tokens.push(token);
            }
        }
        // The stop may have begun inside a token.
        let mut tokens = Vec::new();
        for token in self.tokenizer.encode(&kept) {
            tokens.push(token?);
        }
        self.feed(&tokens, false, &mut uncancelled)?;
        self.turns[turn].tokens.extend(tokens);
        self.count_again(turn)
    }

    /// Counts the tokens of a turn's answer, and no others. The generator stays.
    fn count_again(&mut self, turn: usize) -> Result<(), TalkError> {
        let snapshot = self.sampler_snapshot()?;
        self.sampler.restore(&snapshot[..GENERATOR_LEN])?;
        for index in 0..self.turns[turn].tokens.len() {
            self.accept(self.turns[turn].tokens[index]);
        }
        Ok(())
    }

    pub(super) fn accept(&mut self, token: u32) {
        if is_uncounted(self.tokenizer.token(token).unwrap_or_default()) {
            self.sampler.accept_uncounted(token);
        } else {
            self.sampler.accept(token);
        }
    }
}

/// Ends an answer and shows what is held back, if anything is.
pub(super) fn end(answer: &mut Answer, finish: Finish) -> Option<Piece> {
    answer.finish = Some(finish);
    let text = answer.reading.show_held();
    (!text.is_empty()).then(|| Piece { answer: text, ..Piece::default() })
}
