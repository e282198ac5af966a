//! A whole state file in memory, read and written.

use core::marker::PhantomData;

use super::error::StateFileError;
use super::header::{Fields, HEADER_LEN, check_len, check_next, seal};
use super::sections::{
    SECTION_HEADER_LEN, Sections, StateSection, check_order, check_sections, find_section,
    section_header,
};
use crate::format::model::Header;
use crate::format::shape::Shape;
use crate::num::state_dtype::StateElement;

/// A state file in memory that has been checked against its model, of an engine
/// that keeps states in `S`.
///
/// ```
/// use kinglet::{format::model::Model, format::state_file::StateFile};
///
/// # let bytes = kinglet_stories::MODEL;
/// let model = Model::open(bytes)?;
/// let state = vec![0.5; model.shape().state_len()];
/// let mut file = vec![0; StateFile::<f32>::len(model.shape())];
/// StateFile::write(model.header(), &state, Some(17), &mut file)?;
///
/// let mut restored = vec![0.0; state.len()];
/// let next = StateFile::read(model.header(), &file, &mut restored)?;
/// assert_eq!((restored, next), (state, Some(17)));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StateFile<'a, S = f32> {
    /// The elements as they lie in the file: finite.
    elements: &'a [u8],
    /// What follows them: sections.
    sections: &'a [u8],
    next: Option<u32>,
    element: PhantomData<S>,
}

impl<'a, S: StateElement> StateFile<'a, S> {
    /// Bytes of the state file of a model of this shape, without sections.
    pub const fn len(shape: &Shape) -> usize {
        HEADER_LEN + size_of::<S>() * shape.state_len()
    }

    /// Bytes that `sections` add to it.
    pub fn sections_len(sections: Sections<'_>) -> usize {
        sections.iter().map(|(_, bytes)| SECTION_HEADER_LEN + bytes.len()).sum()
    }

    /// Checks that `bytes` are a state file of `model`.
    ///
    /// # Errors
    ///
    /// When they are not, are damaged, belong to a model with other weights, or
    /// to an engine that keeps states in another type.
    pub fn parse(model: &Header, bytes: &'a [u8]) -> Result<Self, StateFileError> {
        let Some((header, elements)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(StateFileError::TooShort { found: bytes.len() });
        };
        let fields = Fields::parse(header)?;
        if fields.element != S::CODE {
            return Err(StateFileError::Element { found: fields.element, expected: S::CODE });
        }
        let (elements, sections) = fields.split(header, elements, size_of::<S>())?;
        fields.check(model)?;
        check_finite(values::<S>(elements))?;
        check_sections(sections, (HEADER_LEN + elements.len()) as u64)?;
        Ok(Self { elements, sections, next: fields.next_token(), element: PhantomData })
    }

