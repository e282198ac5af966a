//! The sampler: any options, bans, counts, snapshots and logits.
#![no_main]

use arbitrary::Arbitrary;
use kinglet::sampler::{SampleError, Sampler, SamplerOptions};
use kinglet_fuzz::memory;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    options: [f32; 6],
    top_k: u32,
    seed: u64,
    bans: Vec<u8>,
    accepted: Vec<u8>,
    snapshot: Vec<u8>,
    logits: Vec<f32>,
}

impl Input {
    /// Options in range as well as out of it: the fractions of large numbers are fractions.
    fn options(&self) -> SamplerOptions {
        let [temperature, top_p, min_p, presence, frequency, decay] = self.options;
        let share = |x: f32| if x > 1.0 { x.fract() } else { x };
        SamplerOptions {
            temperature,
            top_k: self.top_k,
            top_p: share(top_p),
            min_p: share(min_p),
            presence,
            frequency,
            penalty_decay: share(decay),
        }
    }
}

fuzz_target!(|input: Input| memory::within(1 << 16, || {
    let counts = vec![0.0; input.logits.len()];
    let Ok(mut sampler) = Sampler::with_counts(input.options(), input.seed, counts) else { return };
    for &token in &input.bans {
        let _ = sampler.ban(u32::from(token));
    }
    for &token in &input.accepted {
        sampler.accept(u32::from(token));
    }
    let _ = sampler.restore(&input.snapshot);
    let mut kept = vec![0; sampler.snapshot_len()];
    assert_eq!(sampler.snapshot(&mut kept), Ok(kept.len()));
    let mut logits = input.logits.clone();
    let drawn = sampler.sample(&mut logits);
    match drawn {
        Ok(token) => {
            let logit = input.logits[token as usize];
            assert!(logit.is_finite(), "token {token} of {logit}");
            let bans = input.bans.iter().take(32);
            assert!(!bans.into_iter().any(|&ban| u32::from(ban) == token), "a banned token");
        }
        Err(error) => {
            let mut after = vec![0; sampler.snapshot_len()];
            assert_eq!(sampler.snapshot(&mut after), Ok(after.len()));
            assert_eq!(after, kept, "{error}");
            assert!(error != SampleError::TooManyLogits);
        }
    }
    // A sampler that was restored draws the same.
    let mut other = sampler.clone();
    other.restore(&kept).expect("its own snapshot");
    assert_eq!(other.sample(&mut input.logits.clone()), drawn);
}));
