//! State files, of engines of either type.

use std::path::Path;

use anyhow::{Result, anyhow};
use kinglet::format::model::{Header, Section};
use kinglet::format::state_file::{StateFile, StateFileError, StateSection};
use kinglet::num::state_dtype::{StateElement, f16};

use crate::args::StateType;
use crate::support::input;

/// Most bytes of the sections after the state: a session's text is the longest of them.
const MAX_SECTIONS_LEN: u64 = 64 << 20;

/// A state, where it stands, and what goes on with it.
#[derive(Debug, Default)]
pub(crate) struct SavedState {
    /// `[layer]` of the architecture's layer state, as an engine of the type has it.
    pub(crate) values: Vec<f32>,
    /// The token to go on with.
    pub(crate) next: Option<u32>,
    /// The end of the text so far that is no whole character, and was not shown.
    pub(crate) unfinished: Vec<u8>,
    /// The sampler's generator and counts.
    pub(crate) sampler: Option<Vec<u8>>,
    /// CRC-32 of the start state of the model that it was saved with.
    pub(crate) start_state: Option<u32>,
}

impl SavedState {
    /// Reads the file of an engine that keeps states in `state_type`.
    pub(crate) fn read(state_type: StateType, model: &Header, path: &Path) -> Result<Self> {
        let len = match state_type {
            StateType::F32 => StateFile::<f32>::len(&model.shape),
            StateType::F16 => StateFile::<f16>::len(&model.shape),
        };
        // A file of the other type is to be told by its header, not by its length.
        let most = 2 * len as u64 + MAX_SECTIONS_LEN;
        let bytes = input::read(path, most, "a state of this model")?;
        let saved = match state_type {
            StateType::F32 => Self::parse::<f32>(model, &bytes),
            StateType::F16 => Self::parse::<f16>(model, &bytes),
        };
        saved.map_err(|error| {
            let hint = match error {
                StateFileError::Element { found: f32::CODE, .. } => " (--state-type f32)",
                StateFileError::Element { found: f16::CODE, .. } => " (--state-type f16)",
                _ => "",
            };
            anyhow!("{}: {error}{hint}", path.display())
        })
    }

    fn parse<S: StateElement>(model: &Header, bytes: &[u8]) -> Result<Self, StateFileError> {
        let file = StateFile::<S>::parse(model, bytes)?;
        let mut elements = vec![S::zeroed(); model.shape.state_len()];
        StateFile::read(model, bytes, &mut elements)?;
        let section = |section| file.section(section).map(<[u8]>::to_vec);
        let start_state = file.section(StateSection::StartState);
        Ok(Self {
            values: elements.into_iter().map(S::widen).collect(),
            next: file.next_token(),
            unfinished: section(StateSection::UnfinishedBytes).unwrap_or_default(),
            sampler: section(StateSection::Sampler),
            start_state: start_state.and_then(|crc| Some(u32::from_le_bytes(crc.try_into().ok()?))),
        })
    }

    /// The CRC-32 of a model's start state, 0 where it has none.
    pub(crate) fn start_state_of(model: &Header) -> u32 {
        model.section(Section::StartState).crc
    }

    /// The bytes of the file of an engine that keeps states in `state_type`: f16 takes
    /// values as the engine does, to the nearest that it has.
    pub(crate) fn bytes(
        &self,
        state_type: StateType,
        model: &Header,
    ) -> Result<Vec<u8>, StateFileError> {
        match state_type {
            StateType::F32 => self.emit::<f32>(model),
            StateType::F16 => self.emit::<f16>(model),
        }
    }

    fn emit<S: StateElement>(&self, model: &Header) -> Result<Vec<u8>, StateFileError> {
        let mut elements = vec![S::zeroed(); self.values.len()];
        S::narrow_all(&self.values, &mut elements);
        let start_state = self.start_state.map(u32::to_le_bytes);
        let mut sections: Vec<(StateSection, &[u8])> = Vec::new();
        if !self.unfinished.is_empty() {
            sections.push((StateSection::UnfinishedBytes, &self.unfinished));
        }
        if let Some(sampler) = &self.sampler {
            sections.push((StateSection::Sampler, sampler));
        }
        if let Some(crc) = &start_state {
            sections.push((StateSection::StartState, crc));
        }
        let len = StateFile::<S>::len(&model.shape) + StateFile::<S>::sections_len(&sections);
        let mut bytes = vec![0; len];
        StateFile::write_sections(model, &elements, self.next, &sections, &mut bytes)?;
        Ok(bytes)
    }
}
