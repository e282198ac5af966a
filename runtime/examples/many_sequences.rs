//! Several texts at once: their tokens share a batch, and the weights are read once for all.
//!
//! A token names its sequence. The batch may hold tokens of any sequences, those of one in order,
//! and the logits are the same bits that each sequence has alone.

use kinglet::{BatchToken, Cpu, Engine, Model, Requirements, Scalar};

/// Three texts of the same length, to keep the example short; lengths may differ.
const TEXTS: [[u32; 4]; 3] = [[0, 742, 694, 308], [0, 17, 4, 99], [0, 5, 742, 8]];

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(kinglet_stories::MODEL)?;
    let needs = Requirements::of::<f32>(model.shape(), TEXTS.len());
    let vocab = needs.logits;

    // As many states as sequences; the workspace is for the largest batch.
    let mut states = vec![0.0; TEXTS.len() * needs.state];
    let mut workspace = vec![0.0; needs.workspace];
    let mut engine = Cpu::new(model, Scalar, TEXTS.len(), &mut states, &mut workspace)?;
    let mut logits = vec![0.0; TEXTS.len() * vocab];
    let len = TEXTS[0].len();
    for position in 0..len {
        // Logits are wanted after the last tokens only: lm_head is left out before.
        let last = position + 1 == len;
        let tokens = TEXTS.map(|text| text[position]);
        let batch = [0, 1, 2].map(|sequence| BatchToken {
            token: tokens[sequence],
            sequence,
            logits: last,
        });
        let wanted = if last { &mut logits[..] } else { &mut [] };
        engine.forward(&batch, wanted)?;
    }

    // Each row of logits is that of its text alone, bit for bit.
    for (text, together) in TEXTS.iter().zip(logits.chunks(vocab)) {
        let (mut state, mut workspace) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
        let mut engine = Cpu::single(model, Scalar, &mut state, &mut workspace)?;
        let mut alone = vec![0.0; vocab];
        engine.prefill(0, text, &mut alone)?;
        assert_eq!(alone, together);
    }
    Ok(())
}
