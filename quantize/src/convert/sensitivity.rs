//! What a choice of bits costs: the KL divergence of a model from its own int8.
//!
//! The engine computes both on the same tokens. Its logits are the same bits on every machine, and
//! exp and log are software in f64, so that a comparison comes out the same everywhere.
//!
//! Of a small model each matrix is measured alone. Of a large one that would take hours: there all
//! matrices of a kind are measured together, and all of a layer; a matrix costs its layer's share of
//! what its kind does.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet::format::tensors::{self, Storage};
use rayon::prelude::*;

use super::Progress;
use super::choice::FEEDBACK_STEPS;
use super::error::ConvertError;
use super::error_feedback::{Calibrated, failed};
use crate::calibrate::{
    MAX_WORK, RunError, Runner, Seen, TOKENS, cut, most_tokens, stages, told, weights,
};
use crate::dual::Int4;
use crate::evaluate::quality::logits;

/// Seed of the first text that the int8 model tells to be measured on; the calibration takes others.
const SEED: u64 = 2001;
/// Most bytes of logits that are kept.
const MAX_KEPT: usize = 256 << 20;
/// Tokens that are computed together.
const BATCH: usize = 64;
/// Fewest tokens that a part of the model is measured on: of each matrix alone, and of many together.
const FEWEST_ALONE: u64 = 512;
const FEWEST_TOGETHER: u64 = 256;

/// Texts apart from the calibration's, and what int8 says of them.
pub(super) struct Validation {
    texts: Vec<Vec<u32>>,
    /// `[token][vocab]`
    int8: Vec<f32>,
    vocab: usize,
}

impl Validation {
    /// On what the given text has `after` so many tokens, or on texts that the int8 model tells.
    pub(super) fn new(
        calibrated: &Calibrated<'_>,
        after: usize,
        progress: Progress<'_>,
    ) -> Result<Self, ConvertError> {
        let runner = calibrated.calibration.runner;
        let directory = calibrated.model.directory(&Int4::new());
        let model =
            || calibrated.model.model(&directory).map_err(ConvertError::output(calibrated.out));
        let vocab = model()?.shape().vocab;
        let most = (MAX_KEPT / size_of::<f32>() / vocab).clamp(FEWEST_TOGETHER as usize, TOKENS);
        let [_, mut texts] = cut(calibrated.calibration.texts, after, most);
        if texts.is_empty() {
            texts = told(runner, model()?, most, SEED, progress).map_err(failed)?;
        }
        let mut validation = Self { texts, int8: Vec::new(), vocab };
        let mut int8 = Vec::new();
        validation.read(runner, model()?, validation.texts.iter(), &mut |logits| {
            int8.extend_from_slice(logits)
        })?;
        validation.int8 = int8;
        Ok(validation)
    }

    /// Tokens that a model is measured on.
    pub(super) fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// The mean over the tokens of the KL divergence of a choice of bits from int8, in nats; of the
    /// first texts, as many as `tokens` need.
    pub(super) fn kl(
        &self,
        calibrated: &Calibrated<'_>,
        chosen: &Int4,
        tokens: usize,
    ) -> Result<f64, ConvertError> {
        let directory = calibrated.model.directory(chosen);
        let model = calibrated.model.model(&directory);
        let model = model.map_err(ConvertError::output(calibrated.out))?;
        let mut left = self.int8.as_slice();
        let (mut sum, mut count) = (0.0, 0);
        let texts = self.texts.iter().scan(0, |before, text| {
            let is_needed = *before < tokens;
            *before += text.len();
            is_needed.then_some(text)
        });
        self.read(calibrated.calibration.runner, model, texts, &mut |logits| {
            let (int8, rest) = left.split_at(logits.len());
            left = rest;
            let rows = int8.par_chunks(self.vocab).zip(logits.par_chunks(self.vocab));
            let each: Vec<f64> = rows.map(|(p, q)| kl_divergence(p, q)).collect();
            count += each.len();
            // In order, so that the sum does not depend on the threads.
            sum = each.into_iter().fold(sum, |sum, kl| sum + kl);
        })?;
        Ok(sum / count.max(1) as f64)
    }

