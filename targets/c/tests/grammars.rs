//! A sampler of the C interface draws texts of a grammar: those of the core, whole and in pieces.

use std::ptr::null;

use KingletStatus as Status;
use kinglet::grammar::{Accepted, Constraint, Grammar, Limits};
use kinglet::sampler::Sampler;
use kinglet::tokenizer::Tokenizer;
use kinglet::{Model, Section};
use kinglet_c::*;

static MODEL: &[u8] = kinglet_stories::MODEL;
/// `{"led":"on"}`, `{"led":"off"}`, `{"servo":{"angle":0}}` to 180.
static TABLE: &[u8] = include_bytes!("../../grammar/tests/data/led_servo.grammar");
const LONGEST: u32 = 23;
const SHORTEST: u32 = 12;

fn model() -> KingletModel {
    let mut model = KingletModel { opaque: [0; _] };
    // SAFETY: a handle and static bytes.
    let opened = unsafe { kinglet_model_open(&mut model, MODEL.as_ptr(), MODEL.len()) };
    assert_eq!(opened, Status::Ok);
    model
}

fn open(table: &'static [u8]) -> (Status, KingletGrammar) {
    let mut grammar = KingletGrammar { opaque: [0; _] };
    // SAFETY: a handle and static bytes.
    let status = unsafe { kinglet_grammar_open(&mut grammar, table.as_ptr(), table.len()) };
    (status, grammar)
}

fn sampler(seed: u64) -> KingletSampler {
    let mut sampler = KingletSampler { opaque: [0; _] };
    let options =
        KingletSamplerOptions { temperature: 1.5, top_p: 1.0, ..kinglet_sampler_defaults() };
    // SAFETY: a handle.
    let made =
        unsafe { kinglet_sampler_init(&mut sampler, options, seed, null::<f32>().cast_mut(), 0) };
    assert_eq!(made, Status::Ok);
    sampler
}

fn set(sampler: &mut KingletSampler, limits: [u32; 2]) -> Status {
    let (grammar, model) = (open(TABLE).1, model());
    // The handles of both may be gone afterwards.
    // SAFETY: handles, whose bytes are static.
    unsafe { kinglet_sampler_set_grammar(sampler, &grammar, &model, limits[0], limits[1]) }
}

fn accept(sampler: &mut KingletSampler, token: u32) -> Status {
    // SAFETY: a sampler.
    unsafe { kinglet_sampler_accept(sampler, null(), token) }
}

/// Whether the text is over, and whether it may end.
fn ends(sampler: &KingletSampler) -> [i32; 2] {
    // SAFETY: a sampler.
    unsafe { [kinglet_sampler_is_over(sampler), kinglet_sampler_may_end(sampler)] }
}

fn tokenizer() -> Tokenizer<'static> {
    Tokenizer::parse(Model::open(MODEL).unwrap().section(Section::Tokenizer)).unwrap()
}

/// The logits of a model that has no idea: other ones at each place.
fn logits(place: usize) -> Vec<f32> {
    let len = tokenizer().vocab_len();
    (0..len).map(|id| ((id * 37 + place * 101) % 89) as f32 / 16.0).collect()
}

/// Draws whole, or in pieces of a budget; the polls that it took.
fn draw(sampler: &mut KingletSampler, logits: &mut [f32], budget: Option<usize>) -> (u32, usize) {
    let (at, count, mut token) = (logits.as_mut_ptr(), logits.len(), u32::MAX);
    // SAFETY: a sampler and as many logits.
    unsafe {
        let Some(budget) = budget else {
            let drawn = kinglet_sampler_sample(sampler, at, count, &mut token);
            assert_eq!(drawn, Status::Ok);
            return (token, 1);
        };
        assert_eq!(kinglet_sampler_sample_begin(sampler, at, count), Status::Ok);
        let mut polls = 1;
        loop {
            match kinglet_sampler_sample_poll(sampler, budget, &mut token) {
                Status::More => polls += 1,
                status => {
                    assert_eq!(status, Status::Ok);
                    return (token, polls);
                }
            }
        }
    }
}

/// A whole text.
fn tell(sampler: &mut KingletSampler, budget: Option<usize>) -> String {
    let (mut text, mut place) = (Vec::new(), 0);
    while ends(sampler) == [0, 0] {
        let (token, polls) = draw(sampler, &mut logits(place), budget);
        assert_eq!(polls == 1, budget.is_none(), "{polls} polls");
        assert_eq!(accept(sampler, token), Status::Ok);
        text.extend(tokenizer().token(token).unwrap());
        place += 1;
    }
    assert_eq!(ends(sampler), [1, 1]);
    String::from_utf8(text).unwrap()
}

