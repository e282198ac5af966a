//! The sampler's options that a model is best used with: those that its file states, or those of
//! its kind.
//!
//! A line of the provenance, written by the quantizer where it was given options:
//!
//! ```text
//! sampling: temperature=0.7 top-k=0 top-p=0.8 min-p=0 presence=0 frequency=0 penalty-decay=0.996
//! ```
//!
//! A number is digits with at most one point among them, up to 7 digits in all, so that it is the
//! quotient of two whole numbers that f32 has: one division, rounded once, on every target. Names
//! that are not known are passed over, and options that are not named are those of the kind. A line
//! with a number that is none, or out of its range, counts as none.

use crate::format::model::Model;
use crate::sampler::SamplerOptions;

/// What the line begins with.
const KEY: &str = "sampling:";

/// Vocabularies below this are those of small models that tell stories; RWKV's own have 50,277
/// and 65,536 ids.
const GENERAL_VOCAB: usize = 16_384;

impl SamplerOptions {
    /// For small models that tell stories.
    ///
    /// Temperature 0.7 and top-p 0.8, by 300 stories each of the model that ships
    /// (`models/stories/README.md` has the figures): few words that do not exist, few loops, and
    /// stories that end and differ.
    pub const STORIES: Self = Self { temperature: 0.7, top_k: 0, top_p: 0.8, ..Self::GENERAL };

    /// The options that a model is best used with: those that its file states, or those of its
    /// kind. The program, Rust and C begin with the same ones, so that the same seed gives the
    /// same text.
    ///
    /// A model with a vocabulary of less than 16,384 ids tells stories
    /// ([`STORIES`](Self::STORIES)); others are for all purposes ([`GENERAL`](Self::GENERAL)).
    ///
    /// # Examples
    ///
    /// ```
    /// use kinglet::{Model, Sampler, SamplerOptions};
    ///
    /// let model = Model::open(kinglet_stories::MODEL)?;
    /// let options = SamplerOptions::for_model(&model);
    /// assert_eq!(options, SamplerOptions::STORIES);
    /// let sampler = Sampler::new(options, 42)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn for_model(model: &Model<'_>) -> Self {
        let kind = Self::for_vocab(model.shape().vocab);
        kind.stated_in(model.provenance()).unwrap_or(kind)
    }

    /// The options of the kind of model that has `vocab` ids.
    #[must_use]
    pub const fn for_vocab(vocab: usize) -> Self {
        if vocab < GENERAL_VOCAB { Self::STORIES } else { Self::GENERAL }
    }

    /// These options with those that a model's provenance states; `None` where it states none,
    /// or one that is out of its range.
    #[must_use]
    pub fn stated_in(self, provenance: &str) -> Option<Self> {
        let stated = provenance.lines().find_map(|line| line.strip_prefix(KEY))?;
        let mut options = self;
        for option in stated.split_ascii_whitespace() {
            let (name, text) = option.split_once('=')?;
            let number = decimal(text)?;
            match name {
                "temperature" => options.temperature = number,
                "top-k" => options.top_k = text.parse().ok()?,
                "top-p" => options.top_p = number,
                "min-p" => options.min_p = number,
                "presence" => options.presence = number,
                "frequency" => options.frequency = number,
                "penalty-decay" => options.penalty_decay = number,
                _ => {}
            }
        }
        options.check().is_ok().then_some(options)
    }
}

/// The nearest f32 of a number of at most 7 digits.
fn decimal(text: &str) -> Option<f32> {
    let (mut digits, mut count, mut divisor, mut point) = (0u32, 0, 1u32, false);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if count < 7 => {
                digits = 10 * digits + u32::from(byte - b'0');
                count += 1;
                if point {
                    divisor *= 10;
                }
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    // Both are below 2^24, so that only the division rounds.
    (count > 0).then_some(digits as f32 / divisor as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_nearest_f32() {
        for (text, number) in
            [("0.6", 0.6), ("1", 1.0), ("0.996", 0.996), ("100", 100.0), (".5", 0.5), ("0", 0.0)]
        {
            assert_eq!(decimal(text), Some(number), "{text}");
        }
        for number in (0..1_000_000).step_by(7) {
            let text = std::format!("{}.{:06}", number % 7, number);
            let nearest: f32 = text.parse().unwrap();
            assert_eq!(decimal(&text).map(f32::to_bits), Some(nearest.to_bits()), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "nan", "inf", "0.5.", "12345678", "0,6", " 1"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_model_states_its_options() {
        let general = SamplerOptions::GENERAL;
        let stated = |text: &str| general.stated_in(text);
        assert_eq!(stated("licence: MIT\n"), None);
        let text = "source: a.pth\nsampling: temperature=0.7 top-k=5 top-p=0.9 later=3\n";
        let expected = SamplerOptions { temperature: 0.7, top_k: 5, top_p: 0.9, ..general };
        assert_eq!(stated(text), Some(expected));
        assert_eq!(stated("sampling: presence=0.5").unwrap().presence, 0.5);
        for wrong in ["temperature", "temperature=", "temperature=-1", "top-p=1.5", "top-k=1.5"] {
            assert_eq!(stated(&std::format!("sampling: {wrong}")), None, "{wrong}");
        }
        // The key begins the line.
        assert_eq!(stated("licence: sampling: temperature=3"), None);
    }

    #[test]
    fn the_kind_is_told_by_the_vocabulary() {
        for vocab in [257, 1024, 4096, 16_383] {
            assert_eq!(SamplerOptions::for_vocab(vocab), SamplerOptions::STORIES);
        }
        for vocab in [50_277, 65_536] {
            assert_eq!(SamplerOptions::for_vocab(vocab), SamplerOptions::GENERAL);
            assert_eq!(SamplerOptions::for_vocab(vocab), SamplerOptions::default());
        }
    }
}
