//! A session is where a conversation is that never took another way, bit for bit.

mod common;

use common::{draw, random, replay, stories, with_session};
use kinglet::sampler::SamplerOptions;
use kinglet_talk::template::Effort;
use kinglet_talk::{Branch, Finish, Session, SessionOptions, Settings, TalkError, Thinking};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Ask(String, usize),
    Retry(usize),
    GoOn(usize),
    Undo(usize),
    Edit(String, usize),
    Think(Thinking),
    System(Option<String>),
    Fork,
    Switch,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let tokens = 0_usize..14;
    let text = "[A-Z][a-z]{0,6}( [a-zé]{1,5}){0,3}\n{0,3}[a-z]?[.?]";
    let thinking = prop::sample::select(vec![
        Thinking::None,
        Thinking::Fast,
        Thinking::Full(Effort::Unsaid),
        Thinking::Full(Effort::ABit),
    ]);
    prop_oneof![
        4 => (text, tokens.clone()).prop_map(|(text, tokens)| Step::Ask(text, tokens)),
        2 => tokens.clone().prop_map(Step::Retry),
        2 => tokens.clone().prop_map(Step::GoOn),
        2 => (0_usize..4).prop_map(Step::Undo),
        1 => (text, tokens).prop_map(|(text, tokens)| Step::Edit(text, tokens)),
        1 => thinking.prop_map(Step::Think),
        1 => prop::option::of(text).prop_map(Step::System),
        1 => Just(Step::Fork),
        1 => Just(Step::Switch),
        1 => Just(Step::Settle),
    ]
}

fn take(session: &mut Session<'_>, kept: &mut Option<Branch>, step: &Step) {
    let asked = match step {
        Step::Ask(text, tokens) => session.ask(text).map(|()| *tokens),
        Step::Retry(tokens) => session.retry().map(|()| *tokens),
        Step::GoOn(tokens) => session.go_on().map(|()| *tokens),
        Step::Edit(text, tokens) => session.edit(text).map(|()| *tokens),
        Step::Undo(turns) => session.undo(*turns).map(|()| 0),
        Step::System(system) => session.set_system(system.clone()).map(|()| 0),
        Step::Settle => session.settle().map(|()| 0),
        Step::Think(thinking) => {
            session.set_thinking(*thinking, Some(6));
            Ok(0)
        }
        Step::Fork => session.fork().map(|branch| {
            *kept = Some(branch);
            0
        }),
        Step::Switch => match kept {
            Some(branch) => session.switch(branch).map(|()| 0),
            None => Ok(0),
        },
    };
    // Turns that are not there are refused, and nothing changes.
    if let Ok(tokens) = asked {
        draw(session, tokens);
    }
}

/// Stops that the built-in model writes often, inside tokens and across them.
fn stops() -> impl Strategy<Value = Vec<String>> {
    let stop = prop::sample::select(vec!["he w", ".", "re", " a b", "nd", "e ", "ttt"]);
    prop::collection::vec(stop.prop_map(str::to_owned), 0..3)
}

fn options(seed: u64, stops: Vec<String>, snapshot_bytes: usize) -> SessionOptions {
    let sampling = SamplerOptions { top_p: 0.9, presence: 0.2, ..SamplerOptions::default() };
    SessionOptions { seed, stops, sampling, snapshot_bytes, ..SessionOptions::default() }
}

