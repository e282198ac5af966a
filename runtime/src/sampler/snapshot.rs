//! Where a sampler stands, as bytes: what a saved text goes on with as if it had not stopped.
//!
//! | bytes | type | content |
//! |------:|------|---------|
//! | 8 | u64 | state of the generator |
//! | 8 each | u32, f32 | a token that was counted, ids ascending, and its count |
//!
//! Numbers are little-endian. Options and bans are not part of it: whoever goes on chooses them.

use core::fmt;

use super::{Pcg32, Sampler};

/// Bytes of the generator's state.
const GENERATOR_LEN: usize = 8;
/// Bytes of a token and its count.
const COUNT_LEN: usize = 8;

impl<C: AsRef<[f32]> + AsMut<[f32]>> Sampler<C> {
    /// Bytes of the [`snapshot`](Self::snapshot) of the sampler as it stands.
    #[must_use]
    pub fn snapshot_len(&self) -> usize {
        GENERATOR_LEN + COUNT_LEN * self.counted().count()
    }

    /// Writes the generator and the counts to the front of `out`; returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Buffer`] when `out` has fewer than [`snapshot_len`](Self::snapshot_len).
    pub fn snapshot(&self, out: &mut [u8]) -> Result<usize, SnapshotError> {
        let (found, needed) = (out.len(), self.snapshot_len());
        let Some(out) = out.get_mut(..needed) else {
            return Err(SnapshotError::Buffer { found, needed });
        };
        let (generator, counts) = out.split_at_mut(GENERATOR_LEN);
        generator.copy_from_slice(&self.rng.state().to_le_bytes());
        for (out, (token, count)) in counts.chunks_exact_mut(COUNT_LEN).zip(self.counted()) {
            out[..4].copy_from_slice(&token.to_le_bytes());
            out[4..].copy_from_slice(&count.to_le_bytes());
        }
        Ok(needed)
    }

    /// Goes on from a [`snapshot`](Self::snapshot). Counts of tokens that this sampler does not
    /// count, because it has no penalties, are left out.
    ///
    /// # Errors
    ///
    /// When `bytes` are no snapshot; the sampler is then as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let length = SnapshotError::Length { found: bytes.len() };
        let (generator, counts) = bytes.split_first_chunk::<GENERATOR_LEN>().ok_or(length)?;
        let (counts, rest) = counts.as_chunks::<COUNT_LEN>();
        if !rest.is_empty() {
            return Err(length);
        }
        let counts = counts.iter().map(|[a, b, c, d, count @ ..]| {
            (u32::from_le_bytes([*a, *b, *c, *d]), f32::from_le_bytes(*count))
        });
        let mut next = 0;
        for (token, count) in counts.clone() {
            // A count is kept negated; see `penalties`.
            if u64::from(token) < next || !count.is_finite() || count.is_sign_positive() {
                return Err(SnapshotError::Count { token });
            }
            next = u64::from(token) + 1;
        }
        self.rng = Pcg32::from_state(u64::from_le_bytes(*generator));
        let kept = self.counts.as_mut();
        kept.fill(0.0);
        for (token, count) in counts {
            if let Some(kept) = usize::try_from(token).ok().and_then(|token| kept.get_mut(token)) {
                *kept = count;
            }
        }
        Ok(())
    }

    /// The tokens that were counted, and what their counts are kept as.
    fn counted(&self) -> impl Iterator<Item = (u32, f32)> {
        let counts = self.counts.as_ref().iter().zip(0..);
        counts.filter(|(count, _)| count.is_sign_negative()).map(|(&count, token)| (token, count))
    }
}

/// Why a sampler's place was not written or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SnapshotError {
    /// The buffer is too short.
    Buffer {
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// No snapshot has this length.
    Length {
        /// Bytes given.
        found: usize,
    },
    /// A token's count is none, or its id does not ascend.
    Count {
        /// The id.
        token: u32,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Buffer { found, needed } => {
                write!(f, "a buffer of {found} bytes; the sampler's place needs {needed}")
            }
            Self::Length { found } => write!(f, "{found} bytes are no place of a sampler"),
            Self::Count { token } => write!(f, "the count of token {token} is none"),
        }
    }
}

impl core::error::Error for SnapshotError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;
    use crate::sampler::SamplerOptions;

    const OPTIONS: SamplerOptions = SamplerOptions {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        presence: 0.3,
        frequency: 0.4,
        penalty_decay: 0.9,
    };

    fn draw(sampler: &mut Sampler<[f32; 6]>) -> u32 {
        let token = sampler.sample(&mut [1.0, 0.5, 2.0, 0.0, 1.5, 0.25]).unwrap();
        sampler.accept(token);
        token
    }

    proptest! {
        #[test]
        fn a_restored_sampler_goes_on_as_if_it_had_not_stopped(seed: u64, before in 0..20) {
            let mut sampler = Sampler::with_counts(OPTIONS, seed, [0.0; 6]).unwrap();
            for _ in 0..before {
                draw(&mut sampler);
            }
            let mut bytes = [0; 64];
            let len = sampler.snapshot(&mut bytes).unwrap();
            prop_assert_eq!(len, sampler.snapshot_len());
            let mut other = Sampler::with_counts(OPTIONS, 0, [0.0; 6]).unwrap();
            other.restore(&bytes[..len]).unwrap();
            let [a, b] = [&mut sampler, &mut other].map(|s| (0..20).map(|_| draw(s)).collect::<Vec<_>>());
            prop_assert_eq!(a, b);
        }

        #[test]
        fn any_bytes_are_restored_or_leave_the_sampler_as_it_was(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut sampler = Sampler::with_counts(OPTIONS, 5, [0.0; 6]).unwrap();
            draw(&mut sampler);
            let before = sampler.clone();
            match sampler.restore(&bytes) {
                Ok(()) => prop_assert_eq!(sampler.rng.state().to_le_bytes(), &bytes[..8]),
                Err(_) => {
                    prop_assert_eq!(&sampler.rng, &before.rng);
                    prop_assert_eq!(sampler.counts, before.counts);
                }
            }
        }
    }

    #[test]
    fn buffers_that_are_too_short_are_refused() {
        let sampler = Sampler::new(SamplerOptions::default(), 1).unwrap();
        let error = SnapshotError::Buffer { found: 7, needed: 8 };
        assert_eq!(sampler.snapshot(&mut [0; 7]), Err(error));
    }
}
