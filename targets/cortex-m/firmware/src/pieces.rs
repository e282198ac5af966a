//! How long the longest piece is of all that a firmware can do in pieces.

use kinglet::engine::{BatchToken, Engine, Progress};

use crate::clock::Clock;
use crate::console::{Failed, fail, say};

/// The most that a piece of a step may take, multiply-accumulates: less where floats are soft.
const BUDGET: usize = if cfg!(target_abi = "eabihf") { 50_000 } else { 20_000 };
/// Tokens that are fed in pieces.
const TOKENS: u32 = 4;

/// Runs `piece` until it says that it is done, and tells the longest of its runs.
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
    say!("pieces of {}: {}, together {}", name, pieces, clock.count(all));
    Ok(())
}

/// Tells the longest pieces.
#[inline(never)]
pub(crate) fn measure(
    engine: &mut impl Engine,
    clock: &Clock,
    logits: &mut [f32],
) -> Result<(), Failed> {
    if engine.reset(0).is_err() {
        return fail!("reset");
    }
    for token in 0..TOKENS {
        let batch = [BatchToken { token, sequence: 0, logits: true }];
        let Ok(mut step) = engine.begin(&batch, logits) else { return fail!("begin") };
        longest("a step", clock, || step.poll(BUDGET).map(|done| done != Progress::Done))?;
    }
    Ok(())
}
