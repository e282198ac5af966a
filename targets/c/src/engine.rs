//! Engines: one sequence, step by step.

use core::ffi::{c_char, c_void};
use core::ops::Range;
use core::ptr;

use kinglet::cpu::Cpu;
use kinglet::crc32::Crc32;
use kinglet::engine::{Column, Engine as _};
use kinglet::state::StateFile;

use crate::KINGLET_NO_TOKEN;
use crate::handle::{KingletEngine, KingletModel, get, get_mut, init};
use crate::kernels::{self, KernelSet};
use crate::memory::{check, disjoint, output, place, slice, slice_mut};
use crate::model::workspace_size;
use crate::status::{KingletStatus, status};

/// What a [`KingletEngine`] holds. `'static` stands for as long as the caller
/// promised to keep model, state and workspace.
#[derive(Debug)]
pub(crate) struct Engine {
    cpu: Cpu<'static, KernelSet>,
    /// Where the model, the state and the workspace lie.
    taken: [Range<usize>; 3],
}

impl Engine {
    fn vocab(&self) -> usize {
        self.cpu.model().shape().vocab
    }

    /// Refuses a buffer that overlaps what the engine computes with.
    fn apart<T>(&self, buffer: &[T]) -> Result<(), KingletStatus> {
        self.taken.iter().try_for_each(|taken| disjoint(taken, &place(buffer)))
    }

    /// The logits that a call writes.
    ///
    /// # Safety
    /// As [`slice_mut`].
    unsafe fn logits<'a>(
        &self,
        logits: *mut f32,
        size: usize,
    ) -> Result<&'a mut [f32], KingletStatus> {
        if size / 4 < self.vocab() {
            return Err(KingletStatus::BufferTooSmall);
        }
        // SAFETY: `vocab` is no more than the `size / 4` that the caller promised.
        let logits = unsafe { slice_mut(logits, self.vocab()) }?;
        self.apart(logits)?;
        Ok(logits)
    }
}

/// `size` bytes at `pointer` as floats, all of them 0.
///
/// # Safety
/// As [`slice_mut`].
unsafe fn zeroed<'a>(pointer: *mut c_void, size: usize) -> Result<&'a mut [f32], KingletStatus> {
    let (floats, len) = (pointer.cast::<f32>(), size / 4);
    check(floats, len)?;
    // SAFETY: the memory is there by the caller's promise; all zeros are floats.
    unsafe { ptr::write_bytes(floats, 0, len) };
    // SAFETY: the caller's promise, and initialised just now.
    unsafe { slice_mut(floats, len) }
}

/// Where `size` bytes at `pointer` lie, as floats.
fn span(pointer: *mut c_void, size: usize) -> Result<Range<usize>, KingletStatus> {
    check(pointer.cast::<f32>(), size / 4)?;
    Ok(pointer.addr()..pointer.addr() + size)
}

/// Makes an engine over a model, at the start of a sequence. It computes up to
/// `block` tokens of a prompt together: 1 needs the smallest workspace, 32 is
/// good for a desktop; the numbers are the same.
///
/// `state` and `workspace` are buffers of at least kinglet_state_size and
/// kinglet_workspace_size bytes, apart from each other, whatever is in them. They
/// are the engine's as long as it is used: nothing else reads or writes them.
///
/// # Safety
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_init(
    engine: *mut KingletEngine,
    model: *const KingletModel,
    block: usize,
    state: *mut c_void,
    state_size: usize,
    workspace: *mut c_void,
    workspace_size: usize,
) -> KingletStatus {
    let make = || {
        // SAFETY: the caller's promise.
        let opened = unsafe { get(model) }?;
        let shape = opened.model.shape();
        let (needed_state, needed_workspace) = (
            4 * shape.state_len(),
            self::workspace_size(shape, block).ok_or(KingletStatus::Block)?,
        );
        if state_size < needed_state || workspace_size < needed_workspace {
            return Err(KingletStatus::BufferTooSmall);
        }
        let taken = [
            place(opened.model.bytes()),
            span(state, needed_state)?,
            span(workspace, needed_workspace)?,
        ];
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            disjoint(&taken[a], &taken[b])?;
        }
        // SAFETY: the caller's promise; no more than the sizes given, and apart.
        let (state, workspace) =
            unsafe { (zeroed(state, needed_state)?, zeroed(workspace, needed_workspace)?) };
        let cpu = Cpu::new(opened.model, kernels::best(), block, state, workspace)?;
        Ok(Engine { cpu, taken })
    };
    // SAFETY: the caller's promise about `engine`.
    status(unsafe { init(engine, make) })
}

/// Puts the engine back to the start of a sequence.
///
/// # Safety
/// The pointer is to an engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_reset(engine: *mut KingletEngine) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get_mut(engine) };
    status(engine.and_then(|engine| Ok(engine.cpu.reset(0)?)))
}

