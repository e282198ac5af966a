//! Cached masks are what the constraint says of each token.

use std::sync::{Arc, LazyLock};

use kinglet::grammar::{Accepted, Constraint, Grammar, Limits};
use kinglet::sampler::{SampleError, Sampler, SamplerOptions};
use kinglet::{Model, Section, Tokenizer};
use kinglet_grammar::{compile, from_gbnf, from_regex, schema};
use kinglet_quantize::vocabulary::Vocabulary as Packed;
use kinglet_talk::grammar::{MaskCache, Vocabulary};
use proptest::prelude::*;

/// The section of the World vocabulary, with id 0, which ends a text.
static WORLD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let tokens = kinglet_world::tokens().map(<[u8]>::to_vec);
    Packed::from_tokens(std::iter::once(Vec::new()).chain(tokens).collect())
        .unwrap()
        .pack()
        .unwrap()
});

fn stories() -> Tokenizer<'static> {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    Tokenizer::parse(model.section(Section::Tokenizer)).unwrap()
}

fn world() -> Tokenizer<'static> {
    Tokenizer::parse(&WORLD).unwrap()
}

fn schema_table(text: &str) -> Vec<u8> {
    let rules = schema::rules(text, &schema::Options::default()).unwrap();
    compile(&rules, &kinglet_grammar::Options::default()).unwrap()
}

static TABLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let options = kinglet_grammar::Options::default();
    vec![
        schema_table(
            r#"{"type": "object", "properties": {"led": {"enum": ["on", "off"]}},
            "required": ["led"], "additionalProperties": false}"#,
        ),
        schema_table(
            r#"{"type": "object", "properties": {"name": {"type": "string"},
            "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
            "required": ["name", "age", "tags"], "additionalProperties": false}"#,
        ),
        from_gbnf("root ::= \"x\" | \"[\" (root (\",\" root)*)? \"]\"", &options).unwrap(),
        from_regex("[a-zé ]{3,40}\\.?\n*", &options).unwrap(),
        from_regex("(?s:.)*", &options).unwrap(),
    ]
});

fn limits() -> impl Strategy<Value = Limits> {
    let most = || prop_oneof![2 => Just(u32::MAX), 3 => 40u32..80];
    (most(), most()).prop_map(|(bytes, tokens)| Limits { bytes, tokens })
}

