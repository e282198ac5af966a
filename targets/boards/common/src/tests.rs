//! The programs on this machine in the place of a board.

use std::borrow::ToOwned;
use std::boxed::Box;
use std::cell::RefCell;
use std::string::String;
use std::vec;

use embassy_futures::block_on;
use kinglet::format::model::{Aligned, HEADER_LEN, Header, ModelError, Section};
use kinglet::{SamplerOptions, Tokenizer};
use kinglet_stories::{CONTENT_HASH, DIGEST, GREEDY_TOKENS, MODEL};

use crate::model::{self, NEEDS};
use crate::{Board, Console, Engine, Error, Memory, Teller, record};

std::thread_local! {
    static CONSOLE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A board whose clock is the number of times that it was asked.
struct Desk;

impl Board for Desk {
    const NAME: &'static str = "desk";
    const CORE: &'static str = "Cortex-M0";
    const CLOCK: Option<u32> = Some(12_500_000);
    const MEMORIES: &'static [Memory] =
        &[Memory { name: "everything", start: 0, bytes: usize::MAX }];

    fn micros() -> Option<u64> {
        std::thread_local! {
            static MICROS: RefCell<u64> = const { RefCell::new((1 << 32) - 1) };
        }
        MICROS.with_borrow_mut(|micros| {
            *micros += 1;
            Some(*micros)
        })
    }

    fn stack_end() -> usize {
        0
    }

    fn write(text: &str) {
        CONSOLE.with_borrow_mut(|console| console.push_str(text));
    }
}

fn console() -> String {
    CONSOLE.take()
}

fn teller() -> Teller<'static, Engine> {
    let model = model::open(MODEL).expect("the shipped model");
    let (state, workspace) = (vec![0.0; NEEDS.state].leak(), vec![0.0; NEEDS.workspace].leak());
    let engine = Engine::new(model, state, workspace).expect("buffers");
    Teller { model, engine, kernels: "dsp", logits: vec![0.0; NEEDS.logits].leak() }
}

#[test]
fn a_story_is_that_of_the_desktop() {
    teller().story::<Desk>().expect("a story");
    let told = console();
    let model = teller().model;
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).expect("a tokenizer");
    let tokens = GREEDY_TOKENS.iter().map(|&token| tokenizer.token(token).expect("in range"));
    let begin = String::from_utf8(tokens.collect::<vec::Vec<_>>().concat()).expect("UTF-8");
    assert!(told.starts_with(&begin), "{told}");
    assert!(told.ends_with('\n') && told.len() > 100, "{told}");
    block_on(teller().story_in_pieces::<Desk>()).expect("a story");
    assert_eq!(console(), told);
}

#[test]
fn a_teller_has_the_buffers_once() {
    let with = || {
        Teller::with(MODEL, "dsp", |model, state, workspace| {
            Ok(Engine::new(model, state, workspace)?)
        })
    };
    let mut first = with().expect("buffers");
    assert_eq!(with().err(), Some(Error::Buffers));
    first.story::<Desk>().expect("a story");
    assert!(!console().is_empty());
}

#[test]
fn a_record_is_json_with_the_digest() {
    record::<Desk, _>(&mut teller()).expect("a record");
    let line = console();
    assert_eq!(line.matches('\n').count(), 1);
    let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(record["digest"], std::format!("{DIGEST:08x}"));
    let hash: String = CONTENT_HASH.iter().map(|byte| std::format!("{byte:02x}")).collect();
    assert_eq!(record["model_hash"], hash);
    assert_eq!(record["model_bytes"], MODEL.len());
    assert_eq!(record["mhz"], 12.5);
    assert_eq!(record["kernels"], "dsp");
    // A tick before the step and one after it; the lower half wraps once.
    assert_eq!(record["us_per_token"], 1);
    assert!(record["cycles_per_token"].is_null() && record["stack"].is_null());
    assert_eq!(record["memories"]["everything"], usize::MAX);
    for (name, bytes) in [("model", MODEL.len()), ("state", 202_752), ("logits", 4096)] {
        assert_eq!(record["buffers"][name], serde_json::json!(["everything", bytes]), "{name}");
    }
}

/// The shipped model with another byte at `at`.
fn damaged(at: usize) -> &'static [u8] {
    let mut copy = Box::new(Aligned([0; MODEL.len()]));
    copy.0.copy_from_slice(MODEL);
    copy.0[at] ^= 1;
    &Box::leak(copy).0
}

#[test]
fn damage_is_named() {
    let section = |section| model::HEADER.section(section);
    for wanted in [Section::Layers, Section::Tokenizer] {
        let entry = section(wanted);
        let bytes = damaged(entry.offset as usize + entry.len as usize / 2);
        let model = model::open(bytes).expect("a header");
        let mut pieces = 0;
        let error = model::check(&model, || pieces += 1).expect_err("damage");
        let Error::Model { at, error: ModelError::SectionCrc { section, .. } } = error else {
            panic!("{error:?}");
        };
        assert_eq!((at, section), (bytes.as_ptr().addr(), wanted));
        assert!(pieces > 2, "{pieces}");
        assert_eq!(block_on(model::check_in_pieces(&model)), Err(error));
        let said = std::format!("{error}");
        assert!(said.contains(wanted.name()) && said.contains("flash the model again"), "{said}");
    }
    assert!(matches!(
        model::open(damaged(20)),
        Err(Error::Model { error: ModelError::HeaderCrc { .. }, .. })
    ));
}

#[test]
fn empty_flash_and_another_model_are_told_apart() {
    static ERASED: Aligned<[u8; 4096]> = Aligned([0xFF; _]);
    let at = ERASED.0.as_ptr().addr();
    assert_eq!(model::open(&ERASED.0).err(), Some(Error::Erased { at }));
    let mut copy = Box::new(Aligned([0; MODEL.len()]));
    copy.0.copy_from_slice(MODEL);
    let other = Header { content_hash: [7; 32], ..model::HEADER };
    copy.0[..HEADER_LEN].copy_from_slice(&other.emit());
    let bytes: &'static [u8] = &Box::leak(copy).0;
    let at = bytes.as_ptr().addr();
    assert_eq!(model::open(bytes).err(), Some(Error::OtherModel { at }));
}

#[test]
fn the_console_takes_formatted_text() {
    use core::fmt::Write as _;
    write!(Console::<Desk>::new(), "{} {}", 1, SamplerOptions::greedy().temperature).expect("text");
    assert_eq!(console(), "1 0".to_owned());
}
