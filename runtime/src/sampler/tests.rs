extern crate std;

use core::task::Poll;

use proptest::{collection::vec, prelude::*};
use std::{string::ToString, vec, vec::Vec};

use super::budget::Budget;
use super::candidates::Candidates;
use super::*;

/// Everything off but the draw.
const PLAIN: SamplerOptions = SamplerOptions {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    presence: 0.0,
    frequency: 0.0,
    penalty_decay: 1.0,
};

/// Logits that look like a model's: a few high, a long tail. Integer arithmetic and exact
/// divisions only, so that they are the same numbers everywhere.
fn pseudo_logits(vocabulary: usize, seed: u64) -> Vec<f32> {
    let mut rng = Pcg32::new(seed);
    (0..vocabulary)
        .map(|_| {
            let peak = if rng.next_u32().is_multiple_of(64) { 8.0 } else { 0.0 };
            (rng.next_f32() + rng.next_f32() + rng.next_f32()) * 4.0 + peak - 6.0
        })
        .collect()
}

fn draw(options: SamplerOptions, seed: u64, logits: &[f32]) -> Result<u32, SampleError> {
    Sampler::new(options, seed).unwrap().sample(&mut logits.to_vec())
}

fn penalize<const N: usize>(sampler: &Sampler<[f32; N]>, logits: &mut [f32]) {
    let SamplerOptions { presence, frequency, .. } = sampler.options;
    penalties::apply(logits, &sampler.counts, presence, frequency);
}

/// The distribution by the definition: f64, sorted, cumulative. `None` where the rounding of f32
/// could decide who is in.
fn reference(logits: &[f32], options: &SamplerOptions) -> Option<Vec<(usize, f64)>> {
    const MARGIN: f64 = 1e-4;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut ranked: Vec<(usize, f64)> = weights.iter().map(|w| w / sum).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let best = ranked[0].1;

    let mut cutoff = 0.0;
    if options.top_p < 1.0 {
        let mut cumulative = 0.0;
        for &(_, p) in &ranked {
            cumulative += p;
            if (cumulative - f64::from(options.top_p)).abs() < MARGIN {
                return None;
            }
            if cumulative >= f64::from(options.top_p) {
                cutoff = p;
                break;
            }
        }
    }
    let least = f64::from(options.min_p) * best;
    if ranked.iter().any(|&(_, p)| options.min_p > 0.0 && (p / least - 1.0).abs() < MARGIN) {
        return None;
    }
    ranked.retain(|&(_, p)| p >= cutoff && p >= least);
    if options.top_k > 0 {
        ranked.truncate(options.top_k as usize);
    }
    let tempered = |p: f64| (p / best).powf(1.0 / f64::from(options.temperature));
    let sum: f64 = ranked.iter().map(|&(_, p)| tempered(p)).sum();
    let mut kept: Vec<(usize, f64)> =
        ranked.into_iter().map(|(id, p)| (id, tempered(p) / sum)).collect();
    kept.sort_unstable_by_key(|&(id, _)| id);
    Some(kept)
}