/// Draws until the last answer has `most` tokens; returns the text of the answer.
fn draw_to(session: &mut Session<'_>, most: usize) -> String {
    let mut answer = String::new();
    while session.turns()[0].tokens.len() < most {
        let Some(piece) = session.next_piece().unwrap() else { break };
        answer += &piece.answer;
    }
    answer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_was_tried_the_state_is_that_of_a_replay(
        steps in prop::collection::vec(step(), 1..12),
        stops in stops(),
        template in prop::sample::select(vec!["g1", "world", "raven", "instruct", "plain"]),
        is_random: bool,
        roomy: bool,
        seed: u64,
    ) {
        let model = if is_random { random() } else { stories() };
        let options = options(seed, stops, if roomy { 64 << 20 } else { 0 });
        let branch = with_session(&model, template, options, |session| {
            let mut kept = None;
            for step in &steps {
                take(session, &mut kept, step);
            }
            let branch = session.fork().unwrap();
            assert_eq!(session.fork().unwrap(), branch);
            branch
        });
        let (state, text) = replay(&model, &branch);
        prop_assert!(state == branch.state, "another state after {text:?}");
        let past = kinglet_talk::template::Past {
            system: branch.system.as_deref(),
            turns: &branch.turns,
        };
        if template != "plain" {
            prop_assert_eq!(text, branch.template.render(past).unwrap());
        }
    }

    #[test]
    fn an_answer_that_paused_is_the_answer_that_did_not(
        stops in stops(),
        template in prop::sample::select(vec!["g1", "world", "plain"]),
        thinking in prop::sample::select(vec![
            Thinking::None, Thinking::Fast, Thinking::Full(Effort::Unsaid),
        ]),
        pauses in prop::collection::vec((0_usize..9, any::<bool>()), 0..4),
        seed: u64,
    ) {
        let told = |pauses: &[(usize, bool)]| {
            let options = SessionOptions {
                thinking, thought_tokens: Some(9), ..options(seed, stops.clone(), 0)
            };
            with_session(&stories(), template, options, |session| {
                session.ask("Once there was a cat.").unwrap();
                let mut text = String::new();
                let mut most = 0;
                for &(tokens, settled) in pauses {
                    most += tokens;
                    text += &draw_to(session, most);
                    if session.finish().is_some() {
                        break;
                    }
                    text += &session.held_back();
                    if settled {
                        session.settle().unwrap();
                    }
                    session.go_on().unwrap();
                }
                text += &draw_to(session, 40);
                let finish = session.finish().cloned();
                text += &session.held_back();
                (session.fork().unwrap(), finish.is_some(), text)
            })
        };
        let (once, ended, text) = told(&[]);
        let (paused, also, shown) = told(&pauses);
        // What was shown in a pause cannot be taken back where a stop turns out to begin with it; the
        // space before an answer is not shown.
        let rest = shown.strip_prefix(&text);
        let begins_a_stop = |rest: &str| {
            stops.iter().any(|stop| stop.starts_with(rest) || stop.trim_start().starts_with(rest))
        };
        prop_assert!(rest.is_some_and(|rest| rest.is_empty() || begins_a_stop(rest)), "{text} {shown}");
        prop_assert_eq!(&once.turns, &paused.turns);
        prop_assert_eq!(ended, also);
        prop_assert!(once.state == paused.state);
        prop_assert_eq!(once.sampler, paused.sampler);
    }

    #[test]
    fn another_try_is_what_asking_again_gives(seed: u64, tokens in 1_usize..20) {
        let told = |again: fn(&mut Session<'_>)| {
            with_session(&stories(), "g1", options(seed, vec![], 0), |session| {
                session.ask("Hello.").unwrap();
                draw(session, 5);
                session.ask("Tell me a story.").unwrap();
                draw(session, tokens);
                again(session);
                draw(session, tokens);
                session.fork().unwrap()
            })
        };
        let retried = told(|session| session.retry().unwrap());
        let asked = told(|session| {
            session.undo(1).unwrap();
            session.ask("Tell me a story.").unwrap();
        });
        let edited = told(|session| session.edit("Tell me a story.").unwrap());
        prop_assert_eq!(&retried, &asked);
        prop_assert_eq!(&retried, &edited);
    }
}

#[test]
fn a_stop_is_no_part_of_the_turn() {
    let options = SessionOptions { answer_tokens: 200, ..options(4, vec![" w".into()], 0) };
    with_session(&stories(), "plain", options, |session| {
        session.ask("Once upon a time there").unwrap();
        let (_, text) = draw(session, 300);
        assert_eq!(session.finish(), Some(&Finish::Stop(" w".into())));
        session.settle().unwrap();
        assert_eq!(session.turns()[0].answer, text);
        assert!(!text.contains(" w"));
    });
}

#[test]
fn a_token_that_ends_a_turn_is_no_part_of_it() {
    let told = |end_of_turn| {
        let options = SessionOptions { end_of_turn, answer_tokens: 30, ..options(4, vec![], 0) };
        with_session(&stories(), "g1", options, |session| {
            session.ask("Tell me of a cat.").unwrap();
            draw(session, 60);
            (session.finish().cloned(), session.fork().unwrap())
        })
    };
    let (_, whole) = told(None);
    let tokens = &whole.turns[0].tokens;
    let at = (1..tokens.len()).find(|&at| !tokens[..at].contains(&tokens[at])).unwrap();
    let (finish, branch) = told(Some(tokens[at]));
    assert!(matches!(finish, Some(Finish::Stop(_))), "{finish:?}");
    assert_eq!(branch.turns[0].tokens, tokens[..at]);
    assert!(!branch.turns[0].ended && branch.state == replay(&stories(), &branch).0);
}

