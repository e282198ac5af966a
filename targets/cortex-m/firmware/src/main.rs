//! A Kinglet model on bare metal: tests itself at boot, tells a story, and
//! reports instructions, stack and memory. Runs on QEMU, and on silicon behind
//! a debugger that serves semihosting.
#![no_std]
#![no_main]

mod check;
mod clock;
mod console;
#[cfg(feature = "two-cores")]
mod cores;
mod measure;
mod memory;
mod model;
#[cfg(feature = "pieces")]
mod pieces;
mod story;

use check::{Golden, LABEL};
use clock::Clock;
use console::{Failed, fail, say};
use kinglet::engine::Cpu;
use kinglet::engine::Engine;
use kinglet::format::model::{Model, Section, Tensor};
use kinglet::format::tensors::tensor_count;
use kinglet::kernels::Kernels;
use kinglet::tokenizer::Tokenizer;
use kinglet_cortex_m::Best;
use measure::{Measured, Part};
use memory::Element;
use story::Cost;

/// Tokens of the digest.
const DIGEST: usize = 64;
/// Most tokens of the story: few where soft floats would take long under emulation.
const STORY: usize = if matches!(env!("KINGLET_SHORT").as_bytes(), b"true") { 8 } else { 512 };

#[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
#[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
fn main() -> ! {
    semihosting::process::exit(if run().is_ok() { 0 } else { 1 })
}

fn run() -> Result<(), Failed> {
    let element = <Element as kinglet::num::state_dtype::StateElement>::NAME;
    say!("kinglet {}, model {}, {} state", env!("KINGLET_TARGET"), model::PLACE, element);
    let Some(kernels) = Best::new() else {
        return fail!("this core's instructions or its FPU's modes are not what the image is for");
    };
    let Some(buffers) = memory::take() else { return fail!("the buffers are taken") };
    let clock = Clock::start();
    #[cfg(feature = "two-cores")]
    let kernels = cores::start(kernels, clock)?;
    // Borrowed where it is: moving it would take its size of stack a second time.
    let mut engine = prepare(kernels, clock, &mut buffers.state, &mut buffers.workspace);
    let Ok(engine) = &mut engine else { return Err(Failed) };
    let Some(logits) = buffers.logits.get_mut(..engine.shape().vocab) else {
        return fail!("the model's vocabulary is larger than this image is for");
    };
    #[cfg(feature = "soft-float")]
    check::floats()?;
    check::kernels(engine.kernels(), engine.model(), logits)?;
    #[cfg(all(feature = "f16-state", target_abi = "eabihf"))]
    {
        check::conversions(engine.kernels())?;
        check::recurrence(engine.kernels())?;
    }
    say!("kernels {}: as the reference", engine.kernels().name());
    check_digest(engine, logits)?;
    #[cfg(feature = "pieces")]
    pieces::measure(engine, &clock, logits)?;
    let mut cost = Cost::default();
    tell(engine, &clock, logits, &mut buffers.tokens, &mut cost)?;
    #[cfg(feature = "two-cores")]
    {
        cores::count();
        say!("each core's share alone");
        cost = Cost::default();
        tell(engine, &clock, logits, &mut buffers.tokens, &mut cost)?;
    }
    report(&cost, &clock, engine.model());
    Ok(())
}

// The steps are functions of their own so that their locals do not lie on the
// stack while a token is computed.

/// An engine whose model is whole.
#[inline(never)]
fn prepare<'a, K: Kernels>(
    kernels: K,
    clock: Clock,
    state: &'a mut [Element],
    workspace: &'a mut [f32],
) -> Result<Cpu<'a, Measured<K>, Element>, Failed> {
    let model = match Model::open(model::bytes()) {
        Ok(model) => model,
        Err(error) => return fail!("model: {}", error),
    };
    if let Err(error) = model.verify() {
        return fail!("model: {}", error);
    }
    let kernels = Measured::new(kernels, clock);
    engine(model, kernels, state, workspace)
}