/// The name of the kernels that the engine computes with, such as "dsp" or
/// "x86-64-avx2": the fastest for this machine. The numbers do not depend on it.
/// Null when `engine` is none. The text is static.
///
/// # Safety
/// The pointer is what it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_kernels(engine: *const KingletEngine) -> *const c_char {
    // SAFETY: the caller's promise.
    let engine = unsafe { get(engine) };
    engine.map_or(ptr::null(), |engine| kernels::name(engine.cpu.kernels()).as_ptr())
}

/// Feeds a token and writes the logits after it, a float for each id of the
/// vocabulary. `logits` may be null where none are wanted. After NON_FINITE the
/// state is unspecified: reset it, or restore one.
///
/// # Safety
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_step(
    engine: *mut KingletEngine,
    token: u32,
    logits: *mut f32,
    logits_size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get_mut(engine) };
    status(engine.and_then(|engine| {
        let wanted = !logits.is_null();
        // SAFETY: the caller's promise.
        let logits = if wanted { unsafe { engine.logits(logits, logits_size) }? } else { &mut [] };
        Ok(engine.cpu.forward(&[Column { token, slot: 0, logits: wanted }], logits)?)
    }))
}

/// Feeds `count` tokens, computed together in blocks, and writes the logits
/// after the last of them: the same numbers as step by step. No tokens change
/// nothing. After NON_FINITE the state is unspecified: reset it, or restore one.
///
/// # Safety
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_prefill(
    engine: *mut KingletEngine,
    tokens: *const u32,
    count: usize,
    logits: *mut f32,
    logits_size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get_mut(engine) };
    status(engine.and_then(|engine| {
        // SAFETY: the caller's promise.
        let (tokens, logits) =
            unsafe { (slice(tokens, count)?, engine.logits(logits, logits_size)?) };
        disjoint(&place(tokens), &place(logits))?;
        engine.taken[1..].iter().try_for_each(|taken| disjoint(taken, &place(tokens)))?;
        Ok(engine.cpu.prefill(0, tokens, logits)?)
    }))
}

/// Writes the state file of the sequence to `file`, at least
/// kinglet_state_file_size bytes at a multiple of KINGLET_BUFFER_ALIGN. `next` is
/// a token that the sequence has reached but the engine has not been fed, or
/// KINGLET_NO_TOKEN. When this fails, `file` is no state file.
///
/// # Safety
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_save(
    engine: *const KingletEngine,
    next: u32,
    file: *mut u8,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get(engine) };
    status(engine.and_then(|engine| {
        // SAFETY: the caller's promise.
        let file = unsafe { slice_mut(file, size) }?;
        engine.apart(file)?;
        let next = (next != KINGLET_NO_TOKEN).then_some(next);
        let store = |values: &mut [f32]| Ok(engine.cpu.store_state(0, values)?);
        StateFile::write_with(engine.cpu.model().header(), next, file, store).map(|_| ())
    }))
}

/// Takes the sequence up where it was saved, and writes the token to feed next,
/// or KINGLET_NO_TOKEN, to `next`, which may be null. The file lies at a multiple
/// of KINGLET_BUFFER_ALIGN and is not needed afterwards. When it is refused, the
/// sequence stands where it stood.
///
/// # Safety
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_restore(
    engine: *mut KingletEngine,
    file: *const u8,
    size: usize,
    next: *mut u32,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get_mut(engine) };
    status(engine.and_then(|engine| {
        // SAFETY: the caller's promise.
        let file = unsafe { slice(file, size) }?;
        engine.apart(file)?;
        let file = StateFile::parse(engine.cpu.model().header(), file)?;
        let values = file.values()?;
        if !next.is_null() {
            // SAFETY: the caller's promise.
            *unsafe { output(next) }? = file.next_token().unwrap_or(KINGLET_NO_TOKEN);
        }
        Ok(engine.cpu.load_state(0, values)?)
    }))
}

/// Proves that this build computes the same bits as every other: resets the
/// engine, feeds token (7919 i + 1) mod vocab for i from 0 to `count` - 1, writes
/// the CRC-32 of all logits, as little-endian floats, to `digest`, and resets the
/// engine again. `kinglet digest` prints the number to compare with, of 64 tokens.
///
/// # Safety
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_digest(
    engine: *mut KingletEngine,
    count: usize,
    logits: *mut f32,
    logits_size: usize,
    digest: *mut u32,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get_mut(engine) };
    status(engine.and_then(|engine| {
        // SAFETY: the caller's promise.
        let (logits, digest) = unsafe { (engine.logits(logits, logits_size)?, output(digest)?) };
        engine.cpu.reset(0)?;
        let vocab = engine.vocab() as u64;
        let mut crc = Crc32::new();
        for i in 0..count as u64 {
            let token = (i % vocab * 7919 + 1) % vocab;
            engine.cpu.step(0, token as u32, logits)?;
            for logit in &*logits {
                crc = crc.update(&logit.to_le_bytes());
            }
        }
        *digest = crc.finish();
        Ok(engine.cpu.reset(0)?)
    }))
}
