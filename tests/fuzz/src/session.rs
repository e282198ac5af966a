//! The model whose conversations the target `session` reads.

use std::ops::Range;

use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet::format::state_file::StateSection;
use kinglet_quantize::synthetic::SyntheticModel;

/// One layer, bytes as tokens.
///
/// # Panics
///
/// When there is no memory.
pub fn model() -> SyntheticModel {
    let shape = Shape {
        architecture: Architecture::Rwkv7,
        layers: 1,
        width: 32,
        head_size: 8,
        ffn: 32,
        vocab: 288,
        ranks: Ranks { decay: 32, iclr: 32, value: 32, gate: 32, ..Ranks::NONE },
    };
    SyntheticModel::new(&shape, 0.5, 3).expect("memory for a small model")
}

/// Where the text of a session lies in a file whose sections begin at `at`.
pub fn text(file: &[u8], mut at: usize) -> Option<Range<usize>> {
    loop {
        let header = file.get(at..at + 8)?;
        let [code, len] = [0, 4].map(|i| u32::from_le_bytes(header[i..i + 4].try_into().unwrap()));
        let (start, end) = (at + 8, (at + 8).checked_add(len as usize)?);
        file.get(start..end)?;
        if code == StateSection::Text.code() {
            return Some(start..end);
        }
        at = end;
    }
}
