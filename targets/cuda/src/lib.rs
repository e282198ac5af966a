//! Runs RWKV models on an NVIDIA GPU, with the bits of the CPU: [`DeviceEngine`] is an
//! [`Engine`](kinglet::engine::Engine) whose weights and states lie in the device's memory.
//!
//! ```no_run
//! use kinglet::engine::Engine;
//! use kinglet_cuda::{CudaDevice, DeviceEngine, EngineOptions, StateType};
//!
//! let model = kinglet::Model::open(kinglet_stories::MODEL)?;
//! let device = CudaDevice::open(0)?; // says where there is no driver
//! let options =
//!     EngineOptions { state: StateType::F32, max_batch: 64, sequences: 1, host_layers: 0 };
//! let mut engine = DeviceEngine::new(device, &model, &options, None, &mut |_done, _total| ())?;
//! let mut logits = vec![0.0; model.shape().vocab];
//! engine.step(0, 0, &mut logits)?;
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! The kernels are CUDA C++, in the folder `kernels`; `.ci/cuda` of the repository compiles them
//! for every compute capability from 7.5 on. The driver's library is loaded when a device is
//! opened, so that a program with this crate runs on machines without one.
//!
//! # Modules
//!
//! `device` is the seam to a device, `cuda` and `emulated` are its two implementations. `memory`
//! plans what is allocated, `weights` copies the model, `batch` lists which token is of which
//! sequence, `pass` has a function for each kernel, `layers` the order of these in each
//! architecture, `recordings` keeps them as graphs, `staging` is the memory that copies go through, `host` is the layers that a device has no room
//! for, and `engine` puts all behind the seam.

mod batch;
mod cuda;
mod device;
#[cfg(feature = "emulation")]
mod emulated;
mod engine;
mod error;
mod host;
mod layers;
mod memory;
mod params;
mod pass;
mod recordings;
mod staging;
#[cfg(all(test, feature = "emulation"))]
mod tests;
mod weights;

pub use cuda::{CudaDevice, Graph};
pub use device::{Address, Device, DeviceMemory, Kernel, Launch};
#[cfg(feature = "emulation")]
pub use emulated::{Calls, Emulated, EmulatedRecording, RecordedLaunch};
pub use engine::{DeviceEngine, EngineOptions};
pub use error::DeviceError;
pub use host::HostLayers;
pub use memory::MemoryPlan;

/// What an engine keeps states in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateType {
    /// f32.
    F32,
    /// f16, in half the memory and with other numbers: each element is rounded after every token.
    F16,
}
