//! web-rwkv `.st`: safetensors with official names in which the low-rank matrices are transposed.

use super::names::{Rule, WEB_RWKV_V7};
use super::tensor::Entry;

/// The naming of a web-rwkv file; `None` for official safetensors.
///
/// Nothing in the file says which it is, so the orientation of a low-rank matrix decides: `w1` is
/// `[d, rank]` in official files and `[rank, d]` in these. A rank of `d` itself, which no model
/// has, counts as official.
pub(super) fn naming(entries: &[Entry]) -> Option<&'static [Rule]> {
    let width = entries.iter().find(|e| e.name == "emb.weight")?.layout.shape().last().copied()?;
    entries.iter().find_map(|entry| {
        let is_w1 = entry.name.starts_with("blocks.") && entry.name.ends_with(".att.w1");
        match entry.layout.shape() {
            &[rank, d] if is_w1 && d == width && rank != width => Some(WEB_RWKV_V7),
            _ => None,
        }
    })
}
