//! Grammars: tables that a sampler holds its text to.
//!
//! ```text
//! logits -> mask of the grammar -> draw -> accepted token -> place in the grammar
//! ```
//!
//! A grammar's handle is a view of its table, and a sampler keeps a copy of that view beside the
//! tokenizer of a model and the place in the text. So one grammar serves any number of samplers, and
//! grammar and model may be gone as long as their bytes stay.

use core::ops::Range;

use kinglet::grammar::{Accepted, Constraint, ConstraintError, Grammar, Limits};
use kinglet::sampler::{SampleError, Sampler};

use crate::handle::{Handle, get, get_mut, init};
use crate::memory::{apart, place, slice, span, span_if_possible};
use crate::model::KingletModel;
use crate::sampler::KingletSampler;
use crate::status::{KingletStatus, status};

/// A compiled grammar: a view of its table's bytes. Its contents are private. It may be
/// copied, and may be gone while samplers that hold to it are used.
#[derive(Debug)]
#[repr(C)]
pub struct KingletGrammar {
    /// Private.
    pub opaque: [u64; 16],
}

impl Handle for KingletGrammar {
    type Value = Table;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-gram");
}

/// The value in a [`KingletGrammar`]. `'static` stands for as long as the caller promised to keep
/// the bytes.
#[derive(Debug)]
pub(crate) struct Table {
    grammar: Grammar<'static>,
    /// Where the table lies.
    place: Range<usize>,
}

/// A sampler's text, held to a grammar.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) constraint: Constraint<'static>,
    /// Where the grammar's table and the model lie: the constraint reads both.
    pub(crate) read: [Range<usize>; 2],
    /// What a sampler calls. It is reached through a pointer that is taken where a grammar is set: a
    /// program that sets none does not link it.
    pub(crate) calls: &'static Calls,
}

/// Functions of [`Constraint`].
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) sample: Sample,
    pub(crate) mask_piece: fn(&Constraint<'static>, &mut [f32], usize, usize) -> Piece,
    pub(crate) accept: fn(&mut Constraint<'static>, u32) -> Result<Accepted, ConstraintError>,
    pub(crate) restart: fn(&mut Constraint<'static>),
}

type Sample =
    fn(&Constraint<'_>, &mut Sampler<&'static mut [f32]>, &mut [f32]) -> Result<u32, SampleError>;

/// The id to go on from.
type Piece = Result<usize, SampleError>;

static CALLS: Calls = Calls {
    sample: |constraint, sampler, logits| constraint.sample(sampler, logits),
    mask_piece: Constraint::mask_piece,
    accept: Constraint::accept,
    restart: Constraint::restart,
};

/// Opens a grammar: the table of `size` bytes at `bytes`, of any alignment, that
/// `kinglet grammar` or the crate kinglet-grammar compiled. It is read in place, in flash
/// or in a memory map, and stays there, unchanged, as long as anything made from the
/// grammar is used. Checks the whole table, in time in proportion to its size, and proves
/// that no text comes to a dead end.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_grammar_open(
    grammar: *mut KingletGrammar,
    bytes: *const u8,
    size: usize,
) -> KingletStatus {
    let open = || {
        // SAFETY: the caller's promise about `bytes`, which lets `'static` stand for as long as the
        // grammar is used.
        let bytes: &'static [u8] = unsafe { slice(bytes, size) }?;
        Ok(Table { grammar: Grammar::open(bytes)?, place: place(bytes) })
    };
    // SAFETY: the caller's promise about `grammar`.
    status(unsafe { init(grammar, &[span_if_possible(bytes, size)], open) })
}

/// Holds the sampler to a grammar from now on: a text begins, and the tokens that are
/// drawn are of it alone, until it is over. Accept each token, so that the sampler knows
/// how far it has come. The text ends with the end of text of `model`, or its end of turn,
/// and neither is drawn before it is complete; KingletModelInfo.drawable logits are drawn
/// from as before. Options, bans, counts and generator stay.
///
/// The text has at most `max_bytes` bytes and `max_tokens` tokens; 0 is no limit. It is
/// complete within a limit, and not cut: a text that needs more is not begun.
/// GRAMMAR_LIMITS when none is so short. UNENCODABLE when a byte that the grammar has is
/// no token of the model.
///
/// A null `grammar` lets the sampler draw all tokens again; then `model` may be null, too.
///
/// # Safety
///
/// The pointers are what they say. The bytes of grammar and model stay as long as the
/// sampler is held to them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_set_grammar(
    sampler: *mut KingletSampler,
    grammar: *const KingletGrammar,
    model: *const KingletModel,
    max_bytes: u32,
    max_tokens: u32,
) -> KingletStatus {
    let held = || {
        // SAFETY: the caller's promise.
        let counts = unsafe { get(sampler) }?.counts().clone();
        if grammar.is_null() {
            return Ok(None);
        }
        let written = [span(sampler, 1)?, counts];
        apart(&span(grammar, 1)?, &written)?;
        apart(&span(model, 1)?, &written)?;
        // SAFETY: the caller's promise, and apart from what is written.
        let (table, loaded) = unsafe { (get(grammar)?, get(model)?) };
        let read = [table.place.clone(), place(loaded.model.bytes())];
        read.iter().try_for_each(|place| apart(place, &written))?;
        let limit = |most| if most == 0 { u32::MAX } else { most };
        let limits = Limits { bytes: limit(max_bytes), tokens: limit(max_tokens) };
        let mut constraint = Constraint::new(table.grammar, loaded.tokenizer?, limits)?;
        if let Some(token) = loaded.model.end_of_turn() {
            constraint.end_with(token)?;
        }
        Ok(Some(Held { constraint, read, calls: &CALLS }))
    };
    status(held().and_then(|held| {
        // SAFETY: the caller's promise; no reference of above lives.
        unsafe { get_mut(sampler) }?.hold(held);
        Ok(())
    }))
}

/// Whether the sampler's text is complete, so that it may end here: 1 or 0. 0 when the
/// sampler is none or is held to no grammar.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_may_end(sampler: *const KingletSampler) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { ask(sampler, Constraint::may_end) }
}

/// Whether the sampler's text is complete and nothing may follow, or has ended, so that
/// there is nothing to draw: 1 or 0. 0 when the sampler is none or is held to no grammar.
///
/// # Safety
///
/// The pointer is to a sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_sampler_is_over(sampler: *const KingletSampler) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { ask(sampler, Constraint::is_over) }
}

/// An answer about the sampler's text; no where there is none.
///
/// # Safety
///
/// The pointer is to a sampler.
unsafe fn ask(sampler: *const KingletSampler, question: fn(&Constraint<'static>) -> bool) -> i32 {
    // SAFETY: the caller's promise.
    let held = unsafe { get(sampler) }.ok().and_then(|state| state.held());
    i32::from(held.is_some_and(|held| question(&held.constraint)))
}
