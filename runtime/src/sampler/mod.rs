//! From logits to the next token, in place, without allocation, and with the same result on every
//! target.
//!
//! # Order of operations
//!
//! That of the `rwkv` Python package (note that temperature comes after the cutoffs):
//!
//! 0. Mask: where a text is held to a [grammar](crate::grammar), the logit of every token that may
//!    not come next becomes -inf. What follows knows nothing of it.
//! 1. Penalties: `logit -= presence + count * frequency` for every token generated before.
//! 2. Bans: the logit becomes -inf.
//! 3. Softmax: p = exp(logit - largest logit) / sum. The division is left out and the cutoffs are
//!    scaled by the sum instead.
//! 4. Min-p: what has less than `min_p` times the largest probability is dropped.
//! 5. Top-p: the fewest of the most probable tokens whose sum reaches `top_p` (of the whole mass,
//!    min-p or not) remain, with all equals of the last one.
//! 6. Top-k: the `top_k` most probable of these remain; of equals the lower ids.
//! 7. Temperature: p^(1/T), computed as exp(ln(p) / T); left out at T = 1.
//! 8. Draw: the lowest id at which the running sum of probabilities exceeds u times their whole
//!    sum, with u from [`Pcg32::next_f32`]; the last candidate where rounding keeps the running sum
//!    below that. One number is drawn per token.
//!
//! Min-p, top-p and top-k each keep the upper end of one ranking, so what remains is the smallest
//! of the three sets, whatever their order. When the options are greedy
//! ([`SamplerOptions::is_greedy`]) steps 3 to 8 are: the largest logit, of equals the lowest id.
//!
//! # The same bits everywhere
//!
//! All of it is f32 in one order of operations, without fused multiply-add. A sum adds element i to
//! s\[i mod 16\] in ascending order from +0.0, then s\[j\] += s\[j + 8\], 4, 2, 1, where a token
//! that is out counts as +0.0; only the running sum of step 8 goes from one id to the next. A token
//! whose probability is below 2^-126 times the largest one cannot be drawn.
//!
//! # Cost
//!
//! No memory beyond the logits, which are overwritten. The cutoffs are found by bisection on the bit
//! patterns of the probabilities: at most 32 passes each for top-p and top-k, of which usually only
//! the first few visit the whole vocabulary; once one token in 32 or fewer is left, the others are
//! skipped. Nothing is sorted, and the time is linear in the vocabulary at worst. Where that is too
//! long in one go, [`Sampler::begin`] draws in pieces, with the same result.
//!
//! # Counts
//!
//! Penalties need a count per token that was generated. They live in a buffer of the caller, one
//! f32 per token of the vocabulary. A table of (token, count) pairs would be smaller at first, but
//! a presence penalty never ends, so the table would have to hold every distinct token ever
//! generated; whatever it did when full, the text would depend on its capacity.

mod budget;
mod candidates;
mod options;
mod penalties;
mod rng;
mod sampling;
mod snapshot;
#[cfg(test)]
mod tests;

use core::fmt;
use core::ops::Range;

use heapless::Vec;

use candidates::padded;
pub use options::{OptionsError, SamplerOption, SamplerOptions};
pub use penalties::is_uncounted;
pub use rng::Pcg32;
pub use sampling::{Sampling, SamplingPlace};
pub use snapshot::SnapshotError;

/// The most tokens that can be banned at one time.
pub const MAX_BANS: usize = 32;

/// The most logits that [`Sampler::sample`] takes.
pub const MAX_VOCABULARY: usize = i32::MAX as usize;

/// As many refused tokens are taken out one by one before all are.
const ATTEMPTS: usize = 4;

/// Draws tokens from logits. The [module](self) says how.
///
/// `C` holds the counts for the penalties: an array, `&mut [f32]`, or anything else that gives a
/// slice. Without penalties it is empty.
///
/// # Examples
///
/// ```
/// use kinglet::sampler::{Sampler, SamplerOptions};
///
/// let options = SamplerOptions { presence: 0.5, frequency: 0.5, ..Default::default() };
/// let mut sampler = Sampler::with_counts(options, 42, [0.0; 4])?;
/// sampler.ban(0)?;
/// for _ in 0..8 {
///     let mut logits = [9.0, 1.0, 0.5, 0.25];
///     let token = sampler.sample(&mut logits)?;
///     assert_ne!(token, 0);
///     sampler.accept(token);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler<C = [f32; 0]> {
    options: SamplerOptions,
    rng: Pcg32,
    bans: Vec<u32, MAX_BANS>,
    /// `[vocabulary]` or empty; see `penalties` for what an element means.
    counts: C,
}

