//! Calibration: a model of four bits whose rounding follows from the activations of a text.
//!
//! ```text
//! int4 model = every matrix as int8, embedding and tables as they are in int4
//! text = the given one, or some that the int4 model tells
//! for some layers at a time, the first ones first:
//!     the engine computes the text on the int4 model; the inputs of these layers' matrices
//!         are kept, as the engine quantized them
//!     each of these matrices becomes int4 by error feedback, and takes its place in the
//!         int4 model, so that later layers see what it does
//! file = the int4 model's integers, as nibbles
//! ```
//!
//! The int4 model is one half of a dual one, a file without a name in the output's
//! folder. Its other half is the model in int8, whose activations are those to be had. In memory
//! are the activations of some layers and what error feedback needs of one matrix.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kinglet::engine::{BatchToken, Engine};
use kinglet::format::model::{Model, Tensor};
use kinglet::format::shape::Shape;
use kinglet::format::tensors::{self, Storage};
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::weights::Weights;

use crate::Progress;
use crate::evaluate::quality::{QualityError, tell};
use crate::feedback::Activations;

/// Tokens of a calibration text.
pub const TOKENS: usize = 2048;
/// Most tokens of one where the bits of each tensor are [chosen](crate::Bits::Auto), of small models:
/// a fifth of the loss of perplexity for eight times the time.
pub const MOST_TOKENS: usize = 16384;
/// Tokens of each text that a model tells.
const TEXT_LEN: usize = 128;
/// Texts that a model tells side by side.
pub const TEXTS: usize = 16;
/// Products of weights and tokens that calibrating or measuring may take beyond what is needed: some
/// minutes to half an hour.
pub(crate) const MAX_WORK: u64 = 32 << 40;
/// Seed of the first; the others take the numbers after it.
pub const SEED: u64 = 1001;
/// Most bytes of activations that are kept at a time, of each of the two models.
const MAX_KEPT: usize = 384 << 20;
/// Weights, of all runs of the text together, beyond which several layers are calibrated at a time.
const MAX_WEIGHTS: u64 = 8 << 30;
/// Tokens that are computed together.
const BATCH: usize = 64;

/// What goes wrong in an engine.
pub type RunError = Box<dyn Error + Send + Sync>;

/// Is shown the weights of each product and its input, whose values are in natural order.
pub type Seen = Arc<dyn Fn(Weights<'_>, &Quantized<'_>) + Send + Sync>;

/// Computes models for a calibration.
pub trait Runner: Sync {
    /// Calls `f` with an engine over a model that holds `sequences` sequences and computes up to
    /// `max_batch` tokens together. The inputs of its products are shown to `seen`.
    ///
    /// # Errors
    ///
    /// When there can be no engine, or `f` fails.
    fn run(
        &self,
        model: Model<'_>,
        sequences: usize,
        max_batch: usize,
        seen: Seen,
        f: &mut dyn FnMut(&mut dyn Engine) -> Result<(), RunError>,
    ) -> Result<(), RunError>;
}

/// What int4 is calibrated with.
#[derive(Clone, Copy)]
pub struct Calibration<'a> {
    /// Token ids of each text; the model tells some where there are none.
    pub texts: &'a [Vec<u32>],
    /// Computes the model.
    pub runner: &'a dyn Runner,
}

impl fmt::Debug for Calibration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calibration").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}

/// The first tokens of some texts, `first` of them, and the next `second` ones.
pub(crate) fn cut(texts: &[Vec<u32>], first: usize, second: usize) -> [Vec<Vec<u32>>; 2] {
    let mut parts = [Vec::new(), Vec::new()];
    let mut left = [first, second];
    for mut rest in texts.iter().map(Vec::as_slice) {
        for (part, left) in parts.iter_mut().zip(&mut left) {
            let (tokens, others) = rest.split_at(rest.len().min(*left));
            if !tokens.is_empty() {
                part.push(tokens.to_vec());
            }
            *left -= tokens.len();
            rest = others;
        }
    }
    parts
}

/// Tokens of the calibration where the bits of each tensor are chosen: the more the better, as far
/// as they take no hours. They depend on the shape alone, so that the model's bytes do.
pub(crate) fn most_tokens(shape: &Shape) -> usize {
    let runs = 2 * stages(shape, TOKENS).len() as u64;
    let tokens = MAX_WORK / (runs * weights(shape)).max(1);
    let batch = (TEXTS * TEXT_LEN) as u64;
    ((tokens / batch * batch) as usize).clamp(TOKENS, MOST_TOKENS)
}

/// Weights of all matrices and tables.
pub(crate) fn weights(shape: &Shape) -> u64 {
    let weights = |index| {
        let (layer, spec) = tensors::tensor(shape, index);
        let is_there = layer.is_none_or(|layer| layer >= spec.first_layer);
        match is_there && spec.storage != Storage::Vector {
            true => spec.rows.of(shape) as u64 * spec.cols.of(shape) as u64,
            false => 0,
        }
    };
    (0..tensors::tensor_count(shape)).map(weights).sum()
}

