//! Numbers that the caller allocates by.

/// The address of a model file is a multiple of this.
pub const KINGLET_MODEL_ALIGN: usize = 64;

/// The addresses of states, workspaces, logits, counts and state files are
/// multiples of this.
pub const KINGLET_BUFFER_ALIGN: usize = 4;

/// The most tokens that an engine computes together.
pub const KINGLET_MAX_BATCH: usize = 256;

/// "No token", where a state is saved or restored.
pub const KINGLET_NO_TOKEN: u32 = u32::MAX;

/// "No stop string", where a text has not ended at one.
pub const KINGLET_NO_STOP: u32 = u32::MAX;

const _: () = assert!(KINGLET_MODEL_ALIGN == kinglet::kernels::matrix::ALIGN);
const _: () = assert!(KINGLET_BUFFER_ALIGN == align_of::<f32>());