    /// Calls `f` with the logits of each text.
    fn read<'t>(
        &self,
        runner: &dyn Runner,
        model: Model<'_>,
        texts: impl Iterator<Item = &'t Vec<u32>> + Clone,
        f: &mut dyn FnMut(&[f32]),
    ) -> Result<(), ConvertError> {
        let seen: Seen = Arc::new(|_, _| ());
        let read = runner.run(model, 1, BATCH, seen, &mut |engine| {
            for text in texts.clone() {
                engine.reset(0).expect("an engine has a slot");
                f(&logits(engine, text).map_err(RunError::from)?);
            }
            Ok(())
        });
        read.map_err(failed)
    }
}

/// What is measured to tell what each matrix costs; it depends on the shape alone.
pub(super) struct Survey {
    /// What takes four bits together.
    groups: Vec<Int4>,
    /// How many of them are each one entry, or all of a kind; the others are layers.
    kinds: usize,
    /// Tokens of each measurement.
    tokens: usize,
    steps: u64,
}

impl Survey {
    pub(super) fn new(shape: &Shape) -> Self {
        Self::within(shape, MAX_WORK)
    }

    fn within(shape: &Shape, most: u64) -> Self {
        let is_there = |&index: &usize| {
            let (layer, spec) = tensors::tensor(shape, index);
            spec.storage != Storage::Vector && layer.is_none_or(|layer| layer >= spec.first_layer)
        };
        let entries: Vec<usize> = (0..tensors::tensor_count(shape)).filter(is_there).collect();
        let weights = weights(shape);
        let tokens = |groups: &[Int4]| most / weights.max(1) / groups.len().max(1) as u64;
        let alone: Vec<Int4> = entries.iter().map(|&index| Int4::from([index])).collect();
        let enough = tokens(&alone);
        if enough >= FEWEST_ALONE {
            let kinds = alone.len();
            return Self::with(shape, alone, kinds, enough);
        }
        let (mut kinds, mut layers) = (BTreeMap::<_, Int4>::new(), BTreeMap::<_, Int4>::new());
        for index in entries {
            let (layer, spec) = tensors::tensor(shape, index);
            kinds.entry((layer.is_some(), spec.name)).or_default().insert(index);
            if let Some(layer) = layer {
                layers.entry(layer).or_default().insert(index);
            }
        }
        let groups: Vec<Int4> = kinds.values().chain(layers.values()).cloned().collect();
        let enough = tokens(&groups).max(FEWEST_TOGETHER);
        Self::with(shape, groups, kinds.len(), enough)
    }

    /// With the steps of its progress, beside those of [`feed_back`](Calibrated::feed_back), whose
    /// time is that of reading its text twice for each stage.
    fn with(shape: &Shape, groups: Vec<Int4>, kinds: usize, tokens: u64) -> Self {
        let tokens = tokens.min(TOKENS as u64);
        let feedback = 2 * (stages(shape, TOKENS).len() * most_tokens(shape)) as u64;
        let steps = (FEEDBACK_STEPS * tokens * groups.len() as u64).div_ceil(feedback);
        Self { groups, kinds, tokens: tokens as usize, steps }
    }

    /// How many entries are quantized.
    pub(super) fn entries(&self) -> usize {
        self.groups[..self.kinds].iter().map(Int4::len).sum()
    }

    /// Steps of the progress of measuring.
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }
}

