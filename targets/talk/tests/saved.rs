//! A session that was saved goes on as if it had not stopped, and nothing else does.

mod common;

use std::fs;

use common::{draw, random, stories, with_session};
use kinglet::StateFile;
use kinglet::format::state_file::StateFileError;
use kinglet_talk::{Branch, SaveError, SessionOptions, Settings, Thinking};
use proptest::prelude::*;

fn options(seed: u64) -> SessionOptions {
    let mut options = SessionOptions { seed, answer_tokens: 12, ..SessionOptions::default() };
    options.sampling.presence = 0.3;
    options
}

/// A conversation of two turns.
fn conversation(template: &str) -> Branch {
    with_session(&stories(), template, options(9), |session| {
        session.ask("There was a \"bird\".").unwrap();
        draw(session, 20);
        session.set_thinking(Thinking::Fast, None);
        session.ask("Then?\nAnd é?").unwrap();
        draw(session, 5);
        session.fork().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_resumed_session_goes_on_as_an_uninterrupted_one(
        seed: u64,
        template in prop::sample::select(vec!["g1", "plain"]),
        tokens in 0_usize..9,
        continues: bool,
    ) {
        let model = stories();
        let again = |session: &mut kinglet_talk::Session<'_>| {
            if continues { session.go_on().unwrap() } else { session.ask("Then?").unwrap() }
            draw(session, 20);
            session.fork().unwrap()
        };
        let (saved, uninterrupted) = with_session(&model, template, options(seed), |session| {
            session.set_system(Some("Tell a story.".into())).unwrap();
            session.ask("There was a bird.").unwrap();
            draw(session, tokens);
            let saved = session.fork().unwrap().to_bytes::<f32>(&model).unwrap();
            (saved, again(session))
        });
        // Another seed and system: the file brings its own.
        let resumed = with_session(&model, template, options(!seed), |session| {
            session.switch(&Branch::from_bytes::<f32>(&model, &saved).unwrap()).unwrap();
            again(session)
        });
        prop_assert_eq!(&resumed, &uninterrupted);
        let undone = with_session(&model, template, options(!seed), |session| {
            session.switch(&resumed).unwrap();
            session.undo(resumed.turns.len()).unwrap();
            session.fork().unwrap()
        });
        prop_assert!(undone.state == common::replay(&model, &undone).0);
    }

    #[test]
    fn damage_is_found(at: prop::sample::Index, bit in 0_u8..8) {
        let model = stories();
        let mut bytes = conversation("g1").to_bytes::<f32>(&model).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // The length of the header is a number that this version does not need.
        let found = Branch::from_bytes::<f32>(&model, &bytes);
        prop_assert!(matches!(found, Err(SaveError::State(_))), "byte {at}");
        let cut = Branch::from_bytes::<f32>(&model, &bytes[..at]);
        prop_assert!(matches!(cut, Err(SaveError::State(_))));
    }
}

#[test]
fn every_template_comes_back() {
    let model = stories();
    for template in ["g1", "world", "raven", "instruct", "plain"] {
        let branch = conversation(template);
        let bytes = branch.to_bytes::<f32>(&model).unwrap();
        assert_eq!(Branch::from_bytes::<f32>(&model, &bytes).unwrap(), branch);
    }
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}\
                  {% if add_generation_prompt %}<assistant>{% endif %}";
    let template = kinglet_talk::template::ChatTemplate::new(source).unwrap();
    let template = kinglet_talk::Template::HuggingFace(template);
    let branch = Branch { template, ..conversation("g1") };
    let bytes = branch.to_bytes::<f32>(&model).unwrap();
    assert_eq!(Branch::from_bytes::<f32>(&model, &bytes).unwrap(), branch);
}

#[test]
fn settings_come_back_and_old_files_have_none() {
    let model = stories();
    let branch = with_session(&model, "g1", options(3), |session| {
        let settings = Settings {
            thinking: Thinking::Fast,
            thought_tokens: Some(7),
            stops: vec!["\n###".into()],
            ..session.settings()
        };
        session.set_settings(&settings).unwrap();
        let branch = session.fork().unwrap();
        assert_eq!(branch.settings, Some(settings));
        branch
    });
    let bytes = branch.to_bytes::<f32>(&model).unwrap();
    assert_eq!(Branch::from_bytes::<f32>(&model, &bytes).unwrap(), branch);
    let old = Branch { settings: None, ..branch };
    let bytes = old.to_bytes::<f32>(&model).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("settings"));
    assert_eq!(Branch::from_bytes::<f32>(&model, &bytes).unwrap(), old);
}

#[test]
fn another_models_session_and_a_state_without_one_are_refused() {
    let model = stories();
    let bytes = conversation("g1").to_bytes::<f32>(&model).unwrap();
    let other = Branch::from_bytes::<f32>(&random(), &bytes);
    assert!(matches!(other, Err(SaveError::State(StateFileError::Model { .. }))));
    let mut state = vec![0; StateFile::<f32>::len(model.shape())];
    let zeros = vec![0.0; model.shape().state_len()];
    StateFile::write(model.header(), &zeros, Some(1), &mut state).unwrap();
    let none = Branch::from_bytes::<f32>(&model, &state);
    assert!(matches!(none, Err(SaveError::NoSession)));
}

#[test]
fn a_session_is_on_disk_whole_or_as_it_was() {
    let model = stories();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.session");
    let first = conversation("g1");
    first.save::<f32>(&model, &path).unwrap();
    // A program that was killed while it wrote leaves a part beside the file.
    let bytes = conversation("world").to_bytes::<f32>(&model).unwrap();
    fs::write(folder.path().join(".kinglet-cut"), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(Branch::load::<f32>(&model, &path).unwrap(), first);
    // A state of another length is not written at all.
    let wrong = Branch { state: vec![0.0; 3], ..first.clone() };
    assert!(wrong.save::<f32>(&model, &path).is_err());
    assert_eq!(Branch::load::<f32>(&model, &path).unwrap(), first);
    let second = conversation("world");
    second.save::<f32>(&model, &path).unwrap();
    assert_eq!(Branch::load::<f32>(&model, &path).unwrap(), second);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let missing = Branch::load::<f32>(&model, &folder.path().join("b.session"));
    assert!(missing.unwrap_err().to_string().contains("b.session"));
}
