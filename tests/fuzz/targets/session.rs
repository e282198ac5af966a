//! Saved sessions: state files with the text of a conversation, of the model of two layers that
//! the seeds have; what opens is written again and gone on with.
#![no_main]

use std::sync::LazyLock;

use kinglet::{Cpu, Model, Requirements, Scalar, Section, Tokenizer};
use kinglet_fuzz::{memory, mutate, state};
use kinglet_quantize::synthetic::SyntheticModel;
use kinglet_talk::{Branch, Session, SessionOptions, Template};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

static MODEL: LazyLock<SyntheticModel> = LazyLock::new(kinglet_fuzz::session::model);

fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let model = Model::open(MODEL.bytes()).expect("a model");
    let sections = kinglet::StateFile::<f32>::len(model.shape());
    let size = match kinglet_fuzz::session::text(&data[..size], sections) {
        // The text, whose length stands before it.
        Some(text) if seed % 8 < 6 => {
            let at = text.start;
            let (size, len) = mutate::within(data, size, text);
            data[at - 4..at].copy_from_slice(&(len as u32).to_le_bytes());
            size
        }
        _ if size > sections && seed % 8 == 6 => mutate::within(data, size, sections..size).0,
        _ => mutate::any(data, size),
    };
    state::seal(&mut data[..size]);
    size
});

fn go_on(model: Model<'static>, branch: &Branch) {
    let needs = Requirements::of::<f32>(model.shape(), 8);
    let mut states = vec![0.0; needs.state];
    let mut workspace = vec![0.0; needs.workspace];
    let mut engine = Cpu::new(model, Scalar, 8, &mut states, &mut workspace).expect("buffers");
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).expect("a tokenizer");
    let options = SessionOptions { seed: 1, answer_tokens: 2, ..SessionOptions::default() };
    let template = Template::named("plain").expect("a built-in template");
    let mut session =
        Session::new(&mut engine, tokenizer, template, options).expect("a session of no turns");
    if session.switch(branch).is_err() {
        return;
    }
    let _ = session.text();
    if session.ask("a").is_ok() {
        while let Ok(Some(_)) = session.next_piece() {}
    }
    let _ = session.undo(2);
}

fuzz_target!(|data: &[u8]| {
    let model = Model::open(MODEL.bytes()).expect("a model");
    memory::within(64 << 20, || {
        let Ok(branch) = Branch::from_bytes::<f32>(&model, data) else { return };
        let again = branch.to_bytes::<f32>(&model).expect("what was read");
        let again = Branch::from_bytes::<f32>(&model, &again).expect("what was written");
        assert_eq!(again, branch);
        let tokens = branch.turns.iter().map(|turn| turn.tokens.len() + turn.user.len());
        // Longer conversations only take longer.
        if tokens.sum::<usize>() < 400 && branch.turns.len() < 8 {
            go_on(model, &branch);
        }
    });
});
