//! A story teller among other tasks: a model's token takes milliseconds, and between its pieces
//! the executor runs whoever is ready.
//!
//! * `story` computes a token in pieces and yields after each.
//! * `periodic` runs 50 times a second, and measures how late it comes.
//! * `feed` feeds the watchdog, which resets the board when the executor does not go round.
#![no_std]
#![no_main]

mod time;
// The same board as in the minimal firmware.
#[path = "../../minimal/src/watchdog.rs"]
mod watchdog;

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use embassy_executor::Spawner;
use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Ticker, Timer};
use kinglet::engine::{Progress, StepError};
use kinglet::{BatchToken, Engine as _, Header, Model, Requirements, Section};
use kinglet::{Sampler, SamplerOptions, TextStream, Tokenizer};
use kinglet_cortex_m::Engine;
use semihosting::{print, println, process};
use static_cell::{ConstStaticCell, StaticCell};

static MODEL: &[u8] = kinglet::include_model!("../../../../../models/stories/stories.kinglet");
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
const BUDGET: usize = if cfg!(feature = "undivided") { usize::MAX } else { 20_000 };
/// Longer than a piece takes, and shorter than a token.
const WATCHDOG: Duration = Duration::from_millis(2);

/// What `periodic` has seen: how often it ran, and the most instructions that it came late.
static TICKS: AtomicU32 = AtomicU32::new(0);
static LATEST: AtomicU32 = AtomicU32::new(0);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let engine = engine();
    time::start(cortex_m::Peripherals::take().expect("taken once").SYST);
    spawner.spawn(story(engine).expect("spawned once"));
    spawner.spawn(periodic().expect("spawned once"));
    spawner.spawn(feed().expect("spawned once"));
}

/// The engine, in a static as its buffers are.
fn engine() -> &'static mut Engine<'static> {
    static ENGINE: StaticCell<Engine<'static>> = StaticCell::new();
    let model = Model::open(MODEL).expect("a model");
    model.verify().expect("flash as it was written");
    ENGINE.init(Engine::new(model, STATE.take(), WORKSPACE.take()).expect("an engine"))
}

#[embassy_executor::task]
async fn story(engine: &'static mut Engine<'static>) {
    let tokenizer = engine.model().section(Section::Tokenizer);
    let tokenizer = Tokenizer::parse(tokenizer).expect("a tokenizer");
    let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::for_model(engine.model()) };
    let mut sampler = Sampler::new(options, 42).expect("options in their ranges");
    let logits = LOGITS.take();
    let mut text = TextStream::new();
    let mut token = END_OF_TEXT;
    loop {
        compute(engine, token, logits).await.expect("finite numbers");
        token = sampler.sample(&mut logits[..tokenizer.vocab_len()]).expect("finite logits");
        if token == END_OF_TEXT {
            break;
        }
        for part in text.push(tokenizer.token(token).unwrap_or_default()) {
            print!("{part}");
        }
        yield_now().await;
    }
    println!("{}", text.finish());
    println!("ticks: {}", TICKS.load(Ordering::Relaxed));
    println!("latest: {} instructions", LATEST.load(Ordering::Relaxed));
    process::exit(0)
}

/// Computes the logits after `token`; the other tasks run between the pieces.
async fn compute(engine: &mut Engine<'_>, token: u32, logits: &mut [f32]) -> Result<(), StepError> {
    let token = [BatchToken { token, sequence: 0, logits: true }];
    let mut step = engine.begin(&token, logits)?;
    while let Progress::More { .. } = step.poll(BUDGET)? {
        yield_now().await;
    }
    Ok(())
}

#[embassy_executor::task]
async fn periodic() {
    let mut due = Instant::now();
    loop {
        due += Duration::from_hz(50);
        Timer::at(due).await;
        LATEST.fetch_max(time::instructions_since(due) as u32, Ordering::Relaxed);
        TICKS.fetch_add(1, Ordering::Relaxed);
    }
}

#[embassy_executor::task]
async fn feed() {
    watchdog::start(watchdog::FREQUENCY / 1000 * WATCHDOG.as_millis() as u32);
    let mut ticker = Ticker::every(Duration::from_millis(1));
    loop {
        watchdog::feed();
        ticker.next().await;
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("FAILED: {info}");
    process::exit(101)
}
