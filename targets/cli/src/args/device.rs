//! Where a command computes.

use std::fmt;

use clap::Args;

/// The device, and how much of the model is on it.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct DeviceArgs {
    /// Where to compute, with the same numbers: cpu; cuda, the first NVIDIA GPU; or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    pub(crate) device: Device,
    /// Layers of the model on the GPU; the first ones stay on the CPU. As many as fit its memory
    /// if not given
    #[arg(long, value_name = "N")]
    pub(crate) device_layers: Option<usize>,
}

/// A device by its name on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Device {
    #[default]
    Cpu,
    /// The NVIDIA GPU of this index, as the driver counts them.
    Cuda(usize),
    /// The kernels of the GPU on the CPU, with this much memory: for tests.
    #[cfg(feature = "cuda-emulation")]
    Emulated(u64),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            #[cfg(feature = "cuda-emulation")]
            Self::Emulated(memory) => write!(f, "emulated:{memory}"),
        }
    }
}

/// A device: `cpu`, `cuda` or `cuda:N`.
fn device(text: &str) -> Result<Device, String> {
    let (name, index) = match text.split_once(':') {
        None => (text, None),
        Some((name, index)) => (name, Some(index)),
    };
    match (name, index) {
        ("cpu", None) => Ok(Device::Cpu),
        ("cuda", None) => Ok(Device::Cuda(0)),
        ("cuda", Some(index)) => index
            .parse()
            .map(Device::Cuda)
            .map_err(|_| format!("`{index}` is no index of a GPU, such as 0")),
        #[cfg(feature = "cuda-emulation")]
        ("emulated", memory) => {
            let memory = memory.unwrap_or("4294967296").parse();
            memory.map(Device::Emulated).map_err(|error| format!("bytes of memory: {error}"))
        }
        _ => Err("known are cpu, cuda and cuda:N".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for (text, expected) in [
            ("cpu", Device::Cpu),
            ("cuda", Device::Cuda(0)),
            ("cuda:0", Device::Cuda(0)),
            ("cuda:17", Device::Cuda(17)),
        ] {
            assert_eq!(device(text), Ok(expected), "{text}");
        }
        assert_eq!(Device::Cuda(3).to_string(), "cuda:3");
        for (text, said) in [
            ("gpu", "known are cpu"),
            ("cpu:0", "known are cpu"),
            ("", "known are cpu"),
            ("CUDA", "known are cpu"),
            ("cuda:", "no index"),
            ("cuda:-1", "no index"),
            ("cuda:0:1", "no index"),
        ] {
            let error = device(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
