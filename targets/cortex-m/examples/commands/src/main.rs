//! A board that answers commands: a line of text becomes JSON that keeps a schema, and the JSON
//! switches an LED or turns a servo.
//!
//! The grammar, `led_servo.grammar`, is compiled ahead from the schema `led_servo.json` beside it
//! (`kinglet grammar`), lies in flash as the model does, and is checked when the firmware is built. Whatever the model
//! prefers, a text is one of the schema, so that it is parsed without a doubt and nothing else
//! reaches the pins. Which of them it is, is for the model to choose: the one that ships tells
//! stories and was not trained on commands, so here the form is right and the choice is not.
//!
//! The text is that of the desktop, byte for byte:
//!
//! ```sh
//! kinglet run --grammar led_servo.grammar --seed 7 'Turn on the light.'
//! ```
#![no_std]
#![no_main]

// The same board as in the minimal firmware.
#[path = "../../minimal/src/board.rs"]
mod board;
mod command;
#[path = "../../minimal/src/watchdog.rs"]
mod watchdog;

use command::{Command, ShownPins};
use kinglet::engine::{Progress, StepError};
use kinglet::grammar::{Accepted, Constraint, Grammar, Limits};
use kinglet::{BatchToken, Engine as _, Header, Model, Requirements, Section};
use kinglet::{Sampler, SamplerOptions, Tokenizer};
use kinglet_cortex_m::Engine;
use semihosting::{print, println};
use static_cell::{ConstStaticCell, StaticCell};

/// What people say to the board.
const LINES: [&str; 4] = [
    "Turn on the light.",
    "It is too bright here.",
    "Look to the left, then to the right.",
    "The little bird wants to see the sun.",
];
/// Of each text.
const SEED: u64 = 7;

static MODEL: &[u8] = kinglet::include_model!("../../../../../models/stories/stories.kinglet");
const HEADER: Header = match Header::parse(MODEL) {
    Ok(header) => header,
    Err(_) => panic!("no model, or one that `kinglet`'s features leave out"),
};
const NEEDS: Requirements = Requirements::of::<f32>(&HEADER.shape, 1);
static STATE: ConstStaticCell<[f32; NEEDS.state]> = ConstStaticCell::new([0.0; _]);
static WORKSPACE: ConstStaticCell<[f32; NEEDS.workspace]> = ConstStaticCell::new([0.0; _]);
static LOGITS: ConstStaticCell<[f32; NEEDS.logits]> = ConstStaticCell::new([0.0; _]);

static TABLE: &[u8] = include_bytes!("../../../../grammar/tests/data/led_servo.grammar");
/// Every text of it is a [`Command`].
const GRAMMAR: Grammar<'_> = match Grammar::open(TABLE) {
    Ok(grammar) => grammar,
    Err(_) => panic!("no grammar, or one of another version: `kinglet grammar` compiles it"),
};
/// The longest text: a limit gives a complete text, not a cut one.
const TEXT_LEN: usize = 32;

/// Starts every text, and ends it.
const END_OF_TEXT: u32 = 0;
/// Multiply-accumulates of a piece: less than 100,000 instructions of a Cortex-M4.
const BUDGET: usize = 20_000;

#[cortex_m_rt::entry]
fn main() -> ! {
    let listener = listener(engine(model()));
    watchdog::start(watchdog::FREQUENCY / 10);
    for line in LINES {
        print!("{line}");
        let text = listener.answer(line);
        println!("{}", core::str::from_utf8(&text).expect("characters"));
        let command = Command::from_json(&text).expect("the schema's form");
        command.perform(&mut ShownPins);
    }
    listener.report()
}

/// Turns lines into texts of the grammar.
struct Listener {
    engine: &'static mut Engine<'static>,
    logits: &'static mut [f32],
    tokenizer: Tokenizer<'static>,
    constraint: Constraint<'static>,
    sampler: Sampler,
    clock: board::Clock,
    figures: Figures,
}

/// Ticks of the clock, and how many they are of.
#[derive(Default)]
struct Figures {
    tokens: u32,
    computing: u64,
    draws: u32,
    masking: u64,
}

impl Listener {
    /// The text that follows a line.
    fn answer(&mut self, line: &str) -> heapless::Vec<u8, TEXT_LEN> {
        self.engine.reset(0).expect("sequence 0");
        self.sampler.restart(SEED);
        self.constraint.restart();
        self.compute(END_OF_TEXT);
        for token in self.tokenizer.encode(line.as_bytes()) {
            self.compute(token.expect("a token for every byte"));
        }
        let mut text = heapless::Vec::new();
        while !self.constraint.is_over() {
            let token = self.draw();
            if self.constraint.accept(token) == Ok(Accepted::End) {
                break;
            }
            let bytes = self.tokenizer.token(token).unwrap_or_default();
            text.extend_from_slice(bytes).expect("the limit of the text");
            self.compute(token);
        }
        text
    }

    /// The logits after `token`, computed in pieces.
    fn compute(&mut self, token: u32) {
        let start = self.clock.now();
        compute(self.engine, token, self.logits).expect("finite numbers");
        self.figures.computing += u64::from(self.clock.since(start));
        self.figures.tokens += 1;
    }

    /// A token that may come next. `Constraint::sample` does both at once; here the grammar's part
    /// is measured.
    fn draw(&mut self) -> u32 {
        let logits = &mut self.logits[..self.tokenizer.vocab_len()];
        let start = self.clock.now();
        self.constraint.mask(logits).expect("finite logits");
        self.figures.masking += u64::from(self.clock.since(start));
        self.figures.draws += 1;
        self.sampler.sample(logits).expect("finite logits")
    }

    /// Says what it took, and ends the run.
    fn report(&mut self) -> ! {
        let Figures { tokens, computing, draws, masking } = self.figures;
        let instructions = masking * board::INSTRUCTIONS_PER_TICK / u64::from(draws);
        println!("draws: {draws}");
        println!("instructions of the grammar per draw: {instructions}");
        println!("bytes of the grammar: {}", size_of::<Constraint<'_>>());
        self.constraint.restart();
        let stack = board::stack_of(|| {
            self.draw();
        });
        println!("stack bytes of a draw: {stack}");
        let stack = board::stack_of(|| self.compute(END_OF_TEXT));
        board::report(tokens, computing, stack)
    }
}

/// Computes the logits after `token` in pieces, between which there is time for other work.
fn compute(engine: &mut Engine<'_>, token: u32, logits: &mut [f32]) -> Result<(), StepError> {
    let token = [BatchToken { token, sequence: 0, logits: true }];
    let mut step = engine.begin(&token, logits)?;
    while let Progress::More { .. } = step.poll(BUDGET)? {
        watchdog::feed();
    }
    Ok(())
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

/// Draws as the model is best used, what the grammar allows.
#[inline(never)]
fn listener(engine: &'static mut Engine<'static>) -> &'static mut Listener {
    static LISTENER: StaticCell<Listener> = StaticCell::new();
    let options = SamplerOptions::for_model(engine.model());
    let sampler = Sampler::new(options, SEED).expect("options in their ranges");
    let tokenizer = engine.model().section(Section::Tokenizer);
    let tokenizer = Tokenizer::parse(tokenizer).expect("a tokenizer");
    let limits = Limits { bytes: TEXT_LEN as u32, ..Limits::NONE };
    let constraint = Constraint::new(GRAMMAR, tokenizer, limits).expect("a token for every byte");
    let (logits, clock) = (LOGITS.take(), board::Clock::start());
    let figures = Figures::default();
    LISTENER.init(Listener { engine, logits, tokenizer, constraint, sampler, clock, figures })
}
