//! The templates of RWKV models, as their authors publish them.
//!
//! A model that was trained on one text goes astray on another that differs in a blank line, so
//! that each is followed to the byte. A turn ends with a blank line; texts are cleaned of them.

use super::{END_OF_TEXT, Past, Question, Thinking};

/// A template that this crate knows. `⏎` is a line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// RWKV-7 G1: `User: Q⏎⏎Assistant: A⏎⏎`, with `System: S⏎⏎` before the first turn. The model
    /// goes on from `Assistant:`, from `Assistant: <think` when it thinks, and from
    /// `Assistant: <think>⏎</think` after an empty thought.
    G1,
    /// World models up to RWKV-6: the same turns without thoughts; a blank line ends an answer.
    World,
    /// Raven models (RWKV-4): `Bob: Q⏎⏎Alice: A⏎⏎`; what the model is told about itself is a
    /// paragraph before the first turn.
    Raven,
    /// `Instruction: I⏎⏎Response: A⏎⏎`; a line `Input: ` of the instruction becomes a part of
    /// its own.
    Instruct,
    /// No roles: the model goes on with the user's text. A text that the model ended is followed
    /// by another.
    Plain,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::G1, Self::World, Self::Raven, Self::Instruct, Self::Plain];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::G1 => "g1",
            Self::World => "world",
            Self::Raven => "raven",
            Self::Instruct => "instruct",
            Self::Plain => "plain",
        }
    }

    pub(super) fn start(self, system: Option<&str>) -> String {
        if self == Self::Plain {
            return String::new();
        }
        let system = match (self, system) {
            (_, None) => String::new(),
            (Self::G1 | Self::World, Some(system)) => format!("System: {}\n\n", clean(system)),
            (_, Some(system)) => format!("{}\n\n", clean(system)),
        };
        format!("{END_OF_TEXT}{system}")
    }

    pub(super) fn user(self, past: Past<'_>, Question { user, thinking }: Question<'_>) -> String {
        match self {
            Self::G1 => format!("User: {}{}\n\n", clean(user), thinking.suffix()),
            Self::World => format!("User: {}\n\n", clean(user)),
            Self::Raven => format!("Bob: {}\n\n", clean(user)),
            Self::Instruct => {
                format!("Instruction: {}\n\n", clean(user).replace("\nInput:", "\n\nInput:"))
            }
            // A text begins after the end of another.
            Self::Plain => match past.turns.last() {
                Some(turn) if turn.ended => format!("{END_OF_TEXT}{}", without_end(user)),
                Some(_) => without_end(user),
                None => {
                    let system = without_end(past.system.unwrap_or_default());
                    format!("{END_OF_TEXT}{system}{}", without_end(user))
                }
            },
        }
    }

    pub(super) const fn opening(self, thinking: Thinking) -> &'static str {
        match (self, thinking) {
            (Self::G1, Thinking::Full(_)) => "Assistant: <think",
            (Self::G1, Thinking::Fast) => "Assistant: <think>\n</think",
            (Self::G1, Thinking::None) | (Self::World, _) => "Assistant:",
            (Self::Raven, _) => "Alice:",
            (Self::Instruct, _) => "Response:",
            (Self::Plain, _) => "",
        }
    }

    pub(super) fn answered(self, answer: &str) -> String {
        if self == Self::Plain {
            return without_end(answer);
        }
        let answer = without_end(answer);
        let answer = answer.trim();
        let opening = self.opening(Thinking::None);
        // A space is part of the answer's first word, so that none stands before no answer.
        let space = if answer.is_empty() { "" } else { " " };
        format!("{opening}{space}{answer}\n\n")
    }

    pub(super) const fn stops(self) -> &'static [&'static [u8]] {
        match self {
            Self::G1 => &[b"\n\nUser:", b"\n\nSystem:"],
            Self::World | Self::Raven => &[b"\n\n"],
            Self::Instruct => &[b"\n\nInstruction:", b"\n\nInput:", b"\n\nUser:"],
            Self::Plain => &[],
        }
    }
}

/// Text as the models were trained on it: lines end with a line feed, no line is blank, and
/// nothing stands around it. A blank line would end the turn.
fn clean(text: &str) -> String {
    let text = without_end(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut cleaned = String::with_capacity(text.len());
    for line in text.trim().split('\n').filter(|line| !line.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push('\n');
        }
        cleaned += line;
    }
    cleaned
}

/// `text` without the character that stands for the end of a text.
pub(super) fn without_end(text: &str) -> String {
    text.replace(END_OF_TEXT, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Turn;
    use crate::template::{Effort, Template};

    const NONE: Past<'_> = Past { system: None, turns: &[] };

    fn question(user: &str, thinking: Thinking) -> Question<'_> {
        Question { user, thinking }
    }

    #[test]
    fn g1_is_as_trained() {
        let g1 = BuiltIn::G1;
        assert_eq!(g1.start(Some("Be brief.")), "\u{FDD0}System: Be brief.\n\n");
        assert_eq!(g1.user(NONE, question("Hi", Thinking::Fast)), "User: Hi\n\n");
        let lot = Thinking::Full(Effort::ALot);
        assert_eq!(g1.user(NONE, question("Why?", lot)), "User: Why? (think a lot)\n\n");
        assert_eq!(g1.opening(Thinking::None), "Assistant:");
        assert_eq!(g1.opening(Thinking::Fast), "Assistant: <think>\n</think");
        assert_eq!(g1.opening(lot), "Assistant: <think");
        assert_eq!(g1.answered(" Because.\n"), "Assistant: Because.\n\n");
    }

    #[test]
    fn text_is_cleaned_as_the_training_data_was() {
        assert_eq!(clean("  a\r\n\r\n\n  b \rc\u{FDD0}\n"), "a\n  b \nc");
    }

    #[test]
    fn the_other_forms() {
        let conversation = |template: &str, ended| {
            let turns = ["Q1", "Q2"].map(|user| Turn {
                user: user.into(),
                answer: "A".into(),
                ended,
                ..Turn::default()
            });
            let template = Template::named(template).unwrap();
            template.render(Past { system: Some("S"), turns: &turns }).unwrap()
        };
        assert_eq!(
            conversation("world", true),
            "\u{FDD0}System: S\n\nUser: Q1\n\nAssistant: A\n\nUser: Q2\n\nAssistant: A\n\n"
        );
        assert_eq!(
            conversation("raven", true),
            "\u{FDD0}S\n\nBob: Q1\n\nAlice: A\n\nBob: Q2\n\nAlice: A\n\n"
        );
        assert_eq!(
            conversation("instruct", false),
            "\u{FDD0}S\n\nInstruction: Q1\n\nResponse: A\n\nInstruction: Q2\n\nResponse: A\n\n"
        );
        assert_eq!(conversation("plain", true), "\u{FDD0}SQ1A\u{FDD0}Q2A");
        assert_eq!(
            BuiltIn::Instruct.user(NONE, question("Add.\n\nInput: 1 2", Thinking::None)),
            "Instruction: Add.\n\nInput: 1 2\n\n"
        );
    }
}
