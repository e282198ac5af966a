//! The engine of the core behind a handle, whichever type it keeps its state in.

use kinglet::engine::{BatchToken, Cpu, Engine, Hook, Progress as StepProgress, StepCursor};
use kinglet::format::Progress;
use kinglet::format::model::Model;
use kinglet::format::state_file::{
    HEADER_LEN, KeptSections, StateDecoder, StateEncoder, StateFile, StateFileError, StateSection,
};
use kinglet::num::state_dtype::{StateElement, f16};

use crate::kernels::KernelSet;
use crate::status::KingletStatus;

/// The operations of the C interface on one sequence.
pub(crate) trait Sequence {
    /// The model.
    fn model(&self) -> &Model<'static>;

    /// Back to the start.
    fn reset(&mut self) -> Result<(), KingletStatus>;

    /// [`Engine::forward_with`].
    fn forward(
        &mut self,
        tokens: &[BatchToken],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), KingletStatus>;

    /// [`Engine::prefill_with`].
    fn prefill(
        &mut self,
        tokens: &[u32],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), KingletStatus>;

    /// Writes the state file, without another copy of the state.
    fn save(&self, next: Option<u32>, file: &mut [u8]) -> Result<(), KingletStatus>;

    /// Goes on from a state file; the token to feed next.
    fn restore(&mut self, file: &[u8]) -> Result<Option<u32>, KingletStatus>;
}

impl<S: StateElement> Sequence for Cpu<'static, KernelSet, S> {
    fn model(&self) -> &Model<'static> {
        self.model()
    }

    fn reset(&mut self) -> Result<(), KingletStatus> {
        Ok(Engine::reset(self, 0)?)
    }

    fn forward(
        &mut self,
        tokens: &[BatchToken],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), KingletStatus> {
        Ok(self.forward_with(tokens, logits, hook)?)
    }

    fn prefill(
        &mut self,
        tokens: &[u32],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<(), KingletStatus> {
        Ok(self.prefill_with(0, tokens, logits, hook)?)
    }

    fn save(&self, next: Option<u32>, file: &mut [u8]) -> Result<(), KingletStatus> {
        let store = |state: &mut [S]| Ok(self.store_elements(0, state)?);
        StateFile::write_with(self.model().header(), next, file, store).map(|_| ())
    }

    fn restore(&mut self, file: &[u8]) -> Result<Option<u32>, KingletStatus> {
        let file = StateFile::<S>::parse(self.model().header(), file)?;
        self.load_elements(0, file.values()?)?;
        Ok(file.next_token())
    }
}

/// An engine and where its functions are. They are reached through pointers that
/// are taken where an engine is made: a program that makes engines with an f32
/// state alone does not link the code for f16.
#[derive(Debug)]
pub(crate) struct AnyCpu {
    cpu: Either,
    get: fn(&Either) -> &dyn Sequence,
    get_mut: fn(&mut Either) -> &mut dyn Sequence,
}

/// [`Engine::resume`] of an engine that keeps its state in one type.
pub(crate) type Resume = fn(
    &mut Either,
    &[BatchToken],
    &mut [f32],
    &mut StepCursor,
    usize,
) -> Result<StepProgress, KingletStatus>;

/// A step that was begun and is not done.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) token: BatchToken,
    /// `len` elements, the engine's as long as this lives.
    pub(crate) logits: *mut f32,
    pub(crate) len: usize,
    pub(crate) cursor: StepCursor,
    pub(crate) resume: Resume,
}

