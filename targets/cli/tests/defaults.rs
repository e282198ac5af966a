//! The same prompt, model and seed give the same text in the program, in Rust and in C, out of the
//! box.

mod support;

use std::mem::MaybeUninit;
use std::ptr;

use kinglet::{Cpu, Engine, Model, Requirements, Sampler, SamplerOptions, Scalar, Section};
use kinglet_c as c;
use support::succeed;

const PROMPT: &str = "Once upon a time";
const TOKENS: usize = 120;

/// As the program tells it.
fn program(seed: u64) -> String {
    let (seed, tokens) = (seed.to_string(), TOKENS.to_string());
    let text = succeed(&["run", PROMPT, "--seed", &seed, "-n", &tokens]);
    text.strip_suffix('\n').expect("a line").to_owned()
}

/// As a program in Rust does that takes the model's options.
fn rust(seed: u64) -> String {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let tokenizer = kinglet::Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut logits = vec![0.0; needs.logits];
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::for_model(&model), seed).unwrap();
    engine.step(0, 0, &mut logits).unwrap();
    for token in tokenizer.encode(PROMPT.as_bytes()) {
        engine.step(0, token.unwrap(), &mut logits).unwrap();
    }
    let mut text = PROMPT.as_bytes().to_vec();
    for _ in 0..TOKENS {
        let token = sampler.sample(&mut logits).unwrap();
        let Some(bytes) = tokenizer.token(token) else { break };
        text.extend(bytes);
        engine.step(0, token, &mut logits).unwrap();
    }
    String::from_utf8(text).unwrap()
}

#[track_caller]
fn check(status: c::KingletStatus) {
    assert_eq!(status, c::KingletStatus::Ok);
}

/// As a program in C does that takes the model's options.
fn in_c(seed: u64) -> String {
    let model_bytes = kinglet_stories::MODEL;
    let mut model = MaybeUninit::<c::KingletModel>::uninit();
    let mut engine = MaybeUninit::<c::KingletEngine>::uninit();
    let mut sampler = MaybeUninit::<c::KingletSampler>::uninit();
    let mut info = MaybeUninit::<c::KingletModelInfo>::uninit();
    let (model, engine, sampler) = (model.as_mut_ptr(), engine.as_mut_ptr(), sampler.as_mut_ptr());
    // SAFETY: every pointer is to memory of the length given beside it, which outlives the
    // handles and is used by them alone.
    unsafe {
        check(c::kinglet_model_open(model, model_bytes.as_ptr(), model_bytes.len()));
        check(c::kinglet_model_info(model, info.as_mut_ptr()));
        let info = info.assume_init();
        let mut state = vec![0f32; c::kinglet_state_size(model) / 4];
        let mut workspace = vec![0f32; c::kinglet_workspace_size(model, 1) / 4];
        let mut logits = vec![0f32; c::kinglet_logits_size(model) / 4];
        check(c::kinglet_engine_init(
            engine,
            model,
            1,
            state.as_mut_ptr().cast(),
            4 * state.len(),
            workspace.as_mut_ptr().cast(),
            4 * workspace.len(),
        ));
        let options = c::kinglet_sampler_defaults_for(model);
        check(c::kinglet_sampler_init(sampler, options, seed, ptr::null_mut(), 0));
        let (mut tokens, mut count) = ([0u32; 64], 0);
        let (text, capacity) = (PROMPT.as_bytes(), tokens.len());
        check(c::kinglet_encode(
            model,
            text.as_ptr(),
            text.len(),
            tokens.as_mut_ptr(),
            capacity,
            &raw mut count,
        ));
        let mut told = text.to_vec();
        let size = 4 * logits.len();
        let logits = logits.as_mut_ptr();
        for token in [info.end_of_text].iter().chain(&tokens[..count]) {
            check(c::kinglet_engine_step(engine, *token, logits, size));
        }
        for _ in 0..TOKENS {
            let (mut token, mut bytes, mut len) = (0, ptr::null(), 0);
            let drawable = info.drawable as usize;
            check(c::kinglet_sampler_sample(sampler, logits, drawable, &raw mut token));
            if token == info.end_of_text {
                break;
            }
            check(c::kinglet_decode(model, token, &raw mut bytes, &raw mut len));
            told.extend(std::slice::from_raw_parts(bytes, len));
            check(c::kinglet_engine_step(engine, token, logits, size));
        }
        String::from_utf8(told).unwrap()
    }
}

#[test]
fn program_rust_and_c_tell_the_same_with_their_defaults() {
    for seed in [1, 7, 42] {
        let told = program(seed);
        assert!(told.len() > PROMPT.len() + 100, "{told}");
        assert_eq!(rust(seed), told, "Rust, seed {seed}");
        assert_eq!(in_c(seed), told, "C, seed {seed}");
    }
}
