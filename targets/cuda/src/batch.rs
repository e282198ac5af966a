//! The lists by which kernels find their way in a batch, made on the CPU and copied in one piece.

use kinglet::engine::BatchToken;

use crate::device::Address;

/// Where the lists of a batch are on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLists {
    /// Token ids: `[token]`.
    pub(crate) tokens: Address,
    /// The sequence of each token.
    pub(crate) sequence: Address,
    /// The token before in the same sequence, or -1: `[token]`.
    pub(crate) previous: Address,
    /// Tokens by sequence, those of one in their order: `[token]`.
    pub(crate) order: Address,
    /// Where each run of `order` starts, and the end: `[run + 1]`.
    pub(crate) starts: Address,
    /// The tokens whose logits are wanted.
    pub(crate) wanted: Address,
    /// 1 where a value is not finite, 0 at the start of a batch.
    pub(crate) not_finite: Address,
}

/// Sizes of a batch: batches of the same sizes are the same launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSize {
    pub(crate) tokens: u32,
    /// Sequences that have tokens in the batch.
    pub(crate) runs: u32,
    /// Tokens whose logits are wanted.
    pub(crate) wanted: u32,
}

/// Words of the lists of up to `tokens` tokens.
pub(crate) const fn lists_len(tokens: usize) -> usize {
    6 * tokens + 2
}

impl BatchLists {
    /// The lists' places, from `at` on, in an engine of up to `tokens` tokens.
    pub(crate) const fn at(at: Address, tokens: usize) -> Self {
        Self {
            tokens: at,
            sequence: at.offset(4 * tokens),
            previous: at.offset(8 * tokens),
            order: at.offset(12 * tokens),
            wanted: at.offset(16 * tokens),
            starts: at.offset(20 * tokens),
            not_finite: at.offset(24 * tokens + 4),
        }
    }
}

/// Writes the lists of `batch` to `words`, [`lists_len`] of `max_batch`.
pub(crate) fn write(batch: &[BatchToken], max_batch: usize, words: &mut [u32]) -> BatchSize {
    words.fill(0);
    let (tokens, words) = words.split_at_mut(max_batch);
    let (sequences, words) = words.split_at_mut(max_batch);
    let (previous, words) = words.split_at_mut(max_batch);
    let (order, words) = words.split_at_mut(max_batch);
    let (wanted, starts) = words.split_at_mut(max_batch);
    let mut wanted_len = 0;
    for (i, token) in batch.iter().enumerate() {
        tokens[i] = token.token;
        sequences[i] = token.sequence as u32;
        order[i] = i as u32;
        if token.logits {
            wanted[wanted_len] = i as u32;
            wanted_len += 1;
        }
    }
    // Stable, so that the tokens of a sequence keep their order.
    order[..batch.len()].sort_by_key(|&i| sequences[i as usize]);
    let mut runs = 0;
    let mut before: Option<u32> = None;
    for (at, &token) in order[..batch.len()].iter().enumerate() {
        let same = before.filter(|&b| sequences[b as usize] == sequences[token as usize]);
        previous[token as usize] = same.unwrap_or(u32::MAX);
        if same.is_none() {
            starts[runs] = at as u32;
            runs += 1;
        }
        before = Some(token);
    }
    starts[runs] = batch.len() as u32;
    BatchSize { tokens: batch.len() as u32, runs: runs as u32, wanted: wanted_len as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_the_order_of_each_sequence() {
        let token = |sequence| BatchToken { token: 7, sequence, logits: sequence == 1 };
        let batch = [3, 1, 3, 0, 1].map(token);
        let mut words = vec![9; lists_len(6)];
        let size = write(&batch, 6, &mut words);
        assert_eq!((size.tokens, size.runs, size.wanted), (5, 3, 2));
        assert_eq!(&words[..5], [7; 5]);
        assert_eq!(&words[6..11], [3, 1, 3, 0, 1]);
        assert_eq!(&words[12..17], [u32::MAX, u32::MAX, 0, u32::MAX, 1]);
        assert_eq!(&words[18..23], [3, 1, 4, 0, 2]);
        assert_eq!(&words[24..26], [1, 4]);
        assert_eq!(&words[30..34], [0, 1, 3, 5]);
        assert_eq!(words[37], 0);
    }
}
