//! The matrices of a model of four bits, by error feedback: see [`calibrate`](crate::calibrate).

use std::collections::HashMap;
use std::io;
use std::path::Path;

use half::f16;
use kinglet::format::shape::Shape;
use kinglet::format::tensors::Storage;
use kinglet::kernels::matrix::padded_inputs;
use kinglet::kernels::weights::WeightType;

use super::conversion::{Choice, Conversion, Form, Zeros, choose, with_rows};
use super::error::ConvertError;
use super::rows::RowReader;
use super::{Bits, Progress};
use crate::calibrate::{Calibration, RunError, Working, cut, record, stages, told};
use crate::checkpoint::Checkpoint;
use crate::feedback::{Activations, Feedback};
use crate::int4;
use crate::packing::{Packing, turn, turn_scales};

/// Steps that a weight takes, as progress counts them: into the working model, by error feedback,
/// into the file.
const STEPS: u64 = 20;
const FEEDBACK_STEPS: u64 = 16;
/// Steps of each of the two models, and of the file where matrices are there.
const COPY_STEPS: u64 = 1;
const FILE_STEPS: u64 = 2;

/// Matrices that are of four bits already.
pub(super) struct Prepared {
    pub(super) working: Working,
    /// By directory entry.
    pub(super) costs: HashMap<usize, Cost>,
    /// Tokens of the calibration.
    tokens: usize,
    /// Whether the model told them.
    is_told: bool,
}

impl Prepared {
    /// The line of the provenance.
    pub(super) fn line(&self) -> String {
        if !self.costs.values().any(|cost| cost.is_fed_back) {
            return Bits::Four.line();
        }
        let (group, tokens) = (int4::GROUP, self.tokens);
        let text = if self.is_told { "its own texts" } else { "a text" };
        format!(
            "weights: int4 in groups of {group}, error feedback from {tokens} tokens of {text}\n"
        )
    }
}

/// What a matrix lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) signal: f64,
    pub(super) noise: f64,
    pub(super) largest: f32,
    /// Whether its rounding errors were fed back; those of an export have none.
    is_fed_back: bool,
}

/// A part of the progress of a calibrated conversion: `steps` of all [`STEPS`], after `before`.
fn part<'p>(
    progress: &'p mut dyn FnMut(u64, u64),
    before: u64,
    steps: u64,
) -> impl FnMut(u64, u64) + 'p {
    move |done, all| progress((before * all + steps * done) / STEPS, all)
}

