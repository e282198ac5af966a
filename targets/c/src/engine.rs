//! Engines: one sequence, step by step.
//!
//! An engine is made of a model, a state and a workspace of the caller, and keeps where they lie.
//! Every call that is given more buffers goes the same way, so that no two references to the same
//! bytes exist, not even for a moment:
//!
//! ```text
//! get(engine)            a shared reference, to find out what the engine has taken
//! span(buffer), ...      addresses alone: null, misaligned and impossible ones are refused
//! apart_from(..)         against each other, the handle, model, state and workspace
//! slice(buffer), ..., get_mut(engine)
//! ```
//!
//! The functions are the same for both types of state; [`AnyCpu`] reaches the core's engine behind
//! pointers, so that a program links the code for f16 only where it makes such an engine. The
//! kernels are chosen once, where the engine is made.

use core::ffi::{c_char, c_void};
use core::ops::{ControlFlow, Range};
use core::ptr;

use kinglet::engine::{BatchToken, Cpu};
use kinglet::format::Progress;
use kinglet::format::crc32::Crc32;
use kinglet::format::state_file::{KeptSections, StateDecoder, StateFileError};
use kinglet::num::state_dtype::{StateElement, f16};

use crate::KINGLET_NO_TOKEN;
use crate::handle::{Handle, get, get_mut, init};
use crate::kernels::{self, KernelName};
use crate::memory::{
    all_disjoint, apart, check, output, place, slice, slice_mut, span, span_if_possible,
};
use crate::model::{KingletModel, requirements};
use crate::sequence::{AnyCpu, Pending, Sequence, Typed};
use crate::status::{KingletStatus, status};

/// One sequence of tokens on its way through a model. Its contents are private;
/// it is not to be copied.
#[derive(Debug)]
#[repr(C)]
pub struct KingletEngine {
    /// Private.
    pub opaque: [u64; 96],
}

impl Handle for KingletEngine {
    type Value = Engine;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-engn");
}

/// The value in a [`KingletEngine`]. `'static` stands for as long as the caller
/// promised to keep model, state and workspace.
#[derive(Debug)]
pub(crate) struct Engine {
    cpu: AnyCpu,
    /// The step that goes on, if one does.
    pending: Option<Pending>,
    kernels: KernelName,
    /// Where the model, the state and the workspace lie.
    taken: [Range<usize>; 3],
    /// How often the state has changed: what a state that is saved or loaded in pieces goes by.
    changes: u32,
    /// Whether the state is loaded in pieces, and not all of them have come.
    loading: bool,
}

impl Engine {
    /// The sequence, unless it is half loaded or a step of it goes on.
    pub(crate) fn sequence(&self) -> Result<&AnyCpu, KingletStatus> {
        let unfinished = self.loading || self.pending.is_some();
        if unfinished { Err(KingletStatus::Unfinished) } else { Ok(&self.cpu) }
    }

    /// The sequence, to go on.
    pub(crate) fn advance(&mut self) -> Result<&mut dyn Sequence, KingletStatus> {
        self.sequence()?;
        self.changes = self.changes.wrapping_add(1);
        Ok(self.cpu.get_mut())
    }

    /// Back to the start, wherever it stood.
    fn reset(&mut self) -> Result<(), KingletStatus> {
        self.loading = false;
        self.pending = None;
        self.advance()?.reset()
    }

    /// Goes on from a whole state file; the token to feed next.
    fn restore(&mut self, file: &[u8]) -> Result<Option<u32>, KingletStatus> {
        let next = self.cpu.get_mut().restore(file)?;
        self.changes = self.changes.wrapping_add(1);
        self.loading = false;
        self.pending = None;
        Ok(next)
    }

    /// Takes in a piece of a state file.
    pub(crate) fn load(
        &mut self,
        decoder: &mut StateDecoder,
        sections: &mut KeptSections<'_>,
        bytes: &[u8],
    ) -> Result<Progress, StateFileError> {
        self.changes = self.changes.wrapping_add(1);
        self.pending = None;
        let fed = self.cpu.feed_state(decoder, sections, bytes);
        self.loading = fed.is_ok_and(|progress| !progress.is_complete());
        if fed.is_err() {
            // Also where nothing was loaded: a step or a load that was under way is given up.
            let _ = self.cpu.get_mut().reset();
        }
        fed
    }

    /// The engine of the core, in whatever state it is.
    pub(crate) fn cpu(&self) -> &AnyCpu {
        &self.cpu
    }

    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// Where the model, the state and the workspace lie.
    pub(crate) fn taken(&self) -> &[Range<usize>; 3] {
        &self.taken
    }

    pub(crate) fn vocab(&self) -> usize {
        self.cpu.get().model().shape().vocab
    }

    /// Where the logits lie that a call writes into `size` bytes.
    pub(crate) fn logits(
        &self,
        logits: *mut f32,
        size: usize,
    ) -> Result<Range<usize>, KingletStatus> {
        if size / 4 < self.vocab() {
            return Err(KingletStatus::BufferTooSmall);
        }
        span(logits, self.vocab())
    }