/// The engine itself.
#[derive(Debug)]
pub(crate) enum Either {
    F32(Cpu<'static, KernelSet, f32>),
    F16(Cpu<'static, KernelSet, f16>),
}

/// `$f` of the engine, whichever it is.
macro_rules! either {
    ($either:expr, $cpu:ident => $f:expr) => {
        match $either {
            Either::F32($cpu) => $f,
            Either::F16($cpu) => $f,
        }
    };
}

/// States in pieces, which a program that has them whole does not link. The little that differs
/// between the types is linked for both.
impl AnyCpu {
    /// A state file to be written: see [`StateEncoder::new`].
    pub(crate) fn encoder<'s>(
        &self,
        next: Option<u32>,
        sections: &[(StateSection, &'s [u8])],
    ) -> Result<StateEncoder<'s>, StateFileError> {
        either!(&self.cpu, cpu => encoder(cpu, next, sections))
    }

    /// A state file to be loaded: see [`StateDecoder::new`].
    pub(crate) fn decoder(
        &self,
        header: &[u8; HEADER_LEN],
        len: usize,
    ) -> Result<StateDecoder, StateFileError> {
        either!(&self.cpu, cpu => decoder(cpu, header, len))
    }

    /// See [`Cpu::check_state`].
    pub(crate) fn check_state(
        &self,
        encoder: &mut StateEncoder<'_>,
        bytes: usize,
    ) -> Result<Progress, StateFileError> {
        either!(&self.cpu, cpu => cpu.check_state(0, encoder, bytes))
    }

    /// See [`Cpu::read_state`].
    pub(crate) fn read_state(
        &self,
        encoder: &StateEncoder<'_>,
        offset: usize,
        out: &mut [u8],
    ) -> Result<usize, StateFileError> {
        either!(&self.cpu, cpu => cpu.read_state(0, encoder, offset, out))
    }

    /// See [`Cpu::feed_state`].
    pub(crate) fn feed_state(
        &mut self,
        decoder: &mut StateDecoder,
        sections: &mut KeptSections<'_>,
        bytes: &[u8],
    ) -> Result<Progress, StateFileError> {
        either!(&mut self.cpu, cpu => cpu.feed_state(0, decoder, sections, bytes))
    }
}

fn encoder<'s, S: StateElement>(
    cpu: &Cpu<'static, KernelSet, S>,
    next: Option<u32>,
    sections: &[(StateSection, &'s [u8])],
) -> Result<StateEncoder<'s>, StateFileError> {
    StateEncoder::new::<S>(cpu.model().header(), next, sections)
}

fn decoder<S: StateElement>(
    cpu: &Cpu<'static, KernelSet, S>,
    header: &[u8; HEADER_LEN],
    len: usize,
) -> Result<StateDecoder, StateFileError> {
    StateDecoder::new::<S>(cpu.model().header(), header, len)
}

impl AnyCpu {
    pub(crate) fn get(&self) -> &dyn Sequence {
        (self.get)(&self.cpu)
    }

    pub(crate) fn get_mut(&mut self) -> &mut dyn Sequence {
        (self.get_mut)(&mut self.cpu)
    }

    /// How an engine with a state of `S` goes on, if this is one.
    pub(crate) fn resume_of<S: Typed>(&self) -> Option<Resume> {
        let code = match self.cpu {
            Either::F32(_) => f32::CODE,
            Either::F16(_) => f16::CODE,
        };
        (code == S::CODE).then_some(S::RESUME)
    }

    /// Goes on by [`resume_of`](Self::resume_of) of this engine.
    pub(crate) fn resume(
        &mut self,
        resume: Resume,
        tokens: &[BatchToken],
        logits: &mut [f32],
        cursor: &mut StepCursor,
        budget: usize,
    ) -> Result<StepProgress, KingletStatus> {
        resume(&mut self.cpu, tokens, logits, cursor, budget)
    }
}

/// A type of state that engines behind a handle have.
pub(crate) trait Typed: StateElement {
    /// The engine with its functions.
    fn any(cpu: Cpu<'static, KernelSet, Self>) -> AnyCpu;

    /// How such an engine goes on with a step.
    const RESUME: Resume;
}

/// [`Typed`] for the type that a variant of [`Either`] is of.
macro_rules! typed {
    ($element:ty, $variant:ident) => {
        impl Typed for $element {
            const RESUME: Resume = |cpu, tokens, logits, cursor, budget| match cpu {
                Either::$variant(cpu) => Ok(cpu.resume(tokens, logits, cursor, budget)?),
                _ => unreachable!("made with this variant"),
            };

            fn any(cpu: Cpu<'static, KernelSet, Self>) -> AnyCpu {
                AnyCpu {
                    cpu: Either::$variant(cpu),
                    get: |cpu| match cpu {
                        Either::$variant(cpu) => cpu,
                        _ => unreachable!("made with this variant"),
                    },
                    get_mut: |cpu| match cpu {
                        Either::$variant(cpu) => cpu,
                        _ => unreachable!("made with this variant"),
                    },
                }
            }
        }
    };
}

typed!(f32, F32);
typed!(f16, F16);
