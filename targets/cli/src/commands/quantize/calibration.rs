//! Weights of four bits: the text that they are calibrated with, and the engine that computes it.

use std::path::Path;

use anyhow::{Result, bail};
use kinglet::engine::{Cpu, Engine};
use kinglet::format::model::Model;
use kinglet_host::Threaded;
use kinglet_quantize::calibrate::{RunError, Runner, Seen};
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Bits, calibrate::Calibration};

use super::report::Texts;
use crate::args::{EngineArgs, QuantizeArgs};
use crate::support::engine::{memory, workspace};

/// Computes on the fastest kernels that this machine has, which all give the same numbers.
struct Computer;

impl Runner for Computer {
    fn run(
        &self,
        model: Model<'_>,
        sequences: usize,
        max_batch: usize,
        seen: Seen,
        f: &mut dyn FnMut(&mut dyn Engine) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let args = EngineArgs::default();
        let kernels = Threaded::new(args.set()?, args.threads());
        let kernels = kernels.watched(move |weights, input| seen(weights, input));
        let states = sequences.checked_mul(model.shape().state_len());
        let mut states = memory::<f32>("the state", states)?;
        let mut workspace = workspace(model.shape(), max_batch)?;
        f(&mut Cpu::new(model, kernels, max_batch, &mut states, &mut workspace)?)
    }
}

/// Token ids of the text of `--calibration`; none where the model tells it, or there shall be none.
pub(super) fn texts(
    args: &QuantizeArgs,
    vocabulary: Option<&Vocabulary>,
    vocab: usize,
) -> Result<Vec<Vec<u32>>> {
    let path = args.calibration.as_deref().filter(|path| *path != Path::new(NONE));
    Ok(match Texts::read(path, vocabulary, vocab)? {
        Texts::Told => Vec::new(),
        Texts::Given(texts) => texts,
    })
}

/// What `--calibration` names that is no file.
pub(super) const NONE: &str = "none";

/// The calibration that was asked for.
pub(super) fn calibration<'a>(
    args: &QuantizeArgs,
    bits: Bits,
    texts: &'a [Vec<u32>],
) -> Option<Calibration<'a>> {
    let wanted = bits != Bits::Eight && args.calibration.as_deref() != Some(Path::new(NONE));
    wanted.then_some(Calibration { texts, runner: &Computer })
}

/// Refuses a calibration that the bits have no use for, or that cannot be read.
pub(super) fn check(args: &QuantizeArgs, bits: Bits) -> Result<()> {
    let Some(path) = args.calibration.as_deref() else { return Ok(()) };
    match bits {
        Bits::Eight => bail!(
            "--calibration is for weights of four bits; pass --bits 4 or auto as well, or leave it out"
        ),
        Bits::Auto(_) if path == Path::new(NONE) => bail!(
            "--calibration none is for --bits 4; a choice of bits is measured on a text: pass one, or \
             leave it out"
        ),
        _ => {}
    }
    let standard_input = Some(Path::new("-"));
    if [Some(path), args.text.as_deref()] == [standard_input; 2] {
        bail!(
            "standard input is one text, and --calibration and --text both name it; give a file for \
             one of them"
        );
    }
    Ok(())
}
