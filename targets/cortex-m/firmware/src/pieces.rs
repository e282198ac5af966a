//! How long the longest piece is of all that a firmware can do in pieces: an interrupt of the same
//! priority would wait for it.

use core::task::Poll;

use kinglet::engine::{BatchToken, Cpu, Engine, Progress};
use kinglet::format::state_file::HEADER_LEN;
use kinglet::kernels::Kernels;
use kinglet::sampler::{Sampler, SamplerOptions};

use crate::clock::Clock;
use crate::console::{Failed, fail, say};
use crate::memory::Element;

/// The most that a piece of a step may take, multiply-accumulates: less where floats are soft.
const STEP: usize = if cfg!(target_abi = "eabihf") { 50_000 } else { 20_000 };
/// Tokens that are fed in pieces.
const TOKENS: u32 = 4;
/// Units of a piece of a draw.
const DRAW: usize = 10_000;
/// Bytes of a piece of a model or a state.
const BYTES: usize = 4096;

/// Runs `piece` until it says that nothing is left, and tells the longest of its runs.
fn longest<E>(
    name: &str,
    clock: &Clock,
    mut piece: impl FnMut() -> Result<bool, E>,
) -> Result<(), Failed> {
    let (mut pieces, mut most, mut all) = (0, 0, 0);
    loop {
        let start = clock.now();
        let more = piece();
        let ticks = u64::from(clock.since(start));
        (pieces, most, all) = (pieces + 1, most.max(ticks), all + ticks);
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return fail!("{} in pieces", name),
        }
    }
    say!("longest piece of {}: {}", name, clock.count(most));
    say!("{} in {} pieces: {}", name, pieces, clock.count(all));
    Ok(())
}

/// Tells the longest pieces.
#[inline(never)]
pub(crate) fn measure<K: Kernels>(
    engine: &mut Cpu<'_, K, Element>,
    clock: &Clock,
    logits: &mut [f32],
) -> Result<(), Failed> {
    verify(engine, clock)?;
    steps(engine, clock, logits)?;
    draw(clock, logits)?;
    save_and_load(engine, clock)
}

#[inline(never)]
fn verify<K: Kernels>(engine: &Cpu<'_, K, Element>, clock: &Clock) -> Result<(), Failed> {
    let mut verifier = engine.model().verifier();
    longest("verify", clock, || verifier.poll(BYTES).map(|progress| !progress.is_complete()))
}

#[inline(never)]
fn steps<K: Kernels>(
    engine: &mut Cpu<'_, K, Element>,
    clock: &Clock,
    logits: &mut [f32],
) -> Result<(), Failed> {
    if engine.reset(0).is_err() {
        return fail!("reset");
    }
    for token in 0..TOKENS {
        let batch = [BatchToken { token, sequence: 0, logits: true }];
        let Ok(mut step) = engine.begin(&batch, logits) else { return fail!("begin") };
        longest("step", clock, || step.poll(STEP).map(|progress| progress != Progress::Done))?;
    }
    Ok(())
}

/// A draw from logits of which many are likely, so that nothing is skipped.
#[inline(never)]
fn draw(clock: &Clock, logits: &mut [f32]) -> Result<(), Failed> {
    for (i, logit) in logits.iter_mut().enumerate() {
        *logit = (i * 37 % 1024) as f32 / 128.0;
    }
    let options = SamplerOptions { temperature: 0.8, top_p: 0.9, top_k: 0, ..Default::default() };
    let Ok(mut sampler) = Sampler::new(options, 0) else { return fail!("the sampler's options") };
    let Ok(mut sampling) = sampler.begin(logits) else { return fail!("no draw begins") };
    longest("sample", clock, || sampling.poll(DRAW).map(|token| token == Poll::Pending))
}

/// Saves a state, and loads the one at the start, whose elements are all zero.
#[inline(never)]
fn save_and_load<K: Kernels>(
    engine: &mut Cpu<'_, K, Element>,
    clock: &Clock,
) -> Result<(), Failed> {
    let mut page = [0; BYTES / 4];
    {
        let Ok(mut writer) = engine.state_writer(0, Some(1), &[]) else { return fail!("a writer") };
        let check = || writer.check(BYTES).map(|progress| !progress.is_complete());
        longest("check of a state", clock, check)?;
        let mut offset = 0;
        longest("save", clock, || {
            let read = writer.read(offset, &mut page)?;
            offset += read;
            Ok::<_, kinglet::format::state_file::StateFileError>(read > 0)
        })?;
    }
    longest("reset", clock, || engine.reset(0).map(|()| false))?;
    let mut header = [0; HEADER_LEN];
    let len = {
        let Ok(mut writer) = engine.state_writer(0, None, &[]) else { return fail!("a writer") };
        let written = writer.check(usize::MAX).is_ok() && writer.read(0, &mut header).is_ok();
        if !written {
            return fail!("the header of a state");
        }
        writer.len()
    };
    page.fill(0);
    let Ok(mut loader) = engine.state_loader(0, &header, len) else { return fail!("a loader") };
    let mut left = len - HEADER_LEN;
    longest("load", clock, || {
        let piece = left.min(page.len());
        left -= piece;
        loader.feed(&page[..piece]).map(|progress| !progress.is_complete())
    })
}
