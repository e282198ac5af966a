//! Models: opening, sizes, tokens.
//!
//! A handle keeps views of the caller's bytes, parsed once: header, directory and tokenizer. It
//! holds no weights, so it is small and may be copied, and opening reads none. A model without a
//! tokenizer, or with one that this build cannot read, still opens and computes; the functions
//! that need the tokenizer report why it is missing.
//!
//! Sizes follow from the shape alone and come from [`Requirements`], by which firmware sizes its
//! statics as well.

use core::ops::Range;

use kinglet::engine::Requirements;
use kinglet::format::model::{Model, Section};
use kinglet::format::shape::Shape;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::tokenizer::Tokenizer;

use crate::handle::{Handle, get, init};
use crate::memory::{all_disjoint, apart, output, place, slice, slice_mut, span, span_if_possible};
use crate::status::{KingletStatus, status};
use crate::{KINGLET_MAX_BATCH, KINGLET_NO_TOKEN};

/// An open model: a view of the model file's bytes. Its contents are private.
/// It may be copied, and may be gone while engines made from it are used.
#[derive(Debug)]
#[repr(C)]
pub struct KingletModel {
    /// Private.
    pub opaque: [u64; 96],
}

impl Handle for KingletModel {
    type Value = LoadedModel;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-modl");
}

/// The value in a [`KingletModel`]. `'static` stands for as long as the caller
/// promised to keep the bytes.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) model: Model<'static>,
    pub(crate) tokenizer: Result<Tokenizer<'static>, KingletStatus>,
}

impl LoadedModel {
    /// Refuses buffers, to be written, that overlap each other, the model's handle or its bytes.
    fn apart_from(
        &self,
        handle: *const KingletModel,
        written: &[Range<usize>],
    ) -> Result<(), KingletStatus> {
        all_disjoint(written)?;
        let read = [span(handle, 1)?, place(self.model.bytes())];
        written.iter().try_for_each(|buffer| apart(buffer, &read))
    }

    fn new(bytes: &'static [u8]) -> Result<Self, KingletStatus> {
        let model = Model::open(bytes)?;
        let section = model.section(Section::Tokenizer);
        let tokenizer = if section.is_empty() {
            Err(KingletStatus::NoTokenizer)
        } else {
            Tokenizer::parse(section).map_err(KingletStatus::from)
        };
        Ok(Self { model, tokenizer })
    }
}

/// Shape, vocabulary and identity of a model.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KingletModelInfo {
    /// Generation of the recurrence: 7 is RWKV-7.
    pub architecture: u32,
    /// Number of layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Channels per head.
    pub head_size: u32,
    /// Hidden width of the channel mix.
    pub ffn: u32,
    /// Number of token ids; logits have this length.
    pub vocab: u32,
    /// Ids that may be drawn are below this: the tokenizer's, or all without one.
    pub drawable: u32,
    /// Bytes of the longest token; 0 without a tokenizer.
    pub max_token_size: u32,
    /// The id that starts and ends every text, or KINGLET_NO_TOKEN.
    pub end_of_text: u32,
    /// SHA-256 of architecture, shape and weights.
    pub content_hash: [u8; 32],
}

impl KingletModelInfo {
    fn new(loaded: &LoadedModel) -> Self {
        let Shape { architecture, layers, width, head_size, ffn, vocab, .. } =
            *loaded.model.shape();
        let tokenizer = loaded.tokenizer.as_ref().ok();
        let drawable = tokenizer.map_or(vocab, |tokenizer| vocab.min(tokenizer.vocab_len()));
        Self {
            architecture: architecture.code(),
            layers: layers as u32,
            width: width as u32,
            head_size: head_size as u32,
            ffn: ffn as u32,
            vocab: vocab as u32,
            drawable: drawable as u32,
            max_token_size: tokenizer.map_or(0, Tokenizer::max_token_len) as u32,
            end_of_text: tokenizer
                .map_or(Some(0), Tokenizer::end_of_text)
                .unwrap_or(KINGLET_NO_TOKEN),
            content_hash: loaded.model.header().content_hash,
        }
    }
}

