//! The engine: a model and the states of its sequences on a device, or the last layers of a model
//! whose first ones are on the processor.
//!
//! ```text
//! layers on the processor:  x, v_first = first layers, copied to the device
//! the lists of the batch, copied to the device
//! embedding or x -> layers -> head                     one recording, or launches
//! logits, and whether all is finite, copied back
//! ```

use core::cell::OnceCell;

use kinglet::engine::{BatchToken, Engine, Hook, StateError, StepError, Stream};
use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::{StateElement, f16};

use crate::StateType;
use crate::batch::{self, BatchLists};
use crate::device::{Address, Device};
use crate::error::DeviceError;
use crate::host::HostLayers;
use crate::memory::{Buffers, Counter, Memory, MemoryPlan, state_bytes};
use crate::params::StateKernels;
use crate::pass::Pass;
use crate::recordings::Recordings;
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
    /// The first layers of the model, which stay on the processor; 0 where all are on the device.
    pub host_layers: usize,
}

/// Runs a model on a device, with the bits of [`Cpu`](kinglet::engine::Cpu).
///
/// The hook of [`Engine::forward_with`] is called when a layer's work is queued, or was queued with
/// that of other layers; the device may be some layers behind.
#[derive(Debug)]
pub struct DeviceEngine<'a, D: Device> {
    shape: Shape,
    options: EngineOptions,
    plan: MemoryPlan,
    start_state: Option<Vec<f32>>,
    host: Option<Host<'a>>,
    weights: Weights,
    buffers: Buffers,
    /// `[sequence][elements of the device's layers]`
    states: Address,
    /// [`batch::lists_len`] words, copied to the device for each batch.
    lists: Vec<u32>,
    /// The values of layer 0 on their way to the device: `[token][width]`
    v_first: Vec<f32>,
    recordings: Recordings<D>,
    /// The first failure; a device that failed once is lost.
    failure: OnceCell<DeviceError>,
    // Last, because it frees all memory.
    device: D,
}

/// The layers on the processor.
struct Host<'a>(Box<dyn HostLayers + 'a>);

impl core::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} layers", self.0.layers())
    }
}

impl<'a, D: Device> DeviceEngine<'a, D> {
    /// The memory that an engine for `model` takes.
    ///
    /// # Errors
    ///
    /// When the options are outside their ranges, or the architecture cannot keep its state so.
    pub fn plan(model: &Model<'_>, options: &EngineOptions) -> Result<MemoryPlan, DeviceError> {
        let EngineOptions { state, max_batch, sequences, host_layers } = *options;
        let shape = model.shape();
        if !(1..=MOST).contains(&max_batch) || !(1..=MOST).contains(&sequences) {
            return Err(DeviceError::Size { max_batch, sequences });
        }
        if host_layers > shape.layers {
            return Err(DeviceError::HostLayers { found: host_layers, layers: shape.layers });
        }
        let architecture = shape.architecture;
        if state == StateType::F16 && !architecture.allows_f16_state() {
            return Err(DeviceError::F16State { architecture });
        }
        let (mut states, mut buffers) = (Counter::default(), Counter::default());
        states.bytes(sequences * state_bytes(shape, shape.layers - host_layers, state))?;
        Buffers::new(&mut buffers, shape, max_batch, batch::lists_len(max_batch))?;
        let weights = weights_bytes(model, host_layers)?;
        Ok(MemoryPlan { weights, states: states.bytes, buffers: buffers.bytes })
    }

    /// `options` with as few layers on the processor as `free` bytes of the device allow, whatever
    /// they say of them.
    ///
    /// # Errors
    ///
    /// As [`plan`](Self::plan); when the model's head alone does not fit, with what that needs.
    pub fn fit(
        model: &Model<'_>,
        options: &EngineOptions,
        free: u64,
    ) -> Result<EngineOptions, DeviceError> {
        for host_layers in 0..model.shape().layers {
            let some = EngineOptions { host_layers, ..*options };
            if Self::plan(model, &some)?.total() <= free {
                return Ok(some);
            }
        }
        let least = EngineOptions { host_layers: model.shape().layers, ..*options };
        let needs = Self::plan(model, &least)?;
        if needs.total() > free {
            return Err(DeviceError::Memory { needs, free });
        }
        Ok(least)
    }

