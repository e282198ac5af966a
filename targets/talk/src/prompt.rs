//! A whole conversation as tokens: what a server is given with each request.
//!
//! The tokens are those that a [`Session`](crate::Session) reads of the same turns, piece by piece,
//! so that the state after them is the same as well, whichever of the two has it.

use kinglet::tokenizer::{EncodeError, Tokenizer};

use crate::error::TalkError;
use crate::session::Turn;
use crate::template::{END_OF_TEXT, Past, Question, Template};

/// The tokens of a conversation.
///
/// ```
/// use kinglet::{Model, Section, Tokenizer};
/// use kinglet_talk::template::{Past, Question};
/// use kinglet_talk::{Prompt, Template, Thinking};
///
/// let model = Model::open(kinglet_stories::MODEL)?;
/// let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer))?;
/// let template = Template::named("g1").ok_or("no such template")?;
/// let past = Past { system: Some("Be brief."), turns: &[] };
/// let mut prompt = Prompt::begin(&template, &tokenizer, past)?;
/// prompt.ask(&template, &tokenizer, past, Question { user: "Hi", thinking: Thinking::None })?;
/// assert_eq!(prompt.text, "\u{FDD0}System: Be brief.\n\nUser: Hi\n\nAssistant:");
/// assert_eq!(prompt.opening, "Assistant:");
/// assert_eq!(prompt.borders.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The text, in which [`END_OF_TEXT`] stands for its token.
    pub text: String,
    /// How many tokens stand before each turn and after each question: places at which other
    /// conversations go on in another way.
    pub borders: Vec<usize>,
    /// The text that the answer goes on from; empty where no question was asked.
    pub opening: String,
    /// Whether it goes on with a text, which its first piece then does not begin.
    goes_on: bool,
}

impl Prompt {
    /// The system's text and the turns of the past, as a session's state has them.
    ///
    /// # Errors
    ///
    /// When the template fails, or the vocabulary lacks what the text needs.
    pub fn begin(
        template: &Template,
        tokenizer: &Tokenizer<'_>,
        past: Past<'_>,
    ) -> Result<Self, TalkError> {
        let mut prompt = Self::default();
        prompt.push(tokenizer, &template.start(past.system))?;
        for index in 0..past.turns.len() {
            prompt.turn(template, tokenizer, past, index)?;
        }
        Ok(prompt)
    }

    /// A text without roles.
    #[must_use]
    pub fn plain(tokens: Vec<u32>, text: String) -> Self {
        Self { tokens, text, ..Self::default() }
    }

    /// What a state goes on with that has read a conversation up to the token `next`, if there is
    /// one that it has not taken in.
    #[must_use]
    pub fn after(next: Option<u32>) -> Self {
        Self { tokens: Vec::from_iter(next), goes_on: true, ..Self::default() }
    }

    /// Adds turns, without what stands before the first.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub fn go_on(
        &mut self,
        template: &Template,
        tokenizer: &Tokenizer<'_>,
        turns: &[Turn],
    ) -> Result<(), TalkError> {
        for index in 0..turns.len() {
            self.turn(template, tokenizer, Past { system: None, turns }, index)?;
        }
        Ok(())
    }

    fn turn(
        &mut self,
        template: &Template,
        tokenizer: &Tokenizer<'_>,
        past: Past<'_>,
        index: usize,
    ) -> Result<(), TalkError> {
        let turn = &past.turns[index];
        let before = Past { turns: &past.turns[..index], ..past };
        self.border();
        self.push(tokenizer, &template.user(before, turn.question())?)?;
        self.border();
        self.push(tokenizer, &template.answered(before, turn.question(), &turn.answer)?)
    }

    /// Adds a question, and what its answer goes on from.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin), and [`TalkError::Empty`] where there is nothing to go on from.
    pub fn ask(
        &mut self,
        template: &Template,
        tokenizer: &Tokenizer<'_>,
        past: Past<'_>,
        question: Question<'_>,
    ) -> Result<(), TalkError> {
        self.border();
        self.push(tokenizer, &template.user(past, question)?)?;
        self.border();
        let opening = template.opening(past, question)?;
        self.push(tokenizer, &opening)?;
        self.opening = opening;
        if self.tokens.is_empty() { Err(TalkError::Empty) } else { Ok(()) }
    }

    fn border(&mut self) {
        let len = self.tokens.len();
        if len > 0 && self.borders.last() != Some(&len) {
            self.borders.push(len);
        }
    }

    fn push(&mut self, tokenizer: &Tokenizer<'_>, text: &str) -> Result<(), TalkError> {
        let begins = self.goes_on && self.text.is_empty();
        let text = text.strip_prefix(END_OF_TEXT).filter(|_| begins).unwrap_or(text);
        self.tokens.extend(encode(tokenizer, text)?);
        self.text += text;
        Ok(())
    }
}

/// The tokens of a text in which [`END_OF_TEXT`] stands for its token.
///
/// # Errors
///
/// When the vocabulary lacks what the text needs.
pub fn encode(tokenizer: &Tokenizer<'_>, text: &str) -> Result<Vec<u32>, EncodeError> {
    let mut tokens = Vec::new();
    for (index, part) in text.split(END_OF_TEXT).enumerate() {
        if index > 0 {
            tokens.extend(tokenizer.end_of_text());
        }
        for token in tokenizer.encode(part.as_bytes()) {
            tokens.push(token?);
        }
    }
    Ok(tokens)
}
