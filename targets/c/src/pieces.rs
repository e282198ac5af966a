//! States and checks in pieces, for programs that must not block and have no room for a state file.
//!
//! The handles keep how far a job has come, not the engine: each call is given that again. Between
//! the calls the engine is the program's, so it counts its changes, and a job that finds others
//! than its own ends with UNFINISHED.

use core::ops::Range;

use kinglet::format::Progress;
use kinglet::format::model::Verifier;
use kinglet::format::state_file::{
    HEADER_LEN, KeptSections, StateDecoder, StateEncoder, StateSection,
};

use crate::KINGLET_NO_TOKEN;
use crate::engine::KingletEngine;
use crate::handle::{Handle, get, get_mut, init};
use crate::memory::{all_disjoint, apart, output, place, slice, slice_mut, span, span_if_possible};
use crate::model::KingletModel;
use crate::sampler::KingletSampler;
use crate::status::{KingletStatus, status};

/// Bytes of a state file before the state: what kinglet_state_load_begin is given.
pub const KINGLET_STATE_HEADER_SIZE: usize = 64;

const _: () = assert!(KINGLET_STATE_HEADER_SIZE == HEADER_LEN);

/// A check of a model that is done in pieces. Its contents are private; it may be
/// copied.
#[derive(Debug)]
#[repr(C)]
pub struct KingletVerifier {
    /// Private.
    pub opaque: [u64; 64],
}

impl Handle for KingletVerifier {
    type Value = Verifier<'static>;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-vrfy");
}

/// A state file that is written in pieces. Its contents are private.
#[derive(Debug)]
#[repr(C)]
pub struct KingletStateWriter {
    /// Private.
    pub opaque: [u64; 56],
}

impl Handle for KingletStateWriter {
    type Value = StateWriter;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-wrtr");
    // A `heapless::Vec` of references.
    const DROP_IS_NOOP: bool = true;
}

/// The value in a [`KingletStateWriter`].
#[derive(Debug)]
pub(crate) struct StateWriter {
    encoder: StateEncoder<'static>,
    /// The changes of the engine when the file was begun.
    changes: u32,
    /// Where the sampler's snapshot lies.
    snapshot: Range<usize>,
}

/// A state file that is loaded in pieces. Its contents are private.
#[derive(Debug)]
#[repr(C)]
pub struct KingletStateLoader {
    /// Private.
    pub opaque: [u64; 40],
}

impl Handle for KingletStateLoader {
    type Value = StateLoader;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-load");
}

/// The value in a [`KingletStateLoader`].
#[derive(Debug)]
pub(crate) struct StateLoader {
    decoder: StateDecoder,
    /// The changes of the engine after the last piece.
    changes: u32,
    sections: KeptSections<'static>,
    /// Where those are kept.
    room: Range<usize>,
}

/// Where a handle must not lie: on an engine, on what that has taken, and on `buffers`.
///
/// # Safety
///
/// The pointer is to an engine.
unsafe fn with_engine(
    engine: *const KingletEngine,
    buffers: [Range<usize>; 2],
) -> [Range<usize>; 6] {
    // SAFETY: the caller's promise.
    let taken = unsafe { get(engine) }.map_or([0..0, 0..0, 0..0], |found| found.taken().clone());
    let ([a, b, c], [d, e]) = (taken, buffers);
    [span_if_possible(engine, 1), a, b, c, d, e]
}

/// OK where nothing is left to do, otherwise MORE.
fn more<E: Into<KingletStatus>>(progress: Result<Progress, E>) -> Result<(), KingletStatus> {
    if progress.map_err(Into::into)?.is_complete() { Ok(()) } else { Err(KingletStatus::More) }
}

/// Begins to check a model as kinglet_model_verify does, in pieces: see
/// kinglet_model_verify_poll. The model's handle is not needed afterwards.
///
/// # Safety
///
/// The pointers are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_verify_begin(
    verifier: *mut KingletVerifier,
    model: *const KingletModel,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let loaded = unsafe { get(model) };
    let file = loaded.map_or(0..0, |loaded| place(loaded.model.bytes()));
    let begin = || Ok(loaded?.model.verifier());
    // SAFETY: the caller's promise about `verifier`.
    status(unsafe { init(verifier, &[span_if_possible(model, 1), file], begin) })
}

