//! A float64 forward pass of RWKV 4, 5.0, 5.1, 5.2, 6, 7 and 7a.
//!
//! It exists to be compared with and is written for that: from the papers'
//! equations, with nothing fused, reordered or shared with the runtime. Tokens pass
//! through a matrix in blocks, so that it is read from its file once for many of
//! them. Weights come in the official checkpoint layout, so the same reference
//! judges a checkpoint and the dequantized weights of a model file.

pub(crate) mod math;
mod rwkv4;
mod rwkv5;
mod rwkv6;
mod rwkv7;
mod rwkv7a;
mod source;
pub mod tensor;

use core::fmt;

use crate::checkpoint::Checkpoint;
use math::{Batch, Matrix, Norm, add};
use source::Source;
use tensor::{Tensor, Tensors};

/// Tokens that pass through each matrix together.
pub const MAX_BATCH: usize = 128;

/// An RWKV version, by the names that its checkpoints go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RWKV-4: a weighted average per channel.
    V4,
    /// RWKV-5.0: a matrix-valued state, no gate, one decay per head.
    V5_0,
    /// RWKV-5.1: 5.0 with a gate.
    V5_1,
    /// RWKV-5.2 (Eagle): 5.1 with one decay per channel.
    V5_2,
    /// RWKV-6 (Finch): 5.2 with decays and token shifts that depend on the data.
    V6,
    /// RWKV-7 (Goose): the generalised delta rule.
    V7,
    /// RWKV-7a: RWKV-7 with DeepEmbed in its channel mix.
    V7a,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "4",
            Self::V5_0 => "5.0",
            Self::V5_1 => "5.1",
            Self::V5_2 => "5.2",
            Self::V6 => "6",
            Self::V7 => "7",
            Self::V7a => "7a",
        })
    }
}

/// Why weights or a state were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor that the version needs is absent.
    #[error("{0}: missing")]
    Missing(String),
    /// A tensor has another shape than the rest of the model implies.
    #[error("{name}: shape {found:?}, expected {expected}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// Its shape as stored.
        found: Vec<usize>,
        /// What it should have been.
        expected: String,
    },
    /// A tensor that the version does not know: reading on would ignore
    /// something that the model was trained with.
    #[error("{0}: not part of the detected RWKV version")]
    Unknown(String),
    /// A tensor by which a model is known that this reference does not compute.
    #[error("{name}: {what} is not supported")]
    Unsupported {
        /// The tensor's name.
        name: String,
        /// The kind of model.
        what: &'static str,
    },
}

/// What one layer carries from token to token. Arrays that the version does not
/// have are empty.
#[derive(Clone, Default)]
struct LayerState {
    /// Last normalised input of the time mix, `[D]`.
    att_prev: Vec<f64>,
    /// Last normalised input of the channel mix, `[D]`.
    ffn_prev: Vec<f64>,
    /// RWKV-4: weighted sum of values, `[D]`, in units of exp(pp).
    aa: Vec<f64>,
    /// RWKV-4: sum of weights, `[D]`, in units of exp(pp).
    bb: Vec<f64>,
    /// RWKV-4: the largest exponent so far, `[D]`.
    pp: Vec<f64>,
    /// RWKV-5 and 6: `[head][key][value]`; RWKV-7: `[head][value][key]`.
    s: Vec<f64>,
}

impl LayerState {
    fn fields(&self) -> [(&'static str, &Vec<f64>); 6] {
        let Self { att_prev, ffn_prev, aa, bb, pp, s } = self;
        [
            ("att_prev", att_prev),
            ("ffn_prev", ffn_prev),
            ("aa", aa),
            ("bb", bb),
            ("pp", pp),
            ("S", s),
        ]
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut Vec<f64>); 6] {
        let Self { att_prev, ffn_prev, aa, bb, pp, s } = self;
        [
            ("att_prev", att_prev),
            ("ffn_prev", ffn_prev),
            ("aa", aa),
            ("bb", bb),
            ("pp", pp),
            ("S", s),
        ]
    }
}

/// What a block of tokens carries from layer to layer beside the residual stream.
#[derive(Default)]
struct Tokens {
    ids: Vec<usize>,
    /// The residual stream before the first layer, `[token][D]`.
    embedded: Batch,
    /// RWKV-7: layer 0's values `[token][D]`, towards which later layers blend theirs.
    v_first: Batch,
}

/// The two sub-layers of a block, as each version defines them.
trait Mixers {
    /// State before the first token.
    fn zero_state(&self) -> LayerState;
    /// The time mix of the normalised inputs `xx`, `[token][D]`.
    fn time_mix(&self, xx: &[Vec<f64>], tokens: &mut Tokens, state: &mut LayerState) -> Batch;
    /// The channel mix of the normalised inputs `xx`, `[token][D]`.
    fn channel_mix(&self, xx: &[Vec<f64>], tokens: &Tokens, state: &mut LayerState) -> Batch;
}

