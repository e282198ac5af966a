//! Which tokens may follow, as bits, kept by position.
//!
//! Where a text may go on with almost anything, as inside of a string, a walk through the whole
//! vocabulary takes as long as a tenth of a token of a small model; but such positions come again
//! and again. A mask is that of a position without limits. It is exact as long as the limits bind
//! nothing, which the largest needs of its tokens tell; else it is computed for the one time.

use std::collections::HashMap;
use std::sync::Arc;

use kinglet::grammar::{Constraint, Limits, Position};
use kinglet::sampler::{SampleError, Sampler};

use super::vocabulary::Vocabulary;

/// Most bytes of the masks that are kept: 128 for the World vocabulary.
const MOST_BYTES: usize = 1 << 20;
/// Most masks that are kept.
const MOST_MASKS: usize = 256;
/// As many tokens are asked for one by one before the mask is: a greedy choice is often allowed.
const LAZY: usize = 6;

/// The tokens that may follow at the positions of one grammar, computed when they are asked for.
///
/// It gives what [`Constraint`] gives, sooner. One cache may serve several texts of a grammar, and
/// caches share a vocabulary.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use kinglet::grammar::{Constraint, Grammar, Limits};
/// use kinglet::sampler::{Sampler, SamplerOptions};
/// use kinglet::{Model, Section, Tokenizer};
/// use kinglet_talk::grammar::{MaskCache, Vocabulary};
///
/// let model = Model::open(kinglet_stories::MODEL)?;
/// let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer))?;
/// let table = kinglet_grammar::from_regex("(ha)+!", &Default::default())?;
/// let limits = Limits { tokens: 9, ..Limits::NONE };
/// let mut constraint = Constraint::new(Grammar::open(&table)?, tokenizer, limits)?;
/// let mut masks = MaskCache::new(Arc::new(Vocabulary::new(&tokenizer)));
/// let mut sampler = Sampler::new(SamplerOptions::default(), 42)?;
/// let mut text = String::new();
/// while !constraint.is_over() {
///     let mut logits = vec![0.0; tokenizer.vocab_len()]; // those of a model
///     let token = masks.sample(&constraint, &mut sampler, &mut logits)?;
///     constraint.accept(token)?;
///     text += str::from_utf8(tokenizer.token(token).unwrap_or_default())?;
/// }
/// assert!(text.starts_with("ha") && text.ends_with("ha!"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MaskCache {
    vocabulary: Arc<Vocabulary>,
    masks: HashMap<Position, Kept>,
    /// Most masks.
    most: usize,
    /// How often a mask was asked for.
    clock: u64,
    /// A mask within limits, which is not kept.
    bound: Vec<u64>,
}

/// A mask without limits.
#[derive(Clone, Debug)]
struct Kept {
    /// `[token / 64]`
    bits: Vec<u64>,
    /// The most bytes of a token together with the shortest end after it.
    bytes: u32,
    /// The most bytes of the shortest end after a token.
    shortest: u32,
    /// When it was asked for last.
    used: u64,
}

impl Kept {
    /// Whether the limits allow all the tokens of the mask.
    fn is_within(&self, left: &Limits) -> bool {
        self.bytes <= left.bytes && self.shortest < left.tokens
    }
}

/// The tokens that may come next.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'m> {
    /// `[token / 64]`: tokens whose bytes are a part of the text.
    bits: &'m [u64],
    /// Tokens that end it.
    ends: &'m [u32],
}