proptest! {
    #[test]
    fn candidates_and_probabilities_agree_with_the_f64_reference(
        // Distinct logits are at least 1/64 apart, equals are common.
        steps in vec(-400i32..400, 1..600),
        temperature in 0.2f32..3.0,
        top_k in prop_oneof![Just(0u32), 2u32..100],
        top_p in prop_oneof![Just(1.0f32), 0.01f32..0.999],
        min_p in prop_oneof![Just(0.0f32), 0.001f32..0.9],
    ) {
        let options = SamplerOptions { temperature, top_k, top_p, min_p, ..PLAIN };
        let mut logits: Vec<f32> = steps.iter().map(|&step| step as f32 / 64.0).collect();
        let expected = reference(&logits, &options);
        prop_assume!(expected.is_some());
        let expected = expected.unwrap();

        let largest = largest_of(&logits).unwrap();
        let mut candidates = Candidates::new(logits.len());
        let mut budget = Budget::new(usize::MAX);
        candidates.select(&mut logits, largest, &options, &mut budget).unwrap();
        let candidates: Vec<(usize, f32)> = candidates.iter(&logits).collect();
        let sum: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
        for (id, p) in &expected {
            let found = candidates.iter().find(|(found, _)| found == id);
            // Only what is far too improbable to be drawn may have been rounded to nothing.
            let found = found.map_or(0.0, |&(_, weight)| f64::from(weight) / sum);
            prop_assert!((found - p).abs() <= 1e-4 * p + 1e-30, "token {id}: {found}, not {p}");
        }
        for (id, _) in candidates {
            prop_assert!(expected.iter().any(|&(expected, _)| expected == id));
        }
    }

    #[test]
    fn the_draw_inverts_the_cumulative_distribution_in_order_of_ids(
        steps in vec(-400i32..400, 1..600),
        top_k in prop_oneof![Just(0u32), 2u32..100],
        temperature in prop_oneof![Just(1.0f32), 0.5f32..3.0],
        seed in any::<u64>(),
    ) {
        let options = SamplerOptions { temperature, top_k, ..PLAIN };
        let logits: Vec<f32> = steps.iter().map(|&step| step as f32 / 64.0).collect();
        let expected = reference(&logits, &options).unwrap();
        let uniform = f64::from(Pcg32::new(seed).next_f32());
        let token = draw(options, seed, &logits).unwrap() as usize;
        let below: f64 = expected.iter().filter(|&&(id, _)| id < token).map(|&(_, p)| p).sum();
        let p = expected.iter().find(|&&(id, _)| id == token).unwrap().1;
        prop_assert!(below - 1e-5 <= uniform && uniform <= below + p + 1e-5);
    }

    #[test]
    fn no_input_panics_and_a_token_is_never_a_banned_one(
        bits in vec(any::<u32>(), 0..80),
        finite in any::<bool>(),
        temperature in 0.0f32..1e3,
        top_k in 0u32..10,
        top_p in 0.0f32..=1.0,
        min_p in 0.0f32..=1.0,
        penalty in prop_oneof![0.0f32..2.0, Just(f32::MAX)],
        seed in any::<u64>(),
        bans in vec(0u32..80, 0..10),
    ) {
        let mut logits: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        if finite {
            logits.retain(|logit| logit.is_finite());
        }
        let options = SamplerOptions {
            temperature, top_k, top_p, min_p, presence: penalty, frequency: penalty,
            ..SamplerOptions::default()
        };
        let mut sampler = Sampler::with_counts(options, seed, [0.0; 80]).unwrap();
        sampler.accept(3);
        for &token in &bans {
            sampler.ban(token).unwrap();
        }
        let bad = logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY);
        match sampler.sample(&mut logits.clone()) {
            Ok(token) => {
                prop_assert!(!bad);
                prop_assert!(!bans.contains(&token));
                prop_assert!(logits[token as usize] > f32::NEG_INFINITY);
            }
            Err(SampleError::NonFinite { token }) => {
                let logit = logits[token as usize];
                prop_assert!(logit.is_nan() || logit == f32::INFINITY);
            }
            Err(error) => {
                prop_assert_eq!(error, SampleError::NoCandidate);
                prop_assert!(!bad);
                for (id, &logit) in logits.iter().enumerate() {
                    let penalized = id == 3 && penalty > 0.0;
                    let banned = bans.contains(&(id as u32));
                    prop_assert!(banned || penalized || logit == f32::NEG_INFINITY);
                }
            }
        }
    }
}

/// Options of all kinds: greedy, each cutoff, penalties, temperatures.
fn options() -> impl Strategy<Value = SamplerOptions> {
    (
        prop_oneof![4 => Just(1.0f32), 1 => Just(0.0), 6 => 0.2f32..3.0],
        prop_oneof![4 => Just(0u32), 6 => 1u32..40],
        prop_oneof![4 => Just(1.0f32), 1 => Just(0.0), 6 => 0.3f32..0.999],
        prop_oneof![Just(0.0f32), 1e-4f32..1.0],
        prop_oneof![Just(0.0f32), 0.0f32..2.0],
        prop_oneof![Just(0.0f32), 0.0f32..2.0],
    )
        .prop_map(|(temperature, top_k, top_p, min_p, presence, frequency)| SamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            presence,
            frequency,
            penalty_decay: 0.9,
        })
}

