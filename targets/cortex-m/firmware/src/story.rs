//! The story of the model, greedy, and what a token of it costs.

use kinglet::cpu::Cpu;
use kinglet::engine::Engine;
use kinglet::kernels::Kernels;
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::text::TextStream;
use kinglet::tokenizer::Tokenizer;

use crate::clock::Clock;
use crate::console::{Failed, fail, write};
use crate::measure::{Measured, Phase};

/// Starts every text, and ends it.
const END_OF_TEXT: u32 = 0;

/// What the tokens of a story took.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// Forward passes.
    pub(crate) steps: u32,
    /// Ticks of all forward passes.
    pub(crate) ticks: u64,
    /// Ticks by phase.
    pub(crate) phases: [u64; Phase::ALL.len()],
    /// Ticks of sampling and writing.
    pub(crate) sampling: u64,
}

/// Tells a story of at most `most` tokens; the first ones go to `tokens`.
#[inline(never)]
pub(crate) fn tell<K: Kernels>(
    engine: &mut Cpu<'_, Measured<K>>,
    tokenizer: &Tokenizer<'_>,
    clock: &Clock,
    most: usize,
    logits: &mut [f32],
    tokens: &mut [u32],
) -> Result<Cost, Failed> {
    let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    let mut sampler = match Sampler::new(options, 0) {
        Ok(sampler) => sampler,
        Err(_) => return fail!("the sampler's options"),
    };
    let drawable = logits.len().min(tokenizer.vocab_len());
    let mut text = TextStream::new();
    let mut cost = Cost::default();
    let mut token = END_OF_TEXT;
    let _ = engine.kernels().take();
    for i in 0..most {
        let start = clock.now();
        if let Err(error) = engine.step(0, token, logits) {
            return fail!("token {}: {}", i, error);
        }
        cost.ticks += u64::from(clock.since(start));
        cost.steps += 1;
        for (sum, ticks) in cost.phases.iter_mut().zip(engine.kernels().take()) {
            *sum += u64::from(ticks);
        }
        let start = clock.now();
        token = match sampler.sample(&mut logits[..drawable]) {
            Ok(token) => token,
            Err(_) => return fail!("token {}: sampling", i),
        };
        cost.sampling += u64::from(clock.since(start));
        if let Some(slot) = tokens.get_mut(i) {
            *slot = token;
        }
        if token == END_OF_TEXT {
            break;
        }
        for part in text.push(tokenizer.token(token).unwrap_or_default()) {
            write(part);
        }
    }
    write(text.finish());
    write("\n");
    Ok(cost)
}
