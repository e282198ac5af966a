//! States on their way between an engine and a file, whole or in pieces.
//!
//! No way needs a second copy of the state: a file is checked where the state lies, and its bytes
//! go from there to the caller's buffer, as long as a page of flash, say. In pieces, each call takes
//! a time that follows from the bytes that the caller names: about 6 instructions a byte on a
//! Cortex-M4. A reset, after a load that failed, is a piece by itself.
//!
//! The file is that of [`StateFile`], byte for byte, however it is written.

use core::mem;

use super::cpu::state_run;
use super::{Cpu, Engine, StateError};
use crate::format::Progress;
use crate::format::shape::Shape;
use crate::format::state_file::{
    HEADER_LEN, KeptSections, Sections, StateDecoder, StateEncoder, StateFile, StateFileError,
    StatePiece, StateSection,
};
use crate::kernels::Kernels;
use crate::num::state_dtype::StateElement;

impl From<StateError> for StateFileError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Sequence { found, sequences } => Self::Sequence { found, sequences },
            StateError::Len { found, needed } => Self::Elements { found, expected: needed },
            StateError::NonFinite { index } => Self::NonFinite { index },
            StateError::Unfinished { .. } => Self::NonFinite { index: 0 },
            StateError::Device => Self::Device,
        }
    }
}

impl<'a, K: Kernels, S: StateElement> Cpu<'a, K, S> {
    /// Bytes of the state file of a sequence with `sections` after its state.
    pub fn state_file_len(&self, sections: Sections<'_>) -> usize {
        StateFile::<S>::len(self.shape()) + StateFile::<S>::sections_len(sections)
    }

    /// The state of `sequence` where it lies: the elements from number `at` on that lie together.
    /// They are all that are left where the engine has one sequence, and fewer where it has
    /// several; none at the end of the state.
    ///
    /// # Errors
    ///
    /// When there is no such sequence.
    pub fn state_from(&self, sequence: usize, at: usize) -> Result<&[S], StateError> {
        let len = self.shape().state_len();
        self.check_sequence(sequence, len)?;
        if at >= len {
            return Ok(&[]);
        }
        Ok(&self.states[state_run(self.shape(), self.sequences, sequence, at)])
    }

    /// Writes the state file of `sequence` to the front of `out`, which has at least
    /// [`state_file_len`](Self::state_file_len) bytes, wherever it lies; returns their number.
    /// `next` and `sections` are as in [`StateFile::write_sections`].
    ///
    /// # Errors
    ///
    /// When there is no such sequence, a value is not finite, `out` is too short, `next` is outside
    /// the vocabulary, or the kinds do not ascend or are too many; `out` is then as it was.
    pub fn save_state(
        &self,
        sequence: usize,
        next: Option<u32>,
        sections: Sections<'_>,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        let mut writer = self.state_writer(sequence, next, sections)?;
        let (found, needed) = (out.len(), writer.len());
        let out = out.get_mut(..needed).ok_or(StateFileError::Buffer { found, needed })?;
        let _ = writer.check(usize::MAX)?;
        writer.read(0, out)
    }

