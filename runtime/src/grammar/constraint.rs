//! The tokens that may follow, and the logits of the others.

use core::fmt;
use core::ops::Range;

use heapless::Vec;

use super::position::Position;
use super::table::Grammar;
use crate::sampler::{Filter, SampleError, Sampler, is_sound};
use crate::tokenizer::Tokenizer;

/// The most tokens at which a text may end.
pub const MAX_ENDS: usize = 8;

/// The longest that a text may become. Within a limit it is complete all the same: what could not be
/// completed within it is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// Bytes; `u32::MAX` for no limit.
    pub bytes: u32,
    /// Tokens, without the one that ends the text; `u32::MAX` for no limit.
    pub tokens: u32,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self { bytes: u32::MAX, tokens: u32::MAX };

    /// Whether a token of `len` bytes, after which the shortest end takes `shortest` bytes, keeps
    /// within what is left. Every byte is a token, so that as many tokens suffice.
    #[inline]
    #[must_use]
    pub const fn allow(&self, len: usize, shortest: u32) -> bool {
        shortest as u64 + len as u64 <= self.bytes as u64 && shortest < self.tokens
    }

    const fn spend(&mut self, len: usize) {
        if self.bytes != u32::MAX {
            self.bytes = self.bytes.saturating_sub(len as u32);
        }
        if self.tokens != u32::MAX {
            self.tokens = self.tokens.saturating_sub(1);
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// Units of a piece's budget for a token that its first byte refuses, and for what others take more.
const TOKEN: usize = 5;
const WALK: usize = 4;
const BYTE: usize = 5;

/// What became of a token that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Accepted {
    /// Its bytes are part of the text.
    Text,
    /// It ended the text, and its bytes, if it has any, are no part of it.
    End,
}

/// Holds the tokens of one text to a grammar.
///
/// # Examples
///
/// ```
/// use kinglet::grammar::{Constraint, Grammar, Limits};
/// use kinglet::sampler::{Sampler, SamplerOptions};
/// use kinglet::tokenizer::{Tokenizer, layout::{Header, Kind}};
///
/// # macro_rules! table { ($name:literal) => {
/// #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/", $name))
/// # } }
/// let grammar = Grammar::open(table!("date.grammar"))?; // made by `kinglet grammar`
/// # let header = Header { kind: Kind::Bytes { offset: 1 }, max_token_len: 1, vocab_len: 257 };
/// # let section = header.to_bytes();
/// let tokenizer = Tokenizer::parse(&section)?; // a token for each byte, from 1 on
/// let mut constraint = Constraint::new(grammar, tokenizer, Limits::NONE)?;
/// let mut sampler = Sampler::new(SamplerOptions::default(), 42)?;
/// let mut text: Vec<u8> = Vec::new();
/// while !constraint.is_over() {
///     let mut logits = [0.0; 257]; // those of a model
///     let token = constraint.sample(&mut sampler, &mut logits)?;
///     constraint.accept(token)?;
///     text.extend(tokenizer.token(token).unwrap_or_default());
/// }
/// assert!(text.len() == 10 && text[4] == b'-'); // such as 2026-12-01
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Constraint<'a> {
    grammar: Grammar<'a>,
    tokenizer: Tokenizer<'a>,
    limits: Limits,
    left: Limits,
    position: Position,
    ends: Vec<u32, MAX_ENDS>,
    is_ended: bool,
}

impl<'a> Constraint<'a> {
    /// Begins a text. It ends with the vocabulary's [end of text](Tokenizer::end_of_text), or with
    /// a token of [`end_with`](Self::end_with).
    ///
    /// Takes time in proportion to the vocabulary.
    ///
    /// # Errors
    ///
    /// * [`ConstraintError::NoToken`]: a byte that the grammar reads is no token;
    /// * [`ConstraintError::TooShort`]: no text of the grammar keeps within the limits.
    pub fn new(
        grammar: Grammar<'a>,
        tokenizer: Tokenizer<'a>,
        limits: Limits,
    ) -> Result<Self, ConstraintError> {
        let mut is_token = [false; 256];
        for id in 0..tokenizer.vocab_len() as u32 {
            if let Some(&[byte]) = tokenizer.token(id) {
                is_token[usize::from(byte)] = true;
            }
        }
        for byte in 0..=u8::MAX {
            if grammar.reads(byte) && !is_token[usize::from(byte)] {
                return Err(ConstraintError::NoToken { byte });
            }
        }
        let position = grammar.start();
        let shortest = position.shortest(&grammar);
        if shortest > limits.bytes.min(limits.tokens) {
            return Err(ConstraintError::TooShort { limits, shortest });
        }
        let ends = tokenizer.end_of_text().into_iter().collect();
        let left = limits;
        Ok(Self { grammar, tokenizer, limits, left, position, ends, is_ended: false })
    }

    /// Lets the text end with this token as well, such as one that ends a turn. Where the grammar
    /// allows its bytes it is a part of the text.
    ///
    /// # Errors
    ///
    /// There are [`MAX_ENDS`] already.
    pub fn end_with(&mut self, token: u32) -> Result<(), ConstraintError> {
        if self.ends.contains(&token) {
            return Ok(());
        }
        self.ends.push(token).map_err(|_| ConstraintError::TooManyEnds)
    }