impl Sampler {
    /// A sampler without penalties. The same options, seed and logits give the same tokens.
    ///
    /// # Errors
    ///
    /// An option is out of range, or a penalty is on.
    pub fn new(options: SamplerOptions, seed: u64) -> Result<Self, OptionsError> {
        Self::with_counts(options, seed, [])
    }
}

impl<C: AsRef<[f32]> + AsMut<[f32]>> Sampler<C> {
    /// A sampler that counts the accepted tokens in `counts`, `[vocabulary]`, which it clears.
    ///
    /// # Errors
    ///
    /// An option is out of range, or a penalty is on and `counts` is empty.
    pub fn with_counts(
        options: SamplerOptions,
        seed: u64,
        counts: C,
    ) -> Result<Self, OptionsError> {
        let rng = Pcg32::new(seed);
        let mut sampler = Self { options, rng, bans: Vec::new(), counts };
        sampler.set_options(options)?;
        sampler.counts.as_mut().fill(0.0);
        Ok(sampler)
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Changes the options; generator, bans and counts stay.
    ///
    /// # Errors
    ///
    /// An option is out of range, or a penalty is on and there are no counts. The options in force
    /// stay.
    pub fn set_options(&mut self, options: SamplerOptions) -> Result<(), OptionsError> {
        options.check()?;
        if options.has_penalties() && self.counts.as_ref().is_empty() {
            return Err(OptionsError::PenaltyWithoutCounts);
        }
        self.options = options;
        Ok(())
    }

    /// Forgets all counts and seeds the generator anew; options and bans stay.
    pub fn restart(&mut self, seed: u64) {
        self.counts.as_mut().fill(0.0);
        self.rng = Pcg32::new(seed);
    }

    /// Excludes a token from being drawn. To exclude many, such as the logits beyond the
    /// tokenizer's last id, pass a shorter slice to [`sample`](Self::sample) or set them to -inf.
    ///
    /// # Errors
    ///
    /// [`MAX_BANS`] other tokens are banned already.
    pub fn ban(&mut self, token: u32) -> Result<(), BanError> {
        if self.bans.contains(&token) {
            return Ok(());
        }
        self.bans.push(token).map_err(|_| BanError::Full)
    }

    /// Allows a token again; one that was not banned stays allowed.
    pub fn unban(&mut self, token: u32) {
        self.bans.retain(|&banned| banned != token);
    }

    /// Draws a token from `logits`, `[vocabulary]`, and leaves unspecified numbers in their place.
    /// The index is the token id; a logit of -inf is never drawn. The token is not counted before
    /// it is [accepted](Self::accept).
    ///
    /// # Errors
    ///
    /// * [`SampleError::NonFinite`]: a logit is NaN or +inf, banned or not;
    /// * [`SampleError::NoCandidate`]: every logit is -inf or banned, or there is none;
    /// * [`SampleError::CountsTooShort`]: a penalty is on and there are fewer counts than logits;
    /// * [`SampleError::TooManyLogits`]: there are more than [`MAX_VOCABULARY`].
    ///
    /// After an error the generator and the counts are what they were.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, SampleError> {
        SamplingPlace::new(self, logits.len())?.finish(self, logits)
    }

    /// As [`sample`](Self::sample), where the logits of tokens that are not allowed count as -inf.
    /// `allows` is asked about every token, and when the options are
    /// [greedy](SamplerOptions::is_greedy) about the most probable ones first, which often suffices.
    ///
    /// # Errors
    ///
    /// As `sample`.
    pub fn sample_where(
        &mut self,
        logits: &mut [f32],
        mut allows: impl FnMut(u32) -> bool,
    ) -> Result<u32, SampleError> {
        if !self.options.is_greedy() {
            mask(logits, 0..logits.len(), allows)?;
            return self.sample(logits);
        }
        // The largest is often allowed, and then nothing else has to be known.
        let mut place = SamplingPlace::new(self, logits.len())?;
        for attempt in 0.. {
            let token = place.finish(self, logits)?;
            if attempt > ATTEMPTS || allows(token) {
                return Ok(token);
            }
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
            if attempt == ATTEMPTS {
                mask(logits, 0..logits.len(), &mut allows)?;
            }
            place.look_again();
        }
        Err(SampleError::NoCandidate)
    }