    /// Copies `model` to the device, with every state at the model's start state.
    /// `progress(done, total)` is called on the way, in bytes of the weights.
    ///
    /// `host` has the first [`EngineOptions::host_layers`] layers, with as many sequences and the
    /// same type of states; `None` where all layers are on the device.
    ///
    /// # Errors
    ///
    /// As [`plan`](Self::plan); when the model does not fit the free memory, before anything is
    /// allocated; and when the driver refuses.
    ///
    /// # Panics
    ///
    /// When `host` has another number of layers or sequences than the options say.
    pub fn new(
        mut device: D,
        model: &Model<'_>,
        options: &EngineOptions,
        host: Option<Box<dyn HostLayers + 'a>>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, DeviceError> {
        let plan = Self::plan(model, options)?;
        let EngineOptions { state, max_batch, sequences, host_layers } = *options;
        assert_eq!(host.as_ref().map_or(0, |host| host.layers()), host_layers, "layers of `host`");
        assert!(host.as_ref().is_none_or(|host| host.sequences() == sequences), "sequences");
        let free = device.memory()?.free;
        if plan.total() > free {
            return Err(DeviceError::Memory { needs: plan, free });
        }
        device.reserve(plan.total())?;
        let shape = *model.shape();
        let lists = vec![0; batch::lists_len(max_batch)];
        let weights = Weights::upload(&mut device, model, host_layers, progress)?;
        let buffers = Buffers::new(&mut device, &shape, max_batch, lists.len())?;
        let states = sequences * state_bytes(&shape, shape.layers - host_layers, state);
        let states = device.bytes(states)?;
        let engine = Self {
            shape,
            options: *options,
            plan,
            start_state: model.start_state().map(<[f32]>::to_vec),
            host: host.map(Host),
            weights,
            buffers,
            states,
            lists,
            v_first: Vec::new(),
            recordings: Recordings::default(),
            failure: OnceCell::new(),
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

    /// Why the device failed: the reason of [`StepError::Device`] and [`StateError::Device`].
    pub fn failure(&self) -> Option<&DeviceError> {
        self.failure.get()
    }

    /// Elements of a state before those of the device's layers.
    fn host_len(&self) -> usize {
        self.options.host_layers * self.shape.layer_state_len()
    }

    /// Where the state of `sequence` is, and its bytes.
    fn state(&self, sequence: usize) -> (Address, usize) {
        let layers = self.shape.layers - self.options.host_layers;
        let bytes = state_bytes(&self.shape, layers, self.options.state);
        (self.states.offset(sequence * bytes), bytes)
    }

    /// Writes the device's part of a state.
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
        let host_len = self.host_len();
        match &self.start_state {
            Some(state) => self.put_state(sequence, &state[host_len..]),
            None => {
                let layer_len = self.shape.layer_state_len();
                let value = |i| self.shape.start_value(i % layer_len);
                let state: Vec<f32> = (host_len..self.shape.state_len()).map(value).collect();
                self.put_state(sequence, &state)
            }
        }
    }

    /// Reads the device's part of a state.
    fn get_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), DeviceError> {
        let (address, bytes) = self.state(sequence);
        let mut kept = vec![0u32; bytes.div_ceil(4)];
        let kept: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut kept)[..bytes];
        // SAFETY: `kept` is as long as one sequence's state, whose place this is.
        unsafe { self.device.read(&mut [(address, &mut *kept)]) }?;
        match self.options.state {
            StateType::F32 => state.copy_from_slice(bytemuck::cast_slice(kept)),
            StateType::F16 => f16::widen_all(bytemuck::cast_slice(kept), state),
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

    /// Keeps the failure of a device, which is lost from then on.
    fn lost(&self, failure: DeviceError) {
        let _ = self.failure.set(failure);
    }

    /// `done`, as an error of a state.
    fn of_state(&self, done: Result<(), DeviceError>) -> Result<(), StateError> {
        done.map_err(|failure| {
            self.lost(failure);
            StateError::Device
        })
    }

    /// Computes the layers on the processor and copies what they hand on to the device.
    fn first_layers(&mut self, batch: &[BatchToken], hook: Hook<'_>) -> Result<(), StepError> {
        let Some(Host(host)) = &mut self.host else { return Ok(()) };
        let Stream { x, v_first } = host.forward(batch, hook)?;
        let put = |to: Address, values: &[f32]| {
            // SAFETY: both are vectors of `width` for each token of a batch that is no larger
            // than the buffers are made for.
            unsafe { self.device.write(to, bytemuck::cast_slice(values)) }
        };
        let mut done = put(self.buffers.x, x);
        if !v_first.is_empty() {
            let n = self.shape.head_size;
            by_token(v_first, batch.len(), n, &mut self.v_first);
            done = done.and_then(|()| put(self.buffers.v_first, &self.v_first));
        }
        done.map_err(|failure| {
            self.lost(failure);
            StepError::Device
        })
    }

    /// Queues the device's part of a batch and waits for its logits.
    fn compute(
        &mut self,
        batch: &[BatchToken],
        logits: &mut [f32],
        hook: Hook<'_>,
    ) -> Result<Outcome, DeviceError> {
        let size = batch::write(batch, self.options.max_batch, &mut self.lists);
        let Self { device, shape, buffers, weights, states, recordings, .. } = self;
        let host_layers = self.options.host_layers;
        // SAFETY: the buffer is as long as the lists.
        unsafe { device.write(buffers.lists, bytemuck::cast_slice(&self.lists)) }?;
        let pass = Pass {
            device: &*device,
            shape,
            buffers,
            lists: BatchLists::at(buffers.lists, self.options.max_batch),
            size,
            host_layers,
            states: *states,
            kernels: match self.options.state {
                StateType::F32 => StateKernels::F32,
                StateType::F16 => StateKernels::F16,
            },
        };
        recordings.run(device, size, &mut || pass.all(weights))?;
        for layer in host_layers + 1..=shape.layers {
            if hook(layer).is_break() {
                return Ok(Outcome::Cancelled { layers: layer });
            }
        }
        let mut not_finite = [0; 4];
        let mut parts = [
            (pass.lists.not_finite, &mut not_finite[..]),
            (buffers.logits, bytemuck::cast_slice_mut(logits)),
        ];
        // SAFETY: the flag has four bytes, and `logits` is as long as the wanted logits.
        unsafe { device.read(&mut parts) }?;
        Ok(if not_finite == [0; 4] { Outcome::Finite } else { Outcome::NotFinite })
    }
}

/// `[head][token][channel]` with `n` channels as `[token][head][channel]`.
fn by_token(values: &[f32], tokens: usize, n: usize, out: &mut Vec<f32>) {
    out.clear();
    for token in 0..tokens {
        for head in values.chunks_exact(tokens * n) {
            out.extend_from_slice(&head[token * n..][..n]);
        }
    }
}

/// How a batch ended.
enum Outcome {
    Finite,
    NotFinite,
    Cancelled { layers: usize },
}

impl<D: Device> Engine for DeviceEngine<'_, D> {
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
        hook: Hook<'_>,
    ) -> Result<(), StepError> {
        self.check_batch(batch, logits)?;
        if self.failure.get().is_some() {
            return Err(StepError::Device);
        }
        self.first_layers(batch, hook)?;
        match self.compute(batch, logits, hook) {
            Ok(Outcome::Finite) => Ok(()),
            Ok(Outcome::NotFinite) => Err(StepError::NonFinite),
            Ok(Outcome::Cancelled { layers }) => Err(StepError::Cancelled { layers }),
            Err(failure) => {
                self.lost(failure);
                Err(StepError::Device)
            }
        }
    }

    fn reset(&mut self, sequence: usize) -> Result<(), StateError> {
        self.check_sequence(sequence, self.shape.state_len())?;
        if let Some(Host(host)) = &mut self.host {
            host.reset(sequence);
        }
        self.of_state(self.put_start_state(sequence))
    }

    fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        if let Some(index) = state.iter().position(|x| !x.is_finite()) {
            return Err(StateError::NonFinite { index });
        }
        let (first, rest) = state.split_at(self.host_len());
        if let Some(Host(host)) = &mut self.host {
            host.load_state(sequence, first)?;
        }
        self.of_state(self.put_state(sequence, rest))
    }

    fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError> {
        self.check_sequence(sequence, state.len())?;
        let (first, rest) = state.split_at_mut(self.host_len());
        if let Some(Host(host)) = &self.host {
            host.store_state(sequence, first)?;
        }
        self.of_state(self.get_state(sequence, rest))
    }
}