    /// Begins another text, with the same limits.
    pub fn restart(&mut self) {
        self.position = self.grammar.start();
        self.left = self.limits;
        self.is_ended = false;
    }

    /// Whether a token may come next.
    #[must_use]
    pub fn allows(&self, token: u32) -> bool {
        Choice::new(self).allows(token)
    }

    /// Sets the logit of every token that may not come next to -inf. [`Sampler::sample`], and a draw
    /// in pieces, then give what [`sample`](Self::sample) gives.
    ///
    /// # Errors
    ///
    /// [`SampleError::NonFinite`]: a logit is NaN or +inf. The logits are then unspecified.
    pub fn mask(&self, logits: &mut [f32]) -> Result<(), SampleError> {
        self.mask_range(logits, 0..logits.len())
    }

    /// As [`mask`](Self::mask), for a range of ids. Takes at most time in proportion to the bytes of
    /// the range's tokens.
    ///
    /// # Errors
    ///
    /// As `mask`.
    pub fn mask_range(&self, logits: &mut [f32], ids: Range<usize>) -> Result<(), SampleError> {
        let end = ids.end.min(logits.len());
        Choice::new(self).mask(&mut logits[..end], ids.start, usize::MAX).map(|_| ())
    }

    /// As [`mask`](Self::mask), a piece of it: from the id `from` on until the budget is spent. Gives
    /// the id to go on from, which is the number of logits when all is done.
    ///
    /// The budget is that of a [draw in pieces](crate::sampler::Sampling::poll): with 10,000 units a
    /// piece takes some 130,000 instructions of a Cortex-M4. The piece may exceed it by one token,
    /// and has one at least.
    ///
    /// # Errors
    ///
    /// As `mask`.
    pub fn mask_piece(
        &self,
        logits: &mut [f32],
        from: usize,
        budget: usize,
    ) -> Result<usize, SampleError> {
        Choice::new(self).mask(logits, from, budget)
    }

    /// Draws a token that may come next, as if the logits of all others were -inf: the
    /// [order](crate::sampler#order-of-operations) of the sampler, with this before its first step.
    ///
    /// # Errors
    ///
    /// As [`Sampler::sample`].
    pub fn sample<C: AsRef<[f32]> + AsMut<[f32]>>(
        &self,
        sampler: &mut Sampler<C>,
        logits: &mut [f32],
    ) -> Result<u32, SampleError> {
        sampler.sample_from(logits, &mut Choice::new(self))
    }

    /// Reads a token that came next.
    ///
    /// # Errors
    ///
    /// [`ConstraintError::NotAllowed`], and nothing changes.
    pub fn accept(&mut self, token: u32) -> Result<Accepted, ConstraintError> {
        if !self.allows(token) {
            return Err(ConstraintError::NotAllowed { token });
        }
        let mut next = self.position;
        let bytes = self.tokenizer.token(token).unwrap_or_default();
        let is_text = !bytes.is_empty()
            && bytes.iter().all(|&byte| next.advance(&self.grammar, byte))
            && self.left.allow(bytes.len(), next.shortest(&self.grammar));
        if !is_text {
            self.is_ended = true;
            return Ok(Accepted::End);
        }
        self.position = next;
        self.left.spend(bytes.len());
        Ok(Accepted::Text)
    }

    /// Whether a token has ended the text.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether the text is complete: it may end here.
    #[must_use]
    pub const fn may_end(&self) -> bool {
        self.position.may_end(&self.grammar)
    }

    /// Whether the text is complete and nothing may follow, or has ended: there is nothing to draw.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let more = |&bytes: &u32| bytes <= self.left.bytes.min(self.left.tokens);
        self.is_ended
            || (self.may_end() && self.position.shortest_more(&self.grammar).filter(more).is_none())
    }

    /// Where the text is.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// The grammar.
    #[must_use]
    pub const fn grammar(&self) -> &Grammar<'a> {
        &self.grammar
    }

    /// The vocabulary.
    #[must_use]
    pub const fn tokenizer(&self) -> &Tokenizer<'a> {
        &self.tokenizer
    }

    /// What is left of the limits.
    #[must_use]
    pub const fn left(&self) -> &Limits {
        &self.left
    }

    /// The tokens with which the text may end.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// What of it borrows nothing, to go on from in another place or later.
    #[must_use]
    pub fn suspend(self) -> Suspended {
        let Self { limits, left, position, ends, is_ended, .. } = self;
        Suspended { limits, left, position, ends, is_ended }
    }
}

/// A [`Constraint`] apart from its grammar and its vocabulary.
#[derive(Clone, Debug)]
pub struct Suspended {
    limits: Limits,
    left: Limits,
    position: Position,
    ends: Vec<u32, MAX_ENDS>,
    is_ended: bool,
}

