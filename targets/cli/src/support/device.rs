//! The engine of a GPU, for commands with `--device cuda`.
//!
//! Layers for which the GPU has no room stay on the CPU, the first ones of the model.

use anyhow::{Context, Result, anyhow, bail};
use kinglet::engine::{Engine, FirstLayers};
use kinglet::format::model::Model;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet_cuda::{
    CudaDevice, Device as _, DeviceEngine, DeviceError, EngineOptions, HostLayers, MemoryPlan,
};
use kinglet_host::Threaded;

use crate::args::{Device, DeviceArgs, EngineArgs, StateType};
use crate::support::engine::{DEVICE_PROMPT_BATCH, memory, workspace};
use crate::support::terminal;

/// Does something with an opened device, of whichever kind. `$device` is its value.
macro_rules! with_device {
    ($name:expr, |$device:ident| $do:expr) => {
        match $name {
            Device::Cpu => bail!("the CPU is no device of its own"),
            Device::Cuda(index) => {
                let $device = CudaDevice::open(index).map_err(|error| explain($name, &error))?;
                $do
            }
            #[cfg(feature = "cuda-emulation")]
            Device::Emulated(memory) => {
                let $device = kinglet_cuda::Emulated::with_memory(memory);
                $do
            }
        }
    };
}

/// The error with what to do about it.
fn explain(device: Device, error: &DeviceError) -> anyhow::Error {
    let next = match error {
        DeviceError::NoDriver { .. } => {
            "install the NVIDIA driver, 580 or newer, or leave --device out"
        }
        DeviceError::OldDriver { .. } => "update the NVIDIA driver, or leave --device out",
        DeviceError::NoDevice { .. } => "`nvidia-smi -L` lists them",
        DeviceError::Memory { .. } => {
            "free memory there, keep more layers on the CPU (a smaller --device-layers), compute \
             fewer tokens together (--batch, where the command has it), or leave --device out"
        }
        DeviceError::HostLayers { .. } | DeviceError::F16State { .. } => "see `kinglet info`",
        _ => "leave --device out to compute on the CPU",
    };
    anyhow!("--device {device}: {error}; {next}")
}

const fn state_type(state: StateType) -> kinglet_cuda::StateType {
    match state {
        StateType::F32 => kinglet_cuda::StateType::F32,
        StateType::F16 => kinglet_cuda::StateType::F16,
    }
}

/// Calls `f` with an engine on the device that `args` names.
pub(crate) fn with_engine<R>(
    model: Model<'_>,
    args: &EngineArgs,
    sequences: usize,
    max_batch: usize,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    let state = state_type(args.state.state_type);
    let all = EngineOptions { state, max_batch, sequences, host_layers: 0 };
    with_device!(args.device.device, |device| on(device, model, args, all, f))
}

/// The options of an engine of which `args` says how many layers are on a device with `free` bytes.
fn options<D: kinglet_cuda::Device>(
    model: &Model<'_>,
    args: &DeviceArgs,
    all: EngineOptions,
    free: u64,
) -> Result<EngineOptions> {
    let layers = model.shape().layers;
    match args.device_layers {
        Some(wanted) if wanted > layers => {
            bail!("--device-layers {wanted} is more than the model's {layers}")
        }
        Some(wanted) => Ok(EngineOptions { host_layers: layers - wanted, ..all }),
        None => {
            DeviceEngine::<D>::fit(model, &all, free).map_err(|error| explain(args.device, &error))
        }
    }
}

/// [`with_engine`] on an opened device.
fn on<D: kinglet_cuda::Device, R>(
    device: D,
    model: Model<'_>,
    args: &EngineArgs,
    all: EngineOptions,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    let name = args.device.device;
    let free = device.memory().map_err(|error| explain(name, &error))?.free;
    let options = options::<D>(&model, &args.device, all, free)?;
    if options.host_layers > 0 && args.device.device_layers.is_none() {
        note_split(&model, name, &options, free, DeviceEngine::<D>::plan(&model, &all)?);
    }
    match (options.host_layers, args.state.state_type) {
        (0, _) => upload(device, model, name, &options, None, f),
        (_, StateType::F32) => with_host::<f32, D, R>(device, model, args, &options, f),
        (_, StateType::F16) => with_host::<f16, D, R>(device, model, args, &options, f),
    }
}