/// Compares the digest with the desktop's where that is known.
#[inline(never)]
fn check_digest<K: Kernels>(
    engine: &mut Cpu<'_, K, Element>,
    logits: &mut [f32],
) -> Result<(), Failed> {
    let found = check::digest(engine, DIGEST, logits)?;
    match Golden::of(engine.model()).map(|golden| golden.digest) {
        Some(expected) if expected != found => {
            fail!("digest of {} tokens: {}{:08x}, expected {:08x}", DIGEST, LABEL, found, expected)
        }
        Some(_) => {
            say!("digest of {} tokens: {}{:08x}, as on the desktop", DIGEST, LABEL, found);
            Ok(())
        }
        None => {
            say!("digest of {} tokens: {}{:08x}", DIGEST, LABEL, found);
            Ok(())
        }
    }
}

/// Tells the story and compares its first tokens with the desktop's where those are known.
#[inline(never)]
fn tell<K: Kernels>(
    engine: &mut Cpu<'_, Measured<K>, Element>,
    clock: &Clock,
    logits: &mut [f32],
    tokens: &mut [u32; 16],
    cost: &mut Cost,
) -> Result<(), Failed> {
    if engine.reset(0).is_err() {
        return fail!("reset");
    }
    let Ok(tokenizer) = Tokenizer::parse(engine.model().section(Section::Tokenizer)) else {
        return fail!("the model has no tokenizer");
    };
    say!("story:");
    story::tell(engine, &tokenizer, clock, STORY, logits, tokens, cost)?;
    let same = (cost.steps as usize).min(tokens.len());
    if Golden::of(engine.model()).is_some_and(|golden| golden.tokens[..same] != tokens[..same]) {
        return fail!("the story is not the desktop's");
    }
    Ok(())
}

/// An engine in buffers that were made for a model at least as large.
fn engine<'a, K: Kernels>(
    model: Model<'a>,
    kernels: K,
    state: &'a mut [Element],
    workspace: &'a mut [f32],
) -> Result<Cpu<'a, K, Element>, Failed> {
    let (needed, found) = (model.shape().state_len(), state.len());
    let Some(state) = state.get_mut(..needed) else {
        return fail!("the state has {} elements, the model needs {}", found, needed);
    };
    match Cpu::new(model, kernels, 1, state, workspace) {
        Ok(engine) => Ok(engine),
        Err(error) => fail!("{}", error),
    }
}

/// Multiply-accumulates of all matrices per token, zeros counted as done.
fn multiply_accumulates(model: &Model<'_>) -> u64 {
    let of = |index| match model.tensor(index) {
        Some(Tensor::Matrix(matrix)) => (matrix.rows() * matrix.inputs()) as u64,
        Some(Tensor::Sparse(matrix)) => (matrix.rows() * matrix.inputs()) as u64,
        _ => 0,
    };
    (0..tensor_count(model.shape())).map(of).sum()
}

/// Says what a token and the image cost, one `name: value` a line.
#[inline(never)]
fn report(cost: &Cost, clock: &Clock, model: &Model<'_>) {
    // Before the report's own formatting adds to it.
    let stack = memory::stack_high_water();
    let steps = u64::from(cost.steps.max(1));
    let per_token = |ticks: u64| clock.count(ticks) / steps;
    say!("tokens: {}", cost.steps);
    say!("{} per token: {}", clock.unit(), per_token(cost.ticks));
    let mut rest = cost.ticks;
    for part in Part::ALL {
        let ticks = cost.parts[part as usize];
        rest = rest.saturating_sub(ticks);
        say!("  {}: {}", part.name(), per_token(ticks));
    }
    say!("  rest: {}", per_token(rest));
    say!("sampling per token: {}", per_token(cost.sampling));
    #[cfg(feature = "two-cores")]
    for (core, ticks) in ["first", "second"].iter().zip(cores::each(cost.ticks)) {
        say!("{} core per token: {}", core, per_token(ticks));
    }
    let products = multiply_accumulates(model);
    let hundredths = 100 * per_token(cost.ticks) / products.max(1);
    say!("multiply-accumulates per token: {}", products);
    say!("{} per multiply-accumulate: {}.{:02}", clock.unit(), hundredths / 100, hundredths % 100);
    for (name, bytes) in memory::SIZES {
        say!("{} bytes: {}", name, bytes);
    }
    if let Some(stack) = stack {
        say!("stack bytes: {}", stack);
    }
    #[cfg(feature = "two-cores")]
    say!("second core's stack bytes: {}", cores::stack_high_water());
}
