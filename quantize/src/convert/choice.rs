//! Which matrices and tables of a model file are int4, and which int8.
//!
//! ```text
//! every matrix in both forms, int4 by error feedback where all the others are int4
//! cost = what each alone in int4 loses                               (sensitivity)
//! ranking = by cost over bytes saved                                 (allocation)
//! chosen = size: the cheapest that save enough
//!          KL:   the same for the most bytes that are within the limit, measured as a whole
//! int4 of those chosen anew, by error feedback where the others are int8
//! KL: chosen again, for int4 loses less now
//! ```
//!
//! The second error feedback takes as long as the first, and a tenth to a fifth off the loss: the
//! weights of a matrix make up for what earlier matrices lose, so what those are has to be known.

use std::io;
use std::path::Path;

use kinglet::format::shape::Shape;
use kinglet::kernels::weights::WeightType;

use super::allocation::{self, Candidate};
use super::error::ConvertError;
use super::error_feedback::{Calibrated, Rounding};
use super::phases::Phases;
use super::report::{Mix, Reports, TensorReport};
use super::sensitivity::{Survey, Validation, costs};
use super::size::Rest;
use super::{Bits, Limit, Options};
use crate::calibrate::{MOST_TOKENS, TOKENS, most_tokens};
use crate::checkpoint::Checkpoint;
use crate::dual::{DualModel, Int4, Weights};
use crate::int4;
use crate::note::Note;

/// What of a limit on the KL divergence a choice may take: a text differs from those that it was
/// measured on.
const SHARE: f64 = 0.9;
/// How much more is lost before the second error feedback.
const BEFORE: f64 = 1.2;

/// Of how many tokens of a text that is given one is measured on, where it is short.
const MEASURED: usize = 4;

/// Parts of all bytes that can be saved, among which is searched.
const SHARES: usize = 256;

/// A model in both precisions, and which of them is meant.
pub(super) struct Choice {
    model: DualModel,
    reports: Reports,
    chosen: Int4,
    /// The line of the provenance.
    pub(super) line: String,
    /// What was measured; nothing where there was nothing to choose.
    pub(super) mix: Option<Mix>,
    /// Tokens of the calibration's text.
    tokens: usize,
}

impl Choice {
    /// An entry in the form that was chosen. The integers of int4 take a byte each.
    pub(super) fn entry(&self, index: usize) -> io::Result<(Weights<'_>, TensorReport)> {
        let missing = || io::Error::other("the model lacks a tensor");
        let [int8, int4] = self.reports.get(&index).ok_or_else(missing)?;
        let (form, report) = match self.chosen.contains(&index) {
            false => (WeightType::Int8, int8),
            true => (WeightType::Int4, int4),
        };
        Ok((self.model.weights(index, form)?, report.clone()))
    }

    /// What is worth saying of the calibration.
    pub(super) fn note(&self) -> Option<Note> {
        Note::on_calibration(self.tokens)
    }

    fn new(calibrated: Calibrated<'_>, chosen: Int4, line: String, mix: Option<Mix>) -> Self {
        let Calibrated { model, reports, tokens, .. } = calibrated;
        Self { model, reports, chosen, line, mix, tokens }
    }
}

/// Steps of the progress: writing both forms to nearest, or the file at the end.
pub(super) const COPY_STEPS: u64 = 2;
/// Texts that a model tells.
const TELL_STEPS: u64 = 3;
/// Error feedback.
pub(super) const FEEDBACK_STEPS: u64 = 16;

/// Steps of the progress of [`choose`].
pub(super) fn steps(options: &Options<'_>, shape: &Shape) -> u64 {
    let once = TELL_STEPS + FEEDBACK_STEPS;
    match (options.bits, &options.calibration) {
        (Bits::Eight, _) | (_, None) => 0,
        (Bits::Four, Some(_)) => COPY_STEPS + once,
        (Bits::Auto(_), Some(_)) => COPY_STEPS + 2 * once + Survey::new(shape).steps(),
    }
}

