//! What int8 changes in what a model says: its engine against the checkpoint.
//!
//! Both sides see the same tokens. At every position the checkpoint's distribution
//! p, from the float64 [`Reference`], is compared with the int8 model's q, from
//! the engine that a user runs:
//!
//! * KL divergence, sum over tokens of p ln(p / q), in nats: what q loses against p;
//! * top-1 agreement, the share of positions at which both rank the same token first;
//! * perplexity of either side, exp of the mean -ln of the probability of the next token.
//!
//! Where no text is at hand, the model tells some itself ([`samples`]). It is the int8
//! engine that does: the reference would read the whole checkpoint for every token of
//! it. Divergence is then measured where q goes, on texts that differ from p's own by
//! no more than what is measured.

use kinglet::engine::{BatchToken, Engine, StepError};
use kinglet::sampler::{SampleError, Sampler, SamplerOptions};
use rayon::prelude::*;

use crate::Progress;
use crate::evaluate::metrics::{argmax, cosine, cross_entropy, kl_divergence, perplexity, widen};
use crate::reference::{self, Reference};

/// How many texts a model tells of itself.
pub const SAMPLES: usize = 8;
/// Tokens of each, the first of which is 0.
pub const SAMPLE_LEN: usize = 128;
/// Seed of the first; the others take the numbers after it.
pub const SAMPLE_SEED: u64 = 1;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QualityError {
    /// The int8 engine did not compute a block.
    #[error("the int8 model failed: {0}")]
    Step(#[from] StepError),
    /// The int8 model's logits allow no choice.
    #[error("the int8 model cannot be sampled: {0}")]
    Sample(#[from] SampleError),
    /// The checkpoint's own logits are not finite.
    #[error(
        "the checkpoint's logits after token {position} of sequence {sequence} are not finite; \
         its weights are damaged"
    )]
    NonFinite {
        /// Index of the sequence.
        sequence: usize,
        /// Index of the token.
        position: usize,
    },
}

/// The figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Texts, each computed from the start state.
    pub sequences: usize,
    /// Positions at which the two sides were compared: all tokens.
    pub positions: usize,
    /// Tokens whose probability counts in the perplexities: all but the first of each sequence.
    pub scored: usize,
    /// Mean KL divergence of int8 from the checkpoint, in nats per position.
    pub kl: f64,
    /// The largest KL divergence of a position, in nats.
    pub largest_kl: f64,
    /// Share of positions at which both sides rank the same token first.
    pub top1: f64,
    /// One minus the mean cosine between the two sides' logits.
    pub cosine_loss: f64,
    /// Perplexity of the checkpoint.
    pub checkpoint_perplexity: f64,
    /// Perplexity of the int8 model.
    pub int8_perplexity: f64,
}

impl Quality {
    /// Perplexity of int8 over that of the checkpoint.
    pub fn perplexity_ratio(&self) -> f64 {
        self.int8_perplexity / self.checkpoint_perplexity
    }
}

/// `count` texts of `len` tokens that the model tells at temperature 1, from its
/// start state and token 0, which may also come again between two documents.
/// Text i is drawn with the seed `seed + i`, whatever the others are.
///
/// # Errors
///
/// When a step fails or its logits are not finite.
pub fn samples(
    engine: &mut dyn Engine,
    count: usize,
    len: usize,
    seed: u64,
) -> Result<Vec<Vec<u32>>, QualityError> {
    tell(engine, count, len, seed, &mut |_, _| ())
}

/// [`samples`]; `progress` is called with the number of tokens done, and of all.
pub(crate) fn tell(
    engine: &mut dyn Engine,
    count: usize,
    len: usize,
    seed: u64,
    progress: Progress<'_>,
) -> Result<Vec<Vec<u32>>, QualityError> {
    let options =
        SamplerOptions { temperature: 1.0, top_k: 0, top_p: 1.0, ..SamplerOptions::default() };
    let together = engine.sequences().min(engine.max_batch()).max(1);
    let mut texts = vec![vec![0u32]; count];
    let mut logits = vec![0.0; together * engine.shape().vocab];
    for (batch, texts) in texts.chunks_mut(together).enumerate() {
        let seeds = (0..texts.len()).map(|i| seed.wrapping_add((batch * together + i) as u64));
        let mut samplers: Vec<Sampler> = seeds
            .map(|seed| Sampler::new(options, seed).expect("options that are in range"))
            .collect();
        let logits = &mut logits[..texts.len() * engine.shape().vocab];
        (0..texts.len())
            .for_each(|sequence| engine.reset(sequence).expect("a sequence of the engine"));
        for at in 1..len {
            let token = |(sequence, text): (usize, &Vec<u32>)| BatchToken {
                token: text[at - 1],
                sequence,
                logits: true,
            };
            let tokens: Vec<_> = texts.iter().enumerate().map(token).collect();
            engine.forward(&tokens, logits)?;
            let rows = logits.chunks_mut(engine.shape().vocab);
            for ((text, sampler), logits) in texts.iter_mut().zip(&mut samplers).zip(rows) {
                text.push(sampler.sample(logits)?);
            }
            let done = batch * together * len + texts.len() * (at + 1);
            progress(done as u64, (count * len) as u64);
        }
    }
    Ok(texts)
}

