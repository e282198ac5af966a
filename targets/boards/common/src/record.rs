//! The record of a board: a line of JSON, for `kinglet bench --board`.
//!
//! | key | value |
//! |---|---|
//! | `kinglet` | version |
//! | `board`, `cpu`, `threads`, `mhz` | name, core, cores that compute, clock; `null` under emulation |
//! | `memories` | `{name: bytes}` |
//! | `buffers` | `{name: [memory, bytes]}` of model, state, workspace, logits and stack |
//! | `model_hash`, `model_bytes`, `state_type`, `kernels` | of the model and the engine |
//! | `tokens` | tokens of the story that the next three are means of |
//! | `us_per_token` | microseconds by the board's timer |
//! | `cycles_per_token`, `instructions_per_token` | by the core's counters |
//! | `stack` | most bytes of stack of a token |
//! | `digest` | as `kinglet digest` has it |
//!
//! The keys that a Linux board's `kinglet bench --record` has too mean the same there. What a board
//! does not know is `null`.

use core::fmt::{self, Display, Write};

use kinglet::Engine;
use kinglet::format::crc32::Crc32;

use crate::teller::END_OF_TEXT;
use crate::{Board, Console, Error, Teller, stack};

/// Tokens of the digest, as in `kinglet digest`.
const DIGEST_TOKENS: u64 = 64;
/// Tokens of the story that are timed.
const TIMED: u32 = 32;

/// Computes the digest, times a story, and writes the record to the board's console.
///
/// # Errors
///
/// See [`Error`].
pub fn record<B: Board, E: Engine>(teller: &mut Teller<'_, E>) -> Result<(), Error> {
    let digest = digest(teller)?;
    let cost = time::<B, E>(teller)?;
    let mut step = Ok(());
    let stack = stack::of(B::stack_end(), || {
        step = teller.engine.step(0, END_OF_TEXT, teller.logits);
    });
    step?;
    // The console never fails.
    let _ = write::<B, E>(teller, digest, &cost, stack);
    Ok(())
}

/// The CRC-32 of the logits of 64 tokens: (7919 i + 1) mod vocab for each i.
fn digest<E: Engine>(teller: &mut Teller<'_, E>) -> Result<u32, Error> {
    let vocab = teller.engine.shape().vocab as u64;
    let mut crc = Crc32::new();
    for i in 0..DIGEST_TOKENS {
        teller.engine.step(0, ((7919 * i + 1) % vocab) as u32, teller.logits)?;
        for logit in teller.logits.iter() {
            crc = crc.update(&logit.to_le_bytes());
        }
    }
    Ok(crc.finish())
}

/// Means of a token.
#[derive(Default)]
struct Cost {
    micros: Option<u64>,
    cycles: Option<u64>,
    instructions: Option<u64>,
}

/// Times the first tokens of the story, without sampling.
fn time<B: Board, E: Engine>(teller: &mut Teller<'_, E>) -> Result<Cost, Error> {
    // Sequence 0 is the engine's.
    let _ = teller.engine.reset(0);
    let mut token = END_OF_TEXT;
    let mut sum = [Some(0), Some(0), Some(0)];
    for _ in 0..TIMED {
        let before = [B::micros().map(|micros| micros as u32), B::cycles(), B::instructions()];
        teller.engine.step(0, token, teller.logits)?;
        let after = [B::micros().map(|micros| micros as u32), B::cycles(), B::instructions()];
        for ((sum, before), after) in sum.iter_mut().zip(before).zip(after) {
            let passed = after.zip(before).map(|(after, before)| after.wrapping_sub(before));
            *sum = sum.zip(passed).map(|(sum, passed)| sum + u64::from(passed));
        }
        token = most_probable(teller.logits);
    }
    let [micros, cycles, instructions] = sum.map(|sum| sum.map(|sum| sum / u64::from(TIMED)));
    Ok(Cost { micros, cycles, instructions })
}

/// The lowest of the ids whose logit is largest.
fn most_probable(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[inline(never)]
fn write<B: Board, E: Engine>(
    teller: &Teller<'_, E>,
    digest: u32,
    cost: &Cost,
    stack: Option<usize>,
) -> fmt::Result {
    let out = &mut Console::<B>::new();
    write!(out, "{{\"kinglet\":\"{}\"", env!("CARGO_PKG_VERSION"))?;
    write!(out, ",\"board\":\"{}\",\"cpu\":\"{}\",\"threads\":{}", B::NAME, B::CORE, B::CORES)?;
    let mhz = B::CLOCK.map(|hertz| Thousandths(u64::from(hertz) / 1000));
    write!(out, ",\"mhz\":{},\"memories\":{{", OrNull(mhz))?;
    for (i, memory) in B::MEMORIES.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(out, "{comma}\"{}\":{}", memory.name, memory.bytes)?;
    }
    out.write_str("},\"buffers\":{")?;
    let model = teller.model.bytes();
    let needs = crate::model::NEEDS;
    for (name, at, bytes) in [
        ("model", model.as_ptr().addr(), model.len()),
        ("state", crate::buffers::state_address(), 4 * needs.state),
        ("workspace", crate::buffers::workspace_address(), 4 * needs.workspace),
        ("logits", teller.logits.as_ptr().addr(), 4 * needs.logits),
    ] {
        write!(out, "\"{name}\":[{},{bytes}],", OrNull(place::<B>(at)))?;
    }
    write!(out, "\"stack\":[{},{}]}}", OrNull(place::<B>(B::stack_end())), OrNull(stack))?;
    out.write_str(",\"model_hash\":\"")?;
    for byte in teller.model.header().content_hash {
        write!(out, "{byte:02x}")?;
    }
    write!(out, "\",\"model_bytes\":{},\"state_type\":\"f32\"", model.len())?;
    write!(out, ",\"kernels\":\"{}\",\"tokens\":{TIMED}", teller.kernels)?;
    write!(out, ",\"us_per_token\":{}", OrNull(cost.micros))?;
    write!(out, ",\"cycles_per_token\":{}", OrNull(cost.cycles))?;
    write!(out, ",\"instructions_per_token\":{}", OrNull(cost.instructions))?;
    writeln!(out, ",\"stack\":{},\"digest\":\"{digest:08x}\"}}", OrNull(stack))
}

/// The name of the memory that an address is in.
fn place<B: Board>(at: usize) -> Option<Quoted> {
    let memory = B::MEMORIES
        .iter()
        .find(|memory| (memory.start..memory.start + memory.bytes).contains(&at))?;
    Some(Quoted(memory.name))
}

/// A value, or `null`.
struct OrNull<T>(Option<T>);

impl<T: Display> Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A text of JSON; names of memories have nothing to escape.
struct Quoted(&'static str);

impl Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Thousandths as a decimal fraction: the formatting of floats takes kilobytes of flash.
struct Thousandths(u64);

impl Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
