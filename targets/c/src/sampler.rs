//! Samplers: from logits to the next token.
//!
//! The order of operations, the generator and how ties break are specified in
//! [`kinglet::sampler`]; here the same options are plain C fields. Drawing and counting are two
//! calls, because a program may throw a drawn token away, or count tokens that it did not draw.
//! Counts are memory of the caller, one float a token, and needed for penalties alone. A sampler that
//! is held to a [grammar](crate::grammar) masks the logits first.

use core::ops::Range;
use core::task::Poll;

use kinglet::sampler::{Sampler, SamplerOptions, SamplingPlace, is_uncounted};

use crate::grammar::Held;
use crate::handle::{Handle, get, get_mut, init};
use crate::memory::{all_disjoint, apart, output, place, slice, slice_mut, span, span_if_possible};
use crate::model::KingletModel;
use crate::status::{KingletStatus, status};

/// A sampler, which draws tokens from logits. Its contents are private; it may be
/// copied when it has no counts and no draw is under way.
#[derive(Debug)]
#[repr(C)]
pub struct KingletSampler {
    /// Private.
    pub opaque: [u64; 124],
}

impl Handle for KingletSampler {
    type Value = SamplerState;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-smpl");
    // A `heapless::Vec` of plain numbers.
    const DROP_IS_NOOP: bool = true;
}

/// The value in a [`KingletSampler`]. `'static` stands for as long as the caller
/// promised to keep the counts.
#[derive(Debug)]
pub(crate) struct SamplerState {
    sampler: Sampler<&'static mut [f32]>,
    /// Where the counts lie.
    counts: Range<usize>,
    draw: Option<Draw>,
    /// The text, where it is held to a grammar.
    held: Option<Held>,
}

/// A draw that was begun and is not done.
#[derive(Debug)]
struct Draw {
    place: SamplingPlace,
    /// `[count]`: the draw's, by the caller's promise.
    logits: *mut f32,
    count: usize,
    /// The ids below this one are masked, where the text is held to a grammar.
    masked: usize,
}

impl SamplerState {
    /// The sampler, for anything but to go on with a draw, which is given up.
    fn take(&mut self) -> &mut Sampler<&'static mut [f32]> {
        self.draw = None;
        &mut self.sampler
    }
}

impl SamplerState {
    /// Where the counts lie.
    pub(crate) fn counts(&self) -> &Range<usize> {
        &self.counts
    }

    /// The text, where it is held to a grammar.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Begins a text of a grammar, or lets go of one. A draw that is under way is given up.
    pub(crate) fn hold(&mut self, held: Option<Held>) {
        self.draw = None;
        self.held = held;
    }

    /// Refuses buffers, to be written, that overlap each other, the sampler's handle, or what the
    /// sampler was made of.
    fn apart_from(
        &self,
        handle: *const KingletSampler,
        written: &[Range<usize>],
    ) -> Result<(), KingletStatus> {
        all_disjoint(written)?;
        let own = [self.counts.clone(), span(handle, 1)?];
        all_disjoint(&own)?;
        let read = self.held().map_or(&[][..], |held| &held.read);
        written.iter().try_for_each(|buffer| {
            apart(buffer, &own)?;
            apart(buffer, read)
        })
    }

    /// Goes on from a snapshot.
    pub(crate) fn restore(&mut self, snapshot: &[u8]) -> Result<(), KingletStatus> {
        Ok(self.take().restore(snapshot)?)
    }
}

/// Options of a sampler: the changes to the logits before it draws.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KingletSamplerOptions {
    /// Spread of the choice; 0 always takes the most probable token, 1 leaves
    /// the probabilities as they are.
    pub temperature: f32,
    /// Keeps this many of the most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the most probable tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens that have this share of the largest probability; 0 keeps all.
    pub min_p: f32,
    /// Taken off the logit of every token that was accepted before; 0 is off.
    pub presence: f32,
    /// Taken off for each time that a token was accepted before; 0 is off.
    pub frequency: f32,
    /// Share of those counts that remains after each token, 0 to 1.
    pub penalty_decay: f32,
}

impl From<KingletSamplerOptions> for SamplerOptions {
    fn from(options: KingletSamplerOptions) -> Self {
        let KingletSamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            presence,
            frequency,
            penalty_decay,
        } = options;
        Self { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay }
    }
}

impl From<SamplerOptions> for KingletSamplerOptions {
    fn from(options: SamplerOptions) -> Self {
        let SamplerOptions { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay } =
            options;
        Self { temperature, top_k, top_p, min_p, presence, frequency, penalty_decay }
    }
}

/// The options for a model of all purposes, which the RWKV-7 G1 release recommends:
/// temperature 1, top-p 0.5, top-k 100, no penalties. With a model at hand, take
/// kinglet_sampler_defaults_for.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_sampler_defaults() -> KingletSamplerOptions {
    SamplerOptions::default().into()
}

