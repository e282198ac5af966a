//! Templates: the text around what a person and a model say, as models were trained on it.
//!
//! A recurrent model keeps no history that could be rendered anew; what counts is the text that it
//! reads next, given what its state has read. A template therefore gives the pieces of a turn:
//!
//! ```text
//! start(system)                                 once
//! user(text)      "User: Q⏎⏎"                   the state after it is where an answer begins
//! opening()       "Assistant:"                  what the model goes on from
//! answered(text)  "Assistant: A⏎⏎"              the turn as history has it, without the thought
//! ```
//!
//! The whole conversation is `start (user answered)*`, so that feeding pieces and feeding the
//! whole are the same text. [`END_OF_TEXT`] stands in it for the token that ends a text.
//!
//! No token of the World vocabulary has a letter after a blank line. A piece that ends with one
//! may therefore be encoded by itself: the tokens are those of the whole text.

mod built_in;
mod choice;
mod hugging_face;

use std::fmt;

pub use built_in::BuiltIn;
pub use choice::{Choice, choose};
pub use hugging_face::{ChatTemplate, MAX_RENDERED, MAX_SOURCE};

use crate::error::TemplateError;
use crate::session::Turn;

/// Stands in rendered text for the token that ends a text: a noncharacter, which no text that is
/// meant for others contains. It is taken out of what people and models say.
pub const END_OF_TEXT: char = '\u{FDD0}';

/// How much a model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// It answers at once.
    #[default]
    None,
    /// An empty thought stands before the answer: what models with thoughts answer best from when
    /// they shall not think.
    Fast,
    /// It thinks first.
    Full(Effort),
}

/// The request to a thinking model at the end of the user's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Nothing.
    #[default]
    Unsaid,
    /// ` (think)`
    Think,
    /// ` (think a bit)`
    ABit,
    /// ` (think a lot)`
    ALot,
}

impl Thinking {
    /// Every way, with its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("none", Self::None),
        ("fast", Self::Fast),
        ("full", Self::Full(Effort::Unsaid)),
        ("think", Self::Full(Effort::Think)),
        ("a-bit", Self::Full(Effort::ABit)),
        ("a-lot", Self::Full(Effort::ALot)),
    ];

    /// The way of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|&(_, thinking)| thinking)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|&&(_, other)| other == self).map_or("none", |&(name, _)| name)
    }

    /// The text behind the user's.
    fn suffix(self) -> &'static str {
        match self {
            Self::None | Self::Fast | Self::Full(Effort::Unsaid) => "",
            Self::Full(Effort::Think) => " (think)",
            Self::Full(Effort::ABit) => " (think a bit)",
            Self::Full(Effort::ALot) => " (think a lot)",
        }
    }
}

/// The conversation before a turn.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// The system text.
    pub system: Option<&'a str>,
    /// The turns, the oldest first.
    pub turns: &'a [Turn],
}

/// The question that a turn begins with.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The user's text.
    pub user: &'a str,
    /// How the model is to think about it.
    pub thinking: Thinking,
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// One that this crate knows.
    BuiltIn(BuiltIn),
    /// One in the form of Hugging Face.
    HuggingFace(ChatTemplate),
}

impl Template {
    /// The built-in template of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        BuiltIn::ALL.into_iter().find(|built_in| built_in.name() == name).map(Self::BuiltIn)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(template) => template.name(),
            Self::HuggingFace(_) => "chat_template",
        }
    }

    /// The text that the state reads before the first turn.
    #[must_use]
    pub fn start(&self, system: Option<&str>) -> String {
        match self {
            Self::BuiltIn(template) => template.start(system),
            Self::HuggingFace(_) => END_OF_TEXT.into(),
        }
    }

    /// The text that the state reads of a question: `User: Q⏎⏎`.
    ///
    /// # Errors
    ///
    /// When a Hugging Face template fails, or renders the past in another way than before.
    pub fn user(&self, past: Past<'_>, question: Question<'_>) -> Result<String, TemplateError> {
        match self {
            Self::BuiltIn(template) => Ok(template.user(past, question)),
            Self::HuggingFace(template) => template.user(past, question),
        }
    }

    /// The text that the model goes on from when it answers: `Assistant:`.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub fn opening(&self, past: Past<'_>, question: Question<'_>) -> Result<String, TemplateError> {
        match self {
            Self::BuiltIn(template) => Ok(template.opening(question.thinking).into()),
            Self::HuggingFace(template) => template.opening(past, question),
        }
    }

    /// The text that history has in the place of the opening and all that the model wrote:
    /// `Assistant: A⏎⏎`.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub fn answered(
        &self,
        past: Past<'_>,
        question: Question<'_>,
        answer: &str,
    ) -> Result<String, TemplateError> {
        match self {
            Self::BuiltIn(template) => Ok(template.answered(answer)),
            Self::HuggingFace(template) => template.answered(past, question, answer),
        }
    }

    /// The texts that end an answer, besides the end of the text.
    #[must_use]
    pub fn stops(&self) -> Vec<Vec<u8>> {
        match self {
            Self::BuiltIn(template) => template.stops().iter().map(|&s| s.into()).collect(),
            Self::HuggingFace(template) => vec![template.stop().into()],
        }
    }

    /// True where text is left as it is, without roles around it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::BuiltIn(BuiltIn::Plain)
    }

    /// True where models of this template think.
    #[must_use]
    pub fn thinks(&self) -> bool {
        match self {
            Self::BuiltIn(template) => *template == BuiltIn::G1,
            Self::HuggingFace(template) => template.thinks(),
        }
    }

    /// The whole text of a conversation, as the pieces of its turns give it.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user).
    pub fn render(&self, conversation: Past<'_>) -> Result<String, TemplateError> {
        let Past { system, turns } = conversation;
        let mut text = self.start(system);
        for (index, turn) in turns.iter().enumerate() {
            let past = Past { system, turns: &turns[..index] };
            text += &self.user(past, turn.question())?;
            text += &self.answered(past, turn.question(), &turn.answer)?;
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
