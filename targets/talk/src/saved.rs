//! A conversation as a file: a state file of version 1.1 with the text of the session.
//!
//! The sections of the [state file](kinglet::format::state_file):
//!
//! | section | content |
//! |---|---|
//! | unfinished bytes | the end of a plain text that is no whole character, where it has one |
//! | sampler | generator and counts |
//! | start state | CRC-32 of the model's start state section |
//! | text | the conversation, JSON in UTF-8 |
//!
//! # The text, version 1
//!
//! ```json
//! {"session": 1, "template": "g1", "system": "Be brief.",
//!  "turns": [{"user": "Hi", "thinking": "full", "thought": "A greeting.", "answer": "Hello!",
//!             "tokens": [33155, 45], "ended": false}]}
//! ```
//!
//! * `session`: the version; a reader refuses a newer one, and skips fields that it does not know
//! * `template`: the name of a built-in template, or `{"chat_template": SOURCE}`
//! * `system`: left out where there is none
//! * `thinking`: a name of [`Thinking::ALL`], `none` where it is left out
//! * `tokens`: what the model wrote, thought and answer; an answer goes on from them
//! * `ended`: whether the model ended the text after it
//! * `settings`: how the session answers, `{"thinking": "fast", "thought_tokens": 200,
//!   "answer_tokens": 2048, "stops": ["###"], "grammar": [107, 103, 114, 109, ...], "sampling":
//!   {"temperature": 1.0, ...}}`; left out by programs that have none. `grammar` are the bytes of a
//!   [table](kinglet::grammar), left out where answers are free
//!
//! The state is the one after the last turn, and the state file has no next token.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use kinglet::format::state_file::StateSection;
use kinglet::num::state_dtype::StateElement;
use kinglet::{Model, Sampler, SamplerOptions, Section, StateFile};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::branch::Branch;
use crate::error::SaveError;
use crate::grammar::OwnedGrammar;
use crate::session::{Settings, Turn};
use crate::template::{ChatTemplate, Template, Thinking};

/// The version of the text.
const VERSION: u32 = 1;
/// Most bytes of a file beyond the state.
const MAX_SECTIONS: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct SavedText<'a> {
    session: u32,
    template: SavedTemplate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    turns: Vec<SavedTurn<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<SavedSettings>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SavedTemplate {
    Named(String),
    HuggingFace { chat_template: String },
}

#[derive(Serialize, Deserialize)]
struct SavedTurn<'a> {
    user: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    thought: Cow<'a, str>,
    answer: Cow<'a, str>,
    tokens: Cow<'a, [u32]>,
    #[serde(default)]
    ended: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedSettings {
    thinking: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thought_tokens: Option<usize>,
    answer_tokens: usize,
    #[serde(default)]
    stops: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grammar: Option<Vec<u8>>,
    sampling: SavedSampling,
}

#[derive(Serialize, Deserialize)]
struct SavedSampling {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    presence: f32,
    frequency: f32,
    penalty_decay: f32,
}

impl Branch {
    /// The bytes of the file, of an engine that keeps states in `S`.
    ///
    /// # Errors
    ///
    /// When the state is not one of the model.
    pub fn to_bytes<S: StateElement>(&self, model: &Model<'_>) -> Result<Vec<u8>, SaveError> {
        let text = serde_json::to_vec(&self.saved_text());
        let text = text.map_err(|error| SaveError::Text(error.to_string()))?;
        let start = start_crc(model).to_le_bytes();
        let mut sections = vec![
            (StateSection::UnfinishedBytes, &*self.unfinished),
            (StateSection::Sampler, &*self.sampler),
            (StateSection::StartState, &start),
            (StateSection::Text, &text),
        ];
        sections.retain(|(_, bytes)| !bytes.is_empty());
        let mut state = vec![S::zeroed(); self.state.len()];
        S::narrow_all(&self.state, &mut state);
        let len = StateFile::<S>::len(model.shape()) + StateFile::<S>::sections_len(&sections);
        let mut bytes = vec![0; len];
        StateFile::write_sections(model.header(), &state, None, &sections, &mut bytes)?;
        Ok(bytes)
    }

    /// The conversation in a file of an engine that keeps states in `S`.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged, belong to another model or another type of state, or hold no
    /// session.
    pub fn from_bytes<S: StateElement>(model: &Model<'_>, bytes: &[u8]) -> Result<Self, SaveError> {
        let file = StateFile::<S>::parse(model.header(), bytes)?;
        let text = file.section(StateSection::Text).ok_or(SaveError::NoSession)?;
        let start = file.section(StateSection::StartState).ok_or(SaveError::NoSession)?;
        let sampler = file.section(StateSection::Sampler).ok_or(SaveError::NoSession)?;
        if start != start_crc(model).to_le_bytes() {
            return Err(SaveError::StartState);
        }
        let vocab = model.shape().vocab;
        let counts = vec![0.0; vocab];
        let probe = Sampler::with_counts(SamplerOptions::default(), 0, counts);
        probe.map_err(|error| SaveError::Text(error.to_string()))?.restore(sampler)?;
        let mut elements = vec![S::zeroed(); model.shape().state_len()];
        StateFile::read(model.header(), bytes, &mut elements)?;
        let unfinished = file.section(StateSection::UnfinishedBytes).unwrap_or_default();
        let text: SavedText<'_> =
            serde_json::from_slice(text).map_err(|error| SaveError::Text(error.to_string()))?;
        if text.session > VERSION {
            let version = text.session;
            return Err(SaveError::Text(format!("version {version} is newer than {VERSION}")));
        }
        Ok(Self {
            template: text.template.open()?,
            system: text.system,
            turns: text.turns.into_iter().map(|turn| turn.open(vocab)).collect::<Result<_, _>>()?,
            state: elements.into_iter().map(S::widen).collect(),
            sampler: sampler.to_vec(),
            unfinished: unfinished.to_vec(),
            settings: text.settings.map(SavedSettings::open).transpose()?,
        })
    }