impl Suspended {
    /// The constraint again, with the same grammar and the same vocabulary. Takes constant time.
    #[must_use]
    pub fn resume<'a>(self, grammar: Grammar<'a>, tokenizer: Tokenizer<'a>) -> Constraint<'a> {
        let Self { limits, left, position, ends, is_ended } = self;
        Constraint { grammar, tokenizer, limits, left, position, ends, is_ended }
    }
}

/// The tokens that may follow a place, asked about one after another. Most are refused by their first
/// byte.
struct Choice<'c, 'a> {
    constraint: &'c Constraint<'a>,
    /// A bit per class: whether its bytes may follow.
    first: [u32; 8],
    fork: Position,
    ends: &'c [u32],
}

impl<'c, 'a> Choice<'c, 'a> {
    fn new(constraint: &'c Constraint<'a>) -> Self {
        let mut first = [0; 8];
        let mut fork = constraint.position.fork();
        if !constraint.is_ended {
            for class in 1..=constraint.grammar.largest_class() {
                let may_follow = fork.advance_class(&constraint.grammar, class);
                first[usize::from(class / 32)] |= u32::from(may_follow) << (class % 32);
                fork.go_back(&constraint.position);
            }
        }
        let may_end = constraint.may_end() && !constraint.is_ended;
        let ends = if may_end { constraint.ends() } else { &[] };
        Self { constraint, first, fork, ends }
    }

    /// Sets the logits from the id `from` on that are not allowed to -inf, until the budget is spent;
    /// the id to go on from.
    #[inline(never)]
    fn mask(
        &mut self,
        logits: &mut [f32],
        from: usize,
        budget: usize,
    ) -> Result<usize, SampleError> {
        let mut kept = Vec::<(usize, f32), MAX_ENDS>::new();
        for &token in self.ends {
            let id = token as usize;
            if let Some(&logit) = logits.get(id).filter(|_| id >= from) {
                let _ = kept.push((id, logit)); // it has room for all
            }
        }
        let (mut at, mut spent) = (from, 0);
        let tokens = self.constraint.tokenizer.tokens(from);
        for (logit, bytes) in logits.get_mut(from..).unwrap_or_default().iter_mut().zip(tokens) {
            if spent >= budget.max(1) {
                break;
            }
            if !is_sound(*logit) {
                return Err(SampleError::NonFinite { token: at as u32 });
            }
            let is_allowed = self.begins(bytes) && {
                spent += WALK + BYTE * bytes.len();
                self.continues(bytes)
            };
            if !is_allowed {
                *logit = f32::NEG_INFINITY;
            }
            spent += TOKEN;
            at += 1;
        }
        for (id, logit) in kept {
            if id < at {
                logits[id] = logit;
            }
        }
        Ok(at)
    }

    /// Whether the first byte may follow. There is none in a token without bytes.
    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        let Some(&byte) = bytes.first() else { return false };
        let class = self.constraint.grammar.class(byte);
        self.first[usize::from(class / 32)] >> (class % 32) & 1 != 0
    }

    /// Whether bytes are a part of the text.
    #[inline(never)]
    fn continues(&mut self, bytes: &[u8]) -> bool {
        let Constraint { grammar, left, position, .. } = self.constraint;
        let is_allowed = bytes.iter().all(|&byte| self.fork.advance(grammar, byte))
            && left.allow(bytes.len(), self.fork.shortest(grammar));
        self.fork.go_back(position);
        is_allowed
    }
}

impl Filter for Choice<'_, '_> {
    fn allows(&mut self, token: u32) -> bool {
        let bytes = self.constraint.tokenizer.token(token).unwrap_or_default();
        (self.begins(bytes) && self.continues(bytes)) || self.ends.contains(&token)
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), SampleError> {
        self.mask(logits, 0, usize::MAX).map(|_| ())
    }
}

/// Why a text cannot be held to a grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConstraintError {
    /// The grammar reads a byte that is no token of the vocabulary, so that a text could come to a
    /// place where no token can follow.
    NoToken {
        /// The byte.
        byte: u8,
    },
    /// No text of the grammar keeps within the limits.
    TooShort {
        /// The limits.
        limits: Limits,
        /// Bytes of the shortest text, and tokens in which it can certainly be written.
        shortest: u32,
    },
    /// There are [`MAX_ENDS`] tokens that end the text.
    TooManyEnds,
    /// The token may not come next.
    NotAllowed {
        /// The token.
        token: u32,
    },
}

impl fmt::Display for ConstraintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoToken { byte } => write!(
                f,
                "the grammar has texts with the byte {byte:#04x}, which is no token of the model's \
                 vocabulary"
            ),
            Self::TooShort { limits: Limits { bytes, tokens }, shortest } => {
                let (most, unit) =
                    if bytes <= tokens { (bytes, "bytes") } else { (tokens, "tokens") };
                write!(
                    f,
                    "the shortest text of the grammar has {shortest} bytes, but the limit is {most} \
                     {unit}"
                )
            }
            Self::TooManyEnds => write!(f, "{MAX_ENDS} tokens end the text already"),
            Self::NotAllowed { token } => {
                write!(f, "the grammar does not allow token {token} here")
            }
        }
    }
}

impl core::error::Error for ConstraintError {}
