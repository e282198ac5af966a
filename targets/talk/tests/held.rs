//! Answers that a grammar holds: texts of it, complete, whatever a session does with them.

mod common;

use common::{draw, random, replay, stories, tokenizer, with_engine, with_session};
use kinglet::grammar::ConstraintError;
use kinglet::sampler::SamplerOptions;
use kinglet::tokenizer::Tokenizer;
use kinglet_grammar::{compile, from_gbnf, from_regex, schema};
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_talk::grammar::OwnedGrammar;
use kinglet_talk::template::Effort;
use kinglet_talk::{
    Branch, Finish, SaveError, Session, SessionOptions, TalkError, Template, Thinking,
};
use proptest::prelude::*;
use serde_json::Value;

const PERSON: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "maxItems": 3, "items": {"enum": ["a", "b"]}}
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": false
}"#;
/// Bytes of `{"name":"","age":0,"tags":[]}`.
const SHORTEST: usize = 29;

fn options() -> kinglet_grammar::Options {
    kinglet_grammar::Options::default()
}

fn person() -> OwnedGrammar {
    let rules = schema::rules(PERSON, &schema::Options::default()).unwrap();
    OwnedGrammar::new(compile(&rules, &options()).unwrap()).unwrap()
}

fn regex(pattern: &str) -> OwnedGrammar {
    OwnedGrammar::new(from_regex(pattern, &options()).unwrap()).unwrap()
}

fn held(grammar: OwnedGrammar, seed: u64, answer_tokens: usize) -> SessionOptions {
    let sampling = SamplerOptions { top_p: 0.9, presence: 0.2, ..SamplerOptions::default() };
    SessionOptions { grammar: Some(grammar), seed, answer_tokens, sampling, ..Default::default() }
}