/// Logits as models give them: smooth, few that are likely, many equals, bans, one that is broken.
fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    let peaked = prop_oneof![60 => -14.0f32..-8.0, 1 => 0.0f32..4.0];
    let grid = (-6i32..6).prop_map(|step| step as f32 * 0.5);
    let masked = prop_oneof![Just(f32::NEG_INFINITY), Just(-0.0), -3.0f32..3.0];
    let bad = prop_oneof![Just(f32::NAN), Just(f32::INFINITY)];
    let broken = (vec(-3.0f32..3.0, 1..100), any::<prop::sample::Index>(), bad);
    prop_oneof![
        4 => vec(-12.0f32..12.0, 0..200),
        4 => vec(peaked, 400..LONGEST),
        4 => vec(grid, 1..600),
        2 => vec(masked, 0..100),
        1 => broken.prop_map(|(mut logits, at, bad)| {
            let at = at.index(logits.len());
            logits[at] = bad;
            logits
        }),
    ]
}

/// The most of [`any_logits`].
const LONGEST: usize = 1500;

/// A sampler that has counted tokens, and bans some.
fn used_sampler(options: SamplerOptions, seed: u64, tokens: &[u32]) -> Sampler<Vec<f32>> {
    let mut sampler = Sampler::with_counts(options, seed, vec![0.0; LONGEST]).unwrap();
    for &token in tokens {
        sampler.accept(token);
        sampler.ban(token / 2).unwrap();
    }
    sampler
}

/// Generator and counts, bit for bit.
fn standing(sampler: &Sampler<Vec<f32>>) -> (u64, Vec<u32>) {
    (sampler.rng.state(), sampler.counts.iter().map(|count| count.to_bits()).collect())
}

proptest! {
    #[test]
    fn a_draw_in_pieces_is_the_draw(
        logits in any_logits(),
        options in options(),
        seed in any::<u64>(),
        tokens in vec(0u32..200, 0..8),
        budgets in vec(prop_oneof![0usize..100, 0usize..5000, Just(usize::MAX)], 1..8),
        leaves in any::<bool>(),
    ) {
        let mut whole = used_sampler(options, seed, &tokens);
        let expected = whole.sample(&mut logits.clone());

        let mut sampler = used_sampler(options, seed, &tokens);
        let before = standing(&sampler);
        let mut pieces = logits;
        let mut draw = || {
            let mut sampling = sampler.begin(&mut pieces)?;
            for &budget in budgets.iter().cycle() {
                if let Poll::Ready(token) = sampling.poll(budget)? {
                    assert_eq!(sampling.poll(0), Ok(Poll::Ready(token)));
                    return Ok(token);
                }
                if leaves {
                    let place = sampling.leave();
                    assert_eq!(standing(&sampler), before);
                    sampling = sampler.resume(&mut pieces, place);
                }
            }
            unreachable!("the cycle does not end")
        };
        prop_assert_eq!(draw(), expected);
        prop_assert_eq!(standing(&sampler), standing(&whole));
        if expected.is_err() {
            prop_assert_eq!(standing(&sampler), before);
        }
    }

    #[test]
    fn a_draw_that_is_given_up_leaves_the_sampler_as_it_was(
        logits in any_logits(),
        options in options(),
        tokens in vec(0u32..200, 0..8),
        polls in 0usize..40,
    ) {
        let mut sampler = used_sampler(options, 3, &tokens);
        let before = standing(&sampler);
        let mut pieces = logits.clone();
        let mut ended = false;
        if let Ok(mut sampling) = sampler.begin(&mut pieces) {
            ended = (0..polls).any(|_| sampling.poll(400) != Ok(Poll::Pending));
        }
        if !ended {
            prop_assert_eq!(standing(&sampler), before);
            let expected = used_sampler(options, 3, &tokens).sample(&mut logits.clone());
            prop_assert_eq!(sampler.sample(&mut logits.clone()), expected);
        }
    }

    #[test]
    fn a_draw_among_other_logits_ends(
        logits in any_logits(),
        others in any_logits(),
        options in (options(), options()),
        polls in 0usize..40,
    ) {
        let mut sampler = used_sampler(options.0, 3, &[]);
        let mut pieces = logits;
        let Ok(mut sampling) = sampler.begin(&mut pieces) else { return Ok(()) };
        let ended = (0..polls).any(|_| sampling.poll(400) != Ok(Poll::Pending));
        let place = sampling.leave();
        if !ended {
            sampler.set_options(options.1).unwrap();
            let mut others = others;
            let mut sampling = sampler.resume(&mut others, place);
            // Any token or error, but no panic, and no poll without end.
            prop_assert!((0..1000).any(|_| sampling.poll(10_000) != Ok(Poll::Pending)));
        }
    }
}