    /// The bytes of a section, where the file has it.
    pub fn section(&self, section: StateSection) -> Option<&'a [u8]> {
        find_section(self.sections, section)
    }

    /// The token to feed first, where the sequence stopped at one.
    pub const fn next_token(&self) -> Option<u32> {
        self.next
    }

    /// The bytes of the state: finite elements.
    pub(crate) fn elements(&self) -> &'a [u8] {
        self.elements
    }

    /// The state, in place.
    ///
    /// # Errors
    ///
    /// When the file does not lie at a multiple of an element's size in memory.
    pub fn values(&self) -> Result<&'a [S], StateFileError> {
        bytemuck::try_cast_slice(self.elements).map_err(|_| misaligned::<S>())
    }

    /// Checks `bytes` and copies the state to `state`, of [`Shape::state_len`];
    /// returns the next token. After an error `state` is as it was.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and when `state` has another length.
    pub fn read(
        model: &Header,
        bytes: &[u8],
        state: &mut [S],
    ) -> Result<Option<u32>, StateFileError> {
        check_len(model, state.len())?;
        let file = StateFile::<S>::parse(model, bytes)?;
        for (value, found) in state.iter_mut().zip(values(file.elements)) {
            *value = found;
        }
        Ok(file.next)
    }

    /// Writes the state file of `state` to the front of `out`, which has at
    /// least [`len`](Self::len) bytes; returns their number.
    ///
    /// # Errors
    ///
    /// When a length is wrong, a value is not finite, or `next` is outside the
    /// vocabulary; `out` is then as it was.
    pub fn write(
        model: &Header,
        state: &[S],
        next: Option<u32>,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        Self::write_sections(model, state, next, &[], out)
    }

    /// [`write`](Self::write) with sections after the state: `out` has room for
    /// [`sections_len`](Self::sections_len) bytes more. A file with sections is one of version
    /// 1.1, which a reader of 1.0 refuses; without them it is the same as before.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and when the kinds do not ascend or are too many.
    pub fn write_sections(
        model: &Header,
        state: &[S],
        next: Option<u32>,
        sections: Sections<'_>,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        check_len(model, state.len())?;
        check_next(model, next)?;
        check_finite(state.iter().copied())?;
        check_order(sections, Self::len(&model.shape))?;
        let (header, elements, rest) = parts::<S>(model, Self::sections_len(sections), out)?;
        elements.copy_from_slice(bytemuck::cast_slice(state));
        let mut at = 0;
        for (section, bytes) in sections {
            for bytes in [&section_header(section.code(), bytes.len()), *bytes] {
                rest[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
            }
        }
        Ok(seal::<S>(model, next, header, elements, rest))
    }

    /// [`write`](Self::write) without a second copy of the state: `store`
    /// writes all of it into the file in place.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), what `store` says, and when the file does not
    /// lie at a multiple of an element's size in memory. After an error of `store` or
    /// a value that is not finite `out` is no state file; otherwise it is as it was.
    pub fn write_with<E: From<StateFileError>>(
        model: &Header,
        next: Option<u32>,
        out: &mut [u8],
        store: impl FnOnce(&mut [S]) -> Result<(), E>,
    ) -> Result<usize, E> {
        check_next(model, next)?;
        let (header, elements, _) = parts::<S>(model, 0, out)?;
        let values: &mut [S] =
            bytemuck::try_cast_slice_mut(elements).map_err(|_| misaligned::<S>())?;
        header.fill(0);
        store(values)?;
        check_finite(values.iter().copied())?;
        Ok(seal::<S>(model, next, header, elements, &[]))
    }
}

/// A file to be written: its header, its elements, and the bytes of its sections.
type FileParts<'o> = (&'o mut [u8; HEADER_LEN], &'o mut [u8], &'o mut [u8]);

/// The parts of a file at the front of `out`, with `extra` bytes of sections.
fn parts<'o, S: StateElement>(
    model: &Header,
    extra: usize,
    out: &'o mut [u8],
) -> Result<FileParts<'o>, StateFileError> {
    let (found, len) = (out.len(), StateFile::<S>::len(&model.shape));
    let needed = len.saturating_add(extra);
    let file = out.get_mut(..needed).and_then(|file| file.split_first_chunk_mut());
    let (header, rest) = file.ok_or(StateFileError::Buffer { found, needed })?;
    let (elements, sections) = rest.split_at_mut(len - HEADER_LEN);
    Ok((header, elements, sections))
}

/// The values of a file's elements, wherever they lie.
pub(super) fn values<S: StateElement>(elements: &[u8]) -> impl Iterator<Item = S> {
    elements.chunks_exact(size_of::<S>()).map(bytemuck::pod_read_unaligned)
}

fn misaligned<S>() -> StateFileError {
    StateFileError::Misaligned { expected: align_of::<S>() }
}

pub(super) fn check_finite<S: StateElement>(
    mut values: impl Iterator<Item = S>,
) -> Result<(), StateFileError> {
    match values.position(|value| !value.finite()) {
        Some(index) => Err(StateFileError::NonFinite { index }),
        None => Ok(()),
    }
}
