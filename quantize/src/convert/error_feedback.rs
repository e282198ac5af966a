//! The int4 form of a model's matrices, by error feedback: see [`calibrate`](crate::calibrate).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use half::f16;
use kinglet::format::layout::layout;
use kinglet::format::shape::Shape;
use kinglet::format::tensors::{self, Storage};
use kinglet::kernels::matrix::padded_inputs;
use kinglet::kernels::weights::WeightType;

use super::Progress;
use super::conversion::{Conversion, Form, Nearest, Plan, Zeros, to_nearest, with_rows};
use super::error::ConvertError;
use super::report::Reports;
use super::rows::RowReader;
use crate::calibrate::{Calibration, RunError, SEED, cut, record, stages, told};
use crate::checkpoint::Checkpoint;
use crate::dual::{DualModel, Int4};
use crate::feedback::{Activations, Feedback};
use crate::int4;
use crate::packing::{Packing, turn, turn_scales};

/// A model in both precisions, and the text that its int4 form follows from.
pub(super) struct Calibrated<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) shape: Shape,
    pub(super) out: &'a Path,
    pub(super) calibration: &'a Calibration<'a>,
    pub(super) model: DualModel,
    pub(super) reports: Reports,
    /// Tokens of the calibration.
    pub(super) tokens: usize,
    /// Whether any rounding errors were fed back; the matrices of an export have none.
    is_fed_back: bool,
}

/// How int4 was rounded, for the provenance.
#[derive(Clone, Copy)]
pub(super) enum Rounding {
    ToNearest,
    /// By error feedback from a text of some tokens, which the model may have told.
    FedBack {
        tokens: usize,
        is_told: bool,
    },
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ToNearest => f.write_str("rounded to nearest"),
            Self::FedBack { tokens, is_told } => {
                let text = if is_told { "its own texts" } else { "a text" };
                write!(f, "error feedback from {tokens} tokens of {text}")
            }
        }
    }
}

pub(super) fn failed(error: RunError) -> ConvertError {
    ConvertError::Calibration { source: error }
}

impl<'a> Calibrated<'a> {
    /// Both forms to nearest. They lie in the folder of `out`, without a name.
    pub(super) fn to_nearest(
        checkpoint: &'a Checkpoint,
        shape: Shape,
        out: &'a Path,
        start_state: Option<&[f32]>,
        calibration: &'a Calibration<'a>,
        progress: Progress<'_>,
    ) -> Result<Self, ConvertError> {
        let mut conversion = Conversion::new(checkpoint, shape, out, Plan::Dual, progress)?;
        conversion.first_sections()?;
        conversion.last_sections(start_state, |_| Ok(()))?;
        let (model, reports) = conversion.into_dual()?;
        let (tokens, is_fed_back) = (0, false);
        Ok(Self { checkpoint, shape, out, calibration, model, reports, tokens, is_fed_back })
    }

    /// Everything that is quantized.
    pub(super) fn entries(&self) -> Int4 {
        self.reports.keys().copied().collect()
    }

    pub(super) const fn rounding(&self) -> Rounding {
        match self.is_fed_back {
            false => Rounding::ToNearest,
            true => Rounding::FedBack {
                tokens: self.tokens,
                is_told: self.calibration.texts.is_empty(),
            },
        }
    }

    /// Keeps what four bits were found to cost, by entry.
    pub(super) fn set_costs(&mut self, costs: &BTreeMap<usize, f64>) {
        for (index, reports) in &mut self.reports {
            reports.iter_mut().for_each(|report| report.int4_kl = costs.get(index).copied());
        }
    }

    /// The text that matrices are calibrated with: some tokens of the one that is given, or of one
    /// that the model tells.
    pub(super) fn text(
        &self,
        tokens: usize,
        progress: Progress<'_>,
    ) -> Result<Vec<Vec<u32>>, ConvertError> {
        if !self.calibration.texts.is_empty() {
            let [text, _] = cut(self.calibration.texts, tokens, 0);
            return Ok(text);
        }
        let directory = self.model.directory(&self.entries());
        let model = self.model.model(&directory).map_err(ConvertError::output(self.out))?;
        told(self.calibration.runner, model, tokens, SEED, progress).map_err(failed)
    }

    /// Rounds the matrices of a choice to int4 with error feedback, the first layers first. The
    /// others are int8 meanwhile, and stay as they were in int4.
    pub(super) fn feed_back(
        &mut self,
        texts: &[Vec<u32>],
        chosen: &Int4,
        progress: Progress<'_>,
    ) -> Result<(), ConvertError> {
        let output = ConvertError::output(self.out);
        let runner = self.calibration.runner;
        self.tokens = texts.iter().map(Vec::len).sum();
        let mut stages = stages(&self.shape, self.tokens);
        stages.iter_mut().for_each(|stage| stage.retain(|index| chosen.contains(index)));
        stages.retain(|stage| !stage.is_empty());
        let count = stages.iter().flatten().count() as u64;
        let mut done = 0;
        let [int8, int4] = [&Int4::new(), chosen].map(|chosen| self.model.directory(chosen));
        for stage in &stages {
            let model = |directory| self.model.model(directory).map_err(&output);
            let mut seen = record(runner, model(&int4)?, texts, stage).map_err(failed)?;
            let mut wanted = record(runner, model(&int8)?, texts, stage).map_err(failed)?;
            for &index in stage {
                let activations = seen.remove(&index).unwrap_or_default();
                let wanted = wanted.remove(&index);
                self.matrix(index, &activations, wanted.as_ref())?;
                done += 1;
                progress(done, count);
            }
        }
        Ok(())
    }

    /// Rounds a matrix in its place.
    fn matrix(
        &mut self,
        index: usize,
        activations: &Activations,
        wanted: Option<&Activations>,
    ) -> Result<(), ConvertError> {
        let output = ConvertError::output(self.out);
        let Self { checkpoint, shape, model, reports, is_fed_back, .. } = self;
        with_rows(checkpoint, shape, index, |name, storage, rows| {
            let nearest = to_nearest(checkpoint, Form::Int4, &name, storage, rows)?;
            let Nearest { packing, errors, largest, is_exact, zeros } = nearest;
            // The directory has the multiplier, which the grid of an export may have otherwise.
            let multiplier =
                model.weights(index, WeightType::Int4).map_err(&output)?.record.multiplier;
            let packing = Packing { stored: WeightType::Int8, multiplier, ..packing };
            let inputs = rows.tensor.columns();
            let feedback = (!is_exact && !activations.scales.is_empty())
                .then(|| Feedback::new(activations, wanted, inputs));
            *is_fed_back |= feedback.is_some();
            let packing = Packing { feedback: feedback.as_ref(), ..packing };
            let (values, scales, noise) = quantize(&packing, rows, zeros)?;
            model.replace(index, &values, &scales).map_err(&output)?;
            if let Some([_, report]) = reports.get_mut(&index) {
                let (_, spec) = tensors::tensor(shape, index);
                report.weights = WeightType::Int4;
                report.group = int4::GROUP;
                report.bytes = layout(spec, shape, report.weights, report.group).len();
                (report.signal, report.noise, report.largest) = (errors.signal, noise, largest);
            }
            Ok(())
        })
    }
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