struct Layer<'a> {
    ln1: Norm,
    ln2: Norm,
    mixers: Box<dyn Mixers + 'a>,
}

/// A model and its state.
pub struct Reference<'a> {
    version: Version,
    head_size: Option<usize>,
    /// `[vocab][D]`.
    embedding: Matrix<'a>,
    /// Normalises the embedding, where the checkpoint has not done so.
    ln0: Option<Norm>,
    layers: Vec<Layer<'a>>,
    ln_out: Norm,
    /// `[vocab][D]`.
    head: Matrix<'a>,
    start: Vec<LayerState>,
    state: Vec<LayerState>,
}

impl fmt::Debug for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RWKV-{} L{} D{} V{}",
            self.version,
            self.layers.len(),
            self.channels(),
            self.vocab()
        )
    }
}

impl Reference<'static> {
    /// Builds the model that `tensors` hold, which may include a tuned start
    /// state. Without `blocks.0.ln0` the embedding counts as already normalised,
    /// and without a layer's `ffn.s_emb_x` so does its DeepEmbed table.
    ///
    /// # Errors
    ///
    /// When a tensor is missing, has the wrong shape, or is not one of the
    /// detected version's.
    pub fn new(tensors: Tensors) -> Result<Self, Error> {
        Self::build(Source::held(tensors))
    }
}

impl<'a> Reference<'a> {
    /// The model of a checkpoint, whose matrices are read from it when they are
    /// needed: once for each block of [`MAX_BATCH`] tokens. Beyond the checkpoint's
    /// memory map it takes memory for vectors, state and the activations of a block.
    ///
    /// # Errors
    ///
    /// As [`Reference::new`].
    pub fn open(checkpoint: &'a Checkpoint) -> Result<Self, Error> {
        Self::build(Source::stored(checkpoint))
    }

    fn build(mut source: Source<'a>) -> Result<Self, Error> {
        let source = &mut source;
        let version = source.version()?;
        let time_states = source.take_time_states();
        let head = source.any_matrix("head.weight")?;
        let (vocab, channels) = (head.rows, head.cols);
        let embedding = source.matrix("emb.weight", vocab, channels)?;
        let ln0 = if source.has("blocks.0.ln0.weight") {
            Some(Norm::take(source, "blocks.0.ln0", channels)?)
        } else {
            None
        };

        let mut layers = Vec::new();
        let mut head_size = None;
        for index in 0..source.layers()? {
            layers.push(Layer {
                ln1: Norm::take(source, &format!("blocks.{index}.ln1"), channels)?,
                ln2: Norm::take(source, &format!("blocks.{index}.ln2"), channels)?,
                mixers: match version {
                    Version::V4 => Box::new(rwkv4::Layer::take(source, index, channels)?),
                    Version::V5_0 | Version::V5_1 | Version::V5_2 => {
                        let layer = rwkv5::Layer::take(source, index, channels)?;
                        head_size = Some(layer.head_size());
                        Box::new(layer)
                    }
                    Version::V6 => {
                        let layer = rwkv6::Layer::take(source, index, channels)?;
                        head_size = Some(layer.head_size());
                        Box::new(layer)
                    }
                    Version::V7 | Version::V7a => {
                        let layer = rwkv7::Layer::take(source, index, vocab, channels)?;
                        head_size = Some(layer.head_size());
                        Box::new(layer)
                    }
                },
            });
        }
        let ln_out = Norm::take(source, "ln_out", channels)?;
        source.finish()?;

        let start: Vec<_> = layers.iter().map(|layer| layer.mixers.zero_state()).collect();
        let state = start.clone();
        let mut reference =
            Self { version, head_size, embedding, ln0, layers, ln_out, head, start, state };
        if !time_states.is_empty() {
            reference.tune(time_states)?;
        }
        Ok(reference)
    }

