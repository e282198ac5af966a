//! From a checkpoint to a model file.
//!
//! ```text
//! shape = recognize(tensors)                     version and dimensions, all shapes checked
//! for section in vectors, embedding, layers, head, deep_embed:
//!     for tensor in section, in file order:
//!         vector:     values as f32, all finite
//!         matrix:     measure -> multiplier and group with the least bits for the error -> pack
//!         embedding:  LayerNorm ln0 of each row in f64, rounded once -> pack
//!         DeepEmbed:  s_emb + LN0(emb) s_emb_x^T in f64, rounded once -> pack
//! ```
//!
//! Reading and quantizing go by blocks of rows on all cores, and the writer hashes and writes on a
//! thread of its own, so what is in memory is some blocks and the scales of one tensor. The matrix
//! that the sparse kernel reads is the exception: the file's order is by inputs, so its int8 form
//! is made whole before it is turned. Of int4, too, integers are made in bytes, then packed.
//!
//! int4 by error feedback is made of a model that lies in a file in both forms; which of them the
//! output takes is all int4, or chosen for each tensor within a limit (module `choice`).
//!
//! The first error that is reported is that of the first row, whichever thread was faster.

mod allocation;
mod choice;
mod conversion;
pub(crate) mod error;
mod error_feedback;
mod finite;
mod norm;
mod phases;
mod provenance;
pub(crate) mod recognize;
mod report;
mod rows;
mod sensitivity;
mod size;
pub(crate) mod tuned_state;
mod writer;

use std::borrow::Cow;
use std::io;
use std::path::Path;

use kinglet::format::model::{Header, Section};
use kinglet::format::shape::Shape;
use kinglet::sampler::SamplerOptions;

use crate::calibrate::Calibration;
use crate::checkpoint::Checkpoint;
use crate::note::Note;
use crate::threads;
use crate::vocabulary::Vocabulary;
use choice::{COPY_STEPS, Choice};
use conversion::{Conversion, Form, Plan};
use error::ConvertError;
use phases::Phases;
use provenance::{provenance, sampling_line};
use size::Rest;
use tuned_state::TunedState;

pub use report::{Hex, Mix, Report, TensorReport};

/// Bits of the weights of matrices and tables.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Bits {
    /// int8.
    #[default]
    Eight,
    /// int4, embedding and head included.
    Four,
    /// Either, for each tensor by what it was measured to lose; needs a
    /// [calibration](Options::calibration).
    Auto(Limit),
}

/// What a choice of bits keeps to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Bytes of the model file: the best model that fits.
    Size(u64),
    /// KL divergence in nats per token: the smallest model within. It is measured from the int8
    /// model, on texts that are not the calibration's; part of the limit is left for what int8
    /// loses against the checkpoint, and for other texts.
    Kl(f64),
}

/// How the weights become integers, and what a conversion adds to them.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// Bits of the weights.
    pub bits: Bits,
    /// What matrices of four bits are calibrated with; without it they are rounded to nearest.
    pub calibration: Option<Calibration<'a>>,
    /// The vocabulary to pack into the file.
    pub vocabulary: Option<&'a Vocabulary>,
    /// The state to start from, in place of one that the checkpoint may have.
    pub state: Option<&'a TunedState>,
    /// A line on the weights' licence for the provenance.
    pub licence: Option<&'a str>,
    /// The options of the sampler that the model is best used with, for the provenance; those of
    /// its kind are not stated where this is `None`.
    pub sampling: Option<SamplerOptions>,
}