    /// Goes on with `sequence` from a whole state file, wherever it lies; it has the next token and
    /// the sections.
    ///
    /// # Errors
    ///
    /// When there is no such sequence, or as [`StateFile::parse`]; the sequence is then as it was.
    pub fn restore_state<'f>(
        &mut self,
        sequence: usize,
        file: &'f [u8],
    ) -> Result<StateFile<'f, S>, StateFileError> {
        self.check_sequence(sequence, self.shape().state_len())?;
        let file = StateFile::parse(self.model().header(), file)?;
        self.put_state(sequence, 0, file.elements());
        Ok(file)
    }

    /// The state file of `sequence`, to be written in pieces while the engine is borrowed.
    /// Sections lie with the caller until it is written; that of a sampler takes 8 bytes, and 8 for
    /// each token that was counted.
    ///
    /// # Errors
    ///
    /// When there is no such sequence, `next` is outside the vocabulary, or the kinds do not ascend
    /// or are too many.
    pub fn state_writer<'e, 's>(
        &'e self,
        sequence: usize,
        next: Option<u32>,
        sections: &[(StateSection, &'s [u8])],
    ) -> Result<StateWriter<'e, 'a, 's, K, S>, StateFileError> {
        self.check_sequence(sequence, self.shape().state_len())?;
        let encoder = StateEncoder::new::<S>(self.model().header(), next, sections)?;
        Ok(StateWriter { engine: self, sequence, encoder })
    }

    /// A state file of `len` bytes that begins with `header`, to be loaded into `sequence` in
    /// pieces while the engine is borrowed.
    ///
    /// # Errors
    ///
    /// When there is no such sequence, or the header is not one of a state file of that length for
    /// this engine; the sequence is then as it was.
    pub fn state_loader<'e, 'b>(
        &'e mut self,
        sequence: usize,
        header: &[u8; HEADER_LEN],
        len: usize,
    ) -> Result<StateLoader<'e, 'a, 'b, K, S>, StateFileError> {
        self.check_sequence(sequence, self.shape().state_len())?;
        let decoder = StateDecoder::new::<S>(self.model().header(), header, len)?;
        Ok(StateLoader { engine: self, sequence, decoder, sections: KeptSections::default() })
    }

    /// [`StateWriter::check`] without a borrow between the calls: the caller sees to it that the
    /// state stays as it is from the first call to the last
    /// [`read_state`](Self::read_state), or the file's checksum is wrong.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::check`], and when the sequence, or the type or length of the state, is another one.
    pub fn check_state(
        &self,
        sequence: usize,
        encoder: &mut StateEncoder<'_>,
        bytes: usize,
    ) -> Result<Progress, StateFileError> {
        self.check_sequence(sequence, self.shape().state_len())?;
        check_elements::<S>(self.shape(), encoder.state_end())?;
        encoder.check::<S>(&|at| self.state_bytes(sequence, at), bytes)
    }

    /// [`StateWriter::read`] without a borrow between the calls.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::read`], and when the sequence, or the type or length of the state, is another one.
    pub fn read_state(
        &self,
        sequence: usize,
        encoder: &StateEncoder<'_>,
        offset: usize,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        self.check_sequence(sequence, self.shape().state_len())?;
        check_elements::<S>(self.shape(), encoder.state_end())?;
        encoder.read::<S>(&|at| self.state_bytes(sequence, at), offset, out)
    }

    /// [`StateLoader::feed`] without a borrow between the calls: until the file is complete the
    /// sequence stands nowhere, and the caller sees to it that nothing is computed from it. A load
    /// that is given up is followed by [`reset`](Engine::reset).
    ///
    /// # Errors
    ///
    /// As [`StateLoader::feed`], and when the sequence, or the type or length of the state, is another one.
    pub fn feed_state(
        &mut self,
        sequence: usize,
        decoder: &mut StateDecoder,
        sections: &mut KeptSections<'_>,
        bytes: &[u8],
    ) -> Result<Progress, StateFileError> {
        self.check_sequence(sequence, self.shape().state_len())?;
        decoder.check_type::<S>()?;
        check_elements::<S>(self.shape(), decoder.state_end())?;
        if let Some(error) = decoder.refused() {
            return Err(error);
        }
        let fed = decoder.feed(bytes, &mut |piece| match piece {
            StatePiece::Elements { at, bytes } => {
                self.put_state(sequence, at, bytes);
                Ok(())
            }
            piece => sections.take(piece),
        });
        if fed.is_err() {
            self.reset(sequence)?;
        }
        fed
    }

    /// The bytes of a sequence's state from one on that lie together.
    fn state_bytes(&self, sequence: usize, at: usize) -> &[u8] {
        let (element, byte) = (at / size_of::<S>(), at % size_of::<S>());
        let run = state_run(self.shape(), self.sequences, sequence, element);
        &bytemuck::cast_slice(&self.states[run])[byte..]
    }

    /// Puts the bytes of finite elements into a sequence's state, from byte `at` on, where an
    /// element begins.
    fn put_state(&mut self, sequence: usize, at: usize, bytes: &[u8]) {
        let (mut at, mut rest) = (at / size_of::<S>(), bytes);
        while !rest.is_empty() {
            let run = state_run(self.model().shape(), self.sequences, sequence, at);
            let kept: &mut [u8] = bytemuck::cast_slice_mut(&mut self.states[run]);
            let len = kept.len().min(rest.len());
            let (now, later) = rest.split_at(len);
            kept[..len].copy_from_slice(now);
            (at, rest) = (at + len / size_of::<S>(), later);
        }
    }
}

/// Refuses a file whose state ends at `end` where that is not one of this shape.
fn check_elements<S: StateElement>(shape: &Shape, end: usize) -> Result<(), StateFileError> {
    let (found, expected) = ((end - HEADER_LEN) / size_of::<S>(), shape.state_len());
    if found == expected { Ok(()) } else { Err(StateFileError::Elements { found, expected }) }
}

/// The state file of a sequence on its way out, in pieces, without a second copy of the state.
///
/// First the whole file is checked; then its bytes are read, in any order:
///
/// ```
/// use kinglet::{Cpu, Engine, Model, Requirements, Scalar};
///
/// # let model = Model::open(kinglet_stories::MODEL)?;
/// # let needs = Requirements::of::<f32>(model.shape(), 1);
/// # let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
/// # let engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
/// # let mut flash = vec![0xFF; engine.state_file_len(&[]).next_multiple_of(256)];
/// # let mut feed_the_watchdog = || {};
/// let mut writer = engine.state_writer(0, Some(17), &[])?;
/// while !writer.check(4096)?.is_complete() {
///     feed_the_watchdog();
/// }
/// // Now the flash may be erased. The page with the header comes last: until then no file is there.
/// let mut page = [0xFF; 256];
/// for offset in (0..writer.len()).step_by(page.len()).rev() {
///     let len = writer.read(offset, &mut page)?;
///     flash[offset..offset + len].copy_from_slice(&page[..len]);
///     feed_the_watchdog();
/// }
/// # let mut whole = vec![0; engine.state_file_len(&[])];
/// # engine.save_state(0, Some(17), &[], &mut whole)?;
/// # assert_eq!(whole, flash[..whole.len()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StateWriter<'e, 'a, 's, K, S> {
    engine: &'e Cpu<'a, K, S>,
    sequence: usize,
    encoder: StateEncoder<'s>,
}

