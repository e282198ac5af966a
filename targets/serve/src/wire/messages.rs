//! Messages: a conversation as OpenAI's clients send it, as the turns that templates are made for.

use kinglet_talk::template::Question;
use kinglet_talk::{Thinking, Turn};
use serde::Deserialize;

use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: Role,
    content: Option<Content>,
    /// Thoughts are no part of history: models are trained on answers alone.
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// A conversation: what went before, and the question.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) system: Option<String>,
    pub(crate) turns: Vec<Turn>,
    /// The user's text that is to be answered.
    pub(crate) user: String,
    pub(crate) thinking: Thinking,
}

impl Conversation {
    /// Reads messages: those of the system first, then user and assistant in turn, the user's last.
    /// Messages of the user that follow each other are one, a line each.
    pub(crate) fn read(
        messages: serde_json::Value,
        name: &str,
        most: usize,
    ) -> Result<Self, ApiError> {
        let messages: Vec<Message> = super::fields::read(messages, name)?;
        if messages.len() > most {
            let message =
                format!("{name} has {} messages; at most {most} are read", messages.len());
            return Err(ApiError::field(name, message));
        }
        let mut conversation = Self::default();
        let mut system: Vec<String> = Vec::new();
        let mut user: Option<String> = None;
        for (index, message) in messages.into_iter().enumerate() {
            let place = format!("{name}[{index}]");
            if message.name.is_some() {
                let place = format!("{place}.name");
                let text = format!("{place}: templates have no names; put it into the text");
                return Err(ApiError::unsupported(place, text));
            }
            let _ = (message.reasoning_content, message.refusal);
            let text = text(message.content, &place)?;
            match (message.role, user.is_some()) {
                (Role::System | Role::Developer, false) if conversation.turns.is_empty() => {
                    system.push(text);
                }
                (Role::System | Role::Developer, _) => {
                    let text = format!("{place}: the system's messages stand before all others");
                    return Err(ApiError::field(place, text));
                }
                (Role::User, _) => match &mut user {
                    None => user = Some(text),
                    Some(earlier) => {
                        earlier.push('\n');
                        *earlier += &text;
                    }
                },
                (Role::Assistant, _) => {
                    let Some(user) = user.take() else {
                        let text =
                            format!("{place}: a message of the user stands before an answer");
                        return Err(ApiError::field(place, text));
                    };
                    conversation.turns.push(Turn { user, answer: text, ..Turn::default() });
                }
            }
        }
        let missing = || ApiError::field(name, format!("the last of {name} must be the user's"));
        conversation.user = user.ok_or_else(missing)?;
        conversation.system = (!system.is_empty()).then(|| system.join("\n"));
        Ok(conversation)
    }

    pub(crate) fn question(&self) -> Question<'_> {
        Question { user: &self.user, thinking: self.thinking }
    }

    /// The turns and the answer to the question.
    pub(crate) fn answered(&self, answer: &str) -> Vec<Turn> {
        let mut turns = self.turns.clone();
        let (user, answer) = (self.user.clone(), answer.to_owned());
        turns.push(Turn { user, answer, thinking: self.thinking, ..Turn::default() });
        turns
    }
}

fn text(content: Option<Content>, place: &str) -> Result<String, ApiError> {
    let parts = match content {
        None => {
            let place = format!("{place}.content");
            return Err(ApiError::field(&*place, format!("the field `{place}` is missing")));
        }
        Some(Content::Text(text)) => return Ok(text),
        Some(Content::Parts(parts)) => parts,
    };
    let mut whole = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        match (&*part.kind, part.text) {
            ("text" | "input_text" | "output_text", Some(text)) => whole += &text,
            (kind, _) => {
                let place = format!("{place}.content[{index}]");
                let text = format!("{place} has the type {kind}; models here read text alone");
                return Err(ApiError::unsupported(place, text));
            }
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_become_turns() {
        let messages = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "And kind."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "reasoning_content": "hm"},
            {"role": "user", "content": "d"},
            {"role": "user", "content": "e"},
        ]);
        let conversation = Conversation::read(messages, "messages", 9).unwrap();
        assert_eq!(conversation.system.as_deref(), Some("Be brief.\nAnd kind."));
        assert_eq!(conversation.turns.len(), 1);
        assert_eq!((&*conversation.turns[0].user, &*conversation.turns[0].answer), ("ab", "c"));
        assert_eq!(conversation.user, "d\ne");
    }

    #[test]
    fn wrong_messages_are_named() {
        let user = json!({"role": "user", "content": "a"});
        let cases = [
            (json!([]), "messages"),
            (json!([{"role": "assistant", "content": "a"}]), "messages[0]"),
            (json!([user, {"role": "system", "content": "a"}]), "messages[1]"),
            (json!([user, {"role": "assistant", "content": "a"}]), "messages"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (json!([{"role": "tool", "content": "a"}]), "messages[0].role"),
            (json!([user, user, user, user]), "messages"),
            (json!([{"role": "user", "content": "a", "x": 1}]), "messages[0].x"),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
                "messages[0].content[0]",
            ),
        ];
        for (messages, place) in cases {
            let error = Conversation::read(messages.clone(), "messages", 3).unwrap_err();
            assert_eq!(error.json()["error"]["param"], place, "{messages}");
        }
    }
}
