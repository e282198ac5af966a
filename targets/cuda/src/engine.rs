//! The engine: a model and the states of its sequences on a device.

use core::ops::ControlFlow;

use kinglet::engine::{BatchToken, Engine, StateError, StepError};
use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::{StateElement, f16};

use crate::StateType;
use crate::batch::{self, BatchLists};
use crate::device::{Address, Device};
use crate::error::DeviceError;
use crate::memory::{Buffers, Counter, Memory, MemoryPlan, state_bytes};
use crate::params::StateKernels;
use crate::pass::Pass;
use crate::weights::{Weights, weights_bytes};

/// Most tokens and sequences: blocks of a launch in its second direction.
const MOST: usize = 65535;

/// What an engine is built for.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// What states are kept in.
    pub state: StateType,
    /// Most tokens that are computed together.
    pub max_batch: usize,
    /// Number of sequences.
    pub sequences: usize,
}

/// Runs a model on a device, with the bits of [`Cpu`](kinglet::engine::Cpu).
///
/// The hook of [`Engine::forward_with`] is called when a layer's work is queued; the device may
/// be some layers behind.
#[derive(Debug)]
pub struct DeviceEngine<D> {
    shape: Shape,
    options: EngineOptions,
    plan: MemoryPlan,
    start_state: Option<Vec<f32>>,
    weights: Weights,
    buffers: Buffers,
    /// `[sequence][state_len]`
    states: Address,
    /// [`batch::lists_len`] words, copied to the device for each batch.
    lists: Vec<u32>,
    failure: Option<DeviceError>,
    // Last, because it frees all memory.
    device: D,
}

impl<D: Device> DeviceEngine<D> {
    /// The memory that an engine for `model` takes.
    ///
    /// # Errors
    ///
    /// When the options are outside their ranges, or the architecture cannot keep its state so.
    pub fn plan(model: &Model<'_>, options: &EngineOptions) -> Result<MemoryPlan, DeviceError> {
        let EngineOptions { state, max_batch, sequences } = *options;
        let shape = model.shape();
        if !(1..=MOST).contains(&max_batch) || !(1..=MOST).contains(&sequences) {
            return Err(DeviceError::Size { max_batch, sequences });
        }
        let architecture = shape.architecture;
        if state == StateType::F16 && !architecture.allows_f16_state() {
            return Err(DeviceError::F16State { architecture });
        }
        let (mut states, mut buffers) = (Counter::default(), Counter::default());
        states.bytes(sequences * state_bytes(shape, state))?;
        Buffers::new(&mut buffers, shape, max_batch, batch::lists_len(max_batch))?;
        let weights = weights_bytes(model)?;
        Ok(MemoryPlan { weights, states: states.bytes, buffers: buffers.bytes })
    }

    /// Copies `model` to the device, with every state at the model's start state.
    /// `progress(done, total)` is called on the way, in bytes of the weights.
    ///
    /// # Errors
    ///
    /// As [`plan`](Self::plan); when the model does not fit the free memory, before anything is
    /// allocated; and when the driver refuses.
    pub fn new(
        mut device: D,
        model: &Model<'_>,
        options: &EngineOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, DeviceError> {
        let plan = Self::plan(model, options)?;
        let free = device.memory()?.free;
        if plan.total() > free {
            return Err(DeviceError::Memory { needs: plan, free });
        }
        let EngineOptions { state, max_batch, sequences } = *options;
        let shape = *model.shape();
        let lists = vec![0; batch::lists_len(max_batch)];
        let weights = Weights::upload(&mut device, model, progress)?;
        let buffers = Buffers::new(&mut device, &shape, max_batch, lists.len())?;
        let states = device.bytes(sequences * state_bytes(&shape, state))?;
        let start_state = model.start_state().map(<[f32]>::to_vec);
        let options = *options;
        let failure = None;
        let engine = Self {
            shape,
            options,
            plan,
            start_state,
            weights,
            buffers,
            states,
            lists,
            failure,
            device,
        };
        for sequence in 0..sequences {
            engine.put_start_state(sequence)?;
        }
        Ok(engine)
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What was allocated.
    pub fn memory_plan(&self) -> MemoryPlan {
        self.plan
    }

    /// Why the driver refused the last step, which ended as [`StepError::Cancelled`], or the last
    /// copy of a state. The states are unspecified then.
    pub fn failure(&self) -> Option<&DeviceError> {
        self.failure.as_ref()
    }

    /// Where the state of `sequence` is, and its bytes.
    fn state(&self, sequence: usize) -> (Address, usize) {
        let bytes = state_bytes(&self.shape, self.options.state);
        (self.states.offset(sequence * bytes), bytes)
    }

    fn put_state(&self, sequence: usize, state: &[f32]) -> Result<(), DeviceError> {
        let (address, _) = self.state(sequence);
        let mut narrow;
        let bytes = match self.options.state {
            StateType::F32 => bytemuck::cast_slice(state),
            StateType::F16 => {
                narrow = vec![f16::ZERO; state.len()];
                f16::narrow_all(state, &mut narrow);
                bytemuck::cast_slice(&narrow)
            }
        };
        // SAFETY: `bytes` is one sequence's state, whose place this is.
        unsafe { self.device.write(address, bytes) }
    }

    fn put_start_state(&self, sequence: usize) -> Result<(), DeviceError> {
        match &self.start_state {
            Some(state) => self.put_state(sequence, state),
            None => {
                let layer_len = self.shape.layer_state_len();
                let value = |i| self.shape.start_value(i % layer_len);
                let state: Vec<f32> = (0..self.shape.state_len()).map(value).collect();
                self.put_state(sequence, &state)
            }
        }
    }

    fn get_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), DeviceError> {
        let (address, bytes) = self.state(sequence);
        let mut kept = vec![0u32; bytes.div_ceil(4)];
        let kept: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut kept)[..bytes];
        // SAFETY: `kept` is as long as one sequence's state, whose place this is.
        unsafe { self.device.read(address, kept) }?;
        match self.options.state {
            StateType::F32 => state.copy_from_slice(bytemuck::cast_slice(kept)),
            StateType::F16 => f16::widen_all(bytemuck::cast_slice(kept), state),
        }
        Ok(())
    }