/// The progress of writing the file: the last step, where matrices are there.
pub(super) fn remaining(progress: Progress<'_>, is_prepared: bool) -> impl FnMut(u64, u64) + '_ {
    let steps = if is_prepared { FILE_STEPS } else { STEPS };
    part(progress, STEPS - steps, steps)
}

fn failed(error: RunError) -> ConvertError {
    ConvertError::Calibration { source: error }
}

/// Quantizes all matrices. Both models lie in the folder of `out`, without names.
pub(super) fn prepare(
    checkpoint: &Checkpoint,
    shape: &Shape,
    out: &Path,
    start_state: Option<&[f32]>,
    calibration: &Calibration<'_>,
    progress: Progress<'_>,
) -> Result<Prepared, ConvertError> {
    let output = ConvertError::output(out);
    let reference =
        model(checkpoint, shape, out, start_state, Form::Int8, &mut part(progress, 0, COPY_STEPS))?;
    let mut working = model(
        checkpoint,
        shape,
        out,
        start_state,
        Form::Working,
        &mut part(progress, COPY_STEPS, COPY_STEPS),
    )?;
    let texts = match calibration.texts {
        [] => told(calibration.runner, working.model().map_err(&output)?).map_err(failed)?,
        texts => cut(texts),
    };
    let tokens = texts.iter().map(Vec::len).sum();
    let stages = stages(shape, tokens);
    let count = stages.iter().flatten().count() as u64;
    let mut costs = HashMap::new();
    let mut progress = part(progress, 2 * COPY_STEPS, FEEDBACK_STEPS);
    let all = checkpoint.tensors().map(|tensor| tensor.elements() as u64).sum();
    for stage in &stages {
        let model = working.model().map_err(&output)?;
        let mut seen = record(calibration.runner, model, &texts, stage).map_err(failed)?;
        let mut wanted =
            record(calibration.runner, reference.model().map_err(&output)?, &texts, stage)
                .map_err(failed)?;
        for &index in stage {
            let activations = seen.remove(&index).unwrap_or_default();
            let wanted = wanted.remove(&index);
            let cost = matrix(
                checkpoint,
                shape,
                index,
                &activations,
                wanted.as_ref(),
                &mut working,
                &output,
            )?;
            costs.insert(index, cost);
            progress(costs.len() as u64 * all / count.max(1), all);
        }
    }
    Ok(Prepared { working, costs, tokens, is_told: calibration.texts.is_empty() })
}

/// A model in a file that goes with it.
fn model(
    checkpoint: &Checkpoint,
    shape: &Shape,
    out: &Path,
    start_state: Option<&[f32]>,
    form: Form<'_>,
    progress: Progress<'_>,
) -> Result<Working, ConvertError> {
    let output = ConvertError::output(out);
    let mut conversion = Conversion::new(checkpoint, *shape, out, form, progress)?;
    conversion.first_sections()?;
    conversion.last_sections(start_state, |_| Ok(()))?;
    let (_, file) = conversion.writer.complete().map_err(&output)?;
    Working::new(file).map_err(&output)
}

/// Quantizes a matrix in its place.
fn matrix(
    checkpoint: &Checkpoint,
    shape: &Shape,
    index: usize,
    activations: &Activations,
    wanted: Option<&Activations>,
    working: &mut Working,
    output: &impl Fn(io::Error) -> ConvertError,
) -> Result<Cost, ConvertError> {
    with_rows(checkpoint, shape, index, |name, storage, rows| {
        let choice = choose(checkpoint, Form::Int4, &name, storage, rows)?;
        let multiplier = working.parts(index).map_err(output)?.multiplier;
        let Choice { packing, errors, largest, is_exact, zeros } = choice;
        // The working model's directory has the multiplier, which the grid of an export may
        // have otherwise.
        let packing = Packing { stored: WeightType::Int8, multiplier, ..packing };
        let inputs = rows.tensor.columns();
        let feedback = (!is_exact && !activations.scales.is_empty())
            .then(|| Feedback::new(activations, wanted, inputs));
        let packing = Packing { feedback: feedback.as_ref(), ..packing };
        let (values, scales, noise) = quantize(&packing, rows, zeros)?;
        working.replace(index, &values, &scales).map_err(output)?;
        Ok(Cost { signal: errors.signal, noise, largest, is_fed_back: feedback.is_some() })
    })
}

/// Integers and scales in the order of the file, and the squared error.
fn quantize(
    packing: &Packing<'_>,
    rows: &RowReader<'_>,
    zeros: Zeros<'_>,
) -> Result<(Vec<i8>, Vec<f16>, f64), ConvertError> {
    let padded = packing.padded(rows.count);
    let (values_of, scales_of) = (packing.values_per_row(), packing.scales_per_row());
    let mut values = vec![0; padded * values_of];
    let mut scales = vec![f16::ZERO; padded * scales_of];
    let parts = rows.put(packing, 0..rows.count, &mut values, &mut scales, |_, _| Ok(()))?;
    packing.set_scales_of_zeros(zeros, &mut scales);
    if packing.storage == Storage::Sparse {
        let mut turned = vec![0; padded * padded_inputs(packing.inputs)];
        turn(&values, packing.inputs, padded, 0, &mut turned);
        values = turned;
        scales = turn_scales(&scales, scales_of, padded);
    }
    Ok((values, scales, parts.into_iter().map(|((), noise)| noise).sum()))
}
