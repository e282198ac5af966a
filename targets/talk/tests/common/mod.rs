//! Engines for tests: the built-in model, and small ones of random weights.

use std::sync::LazyLock;

use kinglet::engine::Engine;
use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet::{Cpu, Model, Requirements, Scalar, Section, Tokenizer};
use kinglet_quantize::synthetic::SyntheticModel;
use kinglet_talk::template::{END_OF_TEXT, Past};
use kinglet_talk::{Branch, Session, SessionOptions, Template, Turn};

/// A vocabulary of bytes, and two layers.
static RANDOM: LazyLock<SyntheticModel> = LazyLock::new(|| {
    let shape = Shape {
        architecture: Architecture::Rwkv7,
        layers: 2,
        width: 64,
        head_size: 32,
        ffn: 96,
        vocab: 288,
        ranks: Ranks { decay: 32, iclr: 32, value: 32, gate: 32, ..Ranks::NONE },
    };
    SyntheticModel::new(&shape, 0.5, 3).unwrap()
});

pub(crate) fn random() -> Model<'static> {
    Model::open(RANDOM.bytes()).unwrap()
}

pub(crate) fn stories() -> Model<'static> {
    Model::open(kinglet_stories::MODEL).unwrap()
}

pub(crate) fn tokenizer(model: &Model<'static>) -> Tokenizer<'static> {
    Tokenizer::parse(model.section(Section::Tokenizer)).unwrap()
}

/// Runs `f` with an engine of one sequence.
pub(crate) fn with_engine<R>(model: &Model<'static>, f: impl FnOnce(&mut dyn Engine) -> R) -> R {
    let needs = Requirements::of::<f32>(model.shape(), 16);
    let mut state = vec![0.0; needs.state];
    let mut workspace = vec![0.0; needs.workspace];
    f(&mut Cpu::new(*model, Scalar, 16, &mut state, &mut workspace).unwrap())
}

/// Runs `f` with a session.
pub(crate) fn with_session<R>(
    model: &Model<'static>,
    template: &str,
    options: SessionOptions,
    f: impl FnOnce(&mut Session<'_>) -> R,
) -> R {
    with_engine(model, |engine| {
        let template = Template::named(template).unwrap();
        f(&mut Session::new(engine, tokenizer(model), template, options).unwrap())
    })
}

/// Draws at most `most` tokens' pieces; returns thought and answer.
pub(crate) fn draw(session: &mut Session<'_>, most: usize) -> (String, String) {
    let (mut thought, mut answer) = (String::new(), String::new());
    for _ in 0..most {
        let Some(piece) = session.next_piece().unwrap() else { break };
        thought += &piece.thought;
        answer += &piece.answer;
    }
    (thought, answer)
}

/// The state of a conversation, computed without a session, and the text that was read.
pub(crate) fn replay(model: &Model<'static>, branch: &Branch) -> (Vec<f32>, String) {
    let tokenizer = tokenizer(model);
    let encode = |text: &str| {
        let mut tokens = Vec::new();
        for (index, part) in text.split(END_OF_TEXT).enumerate() {
            tokens.extend(tokenizer.end_of_text().filter(|_| index > 0));
            tokens.extend(tokenizer.encode(part.as_bytes()).map(Result::unwrap));
        }
        tokens
    };
    let Branch { template, turns, system, .. } = branch;
    let mut tokens = encode(&template.start(system.as_deref()));
    for (index, turn) in turns.iter().enumerate() {
        let past = Past { system: system.as_deref(), turns: &turns[..index] };
        let Turn { answer, tokens: written, .. } = turn;
        tokens.extend(encode(&template.user(past, turn.question()).unwrap()));
        let history = template.answered(past, turn.question(), answer).unwrap();
        let opening = template.opening(past, turn.question()).unwrap();
        let bytes = written.iter().flat_map(|&token| tokenizer.token(token).unwrap_or_default());
        let bytes: Vec<u8> = opening.bytes().chain(bytes.copied()).collect();
        let rest = history.as_bytes().strip_prefix(&*bytes);
        if template.is_plain() {
            tokens.extend(written);
        } else if let Some(rest) = rest.and_then(|rest| str::from_utf8(rest).ok()) {
            tokens.extend(encode(&opening));
            tokens.extend(written);
            tokens.extend(encode(rest));
        } else {
            tokens.extend(encode(&history));
        }
    }
    let mut text = Vec::new();
    for &token in &tokens {
        if Some(token) == tokenizer.end_of_text() {
            text.extend(END_OF_TEXT.to_string().into_bytes());
        } else {
            text.extend_from_slice(tokenizer.token(token).unwrap_or_default());
        }
    }
    let mut state = vec![0.0; model.shape().state_len()];
    with_engine(model, |engine| {
        let mut logits = vec![0.0; model.shape().vocab];
        engine.prefill(0, &tokens, &mut logits).unwrap();
        engine.store_state(0, &mut state).unwrap();
    });
    (state, String::from_utf8_lossy(&text).into_owned())
}
