//! The longest piece of a draw, which is how long an interrupt of the same priority would wait.

use core::task::Poll;

use kinglet::sampler::{Sampler, SamplerOptions};

use crate::clock::Clock;
use crate::console::{Failed, fail};

/// Units of a piece.
const BUDGET: usize = 10_000;

/// Ticks of the longest piece of a draw from logits of which many are likely, so that nothing is
/// skipped.
#[inline(never)]
pub(crate) fn longest(clock: &Clock, logits: &mut [f32]) -> Result<u32, Failed> {
    for (i, logit) in logits.iter_mut().enumerate() {
        *logit = (i * 37 % 1024) as f32 / 128.0;
    }
    let options = SamplerOptions { temperature: 0.8, top_p: 0.9, top_k: 0, ..Default::default() };
    let Ok(mut sampler) = Sampler::new(options, 0) else { return fail!("the sampler's options") };
    let Ok(mut sampling) = sampler.begin(logits) else { return fail!("no draw begins") };
    let mut longest = 0;
    loop {
        let start = clock.now();
        let polled = sampling.poll(BUDGET);
        longest = longest.max(clock.since(start));
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(_)) => return Ok(longest),
            Err(_) => return fail!("the sampler refuses the logits"),
        }
    }
}