    /// The detected version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Number of logits, V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.head.rows
    }

    /// Width of the residual stream, D.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.head.cols
    }

    /// Feeds one token; returns the logits `[V]` after it.
    ///
    /// # Panics
    ///
    /// When `token` is not below the vocabulary size.
    pub fn step(&mut self, token: u32) -> Vec<f64> {
        self.forward(&[token])
    }

    /// Feeds `tokens` one after another; returns all logits, `[tokens][V]`,
    /// which are the same however the tokens are divided among calls.
    ///
    /// # Panics
    ///
    /// As [`Self::step`].
    pub fn forward(&mut self, tokens: &[u32]) -> Vec<f64> {
        tokens.chunks(MAX_BATCH).flat_map(|tokens| self.batch(tokens).concat()).collect()
    }

    /// Feeds a block; returns all logits, `[tokens][V]`.
    fn batch(&mut self, tokens: &[u32]) -> Batch {
        let mut x = self.embed(tokens);
        let ids = tokens.iter().map(|&token| token as usize).collect();
        let mut tokens = Tokens { ids, embedded: x.clone(), v_first: Vec::new() };
        for (layer, state) in self.layers.iter().zip(&mut self.state) {
            let mut xx = layer.ln1.layers(&x);
            add_each(&mut x, &layer.mixers.time_mix(&xx, &mut tokens, state));
            state.att_prev = xx.pop().unwrap_or_default();

            let mut xx = layer.ln2.layers(&x);
            add_each(&mut x, &layer.mixers.channel_mix(&xx, &tokens, state));
            state.ffn_prev = xx.pop().unwrap_or_default();
        }
        self.head.mul(&self.ln_out.layers(&x))
    }

    /// The residual stream before the first layer, `[token][D]`.
    fn embed(&self, tokens: &[u32]) -> Batch {
        let rows = tokens.iter().map(|&token| token as usize);
        let rows = rows.map(|id| self.embedding.read(id..id + 1));
        match &self.ln0 {
            Some(ln0) => rows.map(|row| ln0.layer(&row)).collect(),
            None => rows.collect(),
        }
    }

    /// Goes back to the start state: zeros, or the tuned one.
    pub fn reset(&mut self) {
        self.state.clone_from(&self.start);
    }

    /// The state, layers stacked, under the golden data's names: `att_prev` and
    /// `ffn_prev` `[L, D]`; for version 4 `aa`, `bb` and `pp` `[L, D]`; for
    /// versions 5 and 6 `S` `[L, H, key, value]`; for version 7 `S`
    /// `[L, H, value, key]`.
    #[must_use]
    pub fn state(&self) -> Tensors {
        let mut stacked = Tensors::new();
        for layer in &self.state {
            for (name, data) in layer.fields().into_iter().filter(|(_, data)| !data.is_empty()) {
                let array = stacked
                    .entry(name.to_owned())
                    .or_insert_with(|| Tensor::new(self.state_shape(name, 0), Vec::new()));
                array.shape[0] += 1;
                array.data.extend(data);
            }
        }
        stacked
    }

    /// Replaces the state by one in the layout of [`Self::state`].
    ///
    /// # Errors
    ///
    /// When an array is missing, unknown or of another shape; the state is then
    /// as it was.
    pub fn set_state(&mut self, mut arrays: Tensors) -> Result<(), Error> {
        let mut state = self.start.clone();
        for (field, (name, data)) in self.start[0].fields().into_iter().enumerate() {
            if data.is_empty() {
                continue;
            }
            let array = arrays.remove(name).ok_or_else(|| Error::Missing(name.to_owned()))?;
            expect_shape(name, &array, &self.state_shape(name, state.len()))?;
            for (layer, part) in state.iter_mut().zip(array.data.chunks_exact(data.len())) {
                layer.fields_mut()[field].1.copy_from_slice(part);
            }
        }
        if let Some((name, _)) = arrays.pop_first() {
            return Err(Error::Unknown(name));
        }
        self.state = state;
        Ok(())
    }

    /// Makes a tuned state the start state and goes back to it: for every layer
    /// `blocks.i.att.time_state` `[H, value, key]`, the layout of training,
    /// whatever the version.
    ///
    /// # Errors
    ///
    /// When a layer's array is missing, an array is unknown or has another
    /// shape, or the version has no such state.
    pub fn tune(&mut self, mut time_states: Tensors) -> Result<(), Error> {
        let mut start: Vec<_> = self.layers.iter().map(|layer| layer.mixers.zero_state()).collect();
        for (index, layer) in start.iter_mut().enumerate() {
            let name = format!("blocks.{index}.att.time_state");
            let array = time_states.remove(&name).ok_or_else(|| Error::Missing(name.clone()))?;
            let Some(n) = self.head_size else {
                return Err(Error::Unknown(name));
            };
            expect_shape(&name, &array, &[self.channels() / n, n, n])?;
            layer.s = match self.version {
                Version::V7 | Version::V7a => array.data,
                _ => array.transposed().data,
            };
        }
        if let Some((name, _)) = time_states.pop_first() {
            return Err(Error::Unknown(name));
        }
        self.start = start;
        self.reset();
        Ok(())
    }

    /// Makes the tuned state of a file the start state; see [`tune`](Self::tune).
    ///
    /// # Errors
    ///
    /// As [`tune`](Self::tune).
    pub fn tune_from(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.tune(Source::stored(checkpoint).take_time_states())
    }

    fn state_shape(&self, name: &str, layers: usize) -> Vec<usize> {
        match self.head_size {
            Some(n) if name == "S" => vec![layers, self.channels() / n, n, n],
            _ => vec![layers, self.channels()],
        }
    }
}

/// x += y, for every token.
fn add_each(x: &mut Batch, y: &[Vec<f64>]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x = add(x, y));
}

fn expect_shape(name: &str, array: &Tensor, expected: &[usize]) -> Result<(), Error> {
    if array.shape == expected {
        return Ok(());
    }
    Err(Error::Shape {
        name: name.to_owned(),
        found: array.shape.clone(),
        expected: format!("{expected:?}"),
    })
}
