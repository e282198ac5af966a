//! Settings: how a session answers, apart from what was said.

use kinglet::sampler::SamplerOptions;

use super::Session;
use crate::error::TalkError;
use crate::grammar::OwnedGrammar;
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
    /// A grammar that answers are held to.
    pub grammar: Option<OwnedGrammar>,
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
            grammar: options.grammar.clone(),
            sampling: options.sampling,
        }
    }

    /// Takes other settings, of a [`Branch`](crate::Branch) for one.
    ///
    /// # Errors
    ///
    /// When an option of the sampler is out of range, or the grammar does not suit the vocabulary
    /// or the tokens of an answer; the settings in force stay.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), TalkError> {
        self.settle()?;
        let (sampling, tokens) = (self.options.sampling, self.options.answer_tokens);
        self.set_sampling(settings.sampling)?;
        self.set_answer_tokens(settings.answer_tokens);
        if let Err(error) = self.set_grammar(settings.grammar.clone()) {
            self.set_sampling(sampling)?;
            self.set_answer_tokens(tokens);
            return Err(error);
        }
        self.set_thinking(settings.thinking, settings.thought_tokens);
        self.options.stops.clone_from(&settings.stops);
        self.take_stops();
        Ok(())
    }
}
