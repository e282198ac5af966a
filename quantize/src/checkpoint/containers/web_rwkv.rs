//! web-rwkv `.st`: safetensors with almost the official names and transposed low-rank matrices.
//!
//! Nothing in a file says that it is one, so names and orientations decide. A tuned state alone has
//! neither: it is square, and named as in training. web-rwkv's and Ai00's converters write it in
//! half precision with its last two dimensions exchanged, under the endings `.st` and `.state`;
//! RWKV-PEFT, which trains states, writes `.pth` in its own precision.

use std::collections::HashMap;
use std::path::Path;

use super::Naming;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::names::{
    Facts, Rule, WEB_RWKV_STATE, WEB_RWKV_V5, WEB_RWKV_V6, WEB_RWKV_V7,
};
use crate::checkpoint::tensor::TensorEntry;
use crate::note::Note;

/// Which of a low-rank matrix's last two dimensions is the model's width in official files.
#[derive(Clone, Copy)]
enum Width {
    /// The rows: `[width, rank]`.
    First,
    /// The columns: `[rank, width]`.
    Last,
}

/// The low-rank matrices by the ends of their names, before anything is renamed.
const LOW_RANK: [(&str, Width); 12] = [
    (".att.w1", Width::First),
    (".att.w2", Width::Last),
    (".att.a1", Width::First),
    (".att.a2", Width::Last),
    (".att.v1", Width::First),
    (".att.v2", Width::Last),
    (".att.g1", Width::First),
    (".att.g2", Width::Last),
    (".att.time_mix_w1", Width::First),
    (".att.time_mix_w2", Width::Last),
    (".att.time_decay_w1", Width::First),
    (".att.time_decay_w2", Width::Last),
];

/// What names and orientations tell of a safetensors file.
#[derive(Default)]
pub(in crate::checkpoint) struct Told {
    /// The naming of a web-rwkv file; `None` for official safetensors.
    pub(in crate::checkpoint) naming: Option<Naming>,
    /// What nothing in the file says, so that a habit of its writers decided.
    pub(in crate::checkpoint) guess: Option<Note>,
}

impl Told {
    fn of(table: &'static [Rule], facts: Facts) -> Self {
        Self { naming: Some((table, facts)), guess: None }
    }
}

/// Tells a web-rwkv file from an official one.
///
/// RWKV-4 and RWKV-5 before 5.2 have the same names and layouts here and there, and count as
/// official.
pub(in crate::checkpoint) fn tell(entries: &[TensorEntry], path: &Path) -> Told {
    let is_half = entries.iter().all(|entry| entry.dtype == Dtype::F16);
    if is_state(entries) {
        let is_named = has_ending(path);
        if !is_named && !is_half {
            return Told::default();
        }
        let guess = (!is_named).then_some(Note::StateLayout);
        return Told { guess, ..Told::of(WEB_RWKV_STATE, Facts::default()) };
    }
    let shape = |name: &str| entries.iter().find(|e| e.name == name).map(|e| e.layout.shape());
    let Some(&width) = shape("emb.weight").and_then(<[usize]>::last) else {
        return Told::default();
    };
    let any = |end: &str| entries.iter().any(|entry| entry.name.ends_with(end));
    let (is_v6, is_v7) = (shape("blocks.0.att.time_mix_x").is_some(), any(".att.w1"));
    let told = are_transposed(entries, width);
    let transposed = told.unwrap_or_else(|| has_ending(path));
    let guess = ((is_v6 || is_v7) && told.is_none()).then_some(Note::LowRankLayout);
    if is_v6 {
        let facts = Facts { transposed, ..Facts::default() };
        return Told { guess, ..Told::of(WEB_RWKV_V6, facts) };
    }
    // The bonus of RWKV-5.2, `[heads, head_size]`; an official time_first has one dimension.
    let is_v5 = shape("blocks.0.att.ln_x.weight").is_some();
    if is_v5 && shape("blocks.0.att.time_first").is_some_and(|shape| shape.len() == 2) {
        return Told::of(WEB_RWKV_V5, Facts::default());
    }
    if is_v7 && transposed {
        return Told { guess, ..Told::of(WEB_RWKV_V7, Facts::default()) };
    }
    // RWKV Runner's converter leaves the low-rank matrices of RWKV-7 as they are, and exchanges
    // the dimensions of a state that is merged into the model all the same.
    if any(".att.time_state") && (is_half || has_ending(path)) {
        return Told { guess, ..Told::of(WEB_RWKV_STATE, Facts::default()) };
    }
    Told { guess, ..Told::default() }
}

/// Whether the low-rank matrices are transposed, by the first that is not square.
///
/// All of them were written by one converter; one that contradicts it has a shape that does not
/// fit the model.
fn are_transposed(entries: &[TensorEntry], width: usize) -> Option<bool> {
    let blocks = entries.iter().filter(|entry| entry.name.starts_with("blocks."));
    blocks
        .filter_map(|entry| {
            let &(_, official) = LOW_RANK.iter().find(|(end, _)| entry.name.ends_with(end))?;
            let [.., rows, columns] = *entry.layout.shape() else { return None };
            let (expected, other) = match official {
                Width::First => (rows, columns),
                Width::Last => (columns, rows),
            };
            match (expected == width, other == width) {
                (true, false) => Some(false),
                (false, true) => Some(true),
                _ => None,
            }
        })
        .next()
}

/// Gives the factors of a LoRA adapter the names and layout that they have in training.
///
/// Ai00's converter calls A `lora.0` and transposes it to `[in, r]`; web-rwkv's own leaves it as it
/// is. B is `[out, r]` in both, so the rank tells which, and where all are square it is Ai00's.
pub(in crate::checkpoint) fn unify_lora(entries: &mut [TensorEntry]) {
    let ranks: HashMap<String, usize> = entries
        .iter()
        .filter_map(|entry| {
            let matrix = entry.name.strip_suffix(".lora.1")?;
            Some((matrix.to_owned(), entry.layout.shape().last().copied()?))
        })
        .collect();
    for entry in entries {
        if let Some(matrix) = entry.name.strip_suffix(".lora.1") {
            entry.name = format!("{matrix}.lora_B");
        } else if let Some(matrix) = entry.name.strip_suffix(".lora.0") {
            if ranks.get(matrix) == entry.layout.shape().last() {
                entry.layout = entry.layout.transposed();
            }
            entry.name = format!("{matrix}.lora_A");
        }
    }
}

/// Whether a file holds nothing but a tuned state.
fn is_state(entries: &[TensorEntry]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| entry.name.ends_with(".att.time_state"))
}

/// What a file says by its name when all its matrices are square.
fn has_ending(path: &Path) -> bool {
    let is =
        |ending: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    is("st") || is("state")
}
