//! How an engine is fed: tokens at once, with a hook, and steps that can be left.
//!
//! A step that was begun is kept in the engine's handle, beside the place from which it goes on.
//! The code of polling is linked for the type of state that the function which begins is for, so
//! that a program takes what it calls.

use core::ffi::c_void;
use core::ops::ControlFlow;
use core::ptr;

use kinglet::engine::{BatchToken, Progress, StepCursor};
use kinglet::num::state_dtype::f16;

use crate::engine::{Engine, KingletEngine};
use crate::handle::{get, get_mut};
use crate::memory::{apart, slice, slice_mut, span};
use crate::sequence::{Pending, Typed};
use crate::status::{KingletStatus, status};

/// Called after each layer with the number of layers that are done, and the pointer
/// that was given along with it: to feed a watchdog, say. Returns 0 to go on, anything
/// else to stop. The engine is not to be used by it.
pub type KingletHook = Option<unsafe extern "C" fn(context: *mut c_void, layers: usize) -> i32>;

/// The hook of a C program, as the core calls it.
///
/// # Safety
///
/// The function may be called with the context while the closure lives.
unsafe fn core_hook(
    hook: KingletHook,
    context: *mut c_void,
) -> impl FnMut(usize) -> ControlFlow<()> {
    move |layers| match hook {
        // SAFETY: the caller's promise.
        Some(hook) if unsafe { hook(context, layers) } != 0 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

/// Feeds a token and writes the logits after it, a float for each id of the
/// vocabulary. `logits` may be null where none are wanted. After NON_FINITE the
/// state is unspecified: reset it, or restore one.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_step(
    engine: *mut KingletEngine,
    token: u32,
    logits: *mut f32,
    logits_size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    unsafe { kinglet_engine_step_with(engine, token, logits, logits_size, None, ptr::null_mut()) }
}

/// Feeds `count` tokens, computed together in batches, and writes the logits
/// after the last of them: the same numbers as step by step. No tokens change
/// nothing. After NON_FINITE the state is unspecified: reset it, or restore one.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_prefill(
    engine: *mut KingletEngine,
    tokens: *const u32,
    count: usize,
    logits: *mut f32,
    logits_size: usize,
) -> KingletStatus {
    let (hook, context) = (None, ptr::null_mut());
    // SAFETY: the caller's promise.
    unsafe {
        kinglet_engine_prefill_with(engine, tokens, count, logits, logits_size, hook, context)
    }
}

/// As kinglet_engine_step; after each layer it calls `hook`, which may be null, with
/// `context`. When that stops, the result is CANCELLED and the state is unspecified:
/// reset it, or restore one.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_step_with(
    engine: *mut KingletEngine,
    token: u32,
    logits: *mut f32,
    logits_size: usize,
    hook: KingletHook,
    context: *mut c_void,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let hook = &mut unsafe { core_hook(hook, context) };
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        room(engine, logits, logits_size)
            .and_then(|len| Ok((slice_mut(logits, len)?, get_mut(engine)?)))
    };
    status(pointers.and_then(|(logits, engine)| {
        let token = BatchToken { token, sequence: 0, logits: !logits.is_empty() };
        engine.advance()?.forward(&[token], logits, hook)
    }))
}

/// As kinglet_engine_prefill, with a hook as kinglet_engine_step_with has one: it is
/// called after each layer of each batch.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_engine_prefill_with(
    engine: *mut KingletEngine,
    tokens: *const u32,
    count: usize,
    logits: *mut f32,
    logits_size: usize,
    hook: KingletHook,
    context: *mut c_void,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let hook = &mut unsafe { core_hook(hook, context) };
    // SAFETY: the caller's promise, and apart; the tokens are only read, as the model is.
    let pointers = unsafe {
        get(engine).and_then(|found| {
            let (read, written) = (span(tokens, count)?, found.logits(logits, logits_size)?);
            let [_model, state, workspace] = found.taken();
            apart(&read, &[state.clone(), workspace.clone(), span(engine, 1)?, written.clone()])?;
            found.apart_from(engine, &[written])?;
            Ok(found.vocab())
        })
    };
    // SAFETY: the caller's promise, and apart.
    let pointers = pointers.and_then(|vocab| unsafe {
        Ok((slice(tokens, count)?, slice_mut(logits, vocab)?, get_mut(engine)?))
    });
    status(
        pointers
            .and_then(|(tokens, logits, engine)| engine.advance()?.prefill(tokens, logits, hook)),
    )
}

