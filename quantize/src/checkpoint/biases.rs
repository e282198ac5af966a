//! Biases that official models do not have, taken into tensors that they have.
//!
//! | bias | what becomes of it |
//! |---|---|
//! | of LayerNorm, absent where a configuration says `norm_bias: false` | zeros |
//! | zeros, of any matrix | dropped |
//! | the same for every channel, of `att.output` or `ffn.value` | dropped: the residual stream is read through LayerNorms alone, which take the mean out |
//! | of `head`, where the head's rows are independent | `ln_out.bias + d` with `head d = bias` |
//! | of `head`, the same for every token | dropped: no probability changes by it |
//! | any other | refused by its name |
//!
//! `d` is the shortest solution, `headᵀ (head headᵀ)⁻¹ bias`, in f64. It exists for vocabularies
//! of at most as many tokens as the model has channels, as small models have.

use super::error::{Problem, clip};
use super::layout::Layout;
use super::tensor::{Tensor, TensorEntry};
use super::{Dtype, FileMap};

/// Most tokens of a head whose bias is folded: the work grows with the cube of it.
const MAX_FOLDED: usize = 2048;

/// Largest error of the folded bias, relative to its largest value.
const TOLERANCE: f64 = 1e-5;

/// Largest error that the head's rounding to int8 may make of the folded bias, relative to its
/// largest value. Rows that are nearly the same need a `d` so long that it drowns in the rounding.
const ROUNDED: f64 = 0.05;

/// Layers whose outputs are added to the residual stream.
const TO_RESIDUAL: [&str; 2] = [".att.output.bias", ".ffn.value.bias"];

/// Zeros for the biases of LayerNorms that have a weight alone.
pub(super) fn add_to_norms(
    entries: &mut Vec<TensorEntry>,
    files: &mut Vec<FileMap>,
) -> Result<(), Problem> {
    let norms = [".ln0.weight", ".ln1.weight", ".ln2.weight", "ln_out.weight"];
    let lone = entries.iter().filter_map(|entry| {
        norms.iter().find(|norm| entry.name.ends_with(*norm))?;
        let bias = entry.name.replace(".weight", ".bias");
        let is_there = entries.iter().any(|other| other.name == bias);
        (!is_there).then(|| (bias, entry.layout.elements()))
    });
    for (name, len) in lone.collect::<Vec<_>>() {
        add(entries, files, name, &vec![0.0; len])?;
    }
    Ok(())
}

/// Takes the biases of matrices into other tensors, or refuses them by name. Only whole models
/// have any.
pub(super) fn fold(
    entries: &mut Vec<TensorEntry>,
    files: &mut Vec<FileMap>,
) -> Result<(), Problem> {
    if !entries.iter().any(|entry| entry.name == "emb.weight") {
        return Ok(());
    }
    let is_matrix = |bias: &str| {
        let weight = bias.replace(".bias", ".weight");
        entries.iter().any(|entry| entry.name == weight && entry.layout.shape().len() == 2)
    };
    let biases = entries.iter().filter(|e| e.name.ends_with(".bias") && is_matrix(&e.name));
    let biases: Vec<TensorEntry> = biases.cloned().collect();
    for entry in biases {
        let bias = values(&entry, files);
        let is_constant = bias.iter().all(|&b| b == bias[0]);
        let is_unseen = TO_RESIDUAL.iter().any(|end| entry.name.ends_with(end)) && is_constant;
        if bias.iter().any(|&b| b != 0.0) && !is_unseen {
            if entry.name != "head.bias" {
                return Err(Problem::MatrixBias { tensor: clip(&entry.name) });
            }
            fold_head(entries, files, &bias, is_constant)?;
        }
        entries.retain(|other| other.name != entry.name);
    }
    Ok(())
}

fn fold_head(
    entries: &mut Vec<TensorEntry>,
    files: &mut Vec<FileMap>,
    bias: &[f32],
    is_constant: bool,
) -> Result<(), Problem> {
    let find = |name: &str| entries.iter().find(|entry| entry.name == name);
    let (Some(head), Some(norm)) = (find("head.weight"), find("ln_out.bias")) else {
        return Err(Problem::HeadBias);
    };
    let &[tokens, width] = head.layout.shape() else { return Err(Problem::HeadBias) };
    let shift = (tokens == bias.len() && tokens <= width.min(MAX_FOLDED))
        .then(|| shortest(&values(head, files), width, bias))
        .flatten();
    let mut folded = values(norm, files);
    match shift {
        Some(shift) if shift.len() == folded.len() => {
            folded.iter_mut().zip(shift).for_each(|(b, d)| *b = (f64::from(*b) + d) as f32);
            entries.retain(|entry| entry.name != "ln_out.bias");
            add(entries, files, "ln_out.bias".to_owned(), &folded)
        }
        _ if is_constant => Ok(()),
        _ => Err(Problem::HeadBias),
    }
}

