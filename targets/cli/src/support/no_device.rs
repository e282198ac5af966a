//! Devices of a program that was built without CUDA, or for a system that has none: only the CPU.

use anyhow::{Result, bail};
use kinglet::engine::Engine;
use kinglet::format::model::Model;

use crate::args::{Device, DeviceArgs, EngineArgs};

fn refuse<R>(device: Device) -> Result<R> {
    bail!(
        "--device {device}: this kinglet was built without CUDA; leave --device out, or build it \
         with the feature `cuda`, which 64-bit Linux with glibc and Windows have"
    )
}

/// See the room of the same name for programs with CUDA.
pub(crate) fn with_engine<R>(
    _model: Model<'_>,
    args: &EngineArgs,
    _sequences: usize,
    _max_batch: usize,
    _f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    refuse(args.device.device)
}

/// The device's own name, `None` of the CPU.
pub(crate) fn name(device: Device) -> Result<Option<String>> {
    if device == Device::Cpu { Ok(None) } else { refuse(device) }
}

/// Bytes per second that copies within the device's memory read and write.
pub(crate) fn copy_bandwidth(device: Device) -> Result<f64> {
    refuse(device)
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

/// The room that a model takes on the device, `None` of the CPU.
pub(crate) fn room(_model: &Model<'_>, args: &DeviceArgs) -> Result<Option<Room>> {
    if args.device == Device::Cpu { Ok(None) } else { refuse(args.device) }
}