/// Chooses the bits of each tensor; `None` where they are merely rounded. `rest` is what the file
/// holds besides, without the choice's line of the provenance.
pub(super) fn choose(
    checkpoint: &Checkpoint,
    out: &Path,
    start_state: Option<&[f32]>,
    options: &Options<'_>,
    rest: &Rest,
    phases: &mut Phases<'_>,
) -> Result<Option<Choice>, ConvertError> {
    let Some(calibration) = &options.calibration else {
        return match options.bits {
            Bits::Auto(_) => Err(ConvertError::NoCalibration),
            _ => Ok(None),
        };
    };
    let calibrated = |phases: &mut Phases<'_>| {
        let progress = &mut phases.next(COPY_STEPS);
        Calibrated::to_nearest(checkpoint, rest.shape, out, start_state, calibration, progress)
    };
    match options.bits {
        Bits::Eight => Ok(None),
        Bits::Four => all(calibrated(phases)?, phases).map(Some),
        Bits::Auto(limit) => {
            let survey = Survey::new(&rest.shape);
            check(limit, rest, &survey)?;
            within(limit, calibrated(phases)?, &survey, rest, phases).map(Some)
        }
    }
}

/// Refuses a limit that no model keeps, before anything is computed.
fn check(limit: Limit, rest: &Rest, survey: &Survey) -> Result<(), ConvertError> {
    let least = rest.and_line(survey).least();
    match limit {
        Limit::Size(size) if size < least => Err(ConvertError::Size { size, least }),
        Limit::Kl(found) if !(found > 0.0 && found.is_finite()) => {
            Err(ConvertError::KlLimit { found })
        }
        _ => Ok(()),
    }
}

/// Everything in int4.
pub(super) fn all(
    mut calibrated: Calibrated<'_>,
    phases: &mut Phases<'_>,
) -> Result<Choice, ConvertError> {
    let texts = calibrated.text(TOKENS, &mut phases.next(TELL_STEPS))?;
    let all = calibrated.entries();
    calibrated.feed_back(&texts, &all, &mut phases.next(FEEDBACK_STEPS))?;
    let line = match calibrated.rounding() {
        Rounding::ToNearest => to_nearest(),
        fed_back => format!("weights: int4 in groups of {}, {fed_back}\n", int4::GROUP),
    };
    Ok(Choice::new(calibrated, all, line, None))
}

/// The line of the provenance of int4 without error feedback.
pub(super) fn to_nearest() -> String {
    format!("weights: int4 in groups of {}, {}\n", int4::GROUP, Rounding::ToNearest)
}

/// The line of the provenance of a mix: nothing where no tensor is int4.
fn mixed(count: usize, all: usize, rounding: Rounding, kl: f64, tokens: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let group = int4::GROUP;
    format!(
        "weights: int4 in groups of {group} for {count} of {all} matrices and tables, int8 for the \
         others, {rounding}; KL divergence from int8 {kl:.1e} nats on {tokens} others\n"
    )
}

impl Rest {
    /// With the longest line that a mix may have.
    fn and_line(&self, survey: &Survey) -> Self {
        let line = longest_line(survey.entries()).len() as u64;
        Self { provenance: self.provenance + line, ..*self }
    }
}

/// The longest line of a mix of `all` matrices and tables.
fn longest_line(all: usize) -> String {
    let rounding = Rounding::FedBack { tokens: MOST_TOKENS, is_told: true };
    mixed(all, all, rounding, 1e-99, TOKENS)
}

