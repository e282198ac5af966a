//! The story of the model, greedy, and what a token of it costs.

use kinglet::engine::Cpu;
use kinglet::engine::Engine;
use kinglet::kernels::Kernels;
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::text_stream::TextStream;

use crate::clock::Clock;
use crate::console::{Failed, fail, write};
use crate::measure::{Measured, Part};
use crate::memory::Element;

/// Starts every text, and ends it.
const END_OF_TEXT: u32 = 0;

/// The cost of the tokens of a story.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// Forward passes.
    pub(crate) steps: u32,
    /// Ticks of all forward passes.
    pub(crate) ticks: u64,
    /// Ticks by phase.
    pub(crate) parts: [u64; Part::ALL.len()],
    /// Ticks of sampling and writing.
    pub(crate) sampling: u64,
}

/// Tells a story of at most `most` tokens; the first ones go to `tokens`, what
/// they took is added to `cost`.
#[inline(never)]
pub(crate) fn tell<K: Kernels>(
    engine: &mut Cpu<'_, Measured<K>, Element>,
    tokenizer: &Tokenizer<'_>,
    clock: &Clock,
    most: usize,
    logits: &mut [f32],
    tokens: &mut [u32],
    cost: &mut Cost,
) -> Result<(), Failed> {
    let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    let mut sampler = match Sampler::new(options, 0) {
        Ok(sampler) => sampler,
        Err(_) => return fail!("the sampler's options"),
    };
    let drawable = logits.len().min(tokenizer.vocab_len());
    let mut text = TextStream::new();
    let mut token = END_OF_TEXT;
    let _ = engine.kernels().take();
    for i in 0..most {
        let start = clock.now();
        if let Err(error) = engine.step(0, token, logits) {
            return fail!("token {}: {}", i, error);
        }
        cost.ticks += u64::from(clock.since(start));
        cost.steps += 1;
        for (sum, ticks) in cost.parts.iter_mut().zip(engine.kernels().take()) {
            *sum += u64::from(ticks);
        }
        let start = clock.now();
        token = sample(&mut sampler, &mut logits[..drawable])?;
        cost.sampling += u64::from(clock.since(start));
        if let Some(slot) = tokens.get_mut(i) {
            *slot = token;
        }
        if token == END_OF_TEXT {
            break;
        }
        show(&mut text, tokenizer.token(token).unwrap_or_default());
    }
    write(text.finish());
    write("\n");
    Ok(())
}

/// The next token. A function of its own so that the sampler's locals do not
/// lie on the stack while a token is computed.
#[inline(never)]
fn sample(sampler: &mut Sampler, logits: &mut [f32]) -> Result<u32, Failed> {
    match sampler.sample(logits) {
        Ok(token) => Ok(token),
        Err(_) => fail!("the sampler refuses the logits"),
    }
}

/// Writes the text that `bytes` complete.
#[inline(never)]
fn show(text: &mut TextStream, bytes: &[u8]) {
    for part in text.push(bytes) {
        write(part);
    }
}
