//! The engine that a command computes with: kernels chosen by name, buffers on
//! the heap.

use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use kinglet::engine::{Cpu, Engine, checked_workspace_len};
use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet_host::{PageBuffer, Threaded, default_threads};

#[cfg(not(target_arch = "aarch64"))]
use kinglet_desktop::KernelSet;
#[cfg(target_arch = "aarch64")]
use kinglet_neon::KernelSet;

use crate::args::{Device, DeviceArgs, EngineArgs, MAX_THREADS, ResidenceArgs, StateType};
use crate::support::device;

/// Tokens of a prompt that are computed together.
///
/// Twice as many would need more than 8 MB of workspace for a model of 1.5B. Half
/// as many are slower by 13 to 18 % on two threads: `benches/record/cascade-zen4-2c.csv`.
pub(crate) const PROMPT_BATCH: usize = 64;

/// The same on a GPU, which reads the weights once for each: [`Engine::prefill`]'s largest.
pub(crate) const DEVICE_PROMPT_BATCH: usize = 256;

impl DeviceArgs {
    /// Refuses layers on a GPU where none is named.
    pub(crate) fn check(&self) -> Result<()> {
        match (self.device, self.device_layers) {
            (Device::Cpu, Some(layers)) => bail!(
                "--device-layers {layers} says how much of the model is on a GPU; give \
                 --device cuda as well"
            ),
            _ => Ok(()),
        }
    }
}

impl EngineArgs {
    /// Tokens of a prompt that are computed together.
    pub(crate) fn prompt_batch(&self) -> usize {
        match self.device.device {
            Device::Cpu => PROMPT_BATCH,
            _ => DEVICE_PROMPT_BATCH,
        }
    }

    /// Refuses options that mean nothing where the command computes.
    pub(crate) fn check_device(&self, residence: &ResidenceArgs) -> Result<()> {
        self.device.check()?;
        let DeviceArgs { device, device_layers } = self.device;
        // Layers on the CPU take all of them.
        if device == Device::Cpu || device_layers.is_some() {
            return Ok(());
        }
        let given = [
            ("--threads", self.threads.is_some()),
            ("--kernel", self.kernel.is_some()),
            ("--preload", residence.preload),
            ("--lock", residence.lock),
        ];
        if let Some((option, _)) = given.into_iter().find(|(_, given)| *given) {
            bail!(
                "{option} is of the CPU, where --device {device} computes nothing; leave it out, \
                 or keep layers of the model on the CPU with --device-layers N"
            );
        }
        Ok(())
    }

    /// The kernel set that was asked for, or the fastest.
    pub(crate) fn set(&self) -> Result<KernelSet> {
        let Some(name) = &self.kernel else { return Ok(KernelSet::best()) };
        let known: Vec<_> = KernelSet::names().collect();
        let ends: Vec<_> = known.iter().filter(|known| is_end(known, name)).collect();
        let named = match ends[..] {
            [end] if !known.contains(&name.as_str()) => end,
            _ => name.as_str(),
        };
        let Some(set) = KernelSet::by_name(named) else {
            bail!("kernel set `{name}` is not known here; this machine has: {}", known.join(", "));
        };
        Ok(set)
    }

    /// The number of threads that was asked for, or the physical cores.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| default_threads().min(MAX_THREADS))
    }
}

/// Whether `end` is the end of a kernel set's name, from a hyphen on.
fn is_end(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|front| front.ends_with('-'))
}

/// Calls `f` with an engine over `model` that holds `sequences` sequences and
/// computes up to `max_batch` tokens together.
pub(crate) fn with_engine<R>(
    model: Model<'_>,
    args: &EngineArgs,
    sequences: usize,
    max_batch: usize,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    if args.device.device != Device::Cpu {
        return device::with_engine(model, args, sequences, max_batch, f);
    }
    match args.state.state_type {
        StateType::F32 => with_states::<f32, R>(model, args, sequences, max_batch, f),
        StateType::F16 => with_states::<f16, R>(model, args, sequences, max_batch, f),
    }
}

/// [`with_engine`], with states kept in `S`.
fn with_states<S: StateElement, R>(
    model: Model<'_>,
    args: &EngineArgs,
    sequences: usize,
    max_batch: usize,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    let kernels = Threaded::new(args.set()?, args.threads());
    let mut states = memory::<S>("the state", sequences.checked_mul(model.shape().state_len()))?;
    let mut workspace = workspace(model.shape(), max_batch)?;
    let mut engine = Cpu::new(model, kernels, max_batch, &mut states, &mut workspace)?;
    f(&mut engine)
}

/// The workspace of an engine that computes up to `max_batch` tokens together.
pub(crate) fn workspace(shape: &Shape, max_batch: usize) -> Result<PageBuffer<f32>> {
    let len = checked_workspace_len(shape, max_batch);
    let together = format!("for {max_batch} tokens together (a smaller --batch needs less)");
    memory(&format!("the workspace {together}"), len)
}

/// The tokens to compute together where `wanted` would be best: fewer for a model whose workspace
/// would be large beside its file, as a forged one's can be.
pub(crate) fn max_batch(model: &Model<'_>, wanted: usize) -> usize {
    let most = 2 * model.bytes().len() / size_of::<f32>() + (64 << 10);
    let fits =
        |batch: &usize| checked_workspace_len(model.shape(), *batch).is_some_and(|len| len <= most);
    std::iter::successors(Some(wanted), |batch| Some(batch / 2))
        .find(|batch| *batch <= 1 || fits(batch))
        .unwrap_or(1)
        .max(1)
}

/// `len` zeros for `what`; no length is one that overflows.
pub(crate) fn memory<T: StateElement>(what: &str, len: Option<usize>) -> Result<PageBuffer<T>> {
    let zeros = len.ok_or(ErrorKind::OutOfMemory.into()).and_then(PageBuffer::new);
    zeros.with_context(|| match len {
        Some(len) => format!("{what} needs {} bytes", size_of::<T>() as u128 * len as u128),
        None => format!("{what} needs more bytes than there are addresses"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet::engine::workspace_len;
    use kinglet_quantize::synthetic::OFFICIAL;

    #[test]
    fn the_workspace_of_a_prompt_batch_is_small() {
        for (name, shape) in &OFFICIAL[..3] {
            let bytes = 4 * workspace_len(shape, PROMPT_BATCH);
            assert!(bytes < 6_000_000, "{name}: {bytes}");
        }
    }
}
