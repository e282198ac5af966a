//! The seam above a whole engine: what programs, tests and benches drive.
//!
//! An [`Engine`] holds the states of one or more sequences and advances them by batches of
//! tokens. Each [`BatchToken`] names its sequence, so a prompt, a single step and a step of many
//! sequences travel the same path, and the numbers do not depend on how tokens are divided.
//!
//! [`Cpu`] is the engine of processors. It owns no memory: [`Requirements`] says how long the
//! caller's buffers must be. A device with memory of its own implements [`Engine`] whole; of a
//! model that is larger than that memory, [`FirstLayers`] computes a part on the processor.

mod cpu;
mod first_layers;
mod requirements;
mod state;
pub mod step;

use core::fmt;
use core::ops::ControlFlow;

pub use self::cpu::{Buffer, BufferError, Cpu};
pub use self::first_layers::{FirstLayers, Stream};
pub use self::requirements::{Requirements, checked_workspace_len, workspace_len};
pub use self::state::{StateLoader, StateWriter};
pub use self::step::{Progress, Step, StepCursor};
use crate::format::shape::Shape;
pub use crate::rwkv::batch::BatchToken;

/// Why a batch was not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StepError {
    /// A token id is outside the vocabulary. No state has changed.
    Token {
        /// The id.
        found: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A token names a sequence that the engine does not have. No state has changed.
    Sequence {
        /// The sequence.
        found: usize,
        /// Number of sequences.
        sequences: usize,
    },
    /// The batch is empty or larger than the engine was built for. No state has changed.
    Batch {
        /// Tokens given.
        found: usize,
        /// Most tokens.
        largest: usize,
    },
    /// The buffer for logits is not as long as the wanted logits. No state has changed.
    Logits {
        /// Elements given.
        found: usize,
        /// Elements needed.
        needed: usize,
    },
    /// An earlier pass over the sequence has not come to its end, or has failed: reset the sequence,
    /// or load a state. No state has changed.
    Unfinished {
        /// The sequence.
        sequence: usize,
    },
    /// A value is not finite: the state or the weights are damaged, or have
    /// left the range of f32. The states in the batch are unspecified now.
    NonFinite,
    /// The hook asked to stop. The states in the batch are unspecified now.
    Cancelled {
        /// Layers that were computed.
        layers: usize,
    },
    /// A device with memory of its own has failed; its engine says more. All states are lost.
    Device,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Token { found, vocab } => {
                write!(f, "token {found} is outside the vocabulary (0 to {})", vocab - 1)
            }
            Self::Sequence { found, sequences } => {
                write!(f, "sequence {found} does not exist; the engine has {sequences}")
            }
            Self::Batch { found, largest } => {
                write!(f, "a batch of {found} tokens; the engine takes 1 to {largest}")
            }
            Self::Logits { found, needed } => {
                write!(f, "the logits buffer has {found} elements, {needed} are needed")
            }
            Self::Unfinished { sequence } => write!(
                f,
                "an earlier pass over sequence {sequence} is unfinished; reset it or load a state"
            ),
            Self::NonFinite => f.write_str(
                "a value is not finite: the state or the weights are damaged or out of range",
            ),
            Self::Cancelled { layers } => write!(f, "cancelled after {layers} layers"),
            Self::Device => f.write_str("the device failed"),
        }
    }
}

impl core::error::Error for StepError {}

/// Why a state was not loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StateError {
    /// The engine does not have that sequence.
    Sequence {
        /// The sequence.
        found: usize,
        /// Number of sequences.
        sequences: usize,
    },
    /// The buffer is not [`Shape::state_len`] long.
    Len {
        /// Elements given.
        found: usize,
        /// Elements needed.
        needed: usize,
    },
    /// A value is not finite.
    NonFinite {
        /// Index of the first.
        index: usize,
    },
    /// A pass over the sequence has not come to its end: there is no state to store.
    Unfinished {
        /// The sequence.
        sequence: usize,
    },
    /// A device with memory of its own has failed; its engine says more. All states are lost.
    Device,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sequence { found, sequences } => {
                write!(f, "sequence {found} does not exist; the engine has {sequences}")
            }
            Self::Len { found, needed } => {
                write!(f, "a state of {found} elements; the model's has {needed}")
            }
            Self::NonFinite { index } => {
                write!(f, "element {index} of the state is not finite")
            }
            Self::Unfinished { sequence } => {
                write!(f, "a pass over sequence {sequence} is unfinished; reset it or load a state")
            }
            Self::Device => f.write_str("the device failed"),
        }
    }
}

impl core::error::Error for StateError {}

/// Called after each layer with the number of layers done; `Break` cancels.
/// A firmware feeds its watchdog here.
pub type Hook<'a> = &'a mut dyn FnMut(usize) -> ControlFlow<()>;

/// Something that runs a model: it holds the states of one or more sequences
/// and advances them by batches of tokens.
///
/// The numbers do not depend on how tokens are divided into batches, nor on
/// which other sequences share a batch.
pub trait Engine {
    /// The model's dimensions.
    fn shape(&self) -> &Shape;

    /// Most tokens in a batch.
    fn max_batch(&self) -> usize;

    /// Number of sequences whose states the engine holds.
    fn sequences(&self) -> usize;

    /// Advances states by a batch of tokens; those of one sequence in order.
    ///
    /// `logits` is `[wanted][vocab]`, a row for each token that wants logits,
    /// in the order of the batch. `hook` is called after each layer.
    ///
    /// # Errors
    ///
    /// See [`StepError`].
    fn forward_with(
        &mut self,
        batch: &[BatchToken],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), StepError>;

