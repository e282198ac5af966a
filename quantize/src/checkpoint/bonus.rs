//! RWKV-5's bonus `u`, which training code has stored under two names and in two shapes.
//!
//! The name says what is stored and the shape of `time_decay` which version it is, in any
//! combination. With `H` heads of `N` channels:
//!
//! | version | `time_decay` | bonus | becomes |
//! |---|---|---|---|
//! | 5.0, 5.1 | `[H]` | `time_first` `[H]`, its logarithm | official |
//! | 5.0 | `[H]` | `time_faaaa` `[H]`, itself | `time_first`, where it is positive |
//! | 5.1 | `[H]` | `time_faaaa` `[H]`, itself | 5.2: both repeated over the channels of a head |
//! | 5.2 | `[H, N]` | `time_faaaa` `[H, N]`, itself | official |
//! | 5.2 | `[H, N]` | `time_first` `[H, N]`, its logarithm | `time_faaaa` |
//! | 5.1 | `[H, N]`, a head's decay repeated | either, `[H]` | 5.2: the bonus repeated too |

use super::FileMap;
use super::error::{Problem, clip};
use super::recover::Recover;
use super::tensor::{Tensor, TensorEntry};

const DECAY: &str = ".att.time_decay";
const LOGARITHM: &str = ".att.time_first";
const ITSELF: &str = ".att.time_faaaa";

/// Gives the bonus of an RWKV-5 checkpoint, in official names, the form that its version has in
/// official ones. Entries of other checkpoints stay as they are.
pub(super) fn unify_bonus(entries: &mut [TensorEntry], files: &[FileMap]) -> Result<(), Problem> {
    let any = |part: &str| entries.iter().any(|entry| entry.name.contains(part));
    if !any(".att.ln_x.") || any(".time_maa") || any(".att.r_k") {
        return Ok(());
    }
    let (logarithm, itself) = (any(LOGARITHM), any(ITSELF));
    let decay = entries.iter().find(|entry| entry.name == format!("blocks.0{DECAY}"));
    let Some(decay) = decay.map(|entry| entry.layout.shape()) else { return Ok(()) };
    let per_channel = matches!(decay, [_, n] if *n > 1);
    let heads = decay.first().copied().unwrap_or(0);
    match (logarithm, itself, per_channel) {
        (true, false, true) => {
            of(entries, LOGARITHM).try_for_each(from_logarithm)?;
            repeat_bonus(entries, heads);
            Ok(())
        }
        (false, true, true) => {
            repeat_bonus(entries, heads);
            Ok(())
        }
        (false, true, false) if any(".att.gate.") => {
            let width = width(entries);
            repeat(entries, width)
        }
        (false, true, false) => {
            of(entries, ITSELF).try_for_each(|entry| to_logarithm(entry, files))
        }
        _ => Ok(()),
    }
}

/// The entries whose names end so.
fn of<'a>(
    entries: &'a mut [TensorEntry],
    ending: &str,
) -> impl Iterator<Item = &'a mut TensorEntry> {
    entries.iter_mut().filter(move |entry| entry.name.ends_with(ending))
}

fn rename(entry: &mut TensorEntry, from: &str, to: &str) {
    entry.name = entry.name.replace(from, to);
}

fn from_logarithm(entry: &mut TensorEntry) -> Result<(), Problem> {
    rename(entry, LOGARITHM, ITSELF);
    entry.recover = match entry.recover {
        // The container stores the bonus after all.
        Recover::Exp => Recover::Stored,
        _ => Recover::Ln,
    };
    Ok(())
}

/// The model file of RWKV-5.0 holds the logarithm, and a bonus of zero or below has none.
fn to_logarithm(entry: &mut TensorEntry, files: &[FileMap]) -> Result<(), Problem> {
    let mut bonus = Vec::new();
    Tensor::new(entry, files).read_all(&mut bonus);
    if let Some(&found) = bonus.iter().find(|&&u| u.is_nan() || u <= 0.0) {
        return Err(Problem::Bonus { tensor: clip(&entry.name), found });
    }
    rename(entry, ITSELF, LOGARITHM);
    entry.recover = Recover::Exp;
    Ok(())
}

/// A bonus of one value per head beside decays of `heads` rows, as one of RWKV-5.2.
fn repeat_bonus(entries: &mut [TensorEntry], heads: usize) {
    let width = width(entries);
    for entry in of(entries, ITSELF).filter(|entry| entry.layout.elements() == heads) {
        entry.layout = entry.layout.per_head(width).unwrap_or(entry.layout);
    }
}

/// The model's width; 0 where it has no embedding.
fn width(entries: &[TensorEntry]) -> usize {
    let embedding = entries.iter().find(|entry| entry.name == "emb.weight");
    embedding.and_then(|entry| entry.layout.shape().last().copied()).unwrap_or(0)
}

/// Decay and bonus `[H]` as those of RWKV-5.2, `[H, N]`: the same model, whatever the bonus.
fn repeat(entries: &mut [TensorEntry], width: usize) -> Result<(), Problem> {
    let per_head =
        |entry: &&mut TensorEntry| [DECAY, ITSELF].iter().any(|end| entry.name.ends_with(end));
    for entry in entries.iter_mut().filter(per_head) {
        let shape = entry.layout.shape().to_vec();
        entry.layout = entry.layout.per_head(width).ok_or_else(|| Problem::Shape {
            tensor: clip(&entry.name),
            cause: format!("has shape {shape:?}; expected one value per head of {width} channels"),
        })?;
    }
    Ok(())
}