impl MaskCache {
    /// An empty cache for one grammar.
    #[must_use]
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        let words = vocabulary.len().div_ceil(64);
        let most = (MOST_BYTES / (8 * words.max(1))).clamp(1, MOST_MASKS);
        Self { bound: vec![0; words], vocabulary, masks: HashMap::new(), most, clock: 0 }
    }

    /// Forgets all masks: the next ones may be those of another grammar.
    pub fn clear(&mut self) {
        self.masks.clear();
    }

    /// The tokens that may come next: those that [`Constraint::allows`]. The constraint is of the
    /// cache's vocabulary, and of the grammar of all others since the cache was
    /// [cleared](Self::clear).
    pub fn mask<'m>(&'m mut self, constraint: &'m Constraint<'_>) -> Mask<'m> {
        if constraint.is_ended() {
            return Mask { bits: &[], ends: &[] };
        }
        let ends = if constraint.may_end() { constraint.ends() } else { &[] };
        let (grammar, position) = (constraint.grammar(), constraint.position());
        self.clock += 1;
        if !self.masks.contains_key(position) {
            let mut kept = self.room();
            (kept.bytes, kept.shortest) = (0, 0);
            self.vocabulary.walk(grammar, position, |token, len, shortest| {
                set(&mut kept.bits, token);
                kept.bytes = kept.bytes.max(len.saturating_add(shortest));
                kept.shortest = kept.shortest.max(shortest);
            });
            self.masks.insert(*position, kept);
        }
        let Self { vocabulary, masks, bound, clock, .. } = self;
        let kept = masks.get_mut(position);
        if let Some(kept) = kept {
            kept.used = *clock;
            if kept.is_within(constraint.left()) {
                return Mask { bits: &kept.bits, ends };
            }
        }
        bound.fill(0);
        vocabulary.walk(grammar, position, |token, len, shortest| {
            if constraint.left().allow(len as usize, shortest) {
                set(bound, token);
            }
        });
        Mask { bits: bound, ends }
    }

    /// Draws as [`Constraint::sample`] does: the same token, and the same place of the generator.
    ///
    /// # Errors
    ///
    /// As [`Sampler::sample`].
    pub fn sample<C: AsRef<[f32]> + AsMut<[f32]>>(
        &mut self,
        constraint: &Constraint<'_>,
        sampler: &mut Sampler<C>,
        logits: &mut [f32],
    ) -> Result<u32, SampleError> {
        if !sampler.options().is_greedy() {
            self.mask(constraint).apply(logits)?;
            return sampler.sample(logits);
        }
        let (mut asked, mut cache, mut mask) = (0, Some(self), None);
        sampler.sample_where(logits, |token| {
            asked += 1;
            if asked > LAZY
                && let Some(cache) = cache.take()
            {
                mask = Some(cache.mask(constraint));
            }
            mask.map_or_else(|| constraint.allows(token), |mask| mask.contains(token))
        })
    }

    /// Cleared bits for another mask: those of the one that was not used for longest, where there
    /// are as many as there may be.
    fn room(&mut self) -> Kept {
        if self.masks.len() >= self.most {
            let oldest = self.masks.iter().min_by_key(|(_, kept)| kept.used);
            let oldest = oldest.map(|(position, _)| *position);
            if let Some(mut kept) = oldest.and_then(|position| self.masks.remove(&position)) {
                kept.bits.fill(0);
                return kept;
            }
        }
        Kept { bits: vec![0; self.bound.len()], bytes: 0, shortest: 0, used: 0 }
    }
}

impl Mask<'_> {
    /// Whether a token may come next.
    #[must_use]
    pub fn contains(&self, token: u32) -> bool {
        let word = self.bits.get(token as usize / 64).copied().unwrap_or(0);
        word >> (token % 64) & 1 == 1 || self.ends.contains(&token)
    }

    /// Sets the logit of every other token to -inf: what [`Constraint::mask`] does.
    ///
    /// # Errors
    ///
    /// [`SampleError::NonFinite`]: a logit is NaN or +inf. The logits are then unspecified.
    pub fn apply(&self, logits: &mut [f32]) -> Result<(), SampleError> {
        let is_sound = |logit: &f32| *logit < f32::INFINITY;
        for (index, logits) in logits.chunks_mut(64).enumerate() {
            let first = 64 * index as u32;
            if !logits.iter().fold(true, |all, logit| all & is_sound(logit)) {
                let at = logits.iter().position(|logit| !is_sound(logit)).unwrap_or(0);
                return Err(SampleError::NonFinite { token: first + at as u32 });
            }
            let mut word = self.bits.get(index).copied().unwrap_or(0);
            for end in self.ends.iter().filter(|&&end| end / 64 == index as u32) {
                word |= 1 << (end % 64);
            }
            if word == u64::MAX {
                continue;
            }
            if word == 0 {
                logits.fill(f32::NEG_INFINITY);
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }
}

fn set(bits: &mut [u64], token: u32) {
    bits[token as usize / 64] |= 1 << (token % 64);
}
