//! The engine that runs on a processor: the recurrence of each architecture
//! over the target's kernels, in memory that the caller owns.
//!
//! Between sequences the states are interleaved so that what one head owns stays
//! together: `[layer]{shift [sequence][width]; shift [sequence][width];
//! [head][sequence][key][value]}`; in RWKV-4 aa, bb and pp, each
//! `[width/channels][sequence][channels]`, in the place of the heads. A single state, as it is
//! loaded and stored, is the same for one sequence.

use core::fmt;
use core::ops::Range;

use super::requirements::checked_workspace_len;
#[cfg(doc)]
use super::requirements::workspace_len;
use super::{Engine, Hook, Progress, StateError, StepCursor, StepError};
use crate::format::model::Model;
use crate::format::shape::{Architecture, Shape};
use crate::kernels::Kernels;
use crate::kernels::bounded::{Bounded, Budget, Place};
use crate::num::state_dtype::{StateElement, f16};
use crate::rwkv::batch::{Batch, BatchToken};
use crate::rwkv::scratch::ScratchArena;
use crate::rwkv::{self, StreamBuffers};

/// A buffer that the caller gives to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Buffer {
    /// The states of all sequences.
    States,
    /// The scratch memory.
    Workspace,
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::States => "states",
            Self::Workspace => "workspace",
        })
    }
}

/// A buffer that is not what the engine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BufferError {
    /// It has too few elements, or the states are no whole number of them.
    Len {
        /// Which buffer.
        buffer: Buffer,
        /// Elements given.
        found: usize,
        /// Elements needed; for the states, a multiple of this.
        needed: usize,
    },
    /// The architecture's state cannot be kept in f16:
    /// [`Architecture::allows_f16_state`].
    F16State {
        /// The model's.
        architecture: Architecture,
    },
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Len { buffer, found, needed } => {
                write!(f, "the {buffer} buffer has {found} elements, {needed} are needed")
            }
            Self::F16State { architecture } => {
                write!(f, "the state of {architecture} cannot be kept in f16; keep it in f32")
            }
        }
    }
}

impl core::error::Error for BufferError {}

/// Runs a model on a kernel set, with states kept in `S`.
///
/// With [`struct@f16`] a state takes half the memory, and the numbers are other ones
/// than with f32: each element is rounded after every token, inside a batch too,
/// so that again every target, batch size and thread count computes the same bits.
///
/// ```
/// use kinglet::engine::{Cpu, Engine, Requirements};
/// use kinglet::format::model::Model;
/// use kinglet::kernels::scalar::Scalar;
///
/// # let bytes = kinglet_stories::MODEL;
/// let model = Model::open(bytes)?;
/// let needs = Requirements::of::<f32>(model.shape(), 1);
/// let mut state = vec![0.0; needs.state];
/// let mut workspace = vec![0.0; needs.workspace];
/// let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
/// let mut logits = vec![0.0; needs.logits];
/// engine.step(0, 0, &mut logits)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cpu<'a, K, S = f32> {
    model: Model<'a>,
    kernels: K,
    max_batch: usize,
    pub(super) sequences: usize,
    /// `[layer]` of the architecture's layer state, all sequences together.
    pub(super) states: &'a mut [S],
    workspace: &'a mut [f32],
}

impl<'a, K: Kernels, S: StateElement> Cpu<'a, K, S> {
    /// An engine over `model`, with every state at the model's start state.
    ///
    /// * `max_batch`: the most tokens that are computed together
    /// * `states`: a multiple of [`Requirements::state`](super::Requirements) elements, one state
    ///   for each sequence
    /// * `workspace`: at least [`workspace_len`] of `max_batch` elements
    ///
    /// # Errors
    ///
    /// When a buffer is too short, or the architecture's state cannot be kept in `S`.
    pub fn new(
        model: Model<'a>,
        kernels: K,
        max_batch: usize,
        states: &'a mut [S],
        workspace: &'a mut [f32],
    ) -> Result<Self, BufferError> {
        let architecture = model.shape().architecture;
        if S::CODE == f16::CODE && !architecture.allows_f16_state() {
            return Err(BufferError::F16State { architecture });
        }
        let needed = model.shape().state_len();
        let found = states.len();
        if found == 0 || !found.is_multiple_of(needed) {
            return Err(BufferError::Len { buffer: Buffer::States, found, needed });
        }
        let needed = checked_workspace_len(model.shape(), max_batch).unwrap_or(usize::MAX);
        if workspace.len() < needed || max_batch == 0 {
            return Err(BufferError::Len {
                buffer: Buffer::Workspace,
                found: workspace.len(),
                needed,
            });
        }
        let sequences = found / model.shape().state_len();
        let mut engine = Self { model, kernels, max_batch, sequences, states, workspace };
        for sequence in 0..sequences {
            engine.fill(sequence, model.start_state());
        }
        Ok(engine)
    }