#[test]
fn a_thought_ends_with_its_budget() {
    let options = SessionOptions {
        thinking: Thinking::Full(Effort::Unsaid),
        thought_tokens: Some(8),
        answer_tokens: 24,
        ..options(2, vec![], 0)
    };
    with_session(&stories(), "g1", options, |session| {
        session.ask("Why?").unwrap();
        let (thought, answer) = draw(session, 100);
        assert_eq!(session.finish(), Some(&Finish::Length));
        session.settle().unwrap();
        let turn = &session.turns()[0];
        assert!(!thought.is_empty() && !answer.is_empty());
        assert_eq!(turn.thought, thought.trim_end());
        assert_eq!(turn.answer, answer.trim_end());
        // History has the answer alone.
        let text = session.text().unwrap();
        assert!(text.contains("Assistant: ") && !text.contains("<think"), "{text}");
    });
}

#[test]
fn a_budget_of_nothing_ends_a_thought_before_it_begins() {
    let options = SessionOptions {
        thinking: Thinking::Full(Effort::Unsaid),
        thought_tokens: Some(0),
        answer_tokens: 24,
        ..options(2, vec![], 0)
    };
    with_session(&stories(), "g1", options, |session| {
        session.ask("Why?").unwrap();
        let (thought, answer) = draw(session, 100);
        session.settle().unwrap();
        let turn = &session.turns()[0];
        assert!(thought.trim().is_empty() && turn.thought.is_empty(), "{thought}");
        assert!(!answer.is_empty());
        // The end of the thought is among the tokens of the answer.
        let ends = usize::from(turn.ended);
        assert_eq!(session.stats().drawn, turn.tokens.len() + ends);
        assert!(turn.tokens.len() <= 24);
    });
}

#[test]
fn a_text_that_is_not_read_leaves_the_session_as_it_was() {
    with_session(&stories(), "g1", options(1, vec![], 0), |session| {
        session.ask("Hello.").unwrap();
        draw(session, 5);
        let before = session.fork().unwrap();
        let long = "A cat. ".repeat(40);
        let mut calls = 0;
        let cancelled = session.ask_with(&long, &mut |done, all| {
            calls += 1;
            assert!(done <= all);
            if calls == 2 {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        });
        assert!(matches!(cancelled, Err(TalkError::Cancelled)));
        assert_eq!(session.fork().unwrap(), before);
        assert!(session.undo(2).is_err() && session.edit("").is_ok());
        assert_eq!(session.turns().len(), 1);
    });
}

#[test]
fn what_is_cancelled_or_refused_leaves_the_session_as_it_was() {
    with_session(&stories(), "g1", options(1, vec![], 0), |session| {
        session.set_system(Some("Be brief.".into())).unwrap();
        session.ask("Hello.").unwrap();
        draw(session, 5);
        let before = session.fork().unwrap();
        let stop = &mut |_, _| std::ops::ControlFlow::Break(());
        let system = session.set_system_with(Some("Be long.".into()), stop);
        assert!(matches!(system, Err(TalkError::Cancelled)));
        assert_eq!(session.fork().unwrap(), before);
        let edited = session.edit_with("Goodbye.", stop);
        assert!(matches!(edited, Err(TalkError::Cancelled)));
        assert_eq!(session.fork().unwrap(), before);
        let settings = Settings {
            sampling: SamplerOptions { top_p: 3.0, ..SamplerOptions::default() },
            ..session.settings()
        };
        assert!(session.set_settings(&settings).is_err());
        assert_eq!(session.settings(), before.settings.clone().unwrap());
        // The system text that was not read is in no state that is gone back to.
        session.undo(1).unwrap();
        let undone = session.fork().unwrap();
        assert!(undone.state == replay(&stories(), &undone).0);
    });
}

#[test]
fn progress_counts_all_tokens_of_a_conversation_that_is_read_again() {
    with_session(&stories(), "g1", options(1, vec![], 0), |session| {
        for _ in 0..2 {
            session.ask("Tell me of a cat.").unwrap();
            draw(session, 9);
        }
        let mut seen = Vec::new();
        let progress = &mut |done, all| {
            seen.push((done, all));
            std::ops::ControlFlow::Continue(())
        };
        session.set_system_with(Some("Be brief.".into()), progress).unwrap();
        let all = seen[0].1;
        assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[1].1 == all), "{seen:?}");
        assert_eq!(seen.last().unwrap().0, all);
    });
}

#[test]
fn a_stop_across_tokens_is_taken_back() {
    let model = stories();
    let mut stopped = 0;
    for seed in 0..8 {
        // A blank between two letters lies between two tokens.
        let stops = ["e w", "d a", "n t", "s a"].map(str::to_owned).to_vec();
        with_session(&model, "plain", options(seed, stops, 0), |session| {
            session.ask("Once upon a time there").unwrap();
            draw(session, 60);
            stopped += usize::from(matches!(session.finish(), Some(Finish::Stop(_))));
            let branch = session.fork().unwrap();
            assert!(replay(&model, &branch).0 == branch.state, "seed {seed}");
        });
    }
    assert!(stopped >= 6, "{stopped} stops");
}
