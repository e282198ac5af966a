//! RWKV-LM's demos of one file, `RWKV-v8/*_run.py`, as far as they are RWKV-7.
//!
//! They name their modules in a row and number them from 1, have no norm of the embedding, and put
//! a ROSA layer beside each time mix. A model that was trained without ROSA keeps its tensors, with
//! an output of zero: `o.weight (±emb) + o.bias`.
//!
//! | there | officially |
//! |---|---|
//! | `e.weight`, `lno.*`, `o.weight` | `emb.weight`, `ln_out.*`, `head.weight` |
//! | `o.bias` | `head.bias`, see [`biases`](super::biases) |
//! | `rwkvN.*`, `ffnN.*` | `blocks.N-1.att.*`, `blocks.N-1.ffn.*` |
//! | `lnNa.*`, `lnNb.*` | `blocks.N-1.ln1.*`, `blocks.N-1.ln2.*` |
//! | `rosaN.*`, `lnNc.*` | left out where ROSA adds nothing, else refused |

use super::FileMap;
use super::biases::values;
use super::error::{Problem, clip};
use super::tensor::TensorEntry;

/// Whether the tensors are named as the demos name them.
pub(super) fn is_one(entries: &[TensorEntry]) -> bool {
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    has("e.weight") && has("rwkv1.r_k") && has("o.weight")
}

/// Gives the tensors their official names.
pub(super) fn rename(entries: &mut Vec<TensorEntry>, files: &[FileMap]) -> Result<(), Problem> {
    for rosa in entries.iter().filter(|entry| entry.name.starts_with("rosa")) {
        let layer = rosa.name.split_once('.').map_or(rosa.name.as_str(), |(layer, _)| layer);
        if !adds_nothing(layer, entries, files) {
            return Err(Problem::Rosa { layer: clip(layer) });
        }
    }
    entries.retain(|entry| {
        !entry.name.starts_with("rosa") && numbered(&entry.name, "ln").is_none_or(|n| n.1 != "c")
    });
    for entry in entries {
        if let Some(name) = official(&entry.name) {
            entry.name = name;
        }
    }
    Ok(())
}

/// Whether a ROSA layer's output is the same for every channel, which LayerNorms take out. Only a
/// tensor that is there shows it: a variant of the layer may have others.
fn adds_nothing(layer: &str, entries: &[TensorEntry], files: &[FileMap]) -> bool {
    let of = |part: &str| {
        let entry = entries.iter().find(|entry| entry.name == format!("{layer}.{part}"));
        entry.map(|entry| values(entry, files))
    };
    let is_zero = |part| of(part).is_some_and(|values| values.iter().all(|&x| x == 0.0));
    let is_constant = of("o.bias").is_none_or(|values| values.iter().all(|&x| x == values[0]));
    is_constant && (is_zero("o.weight") || is_zero("rosa_qkv.emb"))
}

fn official(name: &str) -> Option<String> {
    for (there, official) in [("e.", "emb."), ("lno.", "ln_out."), ("o.", "head.")] {
        if let Some(rest) = name.strip_prefix(there) {
            return Some(format!("{official}{rest}"));
        }
    }
    for (there, part, official) in
        [("rwkv", "", "att"), ("ffn", "", "ffn"), ("ln", "a", "ln1"), ("ln", "b", "ln2")]
    {
        match numbered(name, there) {
            Some((number, found, rest)) if found == part => {
                return Some(format!("blocks.{}.{official}.{rest}", number - 1));
            }
            _ => {}
        }
    }
    None
}

/// The number of a module, what follows it, and the name inside: `ln2a.bias` is 2, `a`, `bias`.
fn numbered<'a>(name: &'a str, kind: &str) -> Option<(usize, &'a str, &'a str)> {
    let (module, rest) = name.strip_prefix(kind)?.split_once('.')?;
    let digits = module.bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = module[..digits].parse().ok()?;
    (number > 0).then_some((number, &module[digits..], rest))
}

#[cfg(test)]
mod tests {
    use super::official;

    #[test]
    fn modules_are_numbered_from_one() {
        let of = |name| official(name).unwrap_or_default();
        assert_eq!(of("rwkv1.receptance.weight"), "blocks.0.att.receptance.weight");
        assert_eq!(of("ffn12.x_k"), "blocks.11.ffn.x_k");
        assert_eq!(of("ln2b.bias"), "blocks.1.ln2.bias");
        assert_eq!(of("lno.weight"), "ln_out.weight");
        for other in ["rwkv0.x", "rwkv.x", "ln1c.bias", "rosa1.q.weight", "blocks.0.att.x_k"] {
            assert_eq!(official(other), None, "{other}");
        }
    }
}