    /// An engine for one sequence, number 0, and one token at a time: what a microcontroller runs.
    /// `state` and `workspace` are as long as [`Requirements::of`](super::Requirements::of) a
    /// batch of one says.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when `state` has room for several sequences.
    pub fn single(
        model: Model<'a>,
        kernels: K,
        state: &'a mut [S],
        workspace: &'a mut [f32],
    ) -> Result<Self, BufferError> {
        let (found, needed) = (state.len(), model.shape().state_len());
        if found != needed {
            return Err(BufferError::Len { buffer: Buffer::States, found, needed });
        }
        Self::new(model, kernels, 1, state, workspace)
    }

    /// The model.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// The kernel set.
    pub fn kernels(&self) -> &K {
        &self.kernels
    }

    /// Copies the state of `sequence` out as it is kept: [`Shape::state_len`] elements.
    ///
    /// # Errors
    ///
    /// When the sequence or the length is wrong, or a pass over it is unfinished.
    pub fn store_elements(&self, sequence: usize, state: &mut [S]) -> Result<(), StateError> {
        self.check_stored(sequence, state.len())?;
        for (kept, single) in state_pieces(self.model.shape(), self.sequences, sequence) {
            state[single].copy_from_slice(&self.states[kept]);
        }
        Ok(())
    }

    /// Copies a state of [`Shape::state_len`] elements into `sequence`, as
    /// [`store_elements`](Self::store_elements) gave it.
    ///
    /// # Errors
    ///
    /// When the sequence or the length is wrong, or a value is not finite; the sequence
    /// is then as it was.
    pub fn load_elements(&mut self, sequence: usize, state: &[S]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.finite()) {
            return Err(StateError::NonFinite { index });
        }
        for (kept, single) in state_pieces(self.model.shape(), self.sequences, sequence) {
            self.states[kept].copy_from_slice(&state[single]);
        }
        Ok(())
    }

    /// Refuses a batch that cannot be computed, or whose sequences are unfinished.
    fn check(&self, batch: &[BatchToken], logits: &[f32]) -> Result<(), StepError> {
        self.check_batch(batch, logits)?;
        match batch.iter().find(|token| self.is_unfinished(token.sequence)) {
            Some(&BatchToken { sequence, .. }) => Err(StepError::Unfinished { sequence }),
            None => Ok(()),
        }
    }

    /// Where among the states it stands that a sequence is unfinished: its first element is then
    /// no number.
    fn mark(&self, sequence: usize) -> usize {
        sequence * self.model.shape().width
    }

    fn is_unfinished(&self, sequence: usize) -> bool {
        !self.states[self.mark(sequence)].finite()
    }

    /// Refuses to store a state that is none.
    fn check_stored(&self, sequence: usize, len: usize) -> Result<(), StateError> {
        self.check_sequence(sequence, len)?;
        if self.is_unfinished(sequence) { Err(StateError::Unfinished { sequence }) } else { Ok(()) }
    }

    pub(super) fn check_sequence(&self, sequence: usize, len: usize) -> Result<(), StateError> {
        let needed = self.model.shape().state_len();
        if sequence >= self.sequences {
            return Err(StateError::Sequence { found: sequence, sequences: self.sequences });
        }
        if len != needed {
            return Err(StateError::Len { found: len, needed });
        }
        Ok(())
    }

    /// Sets `sequence` to `state`, or to what it is before the first token.
    fn fill(&mut self, sequence: usize, state: Option<&[f32]>) {
        let shape = self.model.shape();
        for (kept, single) in state_pieces(shape, self.sequences, sequence) {
            let kept = &mut self.states[kept];
            match state {
                Some(state) => S::narrow_all(&state[single], kept),
                None => {
                    let start = shape.start_value(single.start % shape.layer_state_len());
                    kept.fill(S::narrow(start));
                }
            }
        }
    }
}

/// The pieces of a sequence's state that lie together: where each lies among the states of
/// `sequences` sequences, and where in a single state; see the [module](self).
pub(super) fn state_pieces(
    shape: &Shape,
    sequences: usize,
    sequence: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let (width, layer_len) = (shape.width, shape.layer_state_len());
    let (recurrent, recurrent_len) = shape.recurrent_pieces();
    (0..shape.layers).flat_map(move |layer| {
        (0..2 + recurrent).map(move |piece| {
            let (at, len) = match piece.checked_sub(2) {
                None => (piece * width, width),
                Some(head) => (2 * width + head * recurrent_len, recurrent_len),
            };
            let at = layer * layer_len + at;
            let kept = sequences * at + sequence * len;
            (kept..kept + len, at..at + len)
        })
    })
}

