//! A story teller: the firmware to copy.
//!
//! The model lies in flash, every buffer in a static whose length follows from the model at
//! compile time. The super loop computes a token in pieces and feeds the watchdog between them.
#![no_std]
#![no_main]

mod board;
mod watchdog;

use kinglet::engine::{Progress, StepError};
use kinglet::{BatchToken, Engine as _, Header, Model, Requirements, Section};
use kinglet::{Sampler, SamplerOptions, TextStream, Tokenizer};
use kinglet_cortex_m::Engine;
// Text to the debugger. Elsewhere RTT or a UART.
use semihosting::{print, println};
use static_cell::{ConstStaticCell, StaticCell};

static MODEL: &[u8] = kinglet::include_model!(env!("KINGLET_MODEL"));
const HEADER: Header = match Header::parse(MODEL) {
    Ok(header) => header,
    Err(_) => panic!("no model, or one that `kinglet`'s features leave out"),
};
const NEEDS: Requirements = Requirements::of::<f32>(&HEADER.shape, 1);
static STATE: ConstStaticCell<[f32; NEEDS.state]> = ConstStaticCell::new([0.0; _]);
static WORKSPACE: ConstStaticCell<[f32; NEEDS.workspace]> = ConstStaticCell::new([0.0; _]);
static LOGITS: ConstStaticCell<[f32; NEEDS.logits]> = ConstStaticCell::new([0.0; _]);

/// Starts every text, and ends it.
const END_OF_TEXT: u32 = 0;
/// Multiply-accumulates of a piece: less than 100,000 instructions of a Cortex-M4.
const BUDGET: usize = 20_000;

#[cortex_m_rt::entry]
fn main() -> ! {
    let engine = engine(model());
    let mut sampler = sampler(engine.model());
    let tokenizer = engine.model().section(Section::Tokenizer);
    let tokenizer = Tokenizer::parse(tokenizer).expect("a tokenizer");
    let logits = LOGITS.take();
    let mut text = TextStream::new();
    let (mut token, mut tokens, mut ticks) = (END_OF_TEXT, 0, 0);
    let clock = board::Clock::start();
    watchdog::start(watchdog::FREQUENCY / 10);
    loop {
        watchdog::feed();
        let start = clock.now();
        compute(engine, token, logits).expect("finite numbers");
        ticks += u64::from(clock.since(start));
        tokens += 1;
        token = sampler.sample(&mut logits[..tokenizer.vocab_len()]).expect("finite logits");
        if token == END_OF_TEXT {
            break;
        }
        for part in text.push(tokenizer.token(token).unwrap_or_default()) {
            print!("{part}");
        }
    }
    println!("{}", text.finish());
    let stack = board::stack_of(|| compute(engine, token, logits).expect("finite numbers"));
    board::report(tokens, ticks, stack)
}

// Functions of their own, so that what they move is not on the stack while a token is computed.

/// The model, when flash is as it was written.
#[inline(never)]
fn model() -> Model<'static> {
    let model = Model::open(MODEL).expect("a model");
    model.verify().expect("flash as it was written");
    model
}

/// The engine, in a static as its buffers are.
#[inline(never)]
fn engine(model: Model<'static>) -> &'static mut Engine<'static> {
    static ENGINE: StaticCell<Engine<'static>> = StaticCell::new();
    ENGINE.init(Engine::new(model, STATE.take(), WORKSPACE.take()).expect("an engine"))
}

/// The most probable token always. `SamplerOptions::for_model` alone draws as the model is best used.
#[inline(never)]
fn sampler(model: &Model<'_>) -> Sampler {
    let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::for_model(model) };
    Sampler::new(options, 42).expect("options in their ranges")
}

/// Computes the logits after `token` in pieces, between which there is time for other work.
fn compute(engine: &mut Engine<'_>, token: u32, logits: &mut [f32]) -> Result<(), StepError> {
    if cfg!(feature = "undivided") {
        return engine.step(0, token, logits);
    }
    let token = [BatchToken { token, sequence: 0, logits: true }];
    let mut step = engine.begin(&token, logits)?;
    while let Progress::More { .. } = step.poll(BUDGET)? {
        watchdog::feed();
    }
    Ok(())
}
