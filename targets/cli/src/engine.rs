//! The engine that a command computes with: kernels chosen by name, buffers on
//! the heap.

use anyhow::{Result, bail};
use kinglet::cpu::{Cpu, workspace_len};
use kinglet::engine::Engine;
use kinglet::model::Model;
use kinglet_host::{Portable, Threaded};

use crate::args::EngineArgs;

/// Names of the kernel sets, the fastest last.
const KERNELS: &[&str] = &["scalar"];

/// Calls `f` with an engine over `model` that holds `slots` sequences and
/// computes up to `block` columns together.
pub(crate) fn with_engine<R>(
    model: Model<'_>,
    args: &EngineArgs,
    slots: usize,
    block: usize,
    f: impl FnOnce(&mut dyn Engine) -> Result<R>,
) -> Result<R> {
    if let Some(name) = &args.kernel
        && !KERNELS.contains(&name.as_str())
    {
        bail!("kernel set `{name}` is not known; this machine has: {}", KERNELS.join(", "));
    }
    let mut states = vec![0.0; slots * model.shape().state_len()];
    let mut workspace = vec![0.0; workspace_len(model.shape(), block)];
    let mut engine = Cpu::new(model, Threaded::new(Portable), block, &mut states, &mut workspace)?;
    f(&mut engine)
}