/// Where the elements of a sequence's state from number `at` on lie together, to the end of their
/// [piece](state_pieces); of the only sequence, to the end of the state.
pub(super) fn state_run(
    shape: &Shape,
    sequences: usize,
    sequence: usize,
    at: usize,
) -> Range<usize> {
    if sequences == 1 {
        return at..shape.state_len();
    }
    let (width, layer_len) = (shape.width, shape.layer_state_len());
    let in_layer = at % layer_len;
    let (len, in_piece) = match in_layer.checked_sub(2 * width) {
        None => (width, in_layer % width),
        Some(in_recurrent) => {
            let (_, len) = shape.recurrent_pieces();
            (len, in_recurrent % len)
        }
    };
    let kept = sequences * (at - in_piece) + sequence * len;
    kept + in_piece..kept + len
}

/// Whether no value is NaN or infinite.
fn all_finite(x: &[f32]) -> bool {
    x.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7FFF_FFFF)) < 0x7F80_0000
}

impl<K: Kernels, S: StateElement> Engine for Cpu<'_, K, S> {
    fn shape(&self) -> &Shape {
        self.model.shape()
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn sequences(&self) -> usize {
        self.sequences
    }

    fn forward_with(
        &mut self,
        batch: &[BatchToken],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), StepError> {
        self.check(batch, logits)?;
        let Self { model, kernels, sequences, states, workspace, .. } = self;
        let batch = Batch { shape: *model.shape(), tokens: batch, sequences: *sequences, kernels };
        let mut arena = ScratchArena::new(workspace);
        let StreamBuffers { x, carried } =
            StreamBuffers::carve(&mut arena, &batch.shape, batch.len());
        let scratch = arena.rest();

        rwkv::embed(&batch, model, x);
        let layer_states = states.chunks_exact_mut(batch.shape.layer_state_len() * *sequences);
        for (layer, state) in layer_states.enumerate() {
            rwkv::layer(&batch, model, layer, x, state, carried, scratch);
            if hook(layer + 1).is_break() {
                return Err(StepError::Cancelled { layers: layer + 1 });
            }
        }
        if !all_finite(x) {
            return Err(StepError::NonFinite);
        }
        rwkv::lm_head(&batch, model, x, scratch, logits);
        if all_finite(logits) { Ok(()) } else { Err(StepError::NonFinite) }
    }

    fn resume(
        &mut self,
        tokens: &[BatchToken],
        logits: &mut [f32],
        cursor: &mut StepCursor,
        budget: usize,
    ) -> Result<Progress, StepError> {
        if *cursor == StepCursor::START {
            self.check(tokens, logits)?;
        }
        let Self { model, kernels, sequences, states, workspace, .. } = self;
        let (shape, sequences) = (*model.shape(), *sequences);
        let mut arena = ScratchArena::new(workspace);
        let StreamBuffers { x, carried } = StreamBuffers::carve(&mut arena, &shape, tokens.len());
        let scratch = arena.rest();
        let mut budget = Budget::new(budget);
        loop {
            let kernels = Bounded::new(&*kernels, cursor.place, budget);
            let batch = Batch { shape, tokens, sequences, kernels: &kernels };
            match cursor.stage.checked_sub(1) {
                None => rwkv::embed(&batch, model, x),
                Some(layer) if layer < shape.layers => {
                    let len = shape.layer_state_len() * sequences;
                    let state = &mut states[layer * len..][..len];
                    rwkv::layer(&batch, model, layer, x, state, carried, scratch);
                }
                Some(_) if cursor.place == Place::START && !all_finite(x) => {
                    return Err(StepError::NonFinite);
                }
                Some(_) => rwkv::lm_head(&batch, model, x, scratch, logits),
            }
            if let Some(place) = kernels.stopped_at() {
                cursor.place = place;
                return Ok(Progress::More { layers: cursor.layers() });
            }
            if cursor.stage > shape.layers {
                break;
            }
            budget = kernels.budget();
            *cursor = StepCursor { stage: cursor.stage + 1, place: Place::START };
        }
        if all_finite(logits) { Ok(Progress::Done) } else { Err(StepError::NonFinite) }
    }

    fn abandon(&mut self, batch: &[BatchToken]) {
        for token in batch {
            let mark = self.mark(token.sequence);
            self.states[mark] = S::NAN;
        }
    }

    fn reset(&mut self, sequence: usize) -> Result<(), StateError> {
        self.check_sequence(sequence, self.model.shape().state_len())?;
        self.fill(sequence, self.model.start_state());
        Ok(())
    }

    fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.is_finite()) {
            return Err(StateError::NonFinite { index });
        }
        self.fill(sequence, Some(state));
        Ok(())
    }

    fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError> {
        self.check_stored(sequence, state.len())?;
        for (kept, single) in state_pieces(self.model.shape(), self.sequences, sequence) {
            S::widen_all(&self.states[kept], &mut state[single]);
        }
        Ok(())
    }
}
