//! A watchdog that is fed in the middle of a token, a token that is left and gone on with, and one
//! that is cancelled.
//!
//! On a slow machine a token takes longer than a watchdog waits. A firmware that has other things
//! to do computes it in pieces. Where feeding the watchdog is all, the engine calls a hook after
//! each layer, which may also stop the token, because a key was pressed, say.

use std::ops::ControlFlow;

use kinglet::engine::StepError;
use kinglet::{BatchToken, Cpu, Engine, Model, Progress, Requirements, Scalar};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(kinglet_stories::MODEL)?;
    let layers = model.shape().layers;
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
    let mut logits = vec![0.0; needs.logits];
    let token = [BatchToken { token: 0, sequence: 0, logits: true }];

    // In pieces of 20,000 multiply-accumulates or so, 40,000 instructions of a Cortex-M4.
    let mut pieces = 0;
    let mut step = engine.begin(&token, &mut logits)?;
    while step.poll(20_000)? != Progress::Done {
        // Here a super loop does its other work, and a task of an executor yields.
        pieces += 1;
    }
    drop(step);
    assert!(pieces > 10 * layers);
    engine.reset(0)?;
    let mut whole = vec![0.0; needs.logits];
    engine.step(0, 0, &mut whole)?;
    assert_eq!(logits, whole);

    // The watchdog is fed once for each layer.
    let mut fed = 0;
    engine.forward_with(&token, &mut logits, &mut |_layers_done| {
        fed += 1;
        ControlFlow::Continue(())
    })?;
    assert_eq!(fed, layers);

    // A hook that breaks ends the token after its layer.
    let stopped = engine.forward_with(&token, &mut logits, &mut |_| ControlFlow::Break(()));
    assert_eq!(stopped, Err(StepError::Cancelled { layers: 1 }));

    // The sequence stands nowhere then: it starts anew, or loads a state that was saved.
    let mut again = vec![0.0; needs.logits];
    engine.reset(0)?;
    engine.step(0, 0, &mut logits)?;
    engine.reset(0)?;
    engine.step(0, 0, &mut again)?;
    assert_eq!(logits, again);
    Ok(())
}