/// The options that a model is best used with: those that its file states, or those
/// of its kind. The program `kinglet` begins with the same ones, so that the same
/// seed gives the same text. Those of kinglet_sampler_defaults when `model` is not an
/// open model.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_defaults_for(
    model: *const KingletModel,
) -> KingletSamplerOptions {
    // SAFETY: the caller's promise.
    let loaded = unsafe { get(model) };
    loaded
        .map_or_else(|_| SamplerOptions::default(), |it| SamplerOptions::for_model(&it.model))
        .into()
}

/// Makes a sampler. The same options, seed and logits give the same tokens on
/// every machine. `counts` is null, or a buffer of kinglet_counts_size bytes that
/// penalties need: the sampler's as long as it is used.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_init(
    sampler: *mut KingletSampler,
    options: KingletSamplerOptions,
    seed: u64,
    counts: *mut f32,
    counts_size: usize,
) -> KingletStatus {
    let len = if counts.is_null() { 0 } else { counts_size / 4 };
    let make = || {
        let place = span(counts, len)?;
        // SAFETY: the caller's promise, and apart from the handle.
        let counts: &'static mut [f32] = unsafe { slice_mut(counts, len) }?;
        let sampler = Sampler::with_counts(options.into(), seed, counts)?;
        Ok(SamplerState { sampler, counts: place, draw: None, held: None })
    };
    // SAFETY: the caller's promise about `sampler`.
    status(unsafe { init(sampler, &[span_if_possible(counts, len)], make) })
}

/// Changes the options; generator, bans and counts stay.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_set_options(
    sampler: *mut KingletSampler,
    options: KingletSamplerOptions,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let state = unsafe { get_mut(sampler) };
    status(state.and_then(|state| Ok(state.take().set_options(options.into())?)))
}

/// Forgets all counts and seeds the generator anew; options and bans stay. A text of a
/// grammar begins anew.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_restart(
    sampler: *mut KingletSampler,
    seed: u64,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let state = unsafe { get_mut(sampler) };
    status(state.map(|state| {
        state.take().restart(seed);
        if let Some(held) = &mut state.held {
            (held.calls.restart)(&mut held.constraint);
        }
    }))
}

/// Draws a token from the first `count` logits and leaves unspecified numbers in
/// their place; give KingletModelInfo.drawable. The token is not counted before it
/// is accepted. With a grammar it is one that may come next, the same as if the logits of
/// all others were minus infinity.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_sample(
    sampler: *mut KingletSampler,
    logits: *mut f32,
    count: usize,
    token: *mut u32,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let pointers = unsafe {
        get(sampler)
            .and_then(|state| state.apart_from(sampler, &[span(logits, count)?, span(token, 1)?]))
            .and_then(|()| Ok((get_mut(sampler)?, slice_mut(logits, count)?, output(token)?)))
    };
    status(pointers.and_then(|(state, logits, token)| {
        state.draw = None;
        *token = match &state.held {
            None => state.sampler.sample(logits)?,
            Some(held) => (held.calls.sample)(&held.constraint, &mut state.sampler, logits)?,
        };
        Ok(())
    }))
}

/// Begins what kinglet_sampler_sample does in one call, to be done in pieces of
/// bounded time by kinglet_sampler_sample_poll, with the same token. From now until
/// it is done the logits are the draw's. A draw may be given up at any time, and
/// every other call with this sampler gives it up: then nothing was drawn, and the
/// logits are unspecified.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_sample_begin(
    sampler: *mut KingletSampler,
    logits: *mut f32,
    count: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let pointers = unsafe {
        get(sampler)
            .and_then(|state| state.apart_from(sampler, &[span(logits, count)?]))
            .and_then(|()| Ok((get_mut(sampler)?, slice_mut(logits, count)?)))
    };
    status(pointers.and_then(|(state, slice)| {
        let place = state.take().begin(slice)?.leave();
        state.draw = Some(Draw { place, logits, count, masked: 0 });
        Ok(())
    }))
}

