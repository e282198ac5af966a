//! Values that a conversion may take: finite ones.

use super::error::ConvertError;
use crate::checkpoint::Tensor;
use crate::int8;

/// The largest magnitude of some rows, the first of which is row `first` of the tensor, when all
/// are finite.
pub(super) fn check_finite(
    tensor: &Tensor<'_>,
    first: usize,
    values: &[f32],
) -> Result<f32, ConvertError> {
    let largest = int8::largest(values);
    if largest.is_finite() {
        return Ok(largest);
    }
    let at = values.iter().position(|x| !x.is_finite()).unwrap_or(0);
    let columns = tensor.columns().max(1);
    Err(ConvertError::NonFinite {
        tensor: tensor.name().to_owned(),
        found: values[at],
        row: first + at / columns,
        column: at % columns,
    })
}

/// All values of a tensor, which must be finite.
pub(super) fn finite_values(tensor: &Tensor<'_>) -> Result<Vec<f32>, ConvertError> {
    let mut values = Vec::new();
    tensor.read_all(&mut values);
    check_finite(tensor, 0, &values)?;
    Ok(values)
}