impl<K: Kernels, S: StateElement> StateWriter<'_, '_, '_, K, S> {
    /// Bytes of the file.
    #[expect(clippy::len_without_is_empty, reason = "a file has a header")]
    pub const fn len(&self) -> usize {
        self.encoder.len()
    }

    /// Checks `bytes` more bytes of the file: that values are finite, and what their checksum is.
    /// At least one element, and up to 7 bytes more.
    ///
    /// # Errors
    ///
    /// When a value is not finite; the state cannot be saved then.
    pub fn check(&mut self, bytes: usize) -> Result<Progress, StateFileError> {
        self.engine.check_state(self.sequence, &mut self.encoder, bytes)
    }

    /// Copies the bytes of the file from `offset` on to `out`, as many as there are; returns their
    /// number, which is 0 beyond the end.
    ///
    /// # Errors
    ///
    /// [`StateFileError::Incomplete`] before the whole file has been checked.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<usize, StateFileError> {
        self.engine.read_state(self.sequence, &self.encoder, offset, out)
    }
}

/// A state file on its way into a sequence, in pieces of any size.
///
/// Until the last piece has come the sequence stands nowhere; the engine is borrowed, so that nothing
/// is computed from it. When the file is refused, or the loader is dropped before the end, the
/// sequence is [reset](Engine::reset); before the first piece it is as it was. A file that can be
/// read twice is [checked](StateDecoder) first, so that the sequence stays where it was when the
/// file is damaged. A loader that is leaked (`core::mem::forget`) resets nothing.
///
/// ```
/// use kinglet::format::state_file::StateSection;
/// use kinglet::{Cpu, Engine, Model, Requirements, Sampler, Scalar};
///
/// # let model = Model::open(kinglet_stories::MODEL)?;
/// # let needs = Requirements::of::<f32>(model.shape(), 1);
/// # let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
/// # let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
/// # let mut sampler = Sampler::new(Default::default(), 1)?;
/// # let mut snapshot = [0; 8];
/// # sampler.snapshot(&mut snapshot)?;
/// # let sections = [(StateSection::Sampler, &snapshot[..])];
/// # let mut file = vec![0; engine.state_file_len(&sections)];
/// # engine.save_state(0, Some(17), &sections, &mut file)?;
/// # let mut feed_the_watchdog = || {};
/// let (header, rest) = file.split_first_chunk().ok_or("no header")?;
/// let mut room = [0; 16];
/// let loader = engine.state_loader(0, header, file.len())?;
/// let mut loader = loader.keeping(&[StateSection::Sampler], &mut room);
/// for piece in rest.chunks(4096) {
///     let _ = loader.feed(piece)?;
///     feed_the_watchdog();
/// }
/// let (next, sections) = loader.finish()?;
/// sampler.restore(sections.section(StateSection::Sampler).ok_or("no sampler")?)?;
/// # assert_eq!(next, Some(17));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StateLoader<'e, 'a, 'b, K: Kernels, S: StateElement> {
    engine: &'e mut Cpu<'a, K, S>,
    sequence: usize,
    decoder: StateDecoder,
    sections: KeptSections<'b>,
}

impl<'b, K: Kernels, S: StateElement> StateLoader<'_, '_, 'b, K, S> {
    /// Keeps the sections that are `wanted` in `buffer`: 8 bytes and its own for each. Without
    /// this, sections are checked and passed over.
    #[must_use]
    pub fn keeping(mut self, wanted: &'b [StateSection], buffer: &'b mut [u8]) -> Self {
        self.sections = KeptSections::new(wanted, buffer);
        self
    }

    /// Takes in the bytes of the file that follow.
    ///
    /// # Errors
    ///
    /// When they are more than are left, a value is not finite, a section is not in the form of the
    /// format or has no room, or, with the last byte, the checksum is another one. The sequence is
    /// then at its start, and the file is refused: what follows has the same error.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, StateFileError> {
        self.engine.feed_state(self.sequence, &mut self.decoder, &mut self.sections, bytes)
    }

    /// The token to feed first, where the sequence stopped at one, and the sections that were kept.
    ///
    /// # Errors
    ///
    /// [`StateFileError::Incomplete`] before the whole file has been loaded, or why it was refused;
    /// the sequence is then at its start.
    pub fn finish(mut self) -> Result<(Option<u32>, KeptSections<'b>), StateFileError> {
        let next = self.decoder.next_token()?;
        Ok((next, mem::take(&mut self.sections)))
    }
}

impl<K: Kernels, S: StateElement> Drop for StateLoader<'_, '_, '_, K, S> {
    fn drop(&mut self) {
        if self.decoder.is_under_way() {
            // The sequence was there when the loader was made.
            let _ = self.engine.reset(self.sequence);
        }
    }
}
