//! A turn: a question and what the model made of it.

use crate::template::{Question, Thinking};

/// A turn of a session.
///
/// `user`, `answer` and `ended` say what history the state reads; `tokens` are what the model
/// wrote, thought and answer, from which an answer goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The user's text.
    pub user: String,
    /// How the model was to think about it.
    pub thinking: Thinking,
    /// The model's thought.
    pub thought: String,
    /// The model's answer.
    pub answer: String,
    /// The tokens it wrote, without those of a stop.
    pub tokens: Vec<u32>,
    /// True where it ended the text. Other answers ended at a stop, or not yet.
    pub ended: bool,
}

impl Turn {
    /// The question that the turn began with.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        Question { user: &self.user, thinking: self.thinking }
    }
}