/// What a limit allows. `rest` is what the file holds besides.
fn within(
    limit: Limit,
    mut calibrated: Calibrated<'_>,
    survey: &Survey,
    rest: &Rest,
    phases: &mut Phases<'_>,
) -> Result<Choice, ConvertError> {
    let int8_bytes = |index: usize| calibrated.reports[&index][0].bytes;
    let int8 = rest.file_len(int8_bytes);
    if matches!(limit, Limit::Size(size) if int8 <= size) {
        return Ok(Choice::new(calibrated, Int4::new(), String::new(), None));
    }
    let rest = rest.and_line(survey);
    let int8 = rest.file_len(int8_bytes);
    let all = calibrated.entries();
    let given: usize = calibrated.calibration.texts.iter().map(Vec::len).sum();
    let tokens = match given {
        0 => most_tokens(&rest.shape),
        given => most_tokens(&rest.shape).min(given - given / MEASURED),
    };
    let texts = calibrated.text(tokens, &mut phases.next(TELL_STEPS))?;
    calibrated.feed_back(&texts, &all, &mut phases.next(FEEDBACK_STEPS))?;
    let validation = Validation::new(&calibrated, tokens, &mut phases.next(TELL_STEPS))?;
    let costs = costs(&calibrated, &validation, survey, &mut phases.next(survey.steps()))?;
    calibrated.set_costs(&costs);
    let int4_kl = validation.kl(&calibrated, &all, usize::MAX)?;
    let ranked = ranked(&calibrated);
    let progress = &mut phases.next(FEEDBACK_STEPS);
    let chosen = match limit {
        Limit::Size(size) => {
            let saving = allocation::saving(&ranked, int8 - size);
            let saving = saving.ok_or(ConvertError::Size { size, least: rest.least() })?;
            let chosen = entries(&saving);
            calibrated.feed_back(&texts, &chosen, progress)?;
            chosen
        }
        Limit::Kl(limit) => {
            let most = limit * SHARE - int8_kl(&calibrated);
            let first = smallest(&calibrated, &validation, &ranked, most * BEFORE)?;
            calibrated.feed_back(&texts, &first, progress)?;
            smallest(&calibrated, &validation, &ranked, most)?
        }
    };
    let (kl, tokens) = (validation.kl(&calibrated, &chosen, usize::MAX)?, validation.tokens());
    let mix = Mix { limit, kl, int4_kl, tokens };
    let line = mixed(chosen.len(), all.len(), calibrated.rounding(), kl, tokens);
    Ok(Choice::new(calibrated, chosen, line, Some(mix)))
}

/// What saves the most bytes of all that loses at most so much, measured as a whole.
fn smallest(
    calibrated: &Calibrated<'_>,
    validation: &Validation,
    ranked: &[Candidate],
    most: f64,
) -> Result<Int4, ConvertError> {
    let all: u64 = ranked.iter().map(|candidate| candidate.saved).sum();
    let saving = |share: usize| {
        let needed = (u128::from(all) * share as u128 / SHARES as u128) as u64;
        entries(&allocation::saving(ranked, needed).unwrap_or_default())
    };
    let share = allocation::largest(SHARES, |share| {
        Ok::<_, ConvertError>(validation.kl(calibrated, &saving(share), usize::MAX)? <= most)
    })?;
    Ok(saving(share))
}

fn entries(candidates: &[Candidate]) -> Int4 {
    candidates.iter().map(|candidate| candidate.index).collect()
}

/// What int4 saves and costs, the best first.
fn ranked(calibrated: &Calibrated<'_>) -> Vec<Candidate> {
    let candidate = |(&index, [int8, int4]): (&usize, &[TensorReport; 2])| Candidate {
        index,
        saved: int8.bytes.saturating_sub(int4.bytes),
        cost: int4.int4_kl.unwrap_or(f64::INFINITY),
    };
    let mut ranked: Vec<_> = calibrated.reports.iter().map(candidate).collect();
    allocation::rank(&mut ranked);
    ranked
}

/// About what int8 itself loses: the loss is as the square of the rounding errors, and that of int4
/// was measured.
fn int8_kl(calibrated: &Calibrated<'_>) -> f64 {
    let share = |[int8, int4]: &[TensorReport; 2]| match int4.noise > 0.0 {
        true => int4.int4_kl.unwrap_or(0.0) * int8.noise / int4.noise,
        false => 0.0,
    };
    calibrated.reports.values().map(share).sum()
}