#[track_caller]
fn assert_person(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
    assert!(value["age"].as_u64().unwrap() <= 150, "{text}");
    assert!(value["tags"].as_array().unwrap().iter().all(|tag| tag == "a" || tag == "b"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_answer_is_a_complete_text_of_the_grammar(
        is_random: bool,
        template in prop::sample::select(vec!["g1", "world", "raven", "instruct", "plain"]),
        thinking in prop::sample::select(vec![
            Thinking::None, Thinking::Fast, Thinking::Full(Effort::Unsaid),
        ]),
        tokens in SHORTEST..120,
        temperature in prop_oneof![Just(0.0f32), Just(1.0)],
        seed: u64,
    ) {
        let model = if is_random { random() } else { stories() };
        let thinking = if template == "g1" { thinking } else { Thinking::None };
        let mut options = held(person(), seed, tokens);
        (options.thinking, options.sampling.temperature) = (thinking, temperature);
        let branch = with_session(&model, template, options, |session| {
            session.ask("Tell me of a cat.").unwrap();
            let (_, answer) = draw(session, 200);
            assert!(session.next_piece().unwrap().is_none());
            assert!(matches!(session.finish(), Some(Finish::Complete)), "{:?}", session.finish());
            assert_person(&answer);
            let branch = session.fork().unwrap();
            assert_eq!(branch.turns[0].answer, answer);
            assert!(thinking != Thinking::None || branch.turns[0].tokens.len() <= tokens);
            branch
        });
        prop_assert!(replay(&model, &branch).0 == branch.state);
    }

    #[test]
    fn an_answer_that_paused_is_the_answer_that_did_not(
        pauses in prop::collection::vec((0_usize..9, 0_usize..3), 0..4),
        thinking in prop::sample::select(vec![Thinking::None, Thinking::Full(Effort::Unsaid)]),
        seed: u64,
    ) {
        let model = stories();
        let told = |pauses: &[(usize, usize)]| {
            let options = SessionOptions {
                thinking,
                thought_tokens: Some(6),
                ..held(person(), seed, 200)
            };
            with_session(&model, "g1", options.clone(), |session| {
                session.ask("Once there was a cat.").unwrap();
                for &(tokens, way) in pauses {
                    draw(session, tokens);
                    match way {
                        0 => {}
                        1 => session.settle().unwrap(),
                        _ => {
                            // On disk and back.
                            let file = session.fork().unwrap().to_bytes::<f32>(&model).unwrap();
                            let branch = Branch::from_bytes::<f32>(&model, &file).unwrap();
                            session.set_grammar(None).unwrap();
                            session.switch(&branch).unwrap();
                            session.set_settings(branch.settings.as_ref().unwrap()).unwrap();
                        }
                    }
                    if session.finish().is_none() {
                        session.go_on().unwrap();
                    }
                }
                draw(session, 400);
                session.fork().unwrap()
            })
        };
        let (once, paused) = (told(&[]), told(&pauses));
        assert_person(&once.turns[0].answer);
        prop_assert_eq!(once, paused);
    }

    #[test]
    fn another_try_is_held_as_well(seed: u64, tokens in 0_usize..20) {
        with_session(&stories(), "g1", held(person(), seed, 100), |session| {
            session.ask("Hello.").unwrap();
            draw(session, tokens);
            session.retry().unwrap();
            assert_person(&draw(session, 200).1);
            session.edit("Who are you?").unwrap();
            assert_person(&draw(session, 200).1);
            session.undo(1).unwrap();
            session.ask("And you?").unwrap();
            assert_person(&draw(session, 200).1);
        });
    }
}

#[test]
fn a_grammar_is_for_the_answers_that_begin_under_it() {
    let options = SessionOptions { grammar: None, ..held(person(), 1, 60) };
    with_session(&stories(), "g1", options, |session| {
        session.ask("Hello.").unwrap();
        let (_, free) = draw(session, 8);
        assert!(serde_json::from_str::<Value>(&free).is_err());
        session.set_grammar(Some(person())).unwrap();
        assert!(matches!(session.go_on(), Err(TalkError::OffGrammar)));
        session.retry().unwrap();
        assert_person(&draw(session, 100).1);
        session.ask("Yes or no?").unwrap();
        session.set_grammar(Some(regex("yes|no"))).unwrap();
        session.retry().unwrap();
        let (_, answer) = draw(session, 100);
        assert!(answer == "yes" || answer == "no", "{answer}");
        session.set_grammar(None).unwrap();
        session.ask("Tell me a story.").unwrap();
        let (_, free) = draw(session, 8);
        assert!(serde_json::from_str::<Value>(&free).is_err());
        assert_person(&session.turns()[0].answer);
    });
}

#[test]
fn a_stop_inside_of_a_text_does_not_cut_it() {
    // The text is this and no other, and the template's stop is in it, twice.
    let grammar = regex(r#"\{"talk":"Hi\n\nUser: hello\n\nUser: bye"\}"#);
    with_session(&stories(), "g1", held(grammar, 3, 80), |session| {
        session.ask("Hello.").unwrap();
        let (_, answer) = draw(session, 100);
        assert_eq!(answer, "{\"talk\":\"Hi\n\nUser: hello\n\nUser: bye\"}");
        assert_eq!(session.finish(), Some(&Finish::Complete));
        session.settle().unwrap();
        assert_eq!(session.turns()[0].answer, answer);
    });
}

#[test]
fn what_begins_a_stop_ends_a_text_that_may_end() {
    let grammar = regex("[a-z ]+");
    let mut ended = Vec::new();
    for seed in 0..12 {
        // The built-in model has a full stop after every few words.
        let options =
            SessionOptions { stops: vec![". And".into()], ..held(grammar.clone(), seed, 300) };
        with_session(&stories(), "plain", options, |session| {
            session.ask("Once upon a time there").unwrap();
            let (_, answer) = draw(session, 300);
            assert!(answer.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase()));
            ended.push(session.finish().cloned());
            let branch = session.fork().unwrap();
            assert!(replay(&stories(), &branch).0 == branch.state, "seed {seed}");
            assert_eq!(branch.turns[0].answer, answer);
        });
    }
    let stops = ended.iter().filter(|end| **end == Some(Finish::Stop(". And".into()))).count();
    assert!(stops >= 6, "{ended:?}");
}

#[test]
fn a_text_that_its_limit_completed_goes_on() {
    with_session(&stories(), "plain", held(regex("[a-z ,]+x"), 3, 20), |session| {
        session.ask("Once upon a time there").unwrap();
        let (_, first) = draw(session, 100);
        assert!(first.ends_with('x'), "{first}");
        assert_eq!(session.finish(), Some(&Finish::Complete));
        let tokens = session.turns()[0].tokens.len();
        assert!(tokens <= 20);
    });
    with_session(&stories(), "plain", held(regex("[a-z ,]+"), 3, 5), |session| {
        session.ask("Once upon a time there").unwrap();
        let (_, first) = draw(session, 100);
        assert_eq!(session.finish(), Some(&Finish::Complete));
        session.go_on().unwrap();
        let (_, rest) = draw(session, 100);
        assert!(!rest.is_empty());
        session.settle().unwrap();
        assert_eq!(session.turns()[0].answer, first + &rest);
        assert_eq!(session.turns()[0].tokens.len(), 10);
    });
}

#[test]
fn a_grammar_that_does_not_suit_is_refused_and_changes_nothing() {
    let model = stories();
    with_session(&model, "g1", held(person(), 1, 60), |session| {
        session.ask("Hello.").unwrap();
        draw(session, 9);
        let before = session.fork().unwrap();
        let constraint = |error| match error {
            Err(TalkError::Constraint(error)) => error,
            other => panic!("{other:?}"),
        };
        let long = constraint(session.set_grammar(Some(regex("a{61}"))));
        assert!(matches!(long, ConstraintError::TooShort { shortest: 61, .. }), "{long}");
        session.set_answer_tokens(SHORTEST - 1);
        for refused in [session.ask("What?"), session.retry(), session.edit("What?")] {
            let error = constraint(refused);
            assert!(error.to_string().contains("has 29 bytes"), "{error}");
        }
        session.set_answer_tokens(60);
        assert_eq!(session.fork().unwrap(), before);
        session.retry().unwrap();
        assert_person(&draw(session, 100).1);
    });
    // A vocabulary without the byte `q`.
    let tokenizer = tokenizer(&model);
    let tokens = (0..tokenizer.vocab_len() as u32).map(|id| match tokenizer.token(id) {
        Some(b"q") => b"qqqq".to_vec(),
        bytes => bytes.unwrap_or_default().to_vec(),
    });
    let section = Vocabulary::from_tokens(tokens.collect()).unwrap().pack().unwrap();
    with_engine(&model, |engine| {
        let template = Template::named("g1").unwrap();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let session = Session::new(engine, tokenizer, template, held(regex("q+"), 1, 60));
        let error = session.err().unwrap();
        let no_token = ConstraintError::NoToken { byte: b'q' };
        assert!(matches!(&error, TalkError::Constraint(error) if *error == no_token), "{error}");
    });
}

#[test]
fn a_grammar_is_saved_with_the_settings() {
    let model = stories();
    let branch = with_session(&model, "g1", held(regex("yes|no"), 1, 60), |session| {
        session.ask("Hello.").unwrap();
        draw(session, 9);
        session.fork().unwrap()
    });
    let bytes = branch.to_bytes::<f32>(&model).unwrap();
    let read = Branch::from_bytes::<f32>(&model, &bytes).unwrap();
    assert_eq!(read.settings.unwrap().grammar, Some(regex("yes|no")));
    let error: SaveError = OwnedGrammar::new(*b"kgrm").unwrap_err().into();
    assert!(error.to_string().starts_with("the grammar of the session"), "{error}");
}

#[test]
fn rules_that_contain_themselves_hold_as_well() {
    let table =
        from_gbnf("root ::= \"x\" | \"[\" (root (\",\" root)*)? \"]\"", &options()).unwrap();
    let grammar = OwnedGrammar::new(table).unwrap();
    for seed in 0..8 {
        with_session(&stories(), "g1", held(grammar.clone(), seed, 40), |session| {
            session.ask("Hello.").unwrap();
            let (_, answer) = draw(session, 100);
            let json = answer.replace('x', "0");
            assert!(serde_json::from_str::<Value>(&json).is_ok(), "{answer}");
        });
    }
}
