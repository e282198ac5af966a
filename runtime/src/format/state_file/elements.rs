//! The elements of a state as bytes, of whichever type: the machines that go through a file in
//! pieces are compiled once for both.

use super::error::StateFileError;
use super::file::{check_finite, values};
use crate::num::state_dtype::{StateElement, f16};

/// The type of a file's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F32,
    F16,
}

impl ElementType {
    pub(super) const fn of<S: StateElement>() -> Self {
        if S::CODE == f16::CODE { Self::F16 } else { Self::F32 }
    }

    pub(super) const fn code(self) -> u32 {
        match self {
            Self::F32 => f32::CODE,
            Self::F16 => f16::CODE,
        }
    }

    /// Bytes of an element.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<f16>(),
        }
    }

    /// Refuses elements that are not finite; the first of them is number `first` of the state.
    pub(super) fn check(self, first: usize, elements: &[u8]) -> Result<(), StateFileError> {
        let checked = match self {
            Self::F32 => check_finite(values::<f32>(elements)),
            Self::F16 => check_finite(values::<f16>(elements)),
        };
        checked.map_err(|error| match error {
            StateFileError::NonFinite { index } => {
                StateFileError::NonFinite { index: first + index }
            }
            error => error,
        })
    }

    /// Refuses an engine that keeps states in another type.
    pub(super) fn check_type<S: StateElement>(self) -> Result<(), StateFileError> {
        if self == Self::of::<S>() {
            Ok(())
        } else {
            Err(StateFileError::Element { found: self.code(), expected: S::CODE })
        }
    }
}