/// What the core draws.
fn expected(seed: u64, limits: Limits) -> String {
    let grammar = Grammar::open(TABLE).unwrap();
    let mut constraint = Constraint::new(grammar, tokenizer(), limits).unwrap();
    let options =
        KingletSamplerOptions { temperature: 1.5, top_p: 1.0, ..kinglet_sampler_defaults() };
    let mut sampler = Sampler::new(options.into(), seed).unwrap();
    let (mut text, mut place) = (Vec::new(), 0);
    while !constraint.is_over() {
        let token = constraint.sample(&mut sampler, &mut logits(place)).unwrap();
        assert_eq!(constraint.accept(token), Ok(Accepted::Text));
        text.extend(tokenizer().token(token).unwrap());
        place += 1;
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_text_is_the_one_of_the_core() {
    let mut texts = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let text = expected(seed, Limits::NONE);
        for budget in [None, Some(0), Some(1000), Some(usize::MAX)] {
            let mut sampler = sampler(seed);
            assert_eq!(set(&mut sampler, [0, 0]), Status::Ok);
            assert_eq!(tell(&mut sampler, budget), text, "seed {seed}, budget {budget:?}");
            // Another text from the same seed.
            // SAFETY: a sampler.
            assert_eq!(unsafe { kinglet_sampler_restart(&mut sampler, seed) }, Status::Ok);
            assert_eq!(tell(&mut sampler, budget), text);
        }
        texts.insert(text);
    }
    assert!(texts.iter().any(|text| text.starts_with("{\"led\":")), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("{\"servo\":")), "{texts:?}");
}

#[test]
fn a_text_keeps_within_its_limits() {
    for seed in 0..16 {
        for bytes in SHORTEST..=LONGEST {
            let mut sampler = sampler(seed);
            assert_eq!(set(&mut sampler, [bytes, 0]), Status::Ok);
            let text = tell(&mut sampler, None);
            assert!(text.ends_with('}') && text.len() <= bytes as usize, "{text}");
            assert_eq!(text, expected(seed, Limits { bytes, ..Limits::NONE }));
        }
        let mut sampler = sampler(seed);
        assert_eq!(set(&mut sampler, [0, SHORTEST]), Status::Ok);
        let text = tell(&mut sampler, None);
        assert_eq!(text, expected(seed, Limits { tokens: SHORTEST, ..Limits::NONE }));
        assert_eq!(set(&mut sampler, [SHORTEST - 1, 0]), Status::GrammarLimits);
        assert_eq!(set(&mut sampler, [0, SHORTEST - 1]), Status::GrammarLimits);
        // What was set before stays.
        assert_eq!(ends(&sampler), [1, 1]);
    }
}

#[test]
fn what_may_not_come_next_changes_nothing() {
    let mut sampler = sampler(1);
    assert_eq!(set(&mut sampler, [0, 0]), Status::Ok);
    let mut tokens = tokenizer().encode(b"{\"led\":\"on\"}").map(Result::unwrap);
    let (end, brace) = (0, tokens.next().unwrap());
    assert_eq!(accept(&mut sampler, end), Status::NotAllowed);
    assert_eq!(accept(&mut sampler, u32::MAX), Status::NotAllowed);
    assert_eq!(accept(&mut sampler, brace), Status::Ok);
    assert_eq!(accept(&mut sampler, brace), Status::NotAllowed);
    for token in tokens {
        assert_eq!(ends(&sampler), [0, 0]);
        assert_eq!(accept(&mut sampler, token), Status::Ok);
    }
    // The text is over; only its end may follow.
    assert_eq!(ends(&sampler), [1, 1]);
    let mut all = logits(0);
    assert_eq!(draw(&mut sampler, &mut all, None).0, end);
    assert_eq!(accept(&mut sampler, end), Status::Ok);
    assert_eq!(ends(&sampler), [1, 1]);
    let mut token = 7;
    // SAFETY: a sampler and logits.
    let drawn =
        unsafe { kinglet_sampler_sample(&mut sampler, all.as_mut_ptr(), all.len(), &mut token) };
    assert_eq!((drawn, token), (Status::NoCandidate, 7));
    // Without the grammar it is a sampler as any other.
    // SAFETY: a sampler, and null pointers where they may be.
    let taken = unsafe { kinglet_sampler_set_grammar(&mut sampler, null(), null(), 0, 0) };
    assert_eq!((taken, ends(&sampler)), (Status::Ok, [0, 0]));
    assert_eq!(accept(&mut sampler, u32::MAX), Status::Ok);
    assert_eq!(draw(&mut sampler, &mut logits(0), None).1, 1);
}

