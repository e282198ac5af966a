//! Work to count instructions of: decode or prefill of a small model on one
//! thread. Everything that counts happens in [`counted`], so that a counter may
//! be switched on by the name of that function.
//!
//! `count KERNEL decode|prefill`, for the tokens per call `count tokens`.
#![expect(clippy::print_stdout, reason = "the number of tokens is the output")]

use std::env;
use std::error::Error;
use std::hint::black_box;

use kinglet::engine::{BatchToken, Engine, StepError};
use kinglet::engine::{Cpu, workspace_len};
use kinglet::format::model::Model;
use kinglet_desktop::KernelSet;
use kinglet_host::Threaded;

/// Tokens of a call of [`counted`].
const TOKENS: usize = 64;

static MODEL: &[u8] = kinglet_stories::MODEL;

/// Computes the tokens in blocks, each of which ends with its logits.
#[inline(never)]
fn counted(
    engine: &mut dyn Engine,
    tokens: &[BatchToken],
    block: usize,
    logits: &mut [f32],
) -> Result<(), StepError> {
    for tokens in tokens.chunks(block) {
        engine.forward(tokens, logits)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, block) = match arguments[..] {
        ["tokens"] => {
            println!("{TOKENS}");
            return Ok(());
        }
        [name, "decode"] => (name, 1),
        [name, "prefill"] => (name, TOKENS),
        _ => return Err("usage: count KERNEL decode|prefill, or count tokens".into()),
    };
    let set = KernelSet::by_name(name).ok_or("this machine does not have that kernel set")?;
    let model = Model::open(MODEL)?;
    let shape = *model.shape();
    let mut state = vec![0.0; shape.state_len()];
    let mut workspace = vec![0.0; workspace_len(&shape, block)];
    let mut logits = vec![0.0; shape.vocab];
    let mut engine = Cpu::new(model, Threaded::new(set, 1), block, &mut state, &mut workspace)?;
    let tokens: Vec<BatchToken> = (0..TOKENS)
        .map(|i| {
            let token = ((7919 * i + 1) % shape.vocab) as u32;
            BatchToken { token, sequence: 0, logits: (i + 1) % block == 0 }
        })
        .collect();
    // What happens once, such as a first look at the CPU's features, is over by then.
    engine.step(0, 0, &mut logits)?;
    counted(&mut engine, &tokens, block, &mut logits)?;
    black_box(&logits);
    Ok(())
}