/// Says that a part of the model stays on the CPU, with the numbers.
fn note_split(
    model: &Model<'_>,
    device: Device,
    options: &EngineOptions,
    free: u64,
    needs: MemoryPlan,
) {
    let layers = model.shape().layers;
    terminal::note(&format!(
        "note: the model needs {} MB on {device} and {} MB are free: {} of its {layers} layers \
         are there, the others stay on the CPU",
        needs.total().div_ceil(1_000_000),
        free / 1_000_000,
        layers - options.host_layers,
    ));
}

/// [`on`], with the first layers on the CPU, whose states are kept in `S`.
fn with_host<S: StateElement, D: kinglet_cuda::Device, R>(
    device: D,
    model: Model<'_>,
    args: &EngineArgs,
    options: &EngineOptions,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    let kernels = Threaded::new(args.set()?, args.threads());
    let EngineOptions { max_batch, sequences, host_layers, .. } = *options;
    let len =
        FirstLayers::<'_, kinglet::kernels::scalar::Scalar>::state_len(model.shape(), host_layers);
    let mut states = memory::<S>("the state", sequences.checked_mul(len))?;
    let mut workspace = workspace(model.shape(), max_batch)?;
    let host =
        FirstLayers::new(model, kernels, host_layers, max_batch, &mut states, &mut workspace)?;
    upload(device, model, args.device.device, options, Some(Box::new(host)), f)
}

/// Copies the model to the device and calls `f` with the engine.
fn upload<'a, D: kinglet_cuda::Device, R>(
    device: D,
    model: Model<'_>,
    name: Device,
    options: &EngineOptions,
    host: Option<Box<dyn HostLayers + 'a>>,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    let mut bar = None;
    let engine = DeviceEngine::new(device, &model, options, host, &mut |done, total| {
        let template =
            "{bar:30} {percent}% · copying the model to the GPU · {decimal_bytes_per_sec}{left}";
        bar.get_or_insert_with(|| terminal::progress(total, template)).set_position(done);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let mut engine = engine.map_err(|error| explain(name, &error))?;
    let result = f(&mut engine);
    match (result, engine.failure()) {
        (Err(error), Some(failure)) => Err(anyhow!(
            "--device {name}: {error:#}: {failure}; its states are lost: start again, and if it \
             fails again look at the system's log and `nvidia-smi`, or leave --device out"
        )),
        (result, _) => result,
    }
}

/// The device's own name, `None` of the CPU.
pub(crate) fn name(device: Device) -> Result<Option<String>> {
    if device == Device::Cpu {
        return Ok(None);
    }
    with_device!(device, |opened| Ok(Some(opened.name().to_owned())))
}

/// Bytes per second that copies within the device's memory read and write.
pub(crate) fn copy_bandwidth(device: Device) -> Result<f64> {
    with_device!(device, |opened| opened.copy_bandwidth().context("measuring the GPU's memory"))
}

/// What a model takes of a device's memory.
pub(crate) struct Room {
    pub(crate) name: String,
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) weights: u64,
    pub(crate) states: u64,
    pub(crate) buffers: u64,
    /// Layers on the device.
    pub(crate) layers: usize,
}

/// The room that a model takes on the device, for one sequence and the batches of `run`; `None` of
/// the CPU.
pub(crate) fn room(model: &Model<'_>, args: &DeviceArgs) -> Result<Option<Room>> {
    if args.device == Device::Cpu {
        return Ok(None);
    }
    with_device!(args.device, |device| room_on(&device, model, args).map(Some))
}

fn room_on<D: kinglet_cuda::Device>(
    device: &D,
    model: &Model<'_>,
    args: &DeviceArgs,
) -> Result<Room> {
    let explain = |error| explain(args.device, &error);
    let found = device.memory().map_err(explain)?;
    let (state, max_batch) = (kinglet_cuda::StateType::F32, DEVICE_PROMPT_BATCH);
    let all = EngineOptions { state, max_batch, sequences: 1, host_layers: 0 };
    let options = options::<D>(model, args, all, found.free)?;
    let MemoryPlan { weights, states, buffers, .. } =
        DeviceEngine::<D>::plan(model, &options).map_err(explain)?;
    Ok(Room {
        name: device.name().to_owned(),
        total: found.total,
        free: found.free,
        weights,
        states,
        buffers,
        layers: model.shape().layers - options.host_layers,
    })
}