#[test]
fn an_error_of_a_piece_is_that_of_every_piece_after_it() {
    let mut sampler = Sampler::new(PLAIN, 1).unwrap();
    let mut logits = [0.5; 100];
    logits[70] = f32::NAN;
    logits[90] = f32::INFINITY;
    let mut sampling = sampler.begin(&mut logits).unwrap();
    assert_eq!(sampling.poll(64), Ok(Poll::Pending));
    for _ in 0..3 {
        assert_eq!(sampling.poll(16), Err(SampleError::NonFinite { token: 70 }));
    }
}

#[test]
fn the_generator_is_pcg32() {
    // The first numbers of the PCG authors' demonstration program (seed 42, sequence 54).
    let mut rng = Pcg32::new(42);
    let known = [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
    assert_eq!(known.map(|_| rng.next_u32()), known);

    let mut rng = Pcg32::new(42);
    assert_eq!(rng.next_f32(), 0xa1_5c02 as f32 / 16_777_216.0);
    assert_eq!(rng.next_f32(), 0x7b_47f4 as f32 / 16_777_216.0);
}

#[test]
fn the_sequence_of_tokens_is_pinned() {
    let options = SamplerOptions {
        temperature: 0.8,
        top_k: 200,
        top_p: 0.9,
        min_p: 0.01,
        presence: 0.3,
        frequency: 0.2,
        penalty_decay: 0.99,
    };
    let mut sampler = Sampler::with_counts(options, 7, vec![0.0; 1024]).unwrap();
    sampler.ban(0).unwrap();
    let tokens: [u32; 32] = core::array::from_fn(|step| {
        let token = sampler.sample(&mut pseudo_logits(1024, step as u64 % 4)).unwrap();
        sampler.accept(token);
        token
    });
    let pinned = [
        339, 325, 185, 976, 374, 550, 977, 976, 339, 550, 17, 154, 657, 646, 977, 976, 174, 325,
        604, 568, 914, 325, 604, 568, 174, 550, 977, 976, 339, 732, 977, 936,
    ];
    assert_eq!(tokens, pinned);
}

#[test]
fn frequencies_follow_the_probabilities() {
    let logits: [f32; 16] = core::array::from_fn(|i| (i as f32 * 0.37).sin() * 1.5);
    let options = SamplerOptions { temperature: 1.7, top_k: 12, ..PLAIN };
    let expected = reference(&logits, &options).unwrap();
    let mut sampler = Sampler::new(options, 2024).unwrap();
    let mut counts = [0u32; 16];
    const DRAWS: u32 = 40_000;
    for _ in 0..DRAWS {
        counts[sampler.sample(&mut logits.clone()).unwrap() as usize] += 1;
    }
    let chi_square: f64 = expected
        .iter()
        .map(|&(id, p)| {
            let mean = p * f64::from(DRAWS);
            (f64::from(counts[id]) - mean).powi(2) / mean
        })
        .sum();
    // 99.9 % quantile for the 11 degrees of freedom of 12 candidates.
    assert!(chi_square < 31.3, "chi-square is {chi_square}");
    assert_eq!(expected.iter().map(|&(id, _)| counts[id]).sum::<u32>(), DRAWS);
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let run = |seed| -> Vec<u32> {
        let mut sampler = Sampler::new(PLAIN, seed).unwrap();
        let draw = |i| sampler.sample(&mut pseudo_logits(300, i)).unwrap();
        (0..20).map(draw).collect()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));

    let mut sampler = Sampler::new(PLAIN, 1).unwrap();
    let first = sampler.sample(&mut pseudo_logits(300, 0)).unwrap();
    sampler.sample(&mut pseudo_logits(300, 1)).unwrap();
    sampler.restart(1);
    assert_eq!(sampler.sample(&mut pseudo_logits(300, 0)).unwrap(), first);
}

