//! The memory that an engine needs, from the model's shape alone.
//!
//! [`Requirements`] is the one place that says how long a buffer is: the firmware sizes its
//! statics by it, the C library reports it, and `kinglet fit` sums it up. The workspace's length
//! follows from the forward pass's own declarations of its buffers.

use crate::format::shape::Shape;
use crate::format::state_file;
use crate::num::state_dtype::StateElement;
use crate::rwkv;

/// The length of every buffer that the caller of an engine owns.
///
/// A `const fn` makes it, so that firmware declares its buffers as statics and the linker says
/// whether they fit; programs report the same numbers.
///
/// ```
/// use kinglet::engine::Requirements;
/// use kinglet::format::model::Header;
///
/// static MODEL: &[u8] = kinglet_stories::MODEL;
/// const HEADER: Header = match Header::parse(MODEL) {
///     Ok(header) => header,
///     Err(_) => panic!("the model is damaged"),
/// };
/// const NEEDS: Requirements = Requirements::of::<f32>(&HEADER.shape, 1);
/// static STATE: [f32; NEEDS.state] = [0.0; NEEDS.state];
/// assert_eq!(size_of_val(&STATE), NEEDS.state_bytes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Requirements {
    /// Elements of one sequence's state, of the state type.
    pub state: usize,
    /// Bytes of one sequence's state.
    pub state_bytes: usize,
    /// f32 elements of the workspace.
    pub workspace: usize,
    /// f32 elements of the logits of one token.
    pub logits: usize,
    /// Bytes of the file of one sequence's state.
    pub state_file_bytes: usize,
}

impl Requirements {
    /// What an engine needs that keeps states in `S` and computes up to `max_batch` tokens
    /// together. Where that may be more than memory can hold, on a 32-bit machine and for a shape
    /// from outside, ask [`checked`](Self::checked).
    pub const fn of<S: StateElement>(shape: &Shape, max_batch: usize) -> Self {
        let state = shape.state_len();
        let state_bytes = state * size_of::<S>();
        Self {
            state,
            state_bytes,
            workspace: workspace_len(shape, max_batch),
            logits: shape.vocab,
            state_file_bytes: state_file::HEADER_LEN + state_bytes,
        }
    }

    /// [`of`](Self::of), or `None` where a workspace may be more than a memory of this machine's
    /// address width can hold.
    pub const fn checked<S: StateElement>(shape: &Shape, max_batch: usize) -> Option<Self> {
        match checked_workspace_len(shape, max_batch) {
            Some(_) => Some(Self::of::<S>(shape, max_batch)),
            None => None,
        }
    }

    /// Bytes of the workspace.
    pub const fn workspace_bytes(&self) -> usize {
        self.workspace * size_of::<f32>()
    }

    /// Bytes of the logits of one token.
    pub const fn logits_bytes(&self) -> usize {
        self.logits * size_of::<f32>()
    }

    /// Bytes of all that an engine with `sequences` states needs, with logits for one token.
    pub const fn total_bytes(&self, sequences: usize) -> usize {
        sequences * self.state_bytes + self.workspace_bytes() + self.logits_bytes()
    }
}

/// Elements (f32) of the workspace of an engine that computes up to `max_batch`
/// tokens together. Where that may be more than memory can hold, on a 32-bit
/// machine and for a shape from outside, ask [`checked_workspace_len`].
pub const fn workspace_len(shape: &Shape, max_batch: usize) -> usize {
    rwkv::workspace_len(shape, max_batch)
}

/// [`workspace_len`], or `None` where so many elements may be more than a memory of
/// this machine's address width can hold.
///
/// Its bound is `max_batch` workspaces of a single token, each of which fits 32 bits
/// for every shape that [`Shape::check`] accepts.
pub const fn checked_workspace_len(shape: &Shape, max_batch: usize) -> Option<usize> {
    if workspace_fits(shape, max_batch, isize::MAX as u64) {
        Some(workspace_len(shape, max_batch))
    } else {
        None
    }
}