/// Compares both sides on `sequences` of token ids, each from the start state.
/// `progress` is called with the number of tokens done.
///
/// # Errors
///
/// When the engine fails or the checkpoint's logits are not finite.
///
/// # Panics
///
/// When a token id is outside the vocabulary or the two models' vocabularies differ.
pub fn measure(
    reference: &mut Reference<'_>,
    engine: &mut dyn Engine,
    sequences: &[Vec<u32>],
    progress: &mut dyn FnMut(usize),
) -> Result<Quality, QualityError> {
    assert_eq!(reference.vocab(), engine.shape().vocab, "vocabularies of the two sides");
    let mut sums = Sums::default();
    for (sequence, tokens) in sequences.iter().enumerate() {
        reference.reset();
        engine.reset(0).expect("an engine has a slot");
        for (index, block) in tokens.chunks(reference::MAX_BATCH).enumerate() {
            let first = index * reference::MAX_BATCH;
            let exact = reference.forward(block);
            if let Some(at) = exact.iter().position(|x| !x.is_finite()) {
                let position = first + at / reference.vocab();
                return Err(QualityError::NonFinite { sequence, position });
            }
            let int8 = logits(engine, block)?;
            sums.add(&exact, &int8, &tokens[first + 1..], reference.vocab());
            progress(sums.positions);
        }
    }
    Ok(sums.quality(sequences.len()))
}

/// All logits of `tokens`, `[token][vocab]`, continuing sequence 0.
pub(crate) fn logits(engine: &mut dyn Engine, tokens: &[u32]) -> Result<Vec<f32>, StepError> {
    let (vocab, max_batch) = (engine.shape().vocab, engine.max_batch());
    let mut all = vec![0.0; tokens.len() * vocab];
    for (tokens, logits) in tokens.chunks(max_batch).zip(all.chunks_mut(max_batch * vocab)) {
        let batch: Vec<_> =
            tokens.iter().map(|&token| BatchToken { token, sequence: 0, logits: true }).collect();
        engine.forward(&batch, logits)?;
    }
    Ok(all)
}

/// Sums over positions.
#[derive(Default)]
struct Sums {
    positions: usize,
    scored: usize,
    kl: f64,
    largest_kl: f64,
    top1: usize,
    cosine: f64,
    /// -ln of the probability of every scored token, for the checkpoint and int8.
    nats: [f64; 2],
}

/// What one position contributes.
struct Position {
    kl: f64,
    agrees: bool,
    cosine: f64,
    nats: Option<[f64; 2]>,
}

impl Position {
    /// Compares the logits `p` and `q`, whose next token is `target` where there is one.
    fn new(p: &[f64], q: &[f32], target: Option<u32>) -> Self {
        let q = widen(q);
        Self {
            kl: kl_divergence(p, &q),
            agrees: argmax(p) == argmax(&q),
            cosine: cosine(p, &q),
            nats: target.map(|t| [p, &q].map(|row| cross_entropy(row, t as usize))),
        }
    }
}

impl Sums {
    /// Adds a block; `targets` are the tokens that follow its tokens, as far as there are any.
    fn add(&mut self, exact: &[f64], int8: &[f32], targets: &[u32], vocab: usize) {
        let rows = exact.par_chunks(vocab).zip(int8.par_chunks(vocab)).enumerate();
        let positions: Vec<_> =
            rows.map(|(i, (p, q))| Position::new(p, q, targets.get(i).copied())).collect();
        // In order, so that the sums do not depend on the threads.
        for Position { kl, agrees, cosine, nats } in positions {
            self.positions += 1;
            self.kl += kl;
            self.largest_kl = self.largest_kl.max(kl);
            self.top1 += usize::from(agrees);
            self.cosine += cosine;
            if let Some([exact, int8]) = nats {
                self.scored += 1;
                self.nats[0] += exact;
                self.nats[1] += int8;
            }
        }
    }

    fn quality(self, sequences: usize) -> Quality {
        let positions = self.positions.max(1) as f64;
        let [checkpoint_perplexity, int8_perplexity] =
            self.nats.map(|nats| perplexity(nats / self.scored.max(1) as f64));
        Quality {
            sequences,
            positions: self.positions,
            scored: self.scored,
            kl: self.kl / positions,
            largest_kl: self.largest_kl,
            top1: self.top1 as f64 / positions,
            cosine_loss: 1.0 - self.cosine / positions,
            checkpoint_perplexity,
            int8_perplexity,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::*;

    #[test]
    fn figures_are_means_over_positions() {
        // p = (1/2, 1/2), then (1/4, 3/4); q the other way round; then nothing to predict.
        let (even, odd) = ([0.0, 0.0], [0.0, 3f64.ln()]);
        let exact = [even, odd, odd].concat();
        let int8: Vec<f32> = [odd, even, odd].concat().iter().map(|&x| x as f32).collect();
        let mut sums = Sums::default();
        sums.add(&exact, &int8, &[0, 1], 2);
        let quality = sums.quality(1);

        let there = 0.5 * LN_2 + 0.5 * (2.0 / 3.0f64).ln();
        let back = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((quality.kl - (there + back) / 3.0).abs() < 1e-7, "{quality:?}");
        assert!((quality.largest_kl - there).abs() < 1e-7);
        assert_eq!((quality.sequences, quality.positions, quality.scored), (1, 3, 2));
        assert!((quality.top1 - 1.0 / 3.0).abs() < 1e-12);
        let mean = |a: f64, b: f64| (-(a.ln() + b.ln()) / 2.0).exp();
        assert!((quality.checkpoint_perplexity - mean(0.5, 0.75)).abs() < 1e-7);
        assert!((quality.int8_perplexity - mean(0.25, 0.5)).abs() < 1e-7);
        assert!((quality.perplexity_ratio() - 3f64.sqrt()).abs() < 1e-6);
    }
}
