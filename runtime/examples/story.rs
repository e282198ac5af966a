//! A story from the model that ships, in buffers whose lengths are constants.
//!
//! Nothing is allocated: the lengths follow from the model's header, which a constant reads, and
//! the linker says whether the statics fit. Firmware has the same lines, with another kernel set
//! than [`Scalar`] and another place to print to.

use std::io::{self, Write};

use kinglet::{
    Cpu, Engine, Header, Model, Requirements, Sampler, SamplerOptions, Scalar, Section, TextStream,
    Tokenizer,
};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = kinglet_stories::MODEL;
const HEADER: Header = match Header::parse(MODEL) {
    Ok(header) => header,
    Err(_) => panic!("the model is damaged"),
};
// One sequence in f32, one token at a time.
const NEEDS: Requirements = Requirements::of::<f32>(&HEADER.shape, 1);
static STATE: ConstStaticCell<[f32; NEEDS.state]> = ConstStaticCell::new([0.0; _]);
static WORKSPACE: ConstStaticCell<[f32; NEEDS.workspace]> = ConstStaticCell::new([0.0; _]);
static LOGITS: ConstStaticCell<[f32; NEEDS.logits]> = ConstStaticCell::new([0.0; _]);

/// The end of a text, which starts the next one.
const END: u32 = 0;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(MODEL)?;
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer))?;
    // Temperature 0 takes the most probable token: the same story on every machine.
    let greedy = SamplerOptions { temperature: 0.0, ..Default::default() };
    let mut sampler = Sampler::new(greedy, 0)?;
    let mut engine = Cpu::single(model, Scalar, STATE.take(), WORKSPACE.take())?;
    let logits = LOGITS.take();

    let mut told = Vec::new(); // for the check below alone
    let mut text = TextStream::new(); // a token may end inside a character
    let mut token = END;
    for _ in 0..64 {
        engine.step(0, token, logits)?;
        token = sampler.sample(logits)?;
        if token == END {
            break;
        }
        told.push(token);
        for part in text.push(tokenizer.token(token).unwrap_or_default()) {
            io::stdout().write_all(part.as_bytes())?;
        }
    }
    writeln!(io::stdout(), "{}", text.finish())?;

    assert!(told.starts_with(&kinglet_stories::GREEDY_TOKENS));
    Ok(())
}