/// Begins to feed a token, for a program that has other things to do meanwhile: nothing
/// is computed before kinglet_step_poll, which computes a piece at a time. `logits` may
/// be null where none are wanted; otherwise the buffer is the engine's until the step
/// is done.
///
/// For an engine with an f32 state; the other one is refused: STATE_TYPE. A step that
/// was begun before and is not done is refused as well: UNFINISHED.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_step_begin(
    engine: *mut KingletEngine,
    token: u32,
    logits: *mut f32,
    logits_size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    status(unsafe { begin::<f32>(engine, token, logits, logits_size) })
}

/// kinglet_step_begin for an engine with an f16 state.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_step_begin_f16(
    engine: *mut KingletEngine,
    token: u32,
    logits: *mut f32,
    logits_size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    status(unsafe { begin::<f16>(engine, token, logits, logits_size) })
}

/// Computes a piece of the step that was begun: about `budget` multiply-accumulates of
/// matrices, float operations counted like them, and at least 16 rows of a matrix or
/// some channels of a head. MORE until the step is done, then OK: the logits are there,
/// the same ones as from kinglet_engine_step. With a budget of 20000 and the model that
/// comes with Kinglet a piece takes less than 100,000 instructions of a Cortex-M4.
///
/// A step that is not done is given up by kinglet_engine_reset, or by restoring a state;
/// until then no other function advances or saves the engine: UNFINISHED. Without a step
/// this is INVALID_HANDLE. After NON_FINITE the step is over and the state unspecified.
///
/// # Safety
///
/// The pointer is to an engine; model, state, workspace and the buffer of the logits
/// are still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_step_poll(
    engine: *mut KingletEngine,
    budget: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    status(unsafe { get_mut(engine) }.and_then(|engine| {
        let (cpu, pending) = engine.stepping();
        let step = pending.as_mut().ok_or(KingletStatus::InvalidHandle)?;
        // SAFETY: the buffer was checked when the step was begun, and is the engine's since.
        let logits = unsafe { slice_mut(step.logits, step.len)? };
        match cpu.resume(step.resume, &[step.token], logits, &mut step.cursor, budget) {
            Ok(Progress::More { .. }) => Err(KingletStatus::More),
            done => {
                *pending = None;
                done.map(|_| ())
            }
        }
    }))
}

/// Begins a step of an engine that keeps its state in `S`.
///
/// # Safety
///
/// The pointers and lengths are what they say.
unsafe fn begin<S: Typed>(
    engine: *mut KingletEngine,
    token: u32,
    logits: *mut f32,
    logits_size: usize,
) -> Result<(), KingletStatus> {
    // SAFETY: the caller's promise, and apart.
    let len = unsafe { room(engine, logits, logits_size)? };
    // SAFETY: the caller's promise; no reference of above lives.
    let engine = unsafe { get_mut(engine)? };
    if token as usize >= engine.vocab() {
        return Err(KingletStatus::Token);
    }
    let resume = engine.cpu().resume_of::<S>().ok_or(KingletStatus::StateType)?;
    engine.advance()?;
    let (_, pending) = engine.stepping();
    let token = BatchToken { token, sequence: 0, logits: len > 0 };
    let logits = if len > 0 { logits } else { ptr::null_mut() };
    *pending = Some(Pending { token, logits, len, cursor: StepCursor::START, resume });
    Ok(())
}

/// Elements of the logits that a step writes: none where the pointer is null. Refuses a buffer
/// that is too short or that overlaps anything of the engine's.
///
/// # Safety
///
/// `engine` points to an engine, if to anything.
unsafe fn room(
    engine: *const KingletEngine,
    logits: *mut f32,
    logits_size: usize,
) -> Result<usize, KingletStatus> {
    // SAFETY: the caller's promise.
    let found: &Engine = unsafe { get(engine)? };
    if logits.is_null() {
        return Ok(0);
    }
    found.apart_from(engine, &[found.logits(logits, logits_size)?])?;
    Ok(found.vocab())
}