/// Texts that a model tells, with seeds from `seed` on.
pub(crate) fn told(
    runner: &dyn Runner,
    model: Model<'_>,
    tokens: usize,
    seed: u64,
    progress: Progress<'_>,
) -> Result<Vec<Vec<u32>>, RunError> {
    let mut texts = Vec::new();
    runner.run(model, TEXTS, TEXTS, Arc::new(|_, _| ()), &mut |engine| {
        texts = tell(engine, tokens / TEXT_LEN, TEXT_LEN, seed, &mut *progress)?;
        Ok(())
    })?;
    Ok(texts)
}

/// Directory entries of matrices that are calibrated together, in the order of the layers; the
/// head comes last. They depend on the model's shape and the number of tokens alone, so that its
/// bytes do.
pub(crate) fn stages(shape: &Shape, tokens: usize) -> Vec<Vec<usize>> {
    let is_matrix = |index: usize| {
        let (layer, spec) = tensors::tensor(shape, index);
        matches!(spec.storage, Storage::Matrix | Storage::Sparse)
            && layer.is_none_or(|layer| layer >= spec.first_layer)
    };
    let all: Vec<usize> =
        (0..tensors::tensor_count(shape)).filter(|&index| is_matrix(index)).collect();
    let spec = |index: usize| tensors::tensor(shape, index).1;
    let weights = |index| spec(index).rows.of(shape) as u64 * spec(index).cols.of(shape) as u64;
    let weights: u64 = all.iter().map(|&index| weights(index)).sum();
    let runs = (MAX_WEIGHTS / weights.max(1)).clamp(1, shape.layers as u64);
    let most = shape.layers.div_ceil(runs as usize);
    let mut stages: Vec<Vec<usize>> = Vec::new();
    let (mut layers, mut kept) = (0, 0);
    for layer in 0..shape.layers {
        let of_layer = |&index: &usize| tensors::tensor(shape, index).0 == Some(layer);
        let indices: Vec<usize> = all.iter().copied().filter(of_layer).collect();
        let bytes: usize =
            indices.iter().map(|&index| 2 * tokens * spec(index).cols.of(shape)).sum();
        if layers == most || kept + bytes > MAX_KEPT || stages.is_empty() {
            stages.push(Vec::new());
            (layers, kept) = (0, 0);
        }
        if let Some(stage) = stages.last_mut() {
            stage.extend(indices);
        }
        layers += 1;
        kept += bytes;
    }
    stages.push(all.into_iter().filter(|&i| tensors::tensor(shape, i).0.is_none()).collect());
    stages
}

/// Where a matrix's weights are in memory.
fn address(weights: Weights<'_>) -> usize {
    weights.bytes().as_ptr().addr()
}

/// The activations of some matrices, by their directory entries, from computing the texts.
pub(crate) fn record(
    runner: &dyn Runner,
    model: Model<'_>,
    texts: &[Vec<u32>],
    stage: &[usize],
) -> Result<HashMap<usize, Activations>, RunError> {
    let weights = |index: usize| match model.tensor(index) {
        Some(Tensor::Matrix(matrix)) => Some(matrix.weights()),
        Some(Tensor::Sparse(matrix)) => Some(matrix.weights()),
        _ => None,
    };
    let entries = stage.iter().filter_map(|&index| Some((address(weights(index)?), index)));
    let entries: HashMap<usize, usize> = entries.collect();
    let kept: Arc<Mutex<HashMap<usize, Activations>>> = Arc::default();
    let seen: Seen = {
        let kept = Arc::clone(&kept);
        Arc::new(move |weights, input| {
            if let Some(&index) = entries.get(&address(weights)) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.entry(index).or_default().add(input);
            }
        })
    };
    // The head sees tokens whose logits are wanted.
    let logits = stage.iter().any(|&index| tensors::tensor(model.shape(), index).0.is_none());
    runner.run(model, 1, BATCH, seen, &mut |engine| Ok(read(engine, texts, logits)?))?;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *kept))
}

/// Computes texts, each from the start state.
fn read(engine: &mut dyn Engine, texts: &[Vec<u32>], logits: bool) -> Result<(), QualityError> {
    let batch = engine.max_batch();
    let mut out = vec![0.0; if logits { batch * engine.shape().vocab } else { 0 }];
    for text in texts {
        engine.reset(0).expect("an engine has a slot");
        for tokens in text.chunks(batch) {
            let token = |&token| BatchToken { token, sequence: 0, logits };
            let batch: Vec<_> = tokens.iter().map(token).collect();
            let len = if logits { batch.len() * engine.shape().vocab } else { 0 };
            engine.forward(&batch, &mut out[..len])?;
        }
    }
    Ok(())
}

impl Activations {
    /// Adds the tokens of a product's input.
    fn add(&mut self, input: &Quantized<'_>) {
        for (token, &scale) in input.scales().iter().enumerate() {
            self.q.extend_from_slice(&input.token(token)[..input.inputs()]);
            self.scales.push(scale);
        }
    }
}