    /// The engine, and the step that goes on.
    pub(crate) fn stepping(&mut self) -> (&mut AnyCpu, &mut Option<Pending>) {
        (&mut self.cpu, &mut self.pending)
    }

    /// Refuses buffers that overlap each other, the engine's handle, or what it computes with.
    pub(crate) fn apart_from(
        &self,
        handle: *const KingletEngine,
        buffers: &[Range<usize>],
    ) -> Result<(), KingletStatus> {
        all_disjoint(buffers)?;
        let handle = span(handle, 1)?;
        for buffer in buffers {
            apart(buffer, &self.taken)?;
            apart(buffer, core::slice::from_ref(&handle))?;
        }
        Ok(())
    }
}

/// `len` elements at `pointer`, all of them 0.
///
/// # Safety
///
/// As [`slice_mut`].
unsafe fn zeroed<'a, S: StateElement>(
    pointer: *mut c_void,
    len: usize,
) -> Result<&'a mut [S], KingletStatus> {
    let elements = pointer.cast::<S>();
    check(elements, len)?;
    // SAFETY: the memory is there by the caller's promise; all zeros are elements.
    unsafe { ptr::write_bytes(elements, 0, len) };
    // SAFETY: the caller's promise, and initialised just now.
    unsafe { slice_mut(elements, len) }
}

/// Makes an engine over a model, at the start of a sequence. It computes up to
/// `batch` tokens of a prompt together: 1 needs the smallest workspace, 32 is
/// good for a desktop; the numbers are the same.
///
/// `state` and `workspace` are buffers of at least kinglet_state_size and
/// kinglet_workspace_size bytes, apart from each other, whatever is in them. They
/// are the engine's as long as it is used: nothing else reads or writes them.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_init(
    engine: *mut KingletEngine,
    model: *const KingletModel,
    batch: usize,
    state: *mut c_void,
    state_size: usize,
    workspace: *mut c_void,
    workspace_size: usize,
) -> KingletStatus {
    let (state, workspace) = ((state, state_size), (workspace, workspace_size));
    // SAFETY: the caller's promise.
    status(unsafe { make::<f32>(engine, model, batch, state, workspace) })
}

/// As kinglet_engine_init, with a state of kinglet_state_size_f16 bytes: half the
/// memory. After every token each element is rounded to f16, which makes other
/// numbers than an f32 state, and the same ones on every machine and in batches of
/// any size. Not for RWKV-4: F16_STATE.
///
/// All other functions serve both kinds of engine. The state files of one, of
/// kinglet_state_file_size_f16 bytes, are refused by the other: STATE_TYPE.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_init_f16(
    engine: *mut KingletEngine,
    model: *const KingletModel,
    batch: usize,
    state: *mut c_void,
    state_size: usize,
    workspace: *mut c_void,
    workspace_size: usize,
) -> KingletStatus {
    let (state, workspace) = ((state, state_size), (workspace, workspace_size));
    // SAFETY: the caller's promise.
    status(unsafe { make::<f16>(engine, model, batch, state, workspace) })
}

/// Makes an engine that keeps its state in `S`; buffers are pointer and size.
///
/// # Safety
///
/// The pointers and lengths are what they say.
unsafe fn make<S: Typed>(
    engine: *mut KingletEngine,
    model: *const KingletModel,
    batch: usize,
    (state, state_size): (*mut c_void, usize),
    (workspace, workspace_size): (*mut c_void, usize),
) -> Result<(), KingletStatus> {
    // SAFETY: the caller's promise.
    let loaded = unsafe { get(model) };
    let needs = loaded.and_then(|loaded| {
        requirements::<S>(loaded.model.shape(), batch).ok_or(KingletStatus::Batch)
    });
    // The model's handle and what an engine would take, as far as the buffers reach.
    let (state_len, workspace_len) = needs.map_or((0, 0), |needs| (needs.state, needs.workspace));
    let others = [
        span_if_possible(model, 1),
        loaded.map_or(0..0, |loaded| place(loaded.model.bytes())),
        span_if_possible(state.cast::<S>(), state_len.min(state_size / size_of::<S>())),
        span_if_possible(workspace.cast::<f32>(), workspace_len.min(workspace_size / 4)),
    ];
    let make = || {
        let (loaded, needs) = (loaded?, needs?);
        if state_size < needs.state_bytes || workspace_size < needs.workspace_bytes() {
            return Err(KingletStatus::BufferTooSmall);
        }
        check(state.cast::<S>(), needs.state)?;
        check(workspace.cast::<f32>(), needs.workspace)?;
        all_disjoint(&others)?;
        // SAFETY: the caller's promise; no more than the sizes given, and apart.
        let (state, workspace) =
            unsafe { (zeroed::<S>(state, needs.state)?, zeroed(workspace, needs.workspace)?) };
        let kernels = kernels::best();
        let name = KernelName::of(&kernels);
        let cpu = Cpu::new(loaded.model, kernels, batch, state, workspace)?;
        let [_, taken @ ..] = others.clone();
        Ok(Engine {
            cpu: S::any(cpu),
            pending: None,
            kernels: name,
            taken,
            changes: 0,
            loading: false,
        })
    };
    // SAFETY: the caller's promise about `engine`.
    unsafe { init(engine, &others, make) }
}

