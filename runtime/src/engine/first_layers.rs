//! The first layers of a model on a processor, for an engine that has the others elsewhere: a
//! device whose memory is too small for all of them.
//!
//! The bits are those of [`Cpu`](super::Cpu), so that it does not show where a model is divided.
//! States lie as in `Cpu`, of as many layers.

use super::cpu::state_pieces;
use super::{Buffer, BufferError, Hook, StateError, StepError, checked_workspace_len};
use crate::format::model::Model;
use crate::format::shape::Shape;
use crate::kernels::Kernels;
use crate::num::state_dtype::{StateElement, f16};
use crate::rwkv::batch::{Batch, BatchToken};
use crate::rwkv::scratch::ScratchArena;
use crate::rwkv::{self, StreamBuffers};

/// What the first layers hand to the next one.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// The residual stream: `[token][width]`
    pub x: &'a [f32],
    /// The values of layer 0, which later layers of RWKV-7 mix in: `[head][token][channel]`; empty
    /// in other architectures.
    pub v_first: &'a [f32],
}

/// The first layers of a model and their states, on a kernel set.
#[derive(Debug)]
pub struct FirstLayers<'a, K, S = f32> {
    model: Model<'a>,
    kernels: K,
    /// The model's, with as many layers as there are here.
    shape: Shape,
    max_batch: usize,
    sequences: usize,
    states: &'a mut [S],
    workspace: &'a mut [f32],
}

impl<'a, K: Kernels, S: StateElement> FirstLayers<'a, K, S> {
    /// The first `layers` layers of `model`, each sequence at the model's start state.
    ///
    /// * `max_batch`: the most tokens that are computed together
    /// * `states`: [`state_len`](Self::state_len) of `layers` for each sequence
    /// * `workspace`: at least [`workspace_len`](super::workspace_len) of `max_batch` elements
    ///
    /// # Errors
    ///
    /// When a buffer is too short, or the architecture's state cannot be kept in `S`.
    ///
    /// # Panics
    ///
    /// When the model has fewer layers, or `layers` is 0.
    pub fn new(
        model: Model<'a>,
        kernels: K,
        layers: usize,
        max_batch: usize,
        states: &'a mut [S],
        workspace: &'a mut [f32],
    ) -> Result<Self, BufferError> {
        let whole = *model.shape();
        assert!((1..=whole.layers).contains(&layers), "{layers} of {} layers", whole.layers);
        let architecture = whole.architecture;
        if S::CODE == f16::CODE && !architecture.allows_f16_state() {
            return Err(BufferError::F16State { architecture });
        }
        let (found, needed) = (states.len(), Self::state_len(&whole, layers));
        if found == 0 || !found.is_multiple_of(needed) {
            return Err(BufferError::Len { buffer: Buffer::States, found, needed });
        }
        let needed = checked_workspace_len(&whole, max_batch).unwrap_or(usize::MAX);
        if workspace.len() < needed || max_batch == 0 {
            let (buffer, found) = (Buffer::Workspace, workspace.len());
            return Err(BufferError::Len { buffer, found, needed });
        }
        let sequences = found / Self::state_len(&whole, layers);
        let shape = Shape { layers, ..whole };
        let mut first = Self { model, kernels, shape, max_batch, sequences, states, workspace };
        for sequence in 0..sequences {
            first.reset(sequence);
        }
        Ok(first)
    }

    /// Elements of the state of one sequence in `layers` layers.
    #[must_use]
    pub const fn state_len(shape: &Shape, layers: usize) -> usize {
        layers * shape.layer_state_len()
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.shape.layers
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Advances states by a batch of tokens, as [`Engine::forward_with`](super::Engine) does.
    ///
    /// # Errors
    ///
    /// When the batch has too many tokens, a token or sequence is unknown, or the hook breaks.
    pub fn forward(
        &mut self,
        tokens: &[BatchToken],
        hook: Hook<'_>,
    ) -> Result<Stream<'_>, StepError> {
        let Self { model, kernels, shape, max_batch, sequences, states, workspace } = self;
        if tokens.is_empty() || tokens.len() > *max_batch {
            return Err(StepError::Batch { found: tokens.len(), largest: *max_batch });
        }
        for &BatchToken { token, sequence, .. } in tokens {
            if token as usize >= shape.vocab {
                return Err(StepError::Token { found: token, vocab: shape.vocab });
            }
            if sequence >= *sequences {
                return Err(StepError::Sequence { found: sequence, sequences: *sequences });
            }
        }
        let batch = Batch { shape: *shape, tokens, sequences: *sequences, kernels };
        let mut arena = ScratchArena::new(workspace);
        let StreamBuffers { x, carried } = StreamBuffers::carve(&mut arena, shape, tokens.len());
        let scratch = arena.rest();
        rwkv::embed(&batch, model, x);
        let layer_states = states.chunks_exact_mut(shape.layer_state_len() * *sequences);
        for (layer, state) in layer_states.enumerate() {
            rwkv::layer(&batch, model, layer, x, state, carried, scratch);
            if hook(layer + 1).is_break() {
                return Err(StepError::Cancelled { layers: layer + 1 });
            }
        }
        Ok(Stream { x, v_first: carried })
    }

    /// Puts the model's start state into `sequence`.
    ///
    /// # Panics
    ///
    /// When there is no such sequence.
    pub fn reset(&mut self, sequence: usize) {
        let start = self.model.start_state();
        for (kept, single) in state_pieces(&self.shape, self.sequences, sequence) {
            let kept = &mut self.states[kept];
            match start {
                Some(state) => S::narrow_all(&state[single], kept),
                None => {
                    let at = single.start % self.shape.layer_state_len();
                    kept.fill(S::narrow(self.shape.start_value(at)));
                }
            }
        }
    }

    /// Copies the first [`state_len`](Self::state_len) elements of a model's state in.
    ///
    /// # Errors
    ///
    /// When the sequence or the length is wrong, or a value is not finite; the sequence
    /// is then as it was.
    pub fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.is_finite()) {
            return Err(StateError::NonFinite { index });
        }
        for (kept, single) in state_pieces(&self.shape, self.sequences, sequence) {
            S::narrow_all(&state[single], &mut self.states[kept]);
        }
        Ok(())
    }

    /// Copies the first [`state_len`](Self::state_len) elements of a model's state out.
    ///
    /// # Errors
    ///
    /// When the sequence or the length is wrong.
    pub fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        for (kept, single) in state_pieces(&self.shape, self.sequences, sequence) {
            S::widen_all(&self.states[kept], &mut state[single]);
        }
        Ok(())
    }

    fn check_sequence(&self, sequence: usize, len: usize) -> Result<(), StateError> {
        if sequence >= self.sequences {
            return Err(StateError::Sequence { found: sequence, sequences: self.sequences });
        }
        let needed = self.shape.state_len();
        if len != needed {
            return Err(StateError::Len { found: len, needed });
        }
        Ok(())
    }
}