    /// Writes the file whole or not at all: beside `path`, then renamed.
    ///
    /// # Errors
    ///
    /// When the state is not one of the model, or the file cannot be written; the file that was
    /// there is then as it was.
    pub fn save<S: StateElement>(&self, model: &Model<'_>, path: &Path) -> Result<(), SaveError> {
        let bytes = self.to_bytes::<S>(model)?;
        replace(path, &bytes).map_err(|error| file_error(path, error))
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// As [`from_bytes`](Self::from_bytes), and when it cannot be read.
    pub fn load<S: StateElement>(model: &Model<'_>, path: &Path) -> Result<Self, SaveError> {
        let most = StateFile::<S>::len(model.shape()) as u64 + MAX_SECTIONS;
        let bytes = read(path, most).map_err(|error| file_error(path, error))?;
        Self::from_bytes::<S>(model, &bytes)
    }

    fn saved_text(&self) -> SavedText<'_> {
        let turns = self.turns.iter().map(|turn| SavedTurn {
            user: (&*turn.user).into(),
            thinking: (turn.thinking != Thinking::None).then(|| turn.thinking.name().into()),
            thought: (&*turn.thought).into(),
            answer: (&*turn.answer).into(),
            tokens: (&*turn.tokens).into(),
            ended: turn.ended,
        });
        let template = match &self.template {
            Template::BuiltIn(template) => SavedTemplate::Named(template.name().to_owned()),
            Template::HuggingFace(template) => {
                SavedTemplate::HuggingFace { chat_template: template.source().to_owned() }
            }
        };
        let (turns, settings) = (turns.collect(), self.settings.as_ref().map(SavedSettings::of));
        SavedText { session: VERSION, template, system: self.system.clone(), turns, settings }
    }
}

impl SavedSettings {
    fn of(settings: &Settings) -> Self {
        let SamplerOptions { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay } =
            settings.sampling;
        Self {
            thinking: settings.thinking.name().to_owned(),
            thought_tokens: settings.thought_tokens,
            answer_tokens: settings.answer_tokens,
            stops: settings.stops.clone(),
            grammar: settings.grammar.as_ref().map(|grammar| grammar.table().to_vec()),
            sampling: SavedSampling {
                temperature,
                top_k,
                top_p,
                min_p,
                presence,
                frequency,
                penalty_decay,
            },
        }
    }

    fn open(self) -> Result<Settings, SaveError> {
        let SavedSampling { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay } =
            self.sampling;
        Ok(Settings {
            thinking: thinking(&self.thinking)?,
            thought_tokens: self.thought_tokens,
            answer_tokens: self.answer_tokens,
            stops: self.stops,
            grammar: self.grammar.map(OwnedGrammar::new).transpose()?,
            sampling: SamplerOptions {
                temperature,
                top_k,
                top_p,
                min_p,
                presence,
                frequency,
                penalty_decay,
            },
        })
    }
}

/// The way to think of that name.
fn thinking(name: &str) -> Result<Thinking, SaveError> {
    let way = Thinking::named(name);
    way.ok_or_else(|| SaveError::Text(format!("there is no way \"{name}\" to think")))
}

impl SavedTemplate {
    fn open(self) -> Result<Template, SaveError> {
        match self {
            Self::Named(name) => Template::named(&name)
                .ok_or_else(|| SaveError::Text(format!("there is no template \"{name}\""))),
            Self::HuggingFace { chat_template } => {
                Ok(Template::HuggingFace(ChatTemplate::new(&chat_template)?))
            }
        }
    }
}

impl SavedTurn<'_> {
    fn open(self, vocab: usize) -> Result<Turn, SaveError> {
        if let Some(token) = self.tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(SaveError::Text(format!("token {token} is outside the vocabulary")));
        }
        Ok(Turn {
            user: self.user.into_owned(),
            thinking: thinking(self.thinking.as_deref().unwrap_or("none"))?,
            thought: self.thought.into_owned(),
            answer: self.answer.into_owned(),
            tokens: self.tokens.into_owned(),
            ended: self.ended,
        })
    }
}

/// CRC-32 of the model's start state, 0 where it has none.
fn start_crc(model: &Model<'_>) -> u32 {
    if model.section(Section::StartState).is_empty() {
        0
    } else {
        model.header().section(Section::StartState).crc
    }
}

fn file_error(path: &Path, error: io::Error) -> SaveError {
    SaveError::File { path: path.to_owned(), error }
}

/// Puts `bytes` in the place of the file at `path`. Nobody but the user may read it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = NamedTempFile::with_prefix_in(".kinglet-", folder)?;
    file.write_all(bytes)?;
    // A rename may reach the disk before the bytes do.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself is on disk with the folder; some systems cannot open one.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The bytes of the file at `path`, if they are no more than `most`.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a session"));
    }
    Ok(bytes)
}
