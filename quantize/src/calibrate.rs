//! Calibration: a model of four bits whose rounding follows from the activations of a text.
//!
//! ```text
//! working model = every matrix as int8, embedding and tables as they are in int4
//! text = the given one, or some that the working model tells
//! for some layers at a time, the first ones first:
//!     the engine computes the text on the working model; the inputs of these layers' matrices
//!         are kept, as the engine quantized them
//!     each of these matrices becomes int4 by error feedback, and takes its place in the
//!         working model, so that later layers see what it does
//! file = the working model's integers, as nibbles
//! ```
//!
//! The working model is a file without a name in the output's folder, in which integers of four bits
//! take a byte: any kernel set computes it, and a matrix is replaced in its place. Beside it is the
//! model in int8, whose activations are those to be had. In memory are the activations of some
//! layers and what error feedback needs of one matrix.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use kinglet::engine::{BatchToken, Engine};
use kinglet::format::model::{Model, Tensor};
use kinglet::format::shape::Shape;
use kinglet::format::tensors::{self, Storage};
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::weights::Weights;
use memmap2::MmapMut;

use crate::evaluate::quality::{QualityError, samples};
use crate::feedback::Activations;
use crate::files::Partial;

/// Tokens of a calibration text.
pub const TOKENS: usize = 2048;
/// Texts that a model tells for its calibration, side by side.
pub const TEXTS: usize = 16;
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

/// The first tokens of some texts: as many as are calibrated with.
pub(crate) fn cut(texts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut left = TOKENS;
    let mut cut = Vec::new();
    for text in texts {
        let tokens = text.len().min(left);
        if tokens > 0 {
            cut.push(text[..tokens].to_vec());
        }
        left -= tokens;
    }
    cut
}

/// Texts that a model tells.
pub(crate) fn told(runner: &dyn Runner, model: Model<'_>) -> Result<Vec<Vec<u32>>, RunError> {
    let mut texts = Vec::new();
    runner.run(model, TEXTS, TEXTS, Arc::new(|_, _| ()), &mut |engine| {
        texts = samples(engine, TEXTS, TOKENS / TEXTS, SEED)?;
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

/// A model of which every integer takes a byte, and whose matrices are replaced one by one.
#[derive(Debug)]
pub(crate) struct Working {
    map: MmapMut,
    /// After the map, because some systems keep a file that is mapped.
    _file: Partial,
}

/// The integers and scales of a matrix or table in a working model.
pub(crate) struct Parts<'w> {
    /// In the order of int8.
    pub(crate) values: &'w [i8],
    pub(crate) scales: &'w [f16],
    pub(crate) multiplier: f32,
}

impl Working {
    /// The model of a file, which goes with it.
    pub(crate) fn new(file: Partial) -> io::Result<Self> {
        // SAFETY: the file is this process's own: it has no name, or one that says so.
        let map = unsafe { MmapMut::map_mut(&file.handle()?) }?;
        Ok(Self { map, _file: file })
    }

    /// The model as it is.
    pub(crate) fn model(&self) -> io::Result<Model<'_>> {
        Model::open(&self.map).map_err(io::Error::other)
    }

    /// Integers and scales of a directory entry.
    pub(crate) fn parts(&self, index: usize) -> io::Result<Parts<'_>> {
        let model = self.model()?;
        let missing = || io::Error::other("the working model lacks a tensor");
        let (weights, scales, multiplier) = match model.tensor(index).ok_or_else(missing)? {
            Tensor::Matrix(m) => (m.weights(), m.scales(), m.multiplier()),
            Tensor::Sparse(m) => (m.weights(), m.scales(), m.multiplier()),
            Tensor::Embedding(table) => (table.weights(), table.scales(), 1.0),
            _ => return Err(missing()),
        };
        Ok(Parts { values: weights.int8().ok_or_else(missing)?, scales, multiplier })
    }

    /// Replaces integers and scales of a directory entry.
    pub(crate) fn replace(
        &mut self,
        index: usize,
        values: &[i8],
        scales: &[f16],
    ) -> io::Result<()> {
        let places = {
            let parts = self.parts(index)?;
            let start = self.map.as_ptr().addr();
            [parts.values.as_ptr().addr() - start, parts.scales.as_ptr().addr() - start]
        };
        self.put(places[0], bytemuck::cast_slice(values));
        self.put(places[1], bytemuck::cast_slice(scales));
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.map[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