/// Checks about `size` bytes of the model more: 4096 take a Cortex-M4 some 20,000
/// instructions. MORE while there is something left, OK when all of it is whole.
///
/// # Safety
///
/// The pointer is to a verifier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_verify_poll(
    verifier: *mut KingletVerifier,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let verifier = unsafe { get_mut(verifier) };
    status(verifier.and_then(|verifier| more(verifier.poll(size))))
}

/// Begins to write the state file of the sequence in pieces, without another copy of
/// the state: check it to the end by kinglet_state_write_check, then read it in any
/// order by kinglet_state_write_read. `next` is as in kinglet_state_save. `snapshot`
/// is null, or what kinglet_sampler_snapshot wrote: it goes into the file, and stays
/// where it is until that is written.
///
/// Until then the engine stands still: any step ends the job with UNFINISHED.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_write_begin(
    writer: *mut KingletStateWriter,
    engine: *const KingletEngine,
    next: u32,
    snapshot: *const u8,
    snapshot_size: usize,
) -> KingletStatus {
    let place = span_if_possible(snapshot, snapshot_size);
    let begin = || {
        // SAFETY: the caller's promise.
        let (found, bytes) = unsafe { (get(engine)?, slice(snapshot, snapshot_size)?) };
        found.apart_from(engine, core::slice::from_ref(&place))?;
        let sections = [(StateSection::Sampler, bytes)];
        let sections = if bytes.is_empty() { &[] } else { &sections[..] };
        let next = (next != KINGLET_NO_TOKEN).then_some(next);
        let encoder = found.sequence()?.encoder(next, sections)?;
        Ok(StateWriter { encoder, changes: found.changes(), snapshot: place.clone() })
    };
    // SAFETY: the caller's promise.
    let others = unsafe { with_engine(engine, [place.clone(), 0..0]) };
    // SAFETY: the caller's promise about `writer`.
    status(unsafe { init(writer, &others, begin) })
}

/// Bytes of the file that a writer was begun for; 0 when it is none.
///
/// # Safety
///
/// The pointer is to a writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_write_size(writer: *const KingletStateWriter) -> usize {
    // SAFETY: the caller's promise.
    unsafe { get(writer) }.map_or(0, |writer| writer.encoder.len())
}

/// Checks about `size` bytes of the file more, which must be done to the end before
/// it is read: 4096 take a Cortex-M4 some 25,000 instructions. MORE while there is
/// something left, then OK. NON_FINITE when the state cannot be saved.
///
/// # Safety
///
/// The pointers are to a writer and its engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_write_check(
    writer: *mut KingletStateWriter,
    engine: *const KingletEngine,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let pointers = unsafe {
        span(writer, 1).and_then(|place| {
            get(engine)?.apart_from(engine, &[place])?;
            Ok((get_mut(writer)?, get(engine)?))
        })
    };
    status(pointers.and_then(|(writer, engine)| {
        if writer.changes != engine.changes() {
            return Err(KingletStatus::Unfinished);
        }
        more(engine.sequence()?.check_state(&mut writer.encoder, size))
    }))
}

/// Copies the bytes of the file from `offset` on to `buffer`, as many as there are and
/// it has room for, and writes their number to `read`: 0 beyond the end. Pages may be
/// read and written in any order; when the first one is written last, there is no
/// file before all of it is there. UNFINISHED before the file has been checked.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_write_read(
    writer: *const KingletStateWriter,
    engine: *const KingletEngine,
    offset: usize,
    buffer: *mut u8,
    size: usize,
    read: *mut usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and what is written is apart.
    let pointers = unsafe {
        get(writer).and_then(|found| {
            let written = [span(buffer, size)?, span(read, 1)?];
            get(engine)?.apart_from(engine, &written)?;
            for place in &written {
                apart(place, &[span(writer, 1)?, found.snapshot.clone()])?;
            }
            Ok((found, get(engine)?, slice_mut(buffer, size)?, output(read)?))
        })
    };
    status(pointers.and_then(|(writer, engine, buffer, read)| {
        if writer.changes != engine.changes() {
            return Err(KingletStatus::Unfinished);
        }
        *read = engine.sequence()?.read_state(&writer.encoder, offset, buffer)?;
        Ok(())
    }))
}