/// Whether the bytes of a workspace are surely no more than `limit`.
const fn workspace_fits(shape: &Shape, max_batch: usize, limit: u64) -> bool {
    let token = size_of::<f32>() as u64 * workspace_len(shape, 1) as u64;
    match token.checked_mul(max_batch as u64) {
        Some(bound) => bound <= limit,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::shape::{Architecture, Ranks};

    const ARCHITECTURES: [Architecture; 7] = [
        Architecture::Rwkv4,
        Architecture::Rwkv5_0,
        Architecture::Rwkv5_1,
        Architecture::Rwkv5_2,
        Architecture::Rwkv6,
        Architecture::Rwkv7,
        Architecture::Rwkv7a,
    ];

    /// A shape of two layers, with `rank` for every rank that the architecture has.
    fn shape(architecture: Architecture, width: usize, ffn: usize, rank: usize) -> Shape {
        let has = |wanted: &[Architecture]| if wanted.contains(&architecture) { rank } else { 0 };
        let seven = has(&[Architecture::Rwkv7, Architecture::Rwkv7a]);
        let ranks = Ranks {
            decay: seven.max(has(&[Architecture::Rwkv6])),
            iclr: seven,
            value: seven,
            gate: seven,
            shift: has(&[Architecture::Rwkv6]),
            deep_embed: has(&[Architecture::Rwkv7a]).min(256),
        };
        let shape = Shape { architecture, layers: 2, width, head_size: 1, ffn, vocab: 1, ranks };
        shape.check().unwrap();
        shape
    }

    #[test]
    fn one_token_of_the_largest_shape_fits_32_bits() {
        for architecture in ARCHITECTURES {
            let largest = shape(architecture, 1 << 20, 1 << 20, 1 << 20);
            assert!(workspace_fits(&largest, 1, i32::MAX as u64), "{architecture}");
            assert_eq!(checked_workspace_len(&largest, usize::MAX), None);
        }
    }

    #[test]
    fn a_rank_that_no_tensor_has_takes_no_memory() {
        for architecture in [Architecture::Rwkv7, Architecture::Rwkv7a] {
            let one_layer = |value| {
                let shape = shape(architecture, 64, 64, 8);
                let shape = Shape { layers: 1, ranks: Ranks { value, ..shape.ranks }, ..shape };
                checked_workspace_len(&shape, 1)
            };
            assert_eq!(one_layer(1 << 20), one_layer(0));
        }
    }

    /// Ranks alone make a workspace too large.
    #[test]
    fn workspaces_beyond_32_bits_are_told() {
        for (architecture, rank) in [(Architecture::Rwkv6, 1 << 20), (Architecture::Rwkv7a, 256)] {
            let shape = shape(architecture, 64, 64, rank);
            let max_batch = 1 << 14;
            // Elsewhere the length itself has no room.
            #[cfg(target_pointer_width = "64")]
            assert!(4 * workspace_len(&shape, max_batch) as u64 > u64::from(u32::MAX));
            assert!(!workspace_fits(&shape, max_batch, i32::MAX as u64), "{architecture}");
            assert!(workspace_fits(&shape, 16, i32::MAX as u64), "{architecture}");
        }
    }

    proptest! {
        #[test]
        fn a_workspace_is_no_longer_than_one_for_each_token(
            architecture in prop::sample::select(&ARCHITECTURES[..]),
            dimensions in prop::array::uniform3(1_usize..5000),
            max_batch in 1_usize..300,
        ) {
            let [width, ffn, rank] = dimensions;
            let shape = shape(architecture, width, ffn, rank);
            let len = workspace_len(&shape, max_batch);
            prop_assert!(len <= max_batch * workspace_len(&shape, 1));
            prop_assert_eq!(checked_workspace_len(&shape, max_batch), Some(len));
        }
    }
}
