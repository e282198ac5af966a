//! A forward pass that can be left: computed in pieces, between which a program does other work.
//!
//! ```
//! use kinglet::engine::{BatchToken, Cpu, Engine, Progress, Requirements};
//! # use kinglet::format::model::Model;
//! # use kinglet::kernels::scalar::Scalar;
//! # let model = Model::open(kinglet_stories::MODEL)?;
//! # let needs = Requirements::of::<f32>(model.shape(), 1);
//! # let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
//! # let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
//! # let mut logits = vec![0.0; needs.logits];
//! let token = [BatchToken { token: 0, sequence: 0, logits: true }];
//! let mut step = engine.begin(&token, &mut logits)?;
//! while let Progress::More { .. } = step.poll(20_000)? {
//!     // Feed the watchdog, yield to other tasks.
//! }
//! # drop(step);
//! # assert!(logits.iter().any(|x| *x != 0.0));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! The bits are those of an undivided pass, whatever the pieces.
//!
//! # A piece
//!
//! ends before it would take more than its budget: a number of multiply-accumulates of matrices, to
//! which the float operations of the recurrence, norms and activations are added. It computes one
//! unit at least, and units are 16 rows of a matrix, a token's `ffn.value` without the inputs that
//! are zero, some value channels of a head, a vector. On a Cortex-M4 a unit of the budget is about
//! two instructions; on a core without an FPU eight for a matrix and fifty for floats. Not counted are
//! the way to where the pass goes on, some 6,000 instructions of a Cortex-M4, and in the last piece a
//! look at each logit.
//!
//! # What is left behind
//!
//! While a step goes on, the states of its sequences are neither the ones before it nor those after
//! it. A [`Step`] that is dropped before it is done leaves them so, and [`Engine::abandon`] says
//! what becomes of them: [`Cpu`](super::Cpu) computes nothing for such a sequence, with
//! [`StepError::Unfinished`], until [`Engine::reset`] or [`Engine::load_state`]. Other sequences
//! are not touched. A step that is leaked (`core::mem::forget`) marks nothing.

use super::{BatchToken, Engine, StepError};
use crate::kernels::bounded::Place;

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// There is more to compute.
    More {
        /// Layers that are done.
        layers: usize,
    },
    /// The logits are there, and the states are those after the batch.
    Done,
}

/// A place in a forward pass, from which it can go on.
///
/// For programs that cannot keep a [`Step`], which borrows: the C interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCursor {
    /// 0 is the embedding, 1 the first layer, the one after the last layer the output.
    pub(super) stage: usize,
    pub(super) place: Place,
}

impl StepCursor {
    /// The start of a pass.
    pub const START: Self = Self { stage: 0, place: Place::START };

    /// Layers that are done.
    pub(super) fn layers(&self) -> usize {
        self.stage.saturating_sub(1)
    }
}

/// A batch of tokens on its way through an engine; see the [module](self).
#[derive(Debug)]
#[must_use = "nothing is computed before it is polled"]
pub struct Step<'s, E: Engine> {
    engine: &'s mut E,
    batch: &'s [BatchToken],
    /// `[wanted][vocab]`
    logits: &'s mut [f32],
    cursor: StepCursor,
    state: State,
}

/// Whether there is anything to compute, and to abandon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was computed so far.
    New,
    Started,
    Done,
    Failed(StepError),
}

impl<'s, E: Engine> Step<'s, E> {
    pub(super) fn new(engine: &'s mut E, batch: &'s [BatchToken], logits: &'s mut [f32]) -> Self {
        Self { engine, batch, logits, cursor: StepCursor::START, state: State::New }
    }

    /// Computes a piece of at most `budget`. A step that is done stays so, and one that has failed
    /// fails again.
    ///
    /// # Errors
    ///
    /// [`StepError::NonFinite`], or of a device.
    pub fn poll(&mut self, budget: usize) -> Result<Progress, StepError> {
        match self.state {
            State::Done => return Ok(Progress::Done),
            State::Failed(error) => return Err(error),
            State::New | State::Started => {}
        }
        let progress = self.engine.resume(self.batch, self.logits, &mut self.cursor, budget);
        self.state = match progress {
            Ok(Progress::More { .. }) => State::Started,
            Ok(Progress::Done) => State::Done,
            Err(error) => State::Failed(error),
        };
        progress
    }
}

impl<E: Engine> Drop for Step<'_, E> {
    fn drop(&mut self) {
        if self.state == State::Started {
            self.engine.abandon(self.batch);
        }
    }
}