/// Follows draws through texts, and compares each mask with the constraint.
fn compare(tokenizer: Tokenizer<'_>, table: &[u8], limits: Limits, draws: &[u32]) {
    let grammar = Grammar::open(table).unwrap();
    let mut constraint = Constraint::new(grammar, tokenizer, limits).unwrap();
    constraint.end_with(11).unwrap();
    let mut masks = MaskCache::new(Arc::new(Vocabulary::new(&tokenizer)));
    for &draw in draws {
        let mask = masks.mask(&constraint);
        let ids = 0..tokenizer.vocab_len() as u32 + 64;
        let allowed: Vec<_> = ids.filter(|&token| constraint.allows(token)).collect();
        let ids = 0..tokenizer.vocab_len() as u32 + 64;
        let found: Vec<_> = ids.filter(|&token| mask.contains(token)).collect();
        assert_eq!(found, allowed, "of {limits:?}");
        let Some(&token) = allowed.get(draw as usize % allowed.len().max(1)) else {
            constraint.restart();
            continue;
        };
        let was_text = constraint.accept(token).unwrap() == Accepted::Text;
        assert_ne!(was_text, constraint.is_ended());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_mask_has_the_tokens_that_are_allowed(
        table in 0usize..5,
        limits in limits(),
        draws in prop::collection::vec(any::<u32>(), 1..60),
    ) {
        compare(stories(), &TABLES[table], limits, &draws);
    }

    #[test]
    fn a_cached_draw_is_that_of_the_constraint(
        logits in prop::collection::vec(-4.0f32..4.0, 1024),
        table in 0usize..5,
        limits in limits(),
        temperature in prop_oneof![Just(0.0f32), Just(0.9)],
        presence in prop_oneof![Just(0.0f32), Just(1.5)],
        seed: u64,
    ) {
        let tokenizer = stories();
        let drawable = tokenizer.vocab_len();
        let grammar = Grammar::open(&TABLES[table]).unwrap();
        let mut constraint = Constraint::new(grammar, tokenizer, limits).unwrap();
        let mut masks = MaskCache::new(Arc::new(Vocabulary::new(&tokenizer)));
        let options = SamplerOptions { temperature, presence, top_p: 0.9, ..Default::default() };
        let mut sampler = Sampler::with_counts(options, seed, vec![0.0; drawable]).unwrap();
        for shift in 0..12 {
            if constraint.is_over() {
                break;
            }
            let mut logits = logits.clone();
            logits.rotate_left(71 * shift);
            logits.truncate(drawable);
            let mut direct = sampler.clone();
            let expected = constraint.sample(&mut direct, &mut logits.clone()).unwrap();
            let token = masks.sample(&constraint, &mut sampler, &mut logits).unwrap();
            prop_assert_eq!(token, expected);
            constraint.accept(token).unwrap();
            sampler.accept(token);
        }
    }
}

proptest! {
    // Each step asks the constraint for 65,593 tokens.
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_mask_of_the_world_vocabulary_is_exact(
        table in 0usize..5,
        limits in limits(),
        draws in prop::collection::vec(any::<u32>(), 1..24),
    ) {
        compare(world(), &TABLES[table], limits, &draws);
    }
}

#[test]
fn a_logit_that_is_no_number_is_refused_wherever_it_is() {
    let tokenizer = stories();
    let grammar = Grammar::open(&TABLES[0]).unwrap();
    let constraint = Constraint::new(grammar, tokenizer, Limits::NONE).unwrap();
    let mut masks = MaskCache::new(Arc::new(Vocabulary::new(&tokenizer)));
    for (at, logit) in [(0, f32::NAN), (77, f32::INFINITY), (tokenizer.vocab_len() - 1, f32::NAN)] {
        let mut logits = vec![0.0; tokenizer.vocab_len()];
        logits[at] = logit;
        let error = masks.mask(&constraint).apply(&mut logits).unwrap_err();
        assert_eq!(error, SampleError::NonFinite { token: at as u32 });
    }
}

#[test]
fn a_text_that_has_ended_has_no_next_token() {
    let tokenizer = stories();
    let table = from_regex("a*", &kinglet_grammar::Options::default()).unwrap();
    let mut constraint =
        Constraint::new(Grammar::open(&table).unwrap(), tokenizer, Limits::NONE).unwrap();
    let mut masks = MaskCache::new(Arc::new(Vocabulary::new(&tokenizer)));
    assert!(masks.mask(&constraint).contains(0));
    assert_eq!(constraint.accept(0), Ok(Accepted::End));
    assert!((0..1024).all(|token| !masks.mask(&constraint).contains(token)));
}

/// More positions than masks are kept: those that are computed again are the same.
#[test]
fn masks_that_were_given_up_come_again() {
    let tokenizer = stories();
    let table = from_regex("[ab]{400}c", &kinglet_grammar::Options::default()).unwrap();
    let grammar = Grammar::open(&table).unwrap();
    let mut constraint = Constraint::new(grammar, tokenizer, Limits::NONE).unwrap();
    let mut masks = MaskCache::new(Arc::new(Vocabulary::new(&tokenizer)));
    let a = tokenizer.encode(b"a").next().unwrap().unwrap();
    for _ in 0..2 {
        for _ in 0..400 {
            let mask = masks.mask(&constraint);
            let ids = 0..tokenizer.vocab_len() as u32;
            assert!(ids.clone().all(|token| mask.contains(token) == constraint.allows(token)));
            constraint.accept(a).unwrap();
        }
        constraint.restart();
    }
}