#[test]
fn degenerate_options_are_greedy_and_take_the_lowest_of_equals() {
    let logits = [1.0, 3.0, -2.0, 3.0, 0.0];
    for options in [
        SamplerOptions { temperature: 0.0, ..PLAIN },
        SamplerOptions { top_p: 0.0, ..PLAIN },
        SamplerOptions { top_k: 1, ..PLAIN },
        SamplerOptions::greedy(),
    ] {
        assert!(options.is_greedy());
        let mut sampler = Sampler::new(options, 5).unwrap();
        for _ in 0..20 {
            assert_eq!(sampler.sample(&mut logits.clone()), Ok(1));
        }
        assert_eq!(sampler.rng, Pcg32::new(5), "greedy drew a number");
    }
    // -0.0 and 0.0 are equal.
    assert_eq!(draw(SamplerOptions::greedy(), 0, &[-0.0, 0.0]), Ok(0));
}

#[test]
fn options_that_are_off_leave_every_token() {
    let logits = [0.0f32; 8];
    assert!(!PLAIN.is_greedy());
    let mut seen = [false; 8];
    let mut sampler = Sampler::new(PLAIN, 3).unwrap();
    for _ in 0..200 {
        seen[sampler.sample(&mut logits.clone()).unwrap() as usize] = true;
    }
    assert_eq!(seen, [true; 8]);
}

#[test]
fn equals_at_the_cutoff_all_stay_for_top_p_and_the_lowest_stay_for_top_k() {
    let drawn = |options| -> Vec<u32> {
        let mut sampler = Sampler::new(options, 11).unwrap();
        let draws = (0..300).map(|_| sampler.sample(&mut [0.0, 2.0, 1.0, 2.0, 2.0]).unwrap());
        let mut drawn: Vec<u32> = draws.collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    };
    assert_eq!(drawn(SamplerOptions { top_p: 0.1, ..PLAIN }), [1, 3, 4]);
    assert_eq!(drawn(SamplerOptions { min_p: 1.0, ..PLAIN }), [1, 3, 4]);
    assert_eq!(drawn(SamplerOptions { top_k: 2, ..PLAIN }), [1, 3]);
    assert_eq!(drawn(SamplerOptions { top_k: 4, ..PLAIN }), [1, 2, 3, 4]);
    assert_eq!(drawn(SamplerOptions { top_k: u32::MAX, ..PLAIN }), [0, 1, 2, 3, 4]);
}

#[test]
fn temperature_acts_after_top_p() {
    // Probabilities 0.5, 0.3, 0.2. At temperature 1000 first, all three would be nearly equal and
    // 0.6 would keep two; the order here keeps the first two by their own probabilities, and only
    // then makes them equal.
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    let options = SamplerOptions { temperature: 1000.0, top_p: 0.45, ..PLAIN };
    for seed in 0..50 {
        assert_eq!(draw(options, seed, &logits), Ok(0));
    }
    let options = SamplerOptions { top_p: 0.6, ..options };
    let mut counts = [0; 3];
    for seed in 0..1000 {
        counts[draw(options, seed, &logits).unwrap() as usize] += 1;
    }
    assert_eq!(counts[2], 0);
    assert!((400..600).contains(&counts[0]), "{counts:?}");
}

