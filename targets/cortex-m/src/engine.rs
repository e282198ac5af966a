//! Engines that are compiled with this crate.
//!
//! [`Cpu`] is generic, so its code is compiled in the crate that uses it, with that crate's
//! profile: a firmware at opt-level 0, whose dependencies are optimized, computes a token sixteen
//! times as slowly. The engines here are of given types, compiled as a dependency is:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```

use core::fmt;
use core::ops::ControlFlow;

use kinglet::engine::{
    BatchToken, BufferError, Cpu, Hook, Progress, StateError, StepCursor, StepError,
};
use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::f16;

use crate::Best;

/// Why there is no engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The core lacks the instructions that [`Best`] is made of, or its floats are not IEEE: flush
    /// to zero, default NaN or another rounding is on.
    Core,
    /// A buffer is not what the model needs.
    Buffer(BufferError),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core => f.write_str(
                "this core lacks the instructions that the image is for, or its floats are not IEEE",
            ),
            Self::Buffer(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EngineError {}

impl From<BufferError> for EngineError {
    fn from(error: BufferError) -> Self {
        Self::Buffer(error)
    }
}

macro_rules! engine {
    ($(#[$meta:meta])* $name:ident, $element:ty) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<'a>(Cpu<'a, Best, $element>);

        impl<'a> $name<'a> {
            /// An engine over `model`, at its start.
            ///
            /// * `state`, `workspace`: as long as
            ///   [`Requirements::of`](kinglet::engine::Requirements::of) a batch of one says
            ///
            /// # Errors
            ///
            /// [`EngineError`].
            #[inline(never)]
            pub fn new(
                model: Model<'a>,
                state: &'a mut [$element],
                workspace: &'a mut [f32],
            ) -> Result<Self, EngineError> {
                let kernels = Best::new().ok_or(EngineError::Core)?;
                Ok(Self(Cpu::single(model, kernels, state, workspace)?))
            }

            /// The engine of the core that this is.
            pub fn cpu(&self) -> &Cpu<'a, Best, $element> {
                &self.0
            }

            /// The engine of the core that this is.
            pub fn cpu_mut(&mut self) -> &mut Cpu<'a, Best, $element> {
                &mut self.0
            }

            /// The model.
            pub fn model(&self) -> &Model<'a> {
                self.0.model()
            }
        }

        // All that computes is here, and not left to the trait, so that it is compiled here.
        impl kinglet::engine::Engine for $name<'_> {
            fn shape(&self) -> &Shape {
                self.0.shape()
            }

            fn max_batch(&self) -> usize {
                self.0.max_batch()
            }

            fn sequences(&self) -> usize {
                self.0.sequences()
            }

            #[inline(never)]
            fn forward_with(
                &mut self,
                batch: &[BatchToken],
                logits: &mut [f32],
                hook: Hook<'_>,
            ) -> Result<(), StepError> {
                self.0.forward_with(batch, logits, hook)
            }

            #[inline(never)]
            fn step(
                &mut self,
                sequence: usize,
                token: u32,
                logits: &mut [f32],
            ) -> Result<(), StepError> {
                let token = BatchToken { token, sequence, logits: true };
                self.forward_with(&[token], logits, &mut |_| ControlFlow::Continue(()))
            }

            #[inline(never)]
            fn prefill_with(
                &mut self,
                sequence: usize,
                tokens: &[u32],
                logits: &mut [f32],
                hook: Hook<'_>,
            ) -> Result<(), StepError> {
                self.0.prefill_with(sequence, tokens, logits, hook)
            }

            #[inline(never)]
            fn resume(
                &mut self,
                batch: &[BatchToken],
                logits: &mut [f32],
                cursor: &mut StepCursor,
                budget: usize,
            ) -> Result<Progress, StepError> {
                self.0.resume(batch, logits, cursor, budget)
            }

            #[inline(never)]
            fn abandon(&mut self, batch: &[BatchToken]) {
                self.0.abandon(batch);
            }

            #[inline(never)]
            fn reset(&mut self, sequence: usize) -> Result<(), StateError> {
                self.0.reset(sequence)
            }

            #[inline(never)]
            fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError> {
                self.0.load_state(sequence, state)
            }

            #[inline(never)]
            fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError> {
                self.0.store_state(sequence, state)
            }
        }
    };
}

engine! {
    /// The engine of a firmware: one sequence, number 0, one token at a time, on [`Best`]; used
    /// by the methods of [`kinglet::Engine`](kinglet::engine::Engine).
    ///
    /// ```
    /// use kinglet::engine::{Engine as _, Requirements};
    /// use kinglet::format::model::Model;
    /// use kinglet_cortex_m::Engine;
    ///
    /// # let bytes = kinglet_stories::MODEL;
    /// let model = Model::open(bytes)?;
    /// let needs = Requirements::of::<f32>(model.shape(), 1);
    /// // A firmware has arrays in statics, of the lengths that `kinglet fit` tells.
    /// let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    /// let mut logits = vec![0.0; needs.logits];
    /// let mut engine = Engine::new(model, &mut state, &mut workspace)?;
    /// engine.step(0, 0, &mut logits)?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    Engine, f32
}

engine! {
    /// [`Engine`] with a state in half the memory, and numbers of its own.
    EngineF16, f16
}
