//! What the workspace-level tests stand on: a float64 forward pass of every
//! RWKV version that shares no code with the runtime ([`oracle`]), the figures
//! by which two sets of logits are compared ([`metrics`]), and readers for the
//! golden data under `tests/data` ([`fixture`], [`npy`]). [`random`] makes
//! checkpoints of any dimensions, [`writers`] gives them the forms of other
//! programs, [`quantized`] makes model files of checkpoints and runs them,
//! [`plain`] rounds weights in the simplest way that is any good, [`quality`]
//! is the README's table of what int8 costs.

pub mod fixture;
pub mod npy;
pub mod oracle;
pub mod plain;
pub mod quality;
pub mod quantized;
pub mod random;
pub mod writers;

pub use kinglet_quantize::metrics;
pub use kinglet_quantize::reference::tensor;
