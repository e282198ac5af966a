//! Why a device cannot run a model.

use kinglet::format::shape::Architecture;

/// Why a device cannot be used, or cannot run a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The driver's library is not installed.
    #[error(
        "no CUDA driver: the library {library} of the NVIDIA driver is not installed or cannot be \
         loaded"
    )]
    NoDriver {
        /// File name of the library.
        library: &'static str,
    },
    /// The machine has no such device.
    #[error("device {found} does not exist; the CUDA driver has {count} device(s), from 0 on")]
    NoDevice {
        /// The index.
        found: usize,
        /// Number of devices.
        count: usize,
    },
    /// The device is older than the oldest that the kernels are compiled for.
    #[error("{name} has compute capability {}.{}; 7.5 is the oldest that is supported", found.0, found.1)]
    TooOld {
        /// The device's name.
        name: String,
        /// Its compute capability.
        found: (i32, i32),
    },
    /// The driver is older than the kernels.
    #[error(
        "the CUDA driver is of CUDA {}.{}, the kernels need one of CUDA {}.{} (580 or newer)",
        found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10
    )]
    OldDriver {
        /// The driver's version, 1000 major + 10 minor.
        found: i32,
        /// The oldest that runs the kernels.
        needed: i32,
    },
    /// The driver refused a call.
    #[error("the CUDA driver refused to {what}: {code}")]
    Call {
        /// What it was asked for.
        what: &'static str,
        /// The driver's name of the error.
        code: String,
    },
    /// The model does not fit the device's memory.
    #[error(
        "the model needs {} MB of the device's memory and {} MB are free: weights {} MB, \
         states {} MB, buffers of a batch {} MB",
        megabytes(needs.total()), free / 1_000_000, megabytes(needs.weights),
        megabytes(needs.states), megabytes(needs.buffers)
    )]
    Memory {
        /// What the engine would allocate.
        needs: crate::MemoryPlan,
        /// Bytes that are free.
        free: u64,
    },
    /// The batch or the number of sequences is zero, or more than 65535 tokens, the most blocks of
    /// a launch in one direction.
    #[error("an engine of {max_batch} tokens and {sequences} sequences; each must be 1 to 65535")]
    Size {
        /// Tokens of a batch.
        max_batch: usize,
        /// Sequences.
        sequences: usize,
    },
    /// The model has fewer layers than are to stay on the processor.
    #[error("{found} layers are to stay on the CPU; the model has {layers}")]
    HostLayers {
        /// Layers asked for.
        found: usize,
        /// The model's.
        layers: usize,
    },
    /// The architecture's state cannot be kept in f16.
    #[error("the state of {architecture} cannot be kept in f16; keep it in f32")]
    F16State {
        /// The model's.
        architecture: Architecture,
    },
    /// The device has no kernels for the way in which a tensor is stored.
    #[error("there are no CUDA kernels for the way in which the model stores a matrix")]
    Storage,
    /// The device has no kernels for the architecture.
    #[error("there are no CUDA kernels for {architecture}")]
    Architecture {
        /// The model's.
        architecture: Architecture,
    },
}

/// Megabytes, rounded up.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