/// Begins to load a state file of `file_size` bytes in pieces. `header` is its first
/// KINGLET_STATE_HEADER_SIZE bytes, and is not needed afterwards; give the others to
/// kinglet_state_load_next. When the header is refused, nothing has changed.
///
/// `room` is null, or a buffer for the sampler's snapshot, of 8 bytes more than
/// kinglet_sampler_snapshot_size can be: the loader's until kinglet_state_load_end.
/// Other sections are checked and passed over.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_load_begin(
    loader: *mut KingletStateLoader,
    engine: *const KingletEngine,
    header: *const u8,
    file_size: usize,
    room: *mut u8,
    room_size: usize,
) -> KingletStatus {
    let room_size = if room.is_null() { 0 } else { room_size };
    let place = span_if_possible(room, room_size);
    let header_place = span_if_possible(header, KINGLET_STATE_HEADER_SIZE);
    let begin = || {
        // SAFETY: the caller's promise.
        let found = unsafe { get(engine) }?;
        found.apart_from(engine, core::slice::from_ref(&place))?;
        apart(&place, core::slice::from_ref(&header_place))?;
        span(room, room_size)?;
        // SAFETY: the caller's promise.
        let header = unsafe { slice(header, KINGLET_STATE_HEADER_SIZE) }?;
        let header = header.first_chunk().ok_or(KingletStatus::NullPointer)?;
        let decoder = found.cpu().decoder(header, file_size)?;
        // SAFETY: the caller's promise, and apart.
        let buffer = unsafe { slice_mut(room, room_size) }?;
        let wanted: &[StateSection] =
            if buffer.is_empty() { &[] } else { &[StateSection::Sampler] };
        let sections = KeptSections::new(wanted, buffer);
        Ok(StateLoader { decoder, changes: found.changes(), sections, room: place.clone() })
    };
    // SAFETY: the caller's promise.
    let others = unsafe { with_engine(engine, [place.clone(), header_place.clone()]) };
    // SAFETY: the caller's promise about `loader`.
    status(unsafe { init(loader, &others, begin) })
}

/// Takes in the bytes of the file that follow, any number: 4096 take a Cortex-M4 some
/// 30,000 instructions. MORE while the file has more, OK with the last of them. From
/// the first piece on until that, the engine refuses to go on or to be saved:
/// UNFINISHED; kinglet_engine_reset and kinglet_state_restore give the load up. When
/// the file is refused, the sequence is at its start.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_load_next(
    loader: *mut KingletStateLoader,
    engine: *mut KingletEngine,
    bytes: *const u8,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(loader).and_then(|found| {
            let read = span(bytes, size)?;
            let places = [span(loader, 1)?, read.clone()];
            apart(&found.room, &[read, span(engine, 1)?])?;
            get(engine)?.apart_from(engine, &places)
        })
    };
    // SAFETY: the caller's promise, and apart.
    let pointers = pointers
        .and_then(|()| unsafe { Ok((get_mut(loader)?, get_mut(engine)?, slice(bytes, size)?)) });
    status(pointers.and_then(|(loader, engine, bytes)| {
        if loader.changes != engine.changes() {
            return Err(KingletStatus::Unfinished);
        }
        let fed = engine.load(&mut loader.decoder, &mut loader.sections, bytes);
        loader.changes = engine.changes();
        more(fed)
    }))
}

/// Writes the token to feed next, or KINGLET_NO_TOKEN, to `next`, and lets the sampler
/// go on where it was, if the file has its snapshot and there was room for it; both
/// may be null. UNFINISHED before the whole file has been loaded.
///
/// # Safety
///
/// The pointers are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_load_end(
    loader: *const KingletStateLoader,
    next: *mut u32,
    sampler: *mut KingletSampler,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(loader).and_then(|found| {
            let next_place = if next.is_null() { 0..0 } else { span(next, 1)? };
            let (sampler_place, counts) = if sampler.is_null() {
                (0..0, 0..0)
            } else {
                (span(sampler, 1)?, get(sampler)?.counts().clone())
            };
            let written = [next_place, sampler_place, counts];
            all_disjoint(&written)?;
            for place in &written {
                apart(place, &[span(loader, 1)?, found.room.clone()])?;
            }
            let next = if next.is_null() { None } else { Some(output(next)?) };
            let sampler = if sampler.is_null() { None } else { Some(get_mut(sampler)?) };
            Ok((found, next, sampler))
        })
    };
    status(pointers.and_then(|(loader, next, sampler)| {
        let found = loader.decoder.next_token()?;
        if let (Some(sampler), Some(snapshot)) =
            (sampler, loader.sections.section(StateSection::Sampler))
        {
            sampler.restore(snapshot)?;
        }
        if let Some(next) = next {
            *next = found.unwrap_or(KINGLET_NO_TOKEN);
        }
        Ok(())
    }))
}