    /// Puts the model's start state into `sequence`: [`Shape::start_value`] unless the
    /// model brings one.
    ///
    /// # Errors
    ///
    /// When there is no such sequence.
    fn reset(&mut self, sequence: usize) -> Result<(), StateError>;

    /// Copies a state of [`Shape::state_len`] elements into `sequence`. An engine
    /// that keeps states in f16 rounds to it; what it stored loads exactly.
    ///
    /// # Errors
    ///
    /// When the sequence or the length is wrong, or a value is not finite; the sequence
    /// is then as it was.
    fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError>;

    /// Copies the state of `sequence` out: [`Shape::state_len`] elements.
    ///
    /// # Errors
    ///
    /// When the sequence or the length is wrong, or a pass over it is unfinished.
    fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError>;

    /// Whether a batch can be computed: the errors of [`StepError`] that change no state.
    ///
    /// # Errors
    ///
    /// As [`forward_with`](Self::forward_with).
    fn check_batch(&self, batch: &[BatchToken], logits: &[f32]) -> Result<(), StepError> {
        let (vocab, sequences) = (self.shape().vocab, self.sequences());
        if batch.is_empty() || batch.len() > self.max_batch() {
            return Err(StepError::Batch { found: batch.len(), largest: self.max_batch() });
        }
        for &BatchToken { token, sequence, .. } in batch {
            if token as usize >= vocab {
                return Err(StepError::Token { found: token, vocab });
            }
            if sequence >= sequences {
                return Err(StepError::Sequence { found: sequence, sequences });
            }
        }
        let needed = batch.iter().filter(|token| token.logits).count() * vocab;
        if logits.len() != needed {
            return Err(StepError::Logits { found: logits.len(), needed });
        }
        Ok(())
    }

    /// Begins to advance states by a batch of tokens, as [`forward`](Self::forward) does: nothing
    /// is computed before the [`Step`] is polled.
    ///
    /// # Errors
    ///
    /// As [`check_batch`](Self::check_batch).
    fn begin<'s>(
        &'s mut self,
        batch: &'s [BatchToken],
        logits: &'s mut [f32],
    ) -> Result<Step<'s, Self>, StepError>
    where
        Self: Sized,
    {
        self.check_batch(batch, logits)?;
        Ok(Step::new(self, batch, logits))
    }

    /// Computes the piece of a pass that starts at `cursor` and takes at most `budget`, and moves
    /// `cursor` behind it; what [`Step::poll`] does. Between the pieces of a pass nothing else is
    /// done with the engine, and batch and logits stay. After [`Progress::Done`] or an error the
    /// cursor is of no use.
    ///
    /// An engine that cannot leave a pass computes all of it.
    ///
    /// # Errors
    ///
    /// See [`StepError`].
    fn resume(
        &mut self,
        batch: &[BatchToken],
        logits: &mut [f32],
        cursor: &mut StepCursor,
        budget: usize,
    ) -> Result<Progress, StepError>
    where
        Self: Sized,
    {
        let _ = (cursor, budget);
        self.forward(batch, logits).map(|()| Progress::Done)
    }

    /// Gives up a pass that was [begun](Self::begin) and is not done: its sequences stay unfinished
    /// until they are reset or a state is loaded.
    fn abandon(&mut self, batch: &[BatchToken])
    where
        Self: Sized,
    {
        let _ = batch;
    }

    /// [`forward_with`](Self::forward_with) without a hook.
    ///
    /// # Errors
    ///
    /// See [`StepError`].
    fn forward(&mut self, batch: &[BatchToken], logits: &mut [f32]) -> Result<(), StepError> {
        self.forward_with(batch, logits, &mut |_| ControlFlow::Continue(()))
    }

    /// Advances `sequence` by one token and writes the logits, `[vocab]`.
    ///
    /// # Errors
    ///
    /// See [`StepError`].
    fn step(&mut self, sequence: usize, token: u32, logits: &mut [f32]) -> Result<(), StepError> {
        self.forward(&[BatchToken { token, sequence, logits: true }], logits)
    }

    /// Advances `sequence` by a prompt of any length, in batches, and writes the
    /// logits after its last token, `[vocab]`. An empty prompt changes nothing.
    ///
    /// # Errors
    ///
    /// See [`StepError`].
    fn prefill(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        logits: &mut [f32],
    ) -> Result<(), StepError> {
        self.prefill_with(sequence, tokens, logits, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`prefill`](Self::prefill). `hook` is called after each layer of each batch.
    ///
    /// # Errors
    ///
    /// See [`StepError`].
    fn prefill_with(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), StepError> {
        let vocab = self.shape().vocab;
        if logits.len() != vocab {
            return Err(StepError::Logits { found: logits.len(), needed: vocab });
        }
        if let Some(&found) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(StepError::Token { found, vocab });
        }
        let last = tokens.len().wrapping_sub(1);
        let mut done = 0;
        while done < tokens.len() {
            let mut batch = heapless::Vec::<_, MAX_PREFILL_BATCH>::new();
            let end = tokens.len().min(done + self.max_batch().min(MAX_PREFILL_BATCH));
            batch.extend((done..end).map(|i| BatchToken {
                token: tokens[i],
                sequence,
                logits: i == last,
            }));
            let wanted = if end == tokens.len() { &mut *logits } else { &mut [] };
            self.forward_with(&batch, wanted, &mut *hook)?;
            done = end;
        }
        Ok(())
    }
}

/// Most tokens that [`Engine::prefill`] puts in a batch: its array lies on the stack.
const MAX_PREFILL_BATCH: usize = if cfg!(target_pointer_width = "64") { 256 } else { 16 };