/// The shortest `d` with `matrix d = target`; `None` where rows depend on each other.
///
/// * `matrix`: `[row][width]`
fn shortest(matrix: &[f32], width: usize, target: &[f32]) -> Option<Vec<f64>> {
    let rows: Vec<&[f32]> = matrix.chunks_exact(width).collect();
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let gram: Vec<Vec<f64>> =
        rows.iter().map(|a| rows.iter().map(|b| product(a, b)).collect()).collect();
    let dual = solve(gram, target.iter().map(|&b| f64::from(b)).collect())?;
    let mut shift = vec![0.0; width];
    for (row, y) in rows.iter().zip(dual) {
        shift.iter_mut().zip(*row).for_each(|(d, w)| *d += y * f64::from(*w));
    }
    let largest = target.iter().fold(0.0f32, |most, b| most.max(b.abs()));
    let is_folded = rows.iter().zip(target).all(|(row, &b)| {
        let found: f64 = row.iter().zip(&shift).map(|(w, d)| f64::from(*w) * d).sum();
        (found - f64::from(b)).abs() <= TOLERANCE * f64::from(largest)
    });
    // Rounding errors of weights are even within a step, which is at most a 127th of the largest
    // weight of a row.
    let squares: f64 = shift.iter().map(|d| d * d).sum();
    let peak = matrix.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let rounded = squares.sqrt() * f64::from(peak) / 127.0 / 12.0f64.sqrt();
    let is_kept = rounded <= ROUNDED * f64::from(largest);
    (is_folded && is_kept).then_some(shift)
}

/// Solves a square system by elimination with pivots; `None` where it is singular.
fn solve(mut matrix: Vec<Vec<f64>>, mut target: Vec<f64>) -> Option<Vec<f64>> {
    let n = target.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        matrix.swap(column, pivot);
        target.swap(column, pivot);
        let (above, below) = matrix.split_at_mut(column + 1);
        let lead = &above[column];
        if lead[column] == 0.0 || !lead[column].is_finite() {
            return None;
        }
        for (row, offset) in below.iter_mut().zip(column + 1..) {
            let factor = row[column] / lead[column];
            row.iter_mut().zip(lead).skip(column).for_each(|(x, l)| *x -= factor * l);
            target[offset] -= factor * target[column];
        }
    }
    for column in (0..n).rev() {
        let known: f64 = (column + 1..n).map(|i| matrix[column][i] * target[i]).sum();
        target[column] = (target[column] - known) / matrix[column][column];
    }
    Some(target)
}

pub(super) fn values(entry: &TensorEntry, files: &[FileMap]) -> Vec<f32> {
    let mut values = Vec::new();
    Tensor::new(entry, files).read_all(&mut values);
    values
}

/// Adds a vector that no file holds, in a map of its own.
fn add(
    entries: &mut Vec<TensorEntry>,
    files: &mut Vec<FileMap>,
    name: String,
    vector: &[f32],
) -> Result<(), Problem> {
    let bytes: &[u8] = bytemuck::cast_slice(vector);
    let mut map = memmap2::MmapMut::map_anon(bytes.len().max(1)).map_err(Problem::Io)?;
    for (place, value) in map.as_chunks_mut::<4>().0.iter_mut().zip(vector) {
        *place = value.to_le_bytes();
    }
    let layout = Layout::contiguous(&name, &[vector.len() as u64])?;
    let entry = TensorEntry::new(&name, Dtype::F32, 0..bytes.len(), 0, layout)?;
    entries.push(TensorEntry { file: files.len(), ..entry });
    files.push(map.make_read_only().map_err(Problem::Io)?.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_a_combination_of_independent_rows() {
        let matrix = [1.0, 2.0, 0.0, 0.5, 0.0, -1.0, 3.0, 0.25];
        let shift = shortest(&matrix, 4, &[3.0, -2.0]).unwrap();
        for (row, b) in matrix.chunks(4).zip([3.0, -2.0]) {
            let found: f64 = row.iter().zip(&shift).map(|(w, d)| f64::from(*w) * d).sum();
            assert!((found - b).abs() < 1e-12);
        }
        // Of dependent rows only a bias that depends likewise, and no pivot is zero by chance.
        assert_eq!(shortest(&[1.0, 2.0, 2.0, 4.0], 2, &[1.0, 1.0]), None);
        // A bias that rounding the rows to int8 would bury is not folded.
        let near = [1.0, 2.0, 0.0, 0.5, 1.0, 2.0, 1e-4, 0.5];
        assert_eq!(shortest(&near, 4, &[1.0, -1.0]), None);
        assert_eq!(
            solve(vec![vec![0.0, 1.0], vec![2.0, 0.0]], vec![3.0, 4.0]),
            Some(vec![2.0, 3.0])
        );
    }
}
