//! Checkpoints: everything that a conversion asks of one, short of writing the model.

use std::path::Path;

use kinglet_quantize::TunedState;
use kinglet_quantize::checkpoint::Checkpoint;

/// Bytes that opening and reading a file of `len` may ask for: what a tensor's entry takes, and
/// rows of f32 where the file has a byte a value.
pub const fn limit(len: usize) -> usize {
    (64 << 20) + 256 * len
}

/// Opens a file or folder and reads it through.
pub fn open(path: &Path) -> Option<Checkpoint> {
    let checkpoint = Checkpoint::open(path).map_err(|error| error.to_string().len()).ok()?;
    read(&checkpoint);
    Some(checkpoint)
}

/// Reads the first and the last row of every tensor, the vocabulary, and what is to be converted.
pub fn read(checkpoint: &Checkpoint) {
    let _ = checkpoint.verify();
    if let Ok(Some(vocabulary)) = checkpoint.vocabulary() {
        let _ = vocabulary.pack();
    }
    let _ = (checkpoint.inputs(), checkpoint.is_export(), checkpoint.is_base_and_adapter());
    let mut row = Vec::new();
    for tensor in checkpoint.tensors() {
        let _ = (tensor.byte_len(), tensor.is_exact());
        for tensor in [tensor, tensor.transposed()] {
            assert_eq!(tensor.rows() * tensor.columns(), tensor.elements());
            let rows = tensor.rows();
            for at in [0, rows.saturating_sub(1)].into_iter().filter(|&at| at < rows) {
                row.resize(tensor.columns(), 0.0);
                tensor.read_rows(at..at + 1, &mut row);
            }
        }
    }
    if let Ok(shape) = kinglet_quantize::shape(checkpoint) {
        let _ = TunedState::read(checkpoint, &shape);
    }
}