#[test]
fn penalties_follow_the_hand_computed_example() {
    let options = SamplerOptions { presence: 0.5, frequency: 0.25, penalty_decay: 0.5, ..PLAIN };
    let mut sampler = Sampler::with_counts(options, 0, [9.0; 5]).unwrap();
    for token in [1, 2, 1] {
        sampler.accept(token);
    }
    sampler.accept_uncounted(3);
    // Counts: 1 -> (1 * 0.5 * 0.5 + 1) * 0.5 = 0.625; 2 -> 1 * 0.5 * 0.5 = 0.25; 3 -> 0.
    let mut logits = [1.0; 5];
    penalize(&sampler, &mut logits);
    assert_eq!(logits, [1.0, 1.0 - 0.5 - 0.15625, 1.0 - 0.5 - 0.0625, 0.5, 1.0]);

    // An uncounted acceptance keeps what the count was.
    sampler.accept_uncounted(1);
    let mut logits = [1.0; 5];
    penalize(&sampler, &mut logits);
    assert_eq!(logits[1], 1.0 - 0.5 - 0.078125);

    // A faded count still pays for its presence, and so does one of a decay of (minus) zero.
    for decay in [0.5, 0.0, -0.0] {
        sampler.set_options(SamplerOptions { penalty_decay: decay, ..options }).unwrap();
        for _ in 0..400 {
            sampler.accept(4);
        }
        assert_eq!(sampler.counts.map(f32::to_bits)[..4], [0, 1 << 31, 1 << 31, 1 << 31]);
    }

    sampler.restart(0);
    let mut logits = [1.0; 5];
    penalize(&sampler, &mut logits);
    assert_eq!(logits, [1.0; 5]);
}

#[test]
fn penalties_change_what_is_sampled() {
    let options = SamplerOptions { presence: 1.0, ..SamplerOptions::greedy() };
    let mut sampler = Sampler::with_counts(options, 0, [0.0; 3]).unwrap();
    let tokens: [u32; 3] = core::array::from_fn(|_| {
        let token = sampler.sample(&mut [1.0, 1.5, 0.8]).unwrap();
        sampler.accept(token);
        token
    });
    assert_eq!(tokens, [1, 0, 2]);
    sampler.accept(1000);
}

#[test]
fn counts_must_cover_the_vocabulary_when_a_penalty_is_on() {
    let options = SamplerOptions { frequency: 0.1, ..PLAIN };
    assert_eq!(Sampler::new(options, 0).unwrap_err(), OptionsError::PenaltyWithoutCounts);
    let mut counts = [0.0; 3];
    let mut sampler = Sampler::with_counts(options, 0, &mut counts[..]).unwrap();
    let error = SampleError::CountsTooShort { counts: 3, logits: 4 };
    assert_eq!(sampler.sample(&mut [0.0; 4]), Err(error));
    assert!(sampler.sample(&mut [0.0; 3]).is_ok());

    let mut sampler = Sampler::new(PLAIN, 0).unwrap();
    assert_eq!(sampler.set_options(options), Err(OptionsError::PenaltyWithoutCounts));
    assert_eq!(sampler.options(), &PLAIN);
    sampler.accept(1);
    assert!(sampler.sample(&mut [0.0; 4]).is_ok());
}

#[test]
fn bans_hold_for_greedy_and_for_draws() {
    for options in [PLAIN, SamplerOptions::greedy()] {
        let mut sampler = Sampler::new(options, 1).unwrap();
        sampler.ban(0).unwrap();
        sampler.ban(2).unwrap();
        sampler.ban(70_000).unwrap();
        for _ in 0..50 {
            assert_eq!(sampler.sample(&mut [9.0, 0.0, 9.0]), Ok(1));
        }
        sampler.ban(1).unwrap();
        assert_eq!(sampler.sample(&mut [9.0, 0.0, 9.0]), Err(SampleError::NoCandidate));
        sampler.unban(1);
        sampler.unban(5);
        assert_eq!(sampler.sample(&mut [9.0, 0.0, 9.0]), Ok(1));
    }
}

#[test]
fn the_list_of_bans_is_bounded_and_says_so() {
    let mut sampler = Sampler::new(PLAIN, 1).unwrap();
    for token in 0..MAX_BANS as u32 {
        sampler.ban(token).unwrap();
    }
    assert_eq!(sampler.ban(0), Ok(()));
    assert_eq!(sampler.ban(99), Err(BanError::Full));
    sampler.unban(7);
    assert_eq!(sampler.ban(99), Ok(()));
    assert_eq!(BanError::Full.to_string(), "32 tokens are banned already");
}

