//! web-rwkv `.st`: safetensors with almost the official names and transposed low-rank matrices.
//!
//! Nothing in a file says that it is one, so names and orientations decide.

use super::names::{Facts, Rule, WEB_RWKV_V5, WEB_RWKV_V6, WEB_RWKV_V7};
use super::tensor::Entry;

/// The naming of a web-rwkv file; `None` for official safetensors.
///
/// RWKV-4 and RWKV-5 before 5.2 have the same names and layouts here and there, and count as
/// official.
pub(super) fn naming(entries: &[Entry]) -> Option<(&'static [Rule], Facts)> {
    let shape = |name: &str| entries.iter().find(|e| e.name == name).map(|e| e.layout.shape());
    let width = shape("emb.weight")?.last().copied()?;
    let is_transposed = |ending: &str| {
        entries
            .iter()
            .filter(|e| e.name.starts_with("blocks.") && e.name.ends_with(ending))
            .any(|e| is_transposed(e.layout.shape(), width))
    };
    if shape("blocks.0.att.time_mix_x").is_some() {
        let facts = Facts { transposed: is_transposed(".att.time_mix_w1"), ..Facts::default() };
        return Some((WEB_RWKV_V6, facts));
    }
    // The bonus of RWKV-5.2, `[heads, head_size]`; an official time_first has one dimension.
    let is_v5 = shape("blocks.0.att.ln_x.weight").is_some();
    if is_v5 && shape("blocks.0.att.time_first").is_some_and(|shape| shape.len() == 2) {
        return Some((WEB_RWKV_V5, Facts::default()));
    }
    is_transposed(".att.w1").then(|| (WEB_RWKV_V7, Facts::default()))
}

/// Whether a matrix that is officially `[width, rank]` is `[rank, width]`.
///
/// A rank of `width` itself, which no model has, counts as official.
fn is_transposed(shape: &[usize], width: usize) -> bool {
    matches!(*shape, [rank, last] if last == width && rank != width)
}
