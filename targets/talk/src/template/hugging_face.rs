//! Templates in the form of Hugging Face: a Jinja program that renders a whole conversation.
//!
//! The pieces of a turn are differences of whole renders:
//!
//! ```text
//! user     = render(past + question) - render(past)
//! opening  = render(past + question, add_generation_prompt) - render(past + question)
//! answered = render(past + question + answer) - render(past + question)
//! ```
//!
//! A template that renders the past in another way once more follows, or the question in another
//! way once it is answered, has no such pieces. A state cannot unread text, so it is refused.
//!
//! The program came with a model and is not trusted: its source, its steps and its output are
//! bounded, it includes no file, and it reads nothing but the conversation. A string within it is
//! bounded only by the steps that make it.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use super::built_in::without_end;
use super::{END_OF_TEXT, Past, Question, Thinking};
use crate::error::TemplateError;

/// The longest source, bytes.
pub const MAX_SOURCE: usize = 1 << 16;
/// The longest conversation that is rendered, bytes.
pub const MAX_RENDERED: usize = 1 << 24;
/// Steps of the program for a conversation without turns, and for each message more.
const FUEL: u64 = 20_000;
const FUEL_PER_MESSAGE: u64 = 2_000;
/// How templates for RWKV write the token that ends a text.
const END_OF_TEXT_LITERAL: &str = "<|rwkv_tokenizer_end_of_text|>";

/// A `chat_template`, checked on a small conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    stop: String,
    thinks: bool,
}

/// A message as templates see it.
type Message<'a> = (&'static str, &'a str);

