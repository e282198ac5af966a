//! The layer cascade beside the split of rows, for a prompt of 512 tokens.
//!
//! A cell (layer, token) needs only the layer before and the token before, so threads
//! can be a pipeline: each has a group of layers, and works on one block of tokens
//! while the next group has the block before. What `kinglet` does instead is to split
//! the rows of every product between the threads.
//!
//! `cascade SHAPE [THREADS [ROUNDS]]` measures both in turn, on random weights, for
//! several block sizes, and prints CSV. The cascade is given every advantage: a stage
//! is an engine of its own on a model with its share of the layers, which hands on
//! only the message that a block is done, and only the last stage computes logits.
//! `benches/record/cascade-zen4-2c.csv` is what it printed.
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::env;
use std::error::Error;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use kinglet::engine::{BatchToken, Engine};
use kinglet::engine::{Cpu, workspace_len};
use kinglet::format::model::Model;
use kinglet::format::shape::Shape;
use kinglet_desktop::KernelSet;
use kinglet_host::{PageBuffer, Threaded};
use kinglet_quantize::synthetic::{OFFICIAL, SyntheticModel};

/// Share of zero activations in the channel mix, and seed, of `kinglet bench`.
const SPARSITY: f64 = 0.5;
const SEED: u64 = 7;
const TOKENS: usize = 512;
const BLOCKS: [usize; 4] = [8, 16, 32, 64];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().ok_or("usage: cascade SHAPE [THREADS [ROUNDS]]")?;
    let threads: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let Some((_, shape)) = OFFICIAL.iter().find(|(known, _)| *known == name) else {
        let known = OFFICIAL.map(|(name, _)| name).join(", ");
        return Err(format!("{name} is not a shape that is known; there are {known}").into());
    };
    if threads == 0 || !shape.layers.is_multiple_of(threads) {
        return Err(
            format!("{threads} threads cannot share {} layers equally", shape.layers).into()
        );
    }
    let whole = SyntheticModel::new(shape, SPARSITY, SEED)?;
    let share = Shape { layers: shape.layers / threads, ..*shape };
    let share = SyntheticModel::new(&share, SPARSITY, SEED)?;
    let (whole, share) = (Model::open(whole.bytes())?, Model::open(share.bytes())?);
    // A round is both ways with every block size; the first one warms up.
    println!("shape,threads,round,block,rows_tokens_per_second,cascade_tokens_per_second");
    for round in 0..=rounds {
        for block in BLOCKS {
            let (rows, cascade) =
                (split_rows(whole, threads, block), cascade(share, threads, block));
            let [rows, cascade] = [rows?, cascade?].map(|seconds| TOKENS as f64 / seconds);
            if round > 0 {
                println!("{name},{threads},{round},{block},{rows:.1},{cascade:.1}");
            }
        }
    }
    Ok(())
}

/// Seconds that a prompt takes when threads share the rows.
fn split_rows(model: Model<'_>, threads: usize, block: usize) -> Result<f64, String> {
    run(model, threads, block, true, &mut || true, &mut || true)
}

/// Seconds that a prompt takes when each of `stages` threads has the layers of `model`.
fn cascade(model: Model<'_>, stages: usize, block: usize) -> Result<f64, String> {
    let channels: Vec<_> = (1..stages).map(|_| sync_channel::<()>(1)).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    let senders = senders.into_iter().map(Some).chain([None]);
    let receivers = [None].into_iter().chain(receivers.into_iter().map(Some));
    thread::scope(|scope| {
        let stages: Vec<_> = senders
            .zip(receivers)
            .map(|(next, before)| {
                scope.spawn(move || {
                    let mut receive = || before.as_ref().is_none_or(|before| before.recv().is_ok());
                    let mut send = || next.as_ref().is_none_or(|next| next.send(()).is_ok());
                    run(model, 1, block, next.is_none(), &mut receive, &mut send)
                })
            })
            .collect();
        // The slowest stage's time is that of all: the last one waits for the others, and
        // the first one, which begins at once, does not count the start of the threads.
        stages.into_iter().try_fold(0.0, |slowest: f64, stage| {
            let seconds = stage.join().map_err(|_| "a stage has panicked".to_owned())??;
            Ok(slowest.max(seconds))
        })
    })
}

/// Computes the prompt block by block. Before each block `receive` waits for it, and
/// `send` hands it on; both say whether the others are still there.
fn run(
    model: Model<'_>,
    threads: usize,
    block: usize,
    with_logits: bool,
    receive: &mut dyn FnMut() -> bool,
    send: &mut dyn FnMut() -> bool,
) -> Result<f64, String> {
    let shape = *model.shape();
    let error = |error: &dyn std::fmt::Display| error.to_string();
    let mut state = PageBuffer::<f32>::new(shape.state_len()).map_err(|e| error(&e))?;
    let mut workspace =
        PageBuffer::<f32>::new(workspace_len(&shape, block)).map_err(|e| error(&e))?;
    let kernels = Threaded::new(KernelSet::best(), threads);
    let mut engine =
        Cpu::new(model, kernels, block, &mut state, &mut workspace).map_err(|e| error(&e))?;
    let mut logits = vec![0.0; shape.vocab];
    let start = Instant::now();
    for first in (0..TOKENS).step_by(block) {
        let columns: Vec<_> = (first..first + block)
            .map(|i| BatchToken {
                token: (7919 * i % shape.vocab) as u32,
                sequence: 0,
                logits: with_logits && i + 1 == TOKENS,
            })
            .collect();
        let logits = if columns.iter().any(|c| c.logits) { &mut logits[..] } else { &mut [] };
        if !receive() {
            return Err("the stage before has ended".to_owned());
        }
        engine.forward(&columns, logits).map_err(|e| error(&e))?;
        if !send() {
            return Err("the next stage has ended".to_owned());
        }
    }
    Ok(start.elapsed().as_secs_f64())
}
