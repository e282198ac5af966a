//! A prompt that is computed once: its state is saved, and a later run goes on from there.
//!
//! The file keeps where the sequence stands and the next token; beside them it has room for what
//! else a text needs. Here that is the sampler, so that the text goes on as if it had not stopped.
//! Firmware without room for the file takes `Cpu::state_writer` and `Cpu::state_loader`.

use kinglet::format::state_file::StateSection;
use kinglet::{Cpu, Engine, Model, Requirements, Sampler, Scalar};

const PROMPT: [u32; 4] = [0, 742, 694, 308];

/// Draws `count` tokens, each fed as the next: the tokens, the last of them not yet fed.
fn tell(
    engine: &mut dyn Engine,
    sampler: &mut Sampler,
    mut next: u32,
    count: usize,
) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let mut logits = vec![0.0; engine.shape().vocab];
    let mut told = Vec::new();
    for _ in 0..count {
        engine.step(0, next, &mut logits)?;
        next = sampler.sample(&mut logits)?;
        told.push(next);
    }
    Ok(told)
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(kinglet_stories::MODEL)?;
    let needs = Requirements::of::<f32>(model.shape(), 1);

    // All but the last token of the prompt go in; the last is the file's next token.
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
    let mut sampler = Sampler::new(Default::default(), 42)?;
    let (&last, before) = PROMPT.split_last().ok_or("an empty prompt")?;
    engine.prefill(0, before, &mut vec![0.0; needs.logits])?;
    let first = tell(&mut engine, &mut sampler, last, 8)?;

    // Save: the state, the token that it has not taken in, and the sampler.
    let mut snapshot = vec![0; sampler.snapshot_len()];
    sampler.snapshot(&mut snapshot)?;
    let sections = [(StateSection::Sampler, &snapshot[..])];
    let mut file = vec![0; engine.state_file_len(&sections)];
    let next = first.last().copied();
    engine.save_state(0, next, &sections, &mut file)?;
    let expected = tell(&mut engine, &mut sampler, next.ok_or("no token")?, 16)?;

    // Restore, with an engine and a sampler that know nothing of the first.
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
    let mut sampler = Sampler::new(Default::default(), 7)?;
    let saved = engine.restore_state(0, &file)?;
    sampler.restore(saved.section(StateSection::Sampler).ok_or("no sampler")?)?;
    let next = saved.next_token().ok_or("no token")?;
    assert_eq!(tell(&mut engine, &mut sampler, next, 16)?, expected);
    Ok(())
}