impl ChatTemplate {
    /// Takes the source of a template and tries it on a conversation of two turns, from which it
    /// learns the text that follows an answer: that stops the next ones.
    ///
    /// # Errors
    ///
    /// When the source is too long or no template, or one whose turns are not pieces of the whole
    /// (see the [module](super)).
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::SourceLength { found: source.len() });
        }
        let mut template = Self {
            source: source.replace(END_OF_TEXT_LITERAL, &END_OF_TEXT.to_string()),
            stop: String::new(),
            thinks: false,
        };
        let asked = [("user", "Qa1")];
        let answered = [("user", "Qa1"), ("assistant", "Ab2")];
        let again = [("user", "Qa1"), ("assistant", "Ab2"), ("user", "Qc3")];
        let render = |messages: &[Message<'_>]| template.whole(messages, Thinking::None, false);
        let (one, two, three) = (render(&asked)?, render(&answered)?, render(&again)?);
        let closing = rest(&rest(&two, &one)?, "").map(after("Ab2"))??;
        let between = between(&rest(&three, &one)?, "Ab2", "Qc3")?;
        let prompt = template.whole(&asked, Thinking::None, true)?;
        let thinking = template.whole(&asked, Thinking::Full(super::Effort::Unsaid), true)?;
        rest(&three, &two)?;
        rest(&prompt, &one)?;
        template.thinks = thinking.trim_end().ends_with("<think");
        // Where only blank lines close an answer, they may stand in one, too.
        let stop = if closing.trim().is_empty() { between.trim_end() } else { closing.trim_end() };
        let stop = stop.split(END_OF_TEXT).next().unwrap_or_default();
        template.stop = stop.to_owned();
        Ok(template)
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text that ends an answer; empty where only the end of the text does.
    #[must_use]
    pub fn stop(&self) -> &str {
        &self.stop
    }

    /// True where the model thinks when it is let to.
    #[must_use]
    pub fn thinks(&self) -> bool {
        self.thinks
    }

    pub(super) fn user(&self, past: Past<'_>, question: Question<'_>) -> Piece {
        let mut messages = messages(past);
        let before = if past.turns.is_empty() {
            String::new()
        } else {
            self.whole(&messages, question.thinking, false)?
        };
        messages.push(("user", question.user));
        rest(&self.whole(&messages, question.thinking, false)?, &before)
    }

    pub(super) fn opening(&self, past: Past<'_>, question: Question<'_>) -> Piece {
        let mut messages = messages(past);
        messages.push(("user", question.user));
        let before = self.whole(&messages, question.thinking, false)?;
        rest(&self.whole(&messages, question.thinking, true)?, &before)
    }

    pub(super) fn answered(&self, past: Past<'_>, question: Question<'_>, answer: &str) -> Piece {
        let mut messages = messages(past);
        messages.push(("user", question.user));
        let before = self.whole(&messages, question.thinking, false)?;
        messages.push(("assistant", answer));
        rest(&self.whole(&messages, question.thinking, false)?, &before)
    }

    /// Renders the messages, without the end of a text that the session begins with.
    fn whole(&self, messages: &[Message<'_>], thinking: Thinking, prompt: bool) -> Piece {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL + FUEL_PER_MESSAGE * messages.len() as u64));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        // As the library that such templates are written for renders them.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(TemplateError::Jinja)?);
        environment.add_function("raise_exception", |message: String| {
            Err::<Value, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let template = environment.template_from_str(&self.source).map_err(TemplateError::Jinja)?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|&(role, content)| context! { role, content => without_end(content) })
            .collect();
        let mark = END_OF_TEXT.to_string();
        let context = context! {
            messages,
            bos_token => &mark,
            eos_token => &mark,
            add_generation_prompt => prompt,
            enable_thinking => matches!(thinking, Thinking::Full(_)),
        };
        let mut out = Bounded(Vec::new());
        template.render_captured_to(context, &mut out).map_err(TemplateError::Jinja)?;
        let text = String::from_utf8(out.0).map_err(|_| TemplateError::NotIncremental)?;
        Ok(text.strip_prefix(END_OF_TEXT).map(str::to_owned).unwrap_or(text))
    }
}

/// A piece of the whole text.
type Piece = Result<String, TemplateError>;

/// The messages of the past.
fn messages(past: Past<'_>) -> Vec<Message<'_>> {
    let system = past.system.map(|system| ("system", system));
    let turns = past.turns.iter();
    let turns = turns.flat_map(|turn| [("user", &*turn.user), ("assistant", &*turn.answer)]);
    system.into_iter().chain(turns).collect()
}

/// `whole` without the text `before` that it must begin with.
fn rest(whole: &str, before: &str) -> Piece {
    whole.strip_prefix(before).map(str::to_owned).ok_or(TemplateError::NotIncremental)
}

/// The text after `mark`.
fn after(mark: &str) -> impl Fn(String) -> Piece {
    move |text| {
        let (_, rest) = text.split_once(mark).ok_or(TemplateError::NotIncremental)?;
        Ok(rest.to_owned())
    }
}

/// The text between two marks.
fn between(text: &str, first: &str, second: &str) -> Piece {
    let rest = after(first)(text.to_owned())?;
    let (between, _) = rest.split_once(second).ok_or(TemplateError::NotIncremental)?;
    Ok(between.to_owned())
}

/// Takes [`MAX_RENDERED`] bytes and refuses more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED {
            return Err(io::Error::other("the rendered conversation is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Turn;
    use crate::template::{BuiltIn, Effort, Template};

    /// In the form that G1 models publish: the end of a text once, then the turns.
    const G1: &str = "{{ '<|rwkv_tokenizer_end_of_text|>' }}{%- for message in messages -%}
        {%- if message['role'] == 'user' -%}{{ 'User: ' + message['content'].strip() + '\\n\\n' }}
        {%- elif message['role'] == 'system' -%}{{ 'System: ' + message['content'] + '\\n\\n' }}
        {%- else -%}{{ 'Assistant: ' + message['content'] + '\\n\\n' }}{%- endif -%}
        {%- endfor -%}
        {%- if add_generation_prompt -%}
        {{ 'Assistant: <think' if enable_thinking else 'Assistant: <think>\\n</think>' }}
        {%- endif -%}";

    fn turn(user: &str, answer: &str) -> Turn {
        Turn { user: user.into(), answer: answer.into(), ..Turn::default() }
    }

    #[test]
    fn pieces_are_those_of_the_built_in_template() {
        let ours = Template::BuiltIn(BuiltIn::G1);
        let theirs = ChatTemplate::new(G1).unwrap();
        assert_eq!((theirs.stop(), theirs.thinks()), ("\n\nUser:", true));
        let theirs = Template::HuggingFace(theirs);
        let turns = [turn("a", "b"), turn("c", "d\n\n\ne"), turn("f", "g")];
        for len in 0..=turns.len() {
            let past = Past { system: None, turns: &turns[..len] };
            assert_eq!(ours.render(past).unwrap(), theirs.render(past).unwrap());
            let thinking = Thinking::Full(Effort::Unsaid);
            let question = Question { user: "x", thinking };
            assert_eq!(
                ours.opening(past, question).unwrap(),
                theirs.opening(past, question).unwrap()
            );
        }
        // The system's text is rendered with the first question.
        let past = Past { system: Some("S"), turns: &turns[..1] };
        assert_eq!(ours.render(past).unwrap(), theirs.render(past).unwrap());
    }

    #[test]
    fn a_mark_that_closes_an_answer_stops_it() {
        let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                      {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        assert_eq!(ChatTemplate::new(source).unwrap().stop(), "<|im_end|>");
    }

    #[test]
    fn work_and_size_are_bounded() {
        let endless =
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
        assert!(matches!(ChatTemplate::new(endless), Err(TemplateError::Jinja(_))));
        let long = "{% for a in range(900) %}{{ 'x' * 90000 }}{% endfor %}";
        assert!(matches!(ChatTemplate::new(long), Err(TemplateError::Jinja(_))));
        let source = " ".repeat(MAX_SOURCE + 1);
        assert!(matches!(ChatTemplate::new(&source), Err(TemplateError::SourceLength { .. })));
        let other = "{% include 'other' %}";
        assert!(matches!(ChatTemplate::new(other), Err(TemplateError::Jinja(_))));
    }

    #[test]
    fn a_template_that_changes_the_past_is_refused() {
        let last_only =
            "{% for m in messages %}{% if loop.last %}{{ m.content }}{% endif %}{% endfor %}";
        let error = ChatTemplate::new(last_only);
        assert!(matches!(error, Err(TemplateError::NotIncremental)), "{error:?}");
        let raised = "{{ raise_exception('no system') }}";
        assert!(ChatTemplate::new(raised).unwrap_err().to_string().contains("no system"));
    }
}