/// The id that ends a turn of a conversation, where the checkpoint's file named one, or
/// KINGLET_NO_TOKEN; also when `model` is not an open model. A text ends at it as at the
/// end of a text.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_end_of_turn(model: *const KingletModel) -> u32 {
    // SAFETY: the caller's promise.
    let loaded = unsafe { get(model) };
    loaded.ok().and_then(|loaded| loaded.model.end_of_turn()).unwrap_or(KINGLET_NO_TOKEN)
}

/// Opens a model file of `size` bytes at `bytes`, a multiple of
/// KINGLET_MODEL_ALIGN. The bytes are read in place, in flash or in a memory
/// map; they stay there, unchanged, as long as anything made from the model is
/// used. Checks header and directory and reads no weights.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open(
    model: *mut KingletModel,
    bytes: *const u8,
    size: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise about `bytes`, which lets `'static` stand for
    // as long as the model is used.
    let open = || LoadedModel::new(unsafe { slice(bytes, size) }?);
    // SAFETY: the caller's promise about `model`.
    status(unsafe { init(model, &[span_if_possible(bytes, size)], open) })
}

/// Checks the checksums and bounds of all weights: reads the whole file. For
/// the start of a firmware, or after a download.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_verify(model: *const KingletModel) -> KingletStatus {
    // SAFETY: the caller's promise.
    let loaded = unsafe { get(model) };
    status(loaded.and_then(|loaded| Ok(loaded.model.verify()?)))
}

/// Writes what the model is to `info`.
///
/// # Safety
///
/// The pointers are to a model and to an info.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_info(
    model: *const KingletModel,
    info: *mut KingletModelInfo,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart; any bytes are a `KingletModelInfo`.
    let pointers = unsafe {
        get(model).and_then(|loaded| {
            loaded.apart_from(model, &[span(info, 1)?])?;
            Ok((loaded, output(info)?))
        })
    };
    status(pointers.map(|(loaded, info)| *info = KingletModelInfo::new(loaded)))
}

/// A size that follows from the model; 0 where there is none.
///
/// # Safety
///
/// The pointer is to a model.
unsafe fn size(model: *const KingletModel, f: impl FnOnce(&LoadedModel) -> usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { get(model) }.map_or(0, f)
}

/// A size for an engine with an f32 state that computes single tokens.
///
/// # Safety
///
/// The pointer is to a model.
unsafe fn size_f32(model: *const KingletModel, f: impl FnOnce(&Requirements) -> usize) -> usize {
    let size = |loaded: &LoadedModel| f(&Requirements::of::<f32>(loaded.model.shape(), 1));
    // SAFETY: the caller's promise.
    unsafe { self::size(model, size) }
}

/// A size for an engine with an f16 state; 0 where the model has none.
///
/// # Safety
///
/// The pointer is to a model.
unsafe fn size_f16(model: *const KingletModel, f: impl FnOnce(&Requirements) -> usize) -> usize {
    let size = |loaded: &LoadedModel| {
        let shape = loaded.model.shape();
        if !shape.architecture.allows_f16_state() {
            return 0;
        }
        f(&Requirements::of::<f16>(shape, 1))
    };
    // SAFETY: the caller's promise.
    unsafe { self::size(model, size) }
}

/// Bytes of the state of one sequence, whatever its length. 0 when `model` is
/// not an open model, as with all functions that return a size.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_size(model: *const KingletModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size_f32(model, |needs| needs.state_bytes) }
}

/// As kinglet_state_size, for kinglet_engine_init_f16: half of it. 0 where the
/// state cannot be kept in f16, with RWKV-4.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_size_f16(model: *const KingletModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size_f16(model, |needs| needs.state_bytes) }
}

