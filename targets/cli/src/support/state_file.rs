//! State files, of engines of either type.

use std::path::Path;

use anyhow::{Result, anyhow};
use kinglet::format::model::Header;
use kinglet::format::state_file::{StateFile, StateFileError};
use kinglet::num::state_dtype::{StateElement, f16};

use crate::args::StateType;
use crate::support::model;

/// A state and where it stands.
pub(crate) struct SavedState {
    /// `[layer]` of the architecture's layer state, as an engine of the type has it.
    pub(crate) values: Vec<f32>,
    /// The token to go on with.
    pub(crate) next: Option<u32>,
}

impl SavedState {
    /// Reads the file of an engine that keeps states in `state_type`.
    pub(crate) fn read(state_type: StateType, model: &Header, path: &Path) -> Result<Self> {
        let bytes = model::read(path)?;
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
        let mut elements = vec![S::zeroed(); model.shape.state_len()];
        let next = StateFile::read(model, bytes, &mut elements)?;
        Ok(Self { values: elements.into_iter().map(S::widen).collect(), next })
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
        let mut bytes = vec![0; StateFile::<S>::len(&model.shape)];
        StateFile::write(model, &elements, self.next, &mut bytes)?;
        Ok(bytes)
    }
}