#[test]
fn a_draw_that_is_given_up_leaves_the_place() {
    let mut sampler = sampler(3);
    assert_eq!(set(&mut sampler, [0, 0]), Status::Ok);
    let mut all = logits(0);
    let (at, count, mut token) = (all.as_mut_ptr(), all.len(), 0);
    // SAFETY: a sampler and logits.
    unsafe {
        assert_eq!(kinglet_sampler_sample_begin(&mut sampler, at, count), Status::Ok);
        assert_eq!(kinglet_sampler_sample_poll(&mut sampler, 99, &mut token), Status::More);
        assert_eq!(kinglet_sampler_unban(&mut sampler, 0), Status::Ok);
        let gone = kinglet_sampler_sample_poll(&mut sampler, 99, &mut token);
        assert_eq!(gone, Status::InvalidHandle);
        // A logit that is none ends a draw.
        at.add(5).write(f32::NAN);
        assert_eq!(kinglet_sampler_sample_begin(&mut sampler, at, count), Status::Ok);
        let mut status = Status::More;
        while status == Status::More {
            status = kinglet_sampler_sample_poll(&mut sampler, 99, &mut token);
        }
        assert_eq!(status, Status::NonFinite);
    }
    assert_eq!(tell(&mut sampler, Some(2000)), expected(3, Limits::NONE));
}

#[test]
fn a_text_goes_on_from_a_snapshot() {
    let mut first = sampler(9);
    assert_eq!(set(&mut first, [0, 0]), Status::Ok);
    let mut tokens = Vec::new();
    for place in 0..3 {
        tokens.push(draw(&mut first, &mut logits(place), None).0);
        assert_eq!(accept(&mut first, tokens[place]), Status::Ok);
    }
    let mut snapshot = [0; 8];
    let mut second = sampler(10);
    assert_eq!(set(&mut second, [0, 0]), Status::Ok);
    for &token in &tokens {
        assert_eq!(accept(&mut second, token), Status::Ok);
    }
    // SAFETY: samplers, and a buffer of that size.
    unsafe {
        assert_eq!(kinglet_sampler_snapshot(&first, snapshot.as_mut_ptr(), 8), Status::Ok);
        assert_eq!(kinglet_sampler_restore(&mut second, snapshot.as_ptr(), 8), Status::Ok);
    }
    assert_eq!(tell(&mut second, None), tell(&mut first, None));
}

#[test]
fn tables_that_are_none_are_refused() {
    assert_eq!(open(TABLE).0, Status::Ok);
    assert_eq!(open(&TABLE[..TABLE.len() - 1]).0, Status::GrammarDamaged);
    assert_eq!(open(&[]).0, Status::GrammarDamaged);
    assert_eq!(open(MODEL).0, Status::NotAGrammar);
    let changed = |at: usize| {
        let mut table = TABLE.to_vec();
        table[at] ^= 1;
        open(table.leak())
    };
    assert_eq!(changed(4).0, Status::GrammarVersion);
    let (status, damaged) = changed(100);
    assert_eq!(status, Status::GrammarDamaged);
    let mut sampler = sampler(1);
    let model = model();
    let none = KingletModel { opaque: [0; _] };
    // SAFETY: handles, also such that are refused.
    unsafe {
        let mut set =
            |grammar, model| kinglet_sampler_set_grammar(&mut sampler, grammar, model, 0, 0);
        assert_eq!(set(&damaged, &model), Status::InvalidHandle);
        assert_eq!(set(&open(TABLE).1, &none), Status::InvalidHandle);
        assert_eq!(set(&open(TABLE).1, null()), Status::NullPointer);
        let mut unmade = KingletSampler { opaque: [0; _] };
        let status = kinglet_sampler_set_grammar(&mut unmade, null(), null(), 0, 0);
        assert_eq!(status, Status::InvalidHandle);
        assert_eq!(kinglet_sampler_is_over(null()), 0);
        assert_eq!(kinglet_sampler_may_end(&unmade), 0);
    }
}