/// Puts the engine back to the start of a sequence.
///
/// # Safety
///
/// The pointer is to an engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_reset(engine: *mut KingletEngine) -> KingletStatus {
    // SAFETY: the caller's promise.
    let engine = unsafe { get_mut(engine) };
    status(engine.and_then(Engine::reset))
}

/// The name of the kernels that the engine computes with, such as "dsp" or
/// "x86-64-avx2": the fastest for this machine. The numbers do not depend on it.
/// Null when `engine` is none. The text lies in the engine's handle.
///
/// # Safety
///
/// The pointer is what it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_kernels(engine: *const KingletEngine) -> *const c_char {
    // SAFETY: the caller's promise.
    let engine = unsafe { get(engine) };
    engine.map_or(ptr::null(), |engine| engine.kernels.as_ptr())
}

/// Writes the state file of the sequence to `file`, at least
/// kinglet_state_file_size bytes at a multiple of KINGLET_BUFFER_ALIGN. `next` is
/// a token that the sequence has reached but the engine has not been fed, or
/// KINGLET_NO_TOKEN. After NON_FINITE, `file` is no state file; after any other
/// failure it is as it was.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_save(
    engine: *const KingletEngine,
    next: u32,
    file: *mut u8,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(engine).and_then(|found| {
            found.apart_from(engine, &[span(file, size)?])?;
            Ok((found, slice_mut(file, size)?))
        })
    };
    status(pointers.and_then(|(engine, file)| {
        let next = (next != KINGLET_NO_TOKEN).then_some(next);
        engine.sequence()?.get().save(next, file)
    }))
}

/// Takes the sequence up where it was saved, and writes the token to feed next,
/// or KINGLET_NO_TOKEN, to `next`, which may be null. The file lies at a multiple
/// of KINGLET_BUFFER_ALIGN and is not needed afterwards. Sections after the state,
/// which the program `kinglet` writes for itself, are checked and passed over. When
/// the file is refused, the sequence stands where it stood.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_restore(
    engine: *mut KingletEngine,
    file: *const u8,
    size: usize,
    next: *mut u32,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(engine).and_then(|found| {
            let next_place = if next.is_null() { 0..0 } else { span(next, 1)? };
            found.apart_from(engine, &[span(file, size)?, next_place])
        })
    };
    // SAFETY: the caller's promise, and apart.
    let pointers = pointers.and_then(|()| unsafe {
        let next = if next.is_null() { None } else { Some(output(next)?) };
        Ok((slice(file, size)?, next, get_mut(engine)?))
    });
    status(pointers.and_then(|(file, next, engine)| {
        let found = engine.restore(file)?;
        if let Some(next) = next {
            *next = found.unwrap_or(KINGLET_NO_TOKEN);
        }
        Ok(())
    }))
}

/// Proves that this build computes the same bits as every other: resets the
/// engine, feeds token (7919 i + 1) mod vocab for i from 0 to `count` - 1, writes
/// the CRC-32 of all logits, as little-endian floats, to `digest`, and resets the
/// engine again. `kinglet digest` prints the number to compare with, of 64 tokens;
/// for an f16 state `kinglet digest --state-type f16`, after "f16:".
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_digest(
    engine: *mut KingletEngine,
    count: usize,
    logits: *mut f32,
    logits_size: usize,
    digest: *mut u32,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(engine).and_then(|found| {
            let written = [found.logits(logits, logits_size)?, span(digest, 1)?];
            found.apart_from(engine, &written)?;
            Ok(found.vocab())
        })
    };
    // SAFETY: the caller's promise, and apart.
    let pointers = pointers.and_then(|vocab| unsafe {
        Ok((slice_mut(logits, vocab)?, output(digest)?, get_mut(engine)?))
    });
    status(pointers.and_then(|(logits, digest, engine)| {
        engine.reset()?;
        let vocab = engine.vocab() as u64;
        let mut crc = Crc32::new();
        for i in 0..count as u64 {
            let token = (i % vocab * 7919 + 1) % vocab;
            let token = BatchToken { token: token as u32, sequence: 0, logits: true };
            let no_hook = &mut |_| ControlFlow::Continue(());
            engine.advance()?.forward(&[token], logits, no_hook)?;
            for logit in &*logits {
                crc = crc.update(&logit.to_le_bytes());
            }
        }
        *digest = crc.finish();
        engine.reset()
    }))
}