/// Called with the number of weights done and of all weights.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Converts a checkpoint into the model file `out`.
///
/// Reading, quantizing, hashing and writing happen side by side. Beyond the
/// checkpoint's memory map, memory is bounded by the scales of the largest tensor,
/// the int8 form of the largest `ffn.value` and some tens of megabytes. The same checkpoint and
/// options give the same bytes. `out` is replaced when all is written, or left
/// as it was.
///
/// # Errors
/// When the checkpoint is not a whole, finite RWKV model or not as its checksums say, the
/// vocabulary does not fit it, or the output cannot be written.
pub fn convert(
    checkpoint: &Checkpoint,
    out: &Path,
    options: &Options<'_>,
    progress: Progress<'_>,
) -> Result<Report, ConvertError> {
    let start = std::time::Instant::now();
    threads::ensure();
    let shape = recognize::shape(checkpoint)?;
    if let Some(vocabulary) = options.vocabulary
        && vocabulary.vocab_len() > shape.vocab
    {
        let found = vocabulary.vocab_len() - 1;
        return Err(ConvertError::Vocabulary { found, vocab: shape.vocab });
    }
    let start_state = start_state(checkpoint, &shape, options)?;
    let sampling = options.sampling.as_ref().map(sampling_line).transpose()?.unwrap_or_default();
    let state = start_state.as_deref();
    let tokenizer = options.vocabulary.map(Vocabulary::pack).transpose();
    let tokenizer =
        tokenizer.map_err(|error| ConvertError::output(out)(io::Error::other(error)))?;
    // A limit on the size includes it; otherwise it is made beside the weights.
    let early = matches!(options.bits, Bits::Auto(_)).then(|| provenance(checkpoint, options));
    let early = early.transpose()?;
    let rest = Rest {
        shape,
        start_state: state.map_or(0, |state| size_of_val(state) as u64),
        tokenizer: tokenizer.as_ref().map_or(0, |bytes| bytes.len() as u64),
        provenance: (early.as_ref().map_or(0, String::len) + sampling.len()) as u64,
    };
    let weights = checkpoint.tensors().map(|tensor| tensor.elements() as u64).sum();
    let mut phases = Phases::new(progress, weights, choice::steps(options, &shape) + COPY_STEPS);
    let choice = choice::choose(checkpoint, out, state, options, &rest, &mut phases)?;
    let plan = match &choice {
        Some(choice) => Plan::Chosen(choice),
        None if options.bits == Bits::Four => Plan::Rounded(Form::Int4),
        None => Plan::Rounded(Form::Int8),
    };
    let progress = &mut phases.next(COPY_STEPS);
    let provenance = std::thread::scope(|scope| {
        // Hashing the checkpoint waits for the disk; on a thread of its own where one is to be had.
        let hashing = std::thread::Builder::new().name("hashing".to_owned());
        // It uses the pool as well: where this thread is the pool, each would wait for the other.
        let hashing = (early.is_none() && threads::are_apart())
            .then(|| hashing.spawn_scoped(scope, || provenance(checkpoint, options)).ok())
            .flatten();
        let mut converted = Conversion::new(checkpoint, shape, out, plan, progress)?;
        converted.first_sections()?;
        let provenance = match (early, hashing) {
            (Some(provenance), _) => Ok(provenance),
            (None, Some(thread)) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            (None, None) => provenance(checkpoint, options),
        };
        Ok::<_, ConvertError>((converted, provenance?))
    });
    let (mut conversion, provenance) = provenance?;
    let line = match (&choice, options.bits) {
        (Some(choice), _) => choice.line.clone(),
        (None, Bits::Four) => choice::to_nearest(),
        (None, _) => String::new(),
    };
    conversion.last_sections(state, |writer| {
        if let Some(tokenizer) = &tokenizer {
            writer.section(Section::Tokenizer, tokenizer)?;
        }
        writer.section(Section::Provenance, (provenance + &line + &sampling).as_bytes())
    })?;
    let failed = ConvertError::output(out);
    let (Header { content_hash, .. }, file_len) = conversion.writer.finish().map_err(&failed)?;
    let mut notes = notes(checkpoint, &shape, options);
    notes.extend(choice.as_ref().and_then(Choice::note));
    Ok(Report {
        shape,
        content_hash,
        notes,
        tensors: conversion.reports,
        mix: choice.as_ref().and_then(|choice| choice.mix),
        parameters: conversion.parameters,
        file_len,
        elapsed: start.elapsed(),
    })
}

/// What is worth saying of what was converted.
fn notes(checkpoint: &Checkpoint, shape: &Shape, options: &Options<'_>) -> Vec<Note> {
    let vocabulary = options.vocabulary.map(Vocabulary::vocab_len);
    let vocabulary = vocabulary.and_then(|found| Note::on_vocabulary(found, shape.vocab));
    let state = options.state.map(TunedState::notes).unwrap_or_default();
    checkpoint.guess().into_iter().chain(vocabulary).chain(state.iter().copied()).collect()
}

/// The state that the model starts from, where it is not zero.
fn start_state<'a>(
    checkpoint: &Checkpoint,
    shape: &Shape,
    options: &Options<'a>,
) -> Result<Option<Cow<'a, [f32]>>, ConvertError> {
    let Some(state) = options.state else {
        let tuned = tuned_state::is_tuned(checkpoint);
        return tuned.then(|| tuned_state::values(checkpoint, shape).map(Cow::Owned)).transpose();
    };
    let (found, expected) = (state.values().len(), shape.state_len());
    if found != expected {
        return Err(ConvertError::StateLength { found, expected });
    }
    Ok(Some(Cow::Borrowed(state.values())))
}
