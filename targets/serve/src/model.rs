//! The model that is served: what the HTTP side knows of it, without its weights.

use std::sync::Arc;

use kinglet::engine::Engine;
use kinglet::format::model::{Header, Model, Section};
use kinglet::format::state_file::{StateFile, StateFileError, StateSection};
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::sampler::SamplerOptions;
use kinglet::tokenizer::Tokenizer;
use kinglet_talk::{Choice, Template, Thinking, choose};

use crate::error::ServeError;

/// The type in which the engine keeps states, and so their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateType {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits.
    F16,
}

/// A model, as clients see it.
#[derive(Clone, Debug)]
pub struct Served {
    pub(crate) id: String,
    pub(crate) header: Header,
    vocabulary: Arc<[u8]>,
    pub(crate) choice: Choice,
    pub(crate) options: SamplerOptions,
    pub(crate) end_of_turn: Option<u32>,
    pub(crate) state_type: StateType,
    pub(crate) bytes: usize,
    /// Places and tokens of a batch; known once there is an engine.
    pub(crate) slots: usize,
}

impl Served {
    /// A model under the name `id`, whose engine keeps states in `state_type`.
    ///
    /// # Errors
    ///
    /// When the model has no vocabulary, or a damaged one.
    pub fn new(
        model: &Model<'_>,
        id: impl Into<String>,
        state_type: StateType,
    ) -> Result<Self, ServeError> {
        let section = model.section(Section::Tokenizer);
        Tokenizer::parse(section)?;
        Ok(Self {
            id: id.into(),
            header: *model.header(),
            vocabulary: section.into(),
            choice: choose(model),
            options: SamplerOptions::for_model(model),
            end_of_turn: model.end_of_turn(),
            state_type,
            bytes: model.bytes().len(),
            slots: 0,
        })
    }

    /// Uses another template than the one that the model's file tells.
    #[must_use]
    pub fn with_template(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    pub(crate) fn of(self, engine: &dyn Engine) -> Self {
        Self { slots: engine.sequences().min(engine.max_batch()), ..self }
    }

    pub(crate) fn template(&self) -> &Template {
        &self.choice.template
    }

    /// The vocabulary; it takes no time to open.
    pub(crate) fn tokenizer(&self) -> Tokenizer<'_> {
        Tokenizer::parse(&self.vocabulary).expect("it was parsed when the model was taken")
    }

    /// Logits beyond the tokenizer's last id stand for nothing.
    pub(crate) fn drawable(&self) -> usize {
        self.header.shape.vocab.min(self.tokenizer().vocab_len())
    }

    /// The way to think of a request that does not say: models with thoughts answer best after an
    /// empty one.
    pub(crate) fn thinking(&self) -> Thinking {
        if self.template().thinks() { Thinking::Fast } else { Thinking::None }
    }

    /// The bytes of a token; empty where it stands for none.
    pub(crate) fn token(&self, id: u32) -> &[u8] {
        self.tokenizer().token(id).unwrap_or_default()
    }

    /// Whether a token ends a text.
    pub(crate) fn ends(&self, token: u32) -> bool {
        [self.tokenizer().end_of_text(), self.end_of_turn].contains(&Some(token))
    }

    fn start_crc(&self) -> u32 {
        self.header.section(Section::StartState).crc
    }

    /// Bytes of a state file, without the little that may follow the state.
    #[must_use]
    pub fn state_file_len(&self) -> usize {
        match self.state_type {
            StateType::F32 => StateFile::<f32>::len(&self.header.shape),
            StateType::F16 => StateFile::<f16>::len(&self.header.shape),
        }
    }

    /// The program's state file of a state, which goes on with the token `next`.
    pub(crate) fn state_file(
        &self,
        state: &[f32],
        next: Option<u32>,
    ) -> Result<Vec<u8>, StateFileError> {
        match self.state_type {
            StateType::F32 => self.emit::<f32>(state, next),
            StateType::F16 => self.emit::<f16>(state, next),
        }
    }

    fn emit<S: StateElement>(
        &self,
        state: &[f32],
        next: Option<u32>,
    ) -> Result<Vec<u8>, StateFileError> {
        let mut elements = vec![S::zeroed(); state.len()];
        S::narrow_all(state, &mut elements);
        let crc = self.start_crc().to_le_bytes();
        let sections = [(StateSection::StartState, &crc[..])];
        let len = StateFile::<S>::len(&self.header.shape) + StateFile::<S>::sections_len(&sections);
        let mut bytes = vec![0; len];
        StateFile::write_sections(&self.header, &elements, next, &sections, &mut bytes)?;
        Ok(bytes)
    }

    /// The state of a program's state file, and the token to go on with.
    pub(crate) fn open_state(
        &self,
        bytes: &[u8],
    ) -> Result<(Arc<[f32]>, Option<u32>), StateFileError> {
        match self.state_type {
            StateType::F32 => self.open::<f32>(bytes),
            StateType::F16 => self.open::<f16>(bytes),
        }
    }

    fn open<S: StateElement>(
        &self,
        bytes: &[u8],
    ) -> Result<(Arc<[f32]>, Option<u32>), StateFileError> {
        let mut elements = vec![S::zeroed(); self.header.shape.state_len()];
        let next = StateFile::read(&self.header, bytes, &mut elements)?;
        Ok((elements.into_iter().map(S::widen).collect(), next))
    }
}