/// Bytes of the workspace of an engine that computes up to `batch` tokens
/// together; 0 when `batch` is 0 or larger than KINGLET_MAX_BATCH.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_workspace_size(model: *const KingletModel, batch: usize) -> usize {
    let size = |loaded: &LoadedModel| {
        let needs = requirements::<f32>(loaded.model.shape(), batch);
        needs.map_or(0, |needs| needs.workspace_bytes())
    };
    // SAFETY: the caller's promise.
    unsafe { self::size(model, size) }
}

/// The lengths of an engine's buffers, if `batch` is allowed and memory can be that large.
pub(crate) fn requirements<S: StateElement>(shape: &Shape, batch: usize) -> Option<Requirements> {
    if !(1..=KINGLET_MAX_BATCH).contains(&batch) {
        return None;
    }
    Requirements::checked::<S>(shape, batch)
}

/// Bytes of the logits of one token: a float for each id of the vocabulary.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_logits_size(model: *const KingletModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size_f32(model, Requirements::logits_bytes) }
}

/// Bytes of the counts that a sampler with penalties needs.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_counts_size(model: *const KingletModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size(model, |loaded| 4 * KingletModelInfo::new(loaded).drawable as usize) }
}

/// Bytes of a state file.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_file_size(model: *const KingletModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size_f32(model, |needs| needs.state_file_bytes) }
}

/// Bytes of a state file of an engine with an f16 state; 0 as
/// kinglet_state_size_f16.
///
/// # Safety
///
/// The pointer is to a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_state_file_size_f16(model: *const KingletModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size_f16(model, |needs| needs.state_file_bytes) }
}

/// Writes the tokens of a text of `size` bytes, which need not be UTF-8 nor end
/// with NUL, to `tokens`, which has room for `capacity` of them, and how many
/// they are to `count`. When there is less room, the first `capacity` are
/// written, `count` is that of all, and the status is BUFFER_TOO_SMALL; so a
/// `capacity` of 0 asks for the number. After UNENCODABLE, `count` is that of
/// the tokens before the byte.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_encode(
    model: *const KingletModel,
    text: *const u8,
    size: usize,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and what is written is apart.
    let pointers = unsafe {
        get(model).and_then(|loaded| {
            let written = [span(tokens, capacity)?, span(count, 1)?];
            apart(&span(text, size)?, &written)?;
            loaded.apart_from(model, &written)?;
            let tokens = slice_mut(tokens, capacity)?;
            Ok((loaded.tokenizer?, slice(text, size)?, tokens, output(count)?))
        })
    };
    status(pointers.and_then(|(tokenizer, text, tokens, count)| {
        *count = 0;
        for token in tokenizer.encode(text) {
            let token = token.map_err(|_| KingletStatus::Unencodable)?;
            if let Some(place) = tokens.get_mut(*count) {
                *place = token;
            }
            *count += 1;
        }
        if *count <= tokens.len() { Ok(()) } else { Err(KingletStatus::BufferTooSmall) }
    }))
}

/// Points `bytes` to the bytes that a token stands for, inside the model file,
/// and writes their number to `size`. A token that stands for none, such as the
/// end of a text, has `size` 0. The bytes are not always whole characters:
/// kinglet_text_push joins them to text.
///
/// # Safety
///
/// The pointers are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_decode(
    model: *const KingletModel,
    token: u32,
    bytes: *mut *const u8,
    size: *mut usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, and what is written is apart.
    let pointers = unsafe {
        get(model).and_then(|loaded| {
            loaded.apart_from(model, &[span(bytes, 1)?, span(size, 1)?])?;
            Ok((loaded, output(bytes)?, output(size)?))
        })
    };
    status(pointers.and_then(|(loaded, bytes, size)| {
        let tokenizer = loaded.tokenizer?;
        if token as usize >= loaded.model.shape().vocab {
            return Err(KingletStatus::Token);
        }
        let text = tokenizer.token(token).unwrap_or_default();
        *bytes = text.as_ptr();
        *size = text.len();
        Ok(())
    }))
}
