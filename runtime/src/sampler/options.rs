//! Options of the sampler: their defaults, their ranges, and the errors that name them.
//!
//! They are plain numbers that C and a state file have as well. A sampler checks them once, so
//! that drawing rests on their ranges.

use core::fmt;

/// What the sampler does to the logits before it draws.
///
/// A program that has a model begins with [`for_model`](Self::for_model); the default is
/// [`GENERAL`](Self::GENERAL), for when there is none at hand.
///
/// # Examples
///
/// ```
/// use kinglet::sampler::SamplerOptions;
///
/// let options = SamplerOptions { temperature: 0.8, top_p: 0.9, ..Default::default() };
/// assert!(options.check().is_ok());
/// assert!(SamplerOptions { top_p: 1.5, ..options }.check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SamplerOptions {
    /// T of p^(1/T), applied to the candidates that the cutoffs have left; finite and not
    /// negative. 0 is greedy, 1 leaves the probabilities as they are.
    pub temperature: f32,
    /// The most candidates that may remain; of equals at the cutoff the lower ids stay. 0 is off,
    /// 1 is greedy.
    pub top_k: u32,
    /// The probability mass that the candidates must reach, 0 to 1. Equals at the cutoff all stay.
    /// 0 is greedy, 1 is off.
    pub top_p: f32,
    /// The smallest probability of a candidate as a fraction of the largest one, 0 to 1, both at
    /// temperature 1. 0 is off; 1 leaves only what is exactly as probable as the best.
    pub min_p: f32,
    /// Subtracted from the logit of every token that was generated before; finite and not
    /// negative. 0 is off.
    pub presence: f32,
    /// Subtracted from a logit once per (decayed) occurrence of its token in what was generated;
    /// finite and not negative. 0 is off.
    pub frequency: f32,
    /// Factor on all counts whenever a token is accepted, 0 to 1. 1 never forgets.
    pub penalty_decay: f32,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self::GENERAL
    }
}

impl SamplerOptions {
    /// For models of all purposes: the setting that the RWKV-7 G1 release recommends, temperature
    /// 1, top-p 0.5, top-k 100, no penalties (their decay stands at 0.996, the value of the `rwkv`
    /// Python package).
    pub const GENERAL: Self = Self {
        temperature: 1.0,
        top_k: 100,
        top_p: 0.5,
        min_p: 0.0,
        presence: 0.0,
        frequency: 0.0,
        penalty_decay: 0.996,
    };

    /// The most probable token every time, without penalties.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether these options always take the most probable token (of equals the lowest id):
    /// temperature 0, top-p 0 or top-k 1. Such a sampler draws no random numbers.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_p == 0.0 || self.top_k == 1
    }

    /// Whether a penalty is on, so that the sampler needs counts.
    #[must_use]
    pub fn has_penalties(&self) -> bool {
        self.presence != 0.0 || self.frequency != 0.0
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    ///
    /// [`OptionsError::OutOfRange`] for the first option that is NaN or outside its range.
    pub fn check(&self) -> Result<(), OptionsError> {
        in_range(SamplerOption::Temperature, self.temperature, f32::MAX)?;
        in_range(SamplerOption::TopP, self.top_p, 1.0)?;
        in_range(SamplerOption::MinP, self.min_p, 1.0)?;
        in_range(SamplerOption::Presence, self.presence, f32::MAX)?;
        in_range(SamplerOption::Frequency, self.frequency, f32::MAX)?;
        in_range(SamplerOption::PenaltyDecay, self.penalty_decay, 1.0)
    }
}

fn in_range(option: SamplerOption, found: f32, largest: f32) -> Result<(), OptionsError> {
    if (0.0..=largest).contains(&found) {
        Ok(())
    } else {
        Err(OptionsError::OutOfRange { option, found, largest })
    }
}

/// A field of [`SamplerOptions`] that has a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SamplerOption {
    /// [`SamplerOptions::temperature`]
    Temperature,
    /// [`SamplerOptions::top_p`]
    TopP,
    /// [`SamplerOptions::min_p`]
    MinP,
    /// [`SamplerOptions::presence`]
    Presence,
    /// [`SamplerOptions::frequency`]
    Frequency,
    /// [`SamplerOptions::penalty_decay`]
    PenaltyDecay,
}

impl fmt::Display for SamplerOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Temperature => "temperature",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Presence => "presence",
            Self::Frequency => "frequency",
            Self::PenaltyDecay => "penalty_decay",
        })
    }
}

/// Why options were refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OptionsError {
    /// An option is NaN or outside 0 to `largest`.
    OutOfRange {
        /// Which one.
        option: SamplerOption,
        /// Its value.
        found: f32,
        /// The largest value allowed; [`f32::MAX`] stands for any finite number.
        largest: f32,
    },
    /// A penalty is on, but the sampler has no buffer to count tokens in.
    PenaltyWithoutCounts,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfRange { option, found, largest: f32::MAX } => {
                write!(f, "{option} is {found}, but must be finite and not negative")
            }
            Self::OutOfRange { option, found, largest } => {
                write!(f, "{option} is {found}, but must be from 0 to {largest}")
            }
            Self::PenaltyWithoutCounts => f.write_str(
                "presence and frequency penalties need a buffer of counts, one per token of the \
                 vocabulary",
            ),
        }
    }
}

impl core::error::Error for OptionsError {}
