//! Named float64 arrays: the reference's weights and states, whatever file they
//! came from.

use std::collections::BTreeMap;

/// A dense array in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The elements, the last dimension innermost.
    pub data: Vec<f64>,
}

impl Tensor {
    /// Puts `data` into `shape`.
    ///
    /// # Panics
    ///
    /// When the product of `shape` is not the number of elements.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Self { shape, data }
    }

    /// The shape without its dimensions of length one, as PyTorch's `squeeze`.
    #[must_use]
    pub fn squeezed(&self) -> Vec<usize> {
        self.shape.iter().copied().filter(|&n| n != 1).collect()
    }

    /// The array with its last two dimensions exchanged: `[H, value, key]` from
    /// `[H, key, value]` and back.
    ///
    /// # Panics
    ///
    /// When there are fewer than two dimensions.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let [outer @ .., rows, cols] = &self.shape[..] else {
            panic!("shape {:?} has no two dimensions to exchange", self.shape);
        };
        let (rows, cols) = (*rows, *cols);
        let mut data = Vec::with_capacity(self.data.len());
        for matrix in self.data.chunks_exact((rows * cols).max(1)) {
            data.extend((0..rows * cols).map(|at| matrix[at % rows * cols + at / rows]));
        }
        Self::new([outer, &[cols, rows]].concat(), data)
    }
}

/// Tensors by their official (BlinkDL) name, or state arrays by their name in
/// the golden data.
pub type Tensors = BTreeMap<String, Tensor>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squeezing_drops_dimensions_of_one() {
        assert_eq!(Tensor::new(vec![1, 1, 3], vec![0.0; 3]).squeezed(), [3]);
        assert!(Tensor::new(vec![1], vec![0.0]).squeezed().is_empty());
    }

    #[test]
    fn transposing_keeps_outer_dimensions_apart() {
        let data = (0..12).map(f64::from).collect();
        let transposed = Tensor::new(vec![2, 2, 3], data).transposed();
        assert_eq!(transposed.shape, [2, 3, 2]);
        let expected = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11].map(f64::from);
        assert_eq!(transposed.data, expected);
    }
}