#[test]
fn logits_that_are_not_finite_are_errors_but_minus_infinity_is_a_ban() {
    const INF: f32 = f32::INFINITY;
    for options in [PLAIN, SamplerOptions::greedy(), SamplerOptions::default()] {
        for bad in [f32::NAN, -f32::NAN, INF] {
            for at in [0, 5, 15, 16, 39] {
                let mut logits = [0.5; 40];
                logits[at] = bad;
                let error = SampleError::NonFinite { token: at as u32 };
                let mut sampler = Sampler::new(options, 1).unwrap();
                assert_eq!(sampler.sample(&mut logits.clone()), Err(error));
                assert_eq!(sampler.rng, Pcg32::new(1));
                // A ban does not hide that the model is broken.
                sampler.ban(at as u32).unwrap();
                assert_eq!(sampler.sample(&mut logits), Err(error));
            }
        }
        assert_eq!(draw(options, 1, &[-INF, -3.0, -INF]), Ok(1));
        assert_eq!(draw(options, 1, &[-INF; 20]), Err(SampleError::NoCandidate));
        assert_eq!(draw(options, 1, &[]), Err(SampleError::NoCandidate));
        assert_eq!(draw(options, 1, &[f32::MIN, f32::MAX]), Ok(1));
    }
}

#[test]
fn options_out_of_range_are_named() {
    type Set = fn(&mut SamplerOptions, f32);
    let fields: [(&str, Set, f32); 6] = [
        ("temperature", |o, v| o.temperature = v, f32::MAX),
        ("top_p", |o, v| o.top_p = v, 1.0),
        ("min_p", |o, v| o.min_p = v, 1.0),
        ("presence", |o, v| o.presence = v, f32::MAX),
        ("frequency", |o, v| o.frequency = v, f32::MAX),
        ("penalty_decay", |o, v| o.penalty_decay = v, 1.0),
    ];
    assert_eq!(SamplerOptions::default().check(), Ok(()));
    for (name, set, most) in fields {
        for value in [0.0, -0.0, most / 2.0, most] {
            let mut options = PLAIN;
            set(&mut options, value);
            assert_eq!(options.check(), Ok(()), "{name} = {value}");
        }
        for value in [f32::NAN, -0.1, f32::INFINITY, f32::NEG_INFINITY, most.next_up()] {
            let mut options = PLAIN;
            set(&mut options, value);
            let Err(OptionsError::OutOfRange { option, found, largest }) = options.check() else {
                panic!("{name} = {value} was accepted");
            };
            assert_eq!(
                (option.to_string().as_str(), found.to_bits(), largest),
                (name, value.to_bits(), most)
            );
        }
    }
    let error = SamplerOptions { top_p: 1.5, ..PLAIN }.check().unwrap_err();
    assert_eq!(error.to_string(), "top_p is 1.5, but must be from 0 to 1");
    let error = SamplerOptions { temperature: -1.0, ..PLAIN }.check().unwrap_err();
    assert_eq!(error.to_string(), "temperature is -1, but must be finite and not negative");
}

#[test]
fn extreme_temperatures_are_the_best_or_uniform() {
    let logits = [0.0, 1.0, 0.5];
    for seed in 0..100 {
        assert_eq!(draw(SamplerOptions { temperature: 1e-38, ..PLAIN }, seed, &logits), Ok(1));
    }
    let hot = SamplerOptions { temperature: f32::MAX, ..PLAIN };
    let mut counts = [0; 3];
    for seed in 0..3000 {
        counts[draw(hot, seed, &logits).unwrap() as usize] += 1;
    }
    assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[test]
fn uncounted_text_is_a_part_of_the_known_string() {
    for text in [&b"0"[..], b"9", b" ", b"\t", b" \t", b"012", b"89", b""] {
        assert!(is_uncounted(text), "{text:?}");
    }
    for text in [&b"90"[..], b"  ", b"\n", b"a", b" 1", b"0123456789 \t", b"\xff"] {
        assert!(!is_uncounted(text), "{text:?}");
    }
}
