//! The seam above a whole engine: what programs, tests and benches drive.

pub mod cpu;

use core::fmt;
use core::ops::ControlFlow;

use crate::format::shape::Shape;
pub use crate::rwkv::batch::Column;

/// Why a block was not computed.
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
    /// A column names a state that the engine does not have. No state has changed.
    Slot {
        /// The slot.
        found: usize,
        /// Number of slots.
        slots: usize,
    },
    /// The block is empty or larger than the engine was built for. No state has changed.
    Block {
        /// Columns given.
        found: usize,
        /// Most columns.
        largest: usize,
    },
    /// The buffer for logits is not as long as the wanted logits. No state has changed.
    Logits {
        /// Elements given.
        found: usize,
        /// Elements needed.
        needed: usize,
    },
    /// A value is not finite: the state or the weights are damaged, or have
    /// left the range of f32. The states in the block are unspecified now.
    NonFinite,
    /// The hook asked to stop. The states in the block are unspecified now.
    Cancelled {
        /// Layers that were computed.
        layers: usize,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Token { found, vocab } => {
                write!(f, "token {found} is outside the vocabulary (0 to {})", vocab - 1)
            }
            Self::Slot { found, slots } => {
                write!(f, "slot {found} does not exist; the engine has {slots}")
            }
            Self::Block { found, largest } => {
                write!(f, "a block of {found} columns; the engine takes 1 to {largest}")
            }
            Self::Logits { found, needed } => {
                write!(f, "the logits buffer has {found} elements, {needed} are needed")
            }
            Self::NonFinite => f.write_str(
                "a value is not finite: the state or the weights are damaged or out of range",
            ),
            Self::Cancelled { layers } => write!(f, "cancelled after {layers} layers"),
        }
    }
}

impl core::error::Error for StepError {}

/// Why a state was not loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StateError {
    /// The engine does not have that slot.
    Slot {
        /// The slot.
        found: usize,
        /// Number of slots.
        slots: usize,
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
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Slot { found, slots } => {
                write!(f, "slot {found} does not exist; the engine has {slots}")
            }
            Self::Len { found, needed } => {
                write!(f, "a state of {found} elements; the model's has {needed}")
            }
            Self::NonFinite { index } => {
                write!(f, "element {index} of the state is not finite")
            }
        }
    }
}

impl core::error::Error for StateError {}

/// Called after each layer with the number of layers done; `Break` cancels.
/// A firmware feeds its watchdog here.
pub type Hook<'a> = &'a mut dyn FnMut(usize) -> ControlFlow<()>;

/// Something that runs a model: it holds the states of one or more sequences
/// and advances them by blocks of tokens.
///
/// The numbers do not depend on how tokens are divided into blocks, nor on
/// which other sequences share a block.
pub trait Engine {
    /// The model's dimensions.
    fn shape(&self) -> &Shape;

    /// Most columns in a block.
    fn block(&self) -> usize;

    /// Number of sequences whose states the engine holds.
    fn slots(&self) -> usize;

    /// Advances states by a block of tokens; columns of one slot in order.
    ///
    /// `logits` is `[wanted][vocab]`, a row for each column that wants logits,
    /// in the order of the columns. `hook` is called after each layer.
    ///
    /// # Errors
    /// See [`StepError`].
    fn forward_with(
        &mut self,
        columns: &[Column],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), StepError>;

    /// Puts the model's start state into `slot`: [`Shape::start_value`] unless the
    /// model brings one.
    ///
    /// # Errors
    /// When there is no such slot.
    fn reset(&mut self, slot: usize) -> Result<(), StateError>;

    /// Copies a state of [`Shape::state_len`] elements into `slot`. An engine
    /// that keeps states in f16 rounds to it; what it stored loads exactly.
    ///
    /// # Errors
    /// When the slot or the length is wrong, or a value is not finite; the slot
    /// is then as it was.
    fn load_state(&mut self, slot: usize, state: &[f32]) -> Result<(), StateError>;

    /// Copies the state of `slot` out: [`Shape::state_len`] elements.
    ///
    /// # Errors
    /// When the slot or the length is wrong.
    fn store_state(&self, slot: usize, state: &mut [f32]) -> Result<(), StateError>;

    /// [`forward_with`](Self::forward_with) without a hook.
    ///
    /// # Errors
    /// See [`StepError`].
    fn forward(&mut self, columns: &[Column], logits: &mut [f32]) -> Result<(), StepError> {
        self.forward_with(columns, logits, &mut |_| ControlFlow::Continue(()))
    }

    /// Advances `slot` by one token and writes the logits, `[vocab]`.
    ///
    /// # Errors
    /// See [`StepError`].
    fn step(&mut self, slot: usize, token: u32, logits: &mut [f32]) -> Result<(), StepError> {
        self.forward(&[Column { token, slot, logits: true }], logits)
    }

    /// Advances `slot` by a prompt of any length, in blocks, and writes the
    /// logits after its last token, `[vocab]`. An empty prompt changes nothing.
    ///
    /// # Errors
    /// See [`StepError`].
    fn prefill(
        &mut self,
        slot: usize,
        tokens: &[u32],
        logits: &mut [f32],
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
            let mut columns = heapless::Vec::<_, PREFILL>::new();
            let end = tokens.len().min(done + self.block().min(PREFILL));
            columns.extend((done..end).map(|i| Column {
                token: tokens[i],
                slot,
                logits: i == last,
            }));
            let wanted = if end == tokens.len() { &mut *logits } else { &mut [] };
            self.forward(&columns, wanted)?;
            done = end;
        }
        Ok(())
    }
}

/// Most columns that [`Engine::prefill`] puts in a block: its array lies on the stack.
const PREFILL: usize = if cfg!(target_pointer_width = "64") { 256 } else { 16 };
