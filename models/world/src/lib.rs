#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

/// Lengths that tokens have: 1 to this many bytes.
const LENGTHS: usize = 128;

/// How many tokens have each length, then the bytes of all.
static FILE: &[u8] = include_bytes!("../world.vocab");

/// Outputs of the models that have this vocabulary.
pub const OUTPUTS: usize = 65_536;

/// The bytes of every token in the order of their ids, which begin with 1.
#[must_use]
pub fn tokens() -> Tokens {
    let (counts, bytes) = FILE.split_at(2 * LENGTHS);
    Tokens { counts, bytes, len: 0, left: 0 }
}

/// The tokens in the order of their ids: what [`tokens`] returns.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Numbers of tokens, two bytes each, of the lengths that are still to come.
    counts: &'static [u8],
    /// The bytes of the tokens that are still to come.
    bytes: &'static [u8],
    /// The length of the tokens at hand.
    len: usize,
    /// How many of that length are still to come.
    left: usize,
}

impl Iterator for Tokens {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<Self::Item> {
        while self.left == 0 {
            let (count, rest) = self.counts.split_first_chunk()?;
            (self.left, self.counts) = (usize::from(u16::from_le_bytes(*count)), rest);
            self.len += 1;
        }
        let (token, rest) = self.bytes.split_at_checked(self.len)?;
        (self.bytes, self.left) = (rest, self.left - 1);
        Some(token)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let counts = self.counts.as_chunks().0.iter();
        let left =
            self.left + counts.map(|&count| usize::from(u16::from_le_bytes(count))).sum::<usize>();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Tokens {}