/// Does a piece of the draw that was begun, and writes the token when it is drawn;
/// KINGLET_STATUS_MORE when `budget` is spent before that: call again.
///
/// A unit of the budget is about a visit to a logit, of which a draw needs some 30 to
/// 80 for each logit, and the mask of a grammar, in polls of its own, some 5. 10000 units are at most 200000 instructions of a Cortex-M4, and
/// 2000000 of a core without an FPU. When the token is drawn, or cannot be, the draw is
/// over, and another poll is refused as KINGLET_STATUS_INVALID_HANDLE.
///
/// # Safety
///
/// The pointers are what they say, and the logits are still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_sample_poll(
    sampler: *mut KingletSampler,
    budget: usize,
    token: *mut u32,
) -> KingletStatus {
    let poll = || {
        // SAFETY: the caller's promise.
        let state = unsafe { get(sampler) }?;
        let draw = state.draw.as_ref().ok_or(KingletStatus::InvalidHandle)?;
        state.apart_from(sampler, &[span(draw.logits, draw.count)?, span(token, 1)?])?;
        // SAFETY: the caller's promise, and apart from each other.
        let (state, token) = unsafe { (get_mut(sampler)?, output(token)?) };
        let Some(Draw { place, logits, count, masked }) = state.draw.take() else {
            return Err(KingletStatus::InvalidHandle);
        };
        // SAFETY: the caller's promise of when the draw began, and apart from the others.
        let slice = unsafe { slice_mut(logits, count) }?;
        if let Some(held) = state.held.as_ref().filter(|_| masked < count) {
            let masked = (held.calls.mask_piece)(&held.constraint, slice, masked, budget)?;
            state.draw = Some(Draw { place, logits, count, masked });
            return Err(KingletStatus::More);
        }
        let mut sampling = state.sampler.resume(slice, place);
        match sampling.poll(budget)? {
            Poll::Ready(drawn) => {
                *token = drawn;
                Ok(())
            }
            Poll::Pending => {
                let place = sampling.leave();
                state.draw = Some(Draw { place, logits, count, masked });
                Err(KingletStatus::More)
            }
        }
    };
    status(poll())
}

/// Counts a generated token, for the penalties; without counts that does nothing.
/// With a model, tokens of digits and blanks pay the presence penalty only, as in
/// RWKV's own programs; `model` may be null.
///
/// With a grammar the text goes on by the token, or ends by one that ends texts:
/// kinglet_sampler_is_over. NOT_ALLOWED when it may not come next, and nothing changes.
///
/// # Safety
///
/// The pointers are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_accept(
    sampler: *mut KingletSampler,
    model: *const KingletModel,
    token: u32,
) -> KingletStatus {
    let accept = || {
        // SAFETY: the caller's promise.
        let written = [span(sampler, 1)?, unsafe { get(sampler) }?.counts.clone()];
        let mut counted = true;
        if !model.is_null() {
            apart(&span(model, 1)?, &written)?;
            // SAFETY: the caller's promise.
            let loaded = unsafe { get(model) }?;
            apart(&place(loaded.model.bytes()), &written)?;
            counted = !is_uncounted(loaded.tokenizer?.token(token).unwrap_or_default());
        }
        // SAFETY: the caller's promise, and apart from the model.
        let state = unsafe { get_mut(sampler) }?;
        if let Some(held) = &mut state.held {
            (held.calls.accept)(&mut held.constraint, token)?;
        }
        let sampler = state.take();
        if counted {
            sampler.accept(token);
        } else {
            sampler.accept_uncounted(token);
        }
        Ok(())
    };
    status(accept())
}

/// Excludes a token from being drawn; at most 32 at one time.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_ban(
    sampler: *mut KingletSampler,
    token: u32,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let state = unsafe { get_mut(sampler) };
    status(state.and_then(|state| Ok(state.take().ban(token)?)))
}

/// Allows a token again.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_unban(
    sampler: *mut KingletSampler,
    token: u32,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let state = unsafe { get_mut(sampler) };
    status(state.map(|state| state.take().unban(token)))
}

/// Bytes of the sampler's snapshot as it stands: 8, and 8 for each token that was
/// counted. 0 when `sampler` is none.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_snapshot_size(sampler: *const KingletSampler) -> usize {
    // SAFETY: the caller's promise.
    unsafe { get(sampler) }.map_or(0, |state| state.sampler.snapshot_len())
}

/// Writes where the sampler stands, its generator and counts, to the front of
/// `snapshot`, which has `size` bytes, at least kinglet_sampler_snapshot_size: what a
/// saved text goes on with as if it had not stopped. Options, bans and a grammar with the
/// place in its text are not in it.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_snapshot(
    sampler: *const KingletSampler,
    snapshot: *mut u8,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(sampler).and_then(|state| {
            state.apart_from(sampler, &[span(snapshot, size)?])?;
            Ok((state, slice_mut(snapshot, size)?))
        })
    };
    status(pointers.and_then(|(state, snapshot)| {
        state.sampler.snapshot(snapshot)?;
        Ok(())
    }))
}

/// Lets the sampler go on from a snapshot of `size` bytes. Counts of tokens that it does
/// not count are left out. STATE_DAMAGED when it is none; the sampler is then as it was.
/// The place in a grammar's text stays: inside one, set the grammar, accept the tokens that
/// the text has so far, and restore then.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_restore(
    sampler: *mut KingletSampler,
    snapshot: *const u8,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(sampler).map(|state| state.counts.clone()).and_then(|counts| {
            all_disjoint(&[counts, span(sampler, 1)?, span(snapshot, size)?])?;
            Ok((slice(snapshot, size)?, get_mut(sampler)?))
        })
    };
    status(pointers.and_then(|(snapshot, state)| state.restore(snapshot)))
}