/// What each entry costs in four bits.
pub(super) fn costs(
    calibrated: &Calibrated<'_>,
    validation: &Validation,
    survey: &Survey,
    progress: Progress<'_>,
) -> Result<BTreeMap<usize, f64>, ConvertError> {
    let mut measured = Vec::new();
    for group in &survey.groups {
        let kl = validation.kl(calibrated, group, survey.tokens)?;
        // What costs nothing may come out below it; what is no number is not to be had.
        measured.push(if kl.is_nan() { f64::INFINITY } else { kl.max(0.0) });
        progress(measured.len() as u64, survey.groups.len() as u64);
    }
    Ok(divided(survey, &measured))
}

/// Divides what kinds cost among their entries, by what the layers cost.
fn divided(survey: &Survey, measured: &[f64]) -> BTreeMap<usize, f64> {
    let (kinds, layers) = survey.groups.split_at(survey.kinds);
    let (of_kinds, of_layers) = measured.split_at(survey.kinds);
    let layer = |index: &usize| {
        let layers = layers.iter().zip(of_layers);
        let layer = layers.into_iter().find(|(layer, _)| layer.contains(index));
        layer.map_or(1.0, |(_, cost)| *cost)
    };
    let mut costs = BTreeMap::new();
    for (kind, cost) in kinds.iter().zip(of_kinds) {
        let all: f64 = kind.iter().map(layer).sum();
        let share = |index| match all > 0.0 {
            true => layer(index) / all,
            false => 1.0 / kind.len() as f64,
        };
        costs.extend(kind.iter().map(|index| (*index, cost * share(index))));
    }
    costs
}

/// KL(p || q) in nats between the softmax of two rows of logits, the same on every machine.
fn kl_divergence(p: &[f32], q: &[f32]) -> f64 {
    let [log_p, log_q] = [p, q].map(log_sum_exp);
    let terms = p.iter().zip(q).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
        libm::exp(p) * (p - q)
    });
    terms.sum()
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + libm::log(row.iter().map(|&x| libm::exp(f64::from(x) - max)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::OFFICIAL;

    #[test]
    fn equal_logits_diverge_nowhere() {
        let p = [0.0, 3f32.ln()];
        assert_eq!(kl_divergence(&p, &p), 0.0);
        let there = 0.5 * 2f64.ln() + 0.5 * (2.0 / 3.0f64).ln();
        assert!((kl_divergence(&[0.0, 0.0], &p) - there).abs() < 1e-7);
        // Whatever is added to all.
        assert!((kl_divergence(&[1e4, 1e4], &p) - there).abs() < 1e-7);
        assert!(kl_divergence(&[f32::NAN, 0.0], &p).is_nan());
    }

    /// Small models are measured matrix by matrix, large ones together, within the same work.
    #[test]
    fn large_models_are_measured_in_parts() {
        for (name, shape) in OFFICIAL {
            let survey = Survey::new(&shape);
            assert_eq!(survey.kinds == survey.groups.len(), name.ends_with("0.1b"), "{name}");
            let work = survey.groups.len() as u64 * survey.tokens as u64 * weights(&shape);
            assert!(survey.tokens as u64 == FEWEST_TOGETHER || work <= MAX_WORK, "{name}");
            let alone = Survey::within(&shape, u64::MAX);
            assert_eq!((alone.entries(), alone.tokens), (survey.entries(), TOKENS), "{name}");
        }
    }

    #[test]
    fn layers_divide_what_a_kind_costs() {
        let groups = [&[0][..], &[1, 3], &[2, 4], &[1, 2], &[3, 4]];
        let groups = groups.map(|group| group.iter().copied().collect()).to_vec();
        let survey = Survey { groups, kinds: 3, tokens: 0, steps: 0 };
        let costs = divided(&survey, &[9.0, 4.0, 8.0, 1.0, 3.0]);
        assert_eq!(
            costs.into_iter().collect::<Vec<_>>(),
            [(0, 9.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 6.0)]
        );
        let costs = divided(&survey, &[0.0, 4.0, 8.0, 0.0, 0.0]);
        assert_eq!([costs[&1], costs[&3], costs[&4]], [2.0, 2.0, 4.0]);
    }
}