    /// Counts a generated token: all counts fade by `penalty_decay`, then the token's grows by 1.
    /// Call it for what the model generated, not for the prompt. An id beyond the counts only
    /// fades the others: there is no logit that it could be penalized by.
    ///
    /// Without counts it does nothing. Takes time proportional to the vocabulary.
    pub fn accept(&mut self, token: u32) {
        self.count(token, 1.0);
    }

    /// As [`accept`](Self::accept), but the token's count does not grow; it pays the presence
    /// penalty from now on. For tokens that may repeat freely, such as those of which
    /// [`is_uncounted`] is true.
    pub fn accept_uncounted(&mut self, token: u32) {
        self.count(token, 0.0);
    }

    fn count(&mut self, token: u32, amount: f32) {
        penalties::count(self.counts.as_mut(), token, amount, self.options.penalty_decay);
    }

    fn mask_banned(&self, logits: &mut [f32]) -> Result<(), SampleError> {
        for &token in &self.bans {
            let Some(logit) = usize::try_from(token).ok().and_then(|id| logits.get_mut(id)) else {
                continue;
            };
            if !is_sound(*logit) {
                return Err(SampleError::NonFinite { token });
            }
            *logit = f32::NEG_INFINITY;
        }
        Ok(())
    }
}

/// Sets the logits of a range of ids that are not allowed to -inf.
pub(crate) fn mask(
    logits: &mut [f32],
    ids: Range<usize>,
    mut allows: impl FnMut(u32) -> bool,
) -> Result<(), SampleError> {
    let ids = ids.start.min(logits.len())..ids.end.min(logits.len());
    let first = ids.start;
    for (index, logit) in logits.get_mut(ids).unwrap_or_default().iter_mut().enumerate() {
        let token = (first + index) as u32;
        if !is_sound(*logit) {
            return Err(SampleError::NonFinite { token });
        }
        if !allows(token) {
            *logit = f32::NEG_INFINITY;
        }
    }
    Ok(())
}

/// The largest of some logits, or the index of the first that is not sound.
fn largest_of(logits: &[f32]) -> Result<f32, usize> {
    let (chunks, rest) = logits.as_chunks();
    let mut largest = largest_of_chunks(chunks);
    if !rest.is_empty() {
        let last = largest_of_chunks(&[padded(rest, f32::NEG_INFINITY)]);
        largest = largest.zip(last).map(|(a, b)| if b > a { b } else { a });
    }
    let bad = || logits.iter().position(|&logit| !is_sound(logit)).unwrap_or_default();
    largest.ok_or_else(bad)
}

/// The largest logit; `None` where one is not sound. A copy in flash, because its loop over the
/// lanes is unrolled.
#[inline(never)]
fn largest_of_chunks(chunks: &[[f32; 16]]) -> Option<f32> {
    let mut largest = [f32::NEG_INFINITY; 16];
    let mut sound = [true; 16];
    for chunk in chunks {
        let lanes = largest.iter_mut().zip(&mut sound);
        for ((largest, sound), &logit) in lanes.zip(chunk.as_slice()) {
            *sound &= is_sound(logit);
            *largest = if logit > *largest { logit } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (!sound.contains(&false)).then_some(largest)
}

/// Neither NaN nor +inf.
pub(crate) fn is_sound(logit: f32) -> bool {
    logit < f32::INFINITY
}

/// Why no token could be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SampleError {
    /// A logit is NaN or +inf.
    NonFinite {
        /// The id of such a token; the lowest one unless a banned token is among them.
        token: u32,
    },
    /// Every logit is -inf or banned, or there is none.
    NoCandidate,
    /// A penalty is on, and the buffer of counts does not cover the vocabulary.
    CountsTooShort {
        /// Number of counts.
        counts: usize,
        /// Number of logits.
        logits: usize,
    },
    /// There are more than [`MAX_VOCABULARY`] logits.
    TooManyLogits,
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NonFinite { token } => {
                write!(f, "the logit of token {token} is NaN or +inf, expected finite or -inf")
            }
            Self::NoCandidate => f.write_str("every token is banned or has the logit -inf"),
            Self::CountsTooShort { counts, logits } => {
                write!(f, "the penalties have {counts} counts for {logits} logits")
            }
            Self::TooManyLogits => write!(f, "more than {MAX_VOCABULARY} logits"),
        }
    }
}

impl core::error::Error for SampleError {}

/// Why a token was not banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BanError {
    /// [`MAX_BANS`] other tokens are banned already.
    Full,
}

impl fmt::Display for BanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "{MAX_BANS} tokens are banned already"),
        }
    }
}

impl core::error::Error for BanError {}
