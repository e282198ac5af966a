//! A watchdog that is fed in the middle of a token, and a token that is cancelled.
//!
//! On a slow machine a token takes longer than a watchdog waits. The engine calls a hook after
//! each layer: it feeds the watchdog, and it may stop the token, because a key was pressed, say.

use std::ops::ControlFlow;

use kinglet::engine::StepError;
use kinglet::{BatchToken, Cpu, Engine, Model, Requirements, Scalar};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(kinglet_stories::MODEL)?;
    let layers = model.shape().layers;
    let needs = Requirements::of::<f32>(model.shape(), 1);
    let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
    let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
    let mut logits = vec![0.0; needs.logits];
    let token = [BatchToken { token: 0, sequence: 0, logits: true }];

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
