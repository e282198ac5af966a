//! The decay that a text chooses: what the low-rank product of RWKV-6 and 7 adds to the vector.
//!
//! The engine computes as always; an observer of its products adds up those of the matrix that adds
//! to the decay, which it knows by where its weights lie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use kinglet::engine::{BatchToken, Cpu, Engine, Requirements};
use kinglet::format::model::{Model, Tensor};
use kinglet::format::shape::Architecture;
use kinglet::kernels::Product;
use kinglet_host::Threaded;
use kinglet_quantize::quality::samples;

use super::{Source, base, rate, tensor};
use crate::args::{EngineArgs, InfoArgs};
use crate::support::engine::{PROMPT_BATCH, max_batch};
use crate::support::input;
use crate::support::model::tokenizer;
use crate::support::tokens::documents;

/// Tokens of the model's own text.
const OWN_LEN: usize = 512;
/// Its seed.
const OWN_SEED: u64 = 1;

/// `[layer][channel]`: -ln w, the mean over the tokens of the text, or of one that the model
/// tells.
pub(super) fn over_text(model: &Model<'_>, args: &InfoArgs) -> Result<(Source, Vec<Vec<f64>>)> {
    let engine = EngineArgs::default();
    let recording = Arc::new(Recording::new(model));
    let observer = Arc::clone(&recording);
    let kernels = Threaded::new(engine.set()?, engine.threads());
    let kernels = kernels.observed(move |product| observer.record(product));
    let batch = max_batch(model, PROMPT_BATCH);
    let needs = Requirements::of::<f32>(model.shape(), batch);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::new(*model, kernels, batch, &mut state, &mut workspace)?;
    let name = match &args.text {
        Some(path) => {
            let text = input::text(path, "a text")?;
            let name = input::shown(path);
            let text = String::from_utf8(text).with_context(|| format!("{name} is not UTF-8"))?;
            read(&mut engine, model, &text).with_context(|| name.clone())?;
            name
        }
        None => {
            samples(&mut engine, 1, OWN_LEN, OWN_SEED)?;
            "its own".to_owned()
        }
    };
    let (tokens, rates) = recording.means();
    if tokens == 0 {
        bail!("{name} has no token");
    }
    Ok((Source::Text { name, tokens }, rates))
}

/// Feeds the documents of a text, each from the start state.
fn read(engine: &mut dyn Engine, model: &Model<'_>, text: &str) -> Result<()> {
    let tokenizer = tokenizer(model, "the model")?;
    for document in documents(&text.replace("\r\n", "\n")) {
        engine.reset(0)?;
        let mut tokens = Vec::from_iter(tokenizer.end_of_text());
        for token in tokenizer.encode(document.as_bytes()) {
            tokens.push(token?);
        }
        for tokens in tokens.chunks(engine.max_batch()) {
            let token = |&token| BatchToken { token, sequence: 0, logits: false };
            let batch: Vec<_> = tokens.iter().map(token).collect();
            engine.forward(&batch, &mut [])?;
        }
    }
    Ok(())
}

/// What adds up the decay of every layer.
struct Recording {
    architecture: Architecture,
    /// The layer, by the address of the weights that add to its decay.
    layers: HashMap<usize, usize>,
    /// `[layer][channel]`
    bases: Vec<Vec<f64>>,
    sums: Mutex<Vec<Sum>>,
}

/// What a layer's tokens came to.
#[derive(Clone)]
struct Sum {
    tokens: usize,
    /// -ln w of each channel.
    rates: Vec<f64>,
}

impl Recording {
    fn new(model: &Model<'_>) -> Self {
        let shape = model.shape();
        let name = match shape.architecture {
            Architecture::Rwkv6 => "att.time_decay_w2",
            _ => "att.w2",
        };
        let address = |layer| match tensor(model, layer, name) {
            Some(Tensor::Matrix(matrix)) => Some((matrix.weights().bytes().as_ptr().addr(), layer)),
            _ => None,
        };
        let none = Sum { tokens: 0, rates: vec![0.0; shape.width] };
        Self {
            architecture: shape.architecture,
            layers: (0..shape.layers).filter_map(address).collect(),
            bases: (0..shape.layers).map(|layer| base(model, layer)).collect(),
            sums: Mutex::new(vec![none; shape.layers]),
        }
    }

    /// The tokens of the last layer, and `[layer][channel]` the means.
    fn means(&self) -> (usize, Vec<Vec<f64>>) {
        let sums = self.sums.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mean =
            |sum: &Sum| sum.rates.iter().map(|rate| rate / sum.tokens.max(1) as f64).collect();
        (sums.last().map_or(0, |sum| sum.tokens), sums.iter().map(mean).collect())
    }

    fn record(&self, product: &Product<'_>) {
        let address = product.matrix.weights().bytes().as_ptr().addr();
        let Some(&layer) = self.layers.get(&address) else { return };
        let mut sums = self.sums.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let sum = &mut sums[layer];
        for token in product.output.chunks_exact(sum.rates.len()) {
            sum.tokens += 1;
            let channels = sum.rates.iter_mut().zip(&self.bases[layer]).zip(token);
            for ((sum, base), added) in channels {
                *sum += rate(self.architecture, base + f64::from(*added));
            }
        }
    }
}