    fn check(&self, batch: &[BatchToken], logits: &[f32]) -> Result<(), StepError> {
        let (vocab, sequences) = (self.shape.vocab, self.options.sequences);
        if batch.is_empty() || batch.len() > self.options.max_batch {
            let (found, largest) = (batch.len(), self.options.max_batch);
            return Err(StepError::Batch { found, largest });
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

    fn check_sequence(&self, sequence: usize, len: usize) -> Result<(), StateError> {
        let (sequences, needed) = (self.options.sequences, self.shape.state_len());
        if sequence >= sequences {
            return Err(StateError::Sequence { found: sequence, sequences });
        }
        if len != needed {
            return Err(StateError::Len { found: len, needed });
        }
        Ok(())
    }

    /// Queues a batch and waits for its logits. Returns the layers that were queued before the
    /// hook asked to stop, or whether all values are finite.
    fn compute(
        &mut self,
        batch: &[BatchToken],
        logits: &mut [f32],
        hook: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Outcome, DeviceError> {
        let size = batch::write(batch, self.options.max_batch, &mut self.lists);
        let Self { device, shape, buffers, weights, states, .. } = &*self;
        let flag = buffers.not_finite;
        // SAFETY: both buffers are as long as what is written.
        unsafe {
            device.write(buffers.lists, bytemuck::cast_slice(&self.lists))?;
            device.write(flag, &[0; 4])?;
        }
        let pass = Pass {
            device,
            shape,
            buffers,
            lists: BatchLists::at(buffers.lists, self.options.max_batch),
            size,
            states: *states,
            kernels: match self.options.state {
                StateType::F32 => StateKernels::F32,
                StateType::F16 => StateKernels::F16,
            },
        };
        pass.embed(&weights.embedding)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            pass.layer(index, layer)?;
            if hook(index + 1).is_break() {
                return Ok(Outcome::Cancelled { layers: index + 1 });
            }
        }
        pass.find_not_finite(buffers.x, batch.len() * shape.width)?;
        pass.lm_head(weights.ln_out, weights.lm_head)?;
        if !logits.is_empty() {
            pass.find_not_finite(buffers.logits, logits.len())?;
        }
        let mut not_finite = [0; 4];
        // SAFETY: the flag has four bytes, and `logits` is as long as the wanted logits.
        unsafe {
            device.read(buffers.logits, bytemuck::cast_slice_mut(logits))?;
            device.read(flag, &mut not_finite)?;
        }
        Ok(if not_finite == [0; 4] { Outcome::Finite } else { Outcome::NotFinite })
    }
}

/// How a batch ended.
enum Outcome {
    Finite,
    NotFinite,
    Cancelled { layers: usize },
}

impl<D: Device> Engine for DeviceEngine<D> {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn max_batch(&self) -> usize {
        self.options.max_batch
    }

    fn sequences(&self) -> usize {
        self.options.sequences
    }

    fn forward_with(
        &mut self,
        batch: &[BatchToken],
        logits: &mut [f32],
        hook: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), StepError> {
        self.check(batch, logits)?;
        self.failure = None;
        match self.compute(batch, logits, hook) {
            Ok(Outcome::Finite) => Ok(()),
            Ok(Outcome::NotFinite) => Err(StepError::NonFinite),
            Ok(Outcome::Cancelled { layers }) => Err(StepError::Cancelled { layers }),
            Err(failure) => {
                self.failure = Some(failure);
                Err(StepError::Cancelled { layers: 0 })
            }
        }
    }

    fn reset(&mut self, sequence: usize) -> Result<(), StateError> {
        self.check_sequence(sequence, self.shape.state_len())?;
        self.failure = self.put_start_state(sequence).err();
        Ok(())
    }

    fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.is_finite()) {
            return Err(StateError::NonFinite { index });
        }
        self.failure = self.put_state(sequence, state).err();
        Ok(())
    }

    fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        // A lost device leaves NaN, which no state file and no engine takes.
        if self.get_state(sequence, state).is_err() {
            state.fill(f32::NAN);
        }
        Ok(())
    }
}
