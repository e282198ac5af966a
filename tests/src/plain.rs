//! Plain int8, the yardstick: round to nearest with an f16 scale for every 32 inputs of an output.

use crate::tensor::{Tensor, Tensors};

/// Inputs that share a scale.
const GROUP: usize = 32;

/// A checkpoint whose matrices have gone through plain int8 and back, the embedding with
/// LayerNorm ln0 folded in. Vectors stay as they are, `[heads, head size]` and `[1, 1, width]`
/// among them.
///
/// # Panics
///
/// When a scale is beyond the range of f16, or ln0 is missing.
#[must_use]
pub fn rounded(tensors: &Tensors) -> Tensors {
    let mut tensors = tensors.clone();
    let ln0 = ["weight", "bias"].map(|part| tensors.remove(&format!("blocks.0.ln0.{part}")));
    let [Some(weight), Some(bias)] = ln0 else { panic!("no ln0") };
    let embedding = tensors.get_mut("emb.weight").expect("an embedding");
    embedding.data.chunks_mut(weight.data.len()).for_each(|row| {
        layer_norm(row, &weight.data, &bias.data);
    });
    let rounded = tensors.iter().map(|(name, tensor)| {
        let tensor = if !is_matrix(name, tensor) {
            tensor.clone()
        } else if name.ends_with(".weight") {
            round_rows(tensor)
        } else {
            // Low-rank matrices are stored `[in, out]`.
            round_rows(&tensor.transposed()).transposed()
        };
        (name.clone(), tensor)
    });
    rounded.collect()
}

fn layer_norm(row: &mut [f64], weight: &[f64], bias: &[f64]) {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
    for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *x = (*x - mean) / (variance + 1e-5).sqrt() * weight + bias;
    }
}

fn is_matrix(name: &str, tensor: &Tensor) -> bool {
    let per_head = ["time_decay", "time_faaaa", "time_first", "r_k"];
    tensor.squeezed().len() > 1 && !per_head.iter().any(|end| name.ends_with(end))
}

fn round_rows(tensor: &Tensor) -> Tensor {
    let columns = tensor.shape[tensor.shape.len() - 1];
    let mut data = tensor.data.clone();
    for group in data.chunks_mut(columns).flat_map(|row| row.chunks_mut(GROUP)) {
        let largest = group.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let scale = half(largest / 127.0);
        if scale > 0.0 {
            group.iter_mut().for_each(|x| *x = (*x / scale).round().clamp(-127.0, 127.0) * scale);
        }
    }
    Tensor::new(tensor.shape.clone(), data)
}

/// The nearest f16: eleven significant bits, and fewer below 2^-14.
///
/// # Panics
///
/// Beyond the range of f16.
fn half(x: f64) -> f64 {
    assert!(x < 65504.0, "{x} is no f16");
    let exponent = x.log2().floor().max(-14.0) as i32;
    let unit = 2f64.powi(exponent - 10);
    (x / unit).round_ties_even() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_eleven_bits() {
        assert_eq!(half(1.0 + 1.0 / 1024.0), 1.0 + 1.0 / 1024.0);
        assert_eq!(half(1.0 + 1.0 / 2048.0), 1.0);
        assert_eq!(half(0.1), 0.0999755859375);
        assert_eq!(half(0.0), 0.0);
        assert_eq!(half(2f64.powi(-24) * 5.4), 2f64.powi(-24) * 5.0);
    }

    #[test]
    fn matrices_are_rounded_along_their_inputs() {
        // 127 makes the scale 1.
        let matrix = Tensor::new(vec![2, 2], vec![127.0, 2.3, 0.4, 0.0]);
        let vector = Tensor::new(vec![1, 1, 2], vec![0.3, 0.4]);
        let row = || Tensor::new(vec![1, 2], vec![3.0, 5.0]);
        let tensors = Tensors::from([
            ("emb.weight".to_owned(), row()),
            ("blocks.0.ln0.weight".to_owned(), row()),
            ("blocks.0.ln0.bias".to_owned(), row()),
            ("a.weight".to_owned(), matrix.clone()),
            ("a.w1".to_owned(), matrix),
            ("a.x_k".to_owned(), vector.clone()),
        ]);
        let rounded = rounded(&tensors);
        assert_eq!(rounded["a.weight"].data[..2], [127.0, 2.0]);
        assert_eq!(rounded["a.w1"].data[..3], [127.0, half(2.3 / 127.0) * 127.0, 0.0]);
        assert_eq!(rounded["a.x_k"], vector);
        let embedding = &rounded["emb.weight"].data;
        assert!(embedding[0].abs() < 1e-3 && (embedding[1] - 10.0).abs() < 1e-2);
        assert_eq!(rounded.len(), 4);
    }
}
