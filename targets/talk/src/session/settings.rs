//! Settings: how a session answers, apart from what was said.

use kinglet::sampler::SamplerOptions;

use super::Session;
use crate::error::TalkError;
use crate::template::Thinking;

/// How a session answers the next questions. It is saved with a conversation, so that one that
/// goes on later answers as an uninterrupted one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// How the model is to think.
    pub thinking: Thinking,
    /// Tokens of a thought after which it is ended; `None` lets it end by itself.
    pub thought_tokens: Option<usize>,
    /// Tokens of an answer after which it pauses.
    pub answer_tokens: usize,
    /// Texts that end an answer, besides the template's.
    pub stops: Vec<String>,
    /// Options of the sampler.
    pub sampling: SamplerOptions,
}

impl Session<'_> {
    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let options = &self.options;
        Settings {
            thinking: options.thinking,
            thought_tokens: options.thought_tokens,
            answer_tokens: options.answer_tokens,
            stops: options.stops.clone(),
            sampling: options.sampling,
        }
    }

    /// Takes other settings, of a [`Branch`](crate::Branch) for one.
    ///
    /// # Errors
    ///
    /// When an option of the sampler is out of range; the settings in force stay.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), TalkError> {
        self.settle()?;
        self.set_sampling(settings.sampling)?;
        self.set_thinking(settings.thinking, settings.thought_tokens);
        self.set_answer_tokens(settings.answer_tokens);
        self.options.stops.clone_from(&settings.stops);
        self.take_stops();
        Ok(())
    }
}
