//! Joins the bytes of tokens to text.
//!
//! A token is any bytes, and may end inside a character. [`TextStream`] shows a character once it
//! is complete, so that a terminal never sees half of one, and replaces what can never become
//! UTF-8. It keeps at most three bytes.

use core::iter::FusedIterator;
use core::str::{self, Utf8Chunks};

use heapless::Vec;

/// What stands for bytes that are not UTF-8.
const REPLACEMENT: &str = "\u{FFFD}";

/// The longest incomplete character: all bytes but the last of one with four.
const MAX_TAIL_LEN: usize = 3;

/// Turns bytes that arrive in pieces into text, and shows only complete characters.
///
/// A token may end inside a character; its last bytes are then held until the character is
/// complete. Bytes that cannot belong to UTF-8 become U+FFFD, one for each longest invalid
/// sequence, as in `String::from_utf8_lossy`: however the bytes are cut into pieces, the text is
/// the one that `from_utf8_lossy` makes of all of them together.
///
/// # Examples
///
/// ```
/// use kinglet::tokenizer::text_stream::TextStream;
///
/// let mut stream = TextStream::new();
/// assert!(stream.push(b"caf\xC3").eq(["caf"]));
/// assert!(stream.push(b"\xA9 ").eq(["é", " "]));
/// assert_eq!(stream.push(b"\xE2\x82").next(), None);
/// assert_eq!(stream.finish(), "\u{FFFD}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    /// The start of a character whose end has not come.
    tail: Vec<u8, MAX_TAIL_LEN>,
    /// The character that the latest piece completed, lent by `push`.
    completed: Vec<u8, { MAX_TAIL_LEN + 1 }>,
}

impl TextStream {
    /// A stream at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self { tail: Vec::new(), completed: Vec::new() }
    }

    /// Takes the next bytes and returns the text that is now complete, in one or more parts none
    /// of which is empty. The bytes are taken whether or not the iterator is run.
    pub fn push<'s>(&'s mut self, bytes: &'s [u8]) -> TextParts<'s> {
        let (head, rest) = self.resume(bytes);
        let (whole, tail) = split_incomplete(rest);
        // This fits: where `resume` left a tail, nothing is left of the bytes.
        let _ = self.tail.extend_from_slice(tail);
        let head = match head {
            Head::None => "",
            Head::Completed => str::from_utf8(&self.completed).unwrap_or(REPLACEMENT),
            Head::Invalid => REPLACEMENT,
        };
        TextParts { ready: head, invalid: false, chunks: whole.utf8_chunks() }
    }

    /// Ends the text: U+FFFD if it ended inside a character, otherwise nothing. The stream is then
    /// at the start of another text.
    pub fn finish(&mut self) -> &'static str {
        let text = if self.tail.is_empty() { "" } else { REPLACEMENT };
        self.tail.clear();
        text
    }

    /// The bytes that are held back: the start of a character whose end has not come.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.tail
    }

    /// Whether the bytes so far end inside a character.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Continues the held character with the first of `bytes`; returns what became of it and the
    /// bytes that are not part of it.
    fn resume<'b>(&mut self, bytes: &'b [u8]) -> (Head, &'b [u8]) {
        let mut rest = bytes;
        while let (false, Some((&byte, after))) = (self.tail.is_empty(), rest.split_first()) {
            self.completed.clear();
            // This fits, as it has room for a byte more than the tail.
            let _ = self.completed.extend_from_slice(&self.tail);
            let _ = self.completed.push(byte);
            match str::from_utf8(&self.completed) {
                Ok(_) => {
                    self.tail.clear();
                    return (Head::Completed, after);
                }
                Err(error) if error.error_len().is_none() && self.tail.push(byte).is_ok() => {
                    rest = after;
                }
                // The byte does not continue the character; it may start one.
                Err(_) => {
                    self.tail.clear();
                    return (Head::Invalid, rest);
                }
            }
        }
        (Head::None, rest)
    }
}

/// What became of a held character.
enum Head {
    None,
    Completed,
    Invalid,
}

/// Splits off the incomplete character that `bytes` ends with, if it ends with one.
fn split_incomplete(bytes: &[u8]) -> (&[u8], &[u8]) {
    // The shortest end that wants more bytes starts with the character's first byte, because other
    // bytes of a character are invalid as a first.
    (1..=MAX_TAIL_LEN)
        .find_map(|len| {
            let (whole, end) = bytes.split_at_checked(bytes.len().checked_sub(len)?)?;
            let error = str::from_utf8(end).err()?;
            error.error_len().is_none().then_some((whole, end))
        })
        .unwrap_or((bytes, &[]))
}

/// The parts of a text that a piece of bytes completed, from [`TextStream::push`].
#[derive(Clone, Debug)]
#[must_use = "text that the iterator does not return is lost"]
pub struct TextParts<'s> {
    /// Text that is due before that of `chunks`.
    ready: &'s str,
    /// Whether an invalid sequence is due after `ready`.
    invalid: bool,
    chunks: Utf8Chunks<'s>,
}

impl<'s> Iterator for TextParts<'s> {
    type Item = &'s str;

    fn next(&mut self) -> Option<&'s str> {
        loop {
            if !self.ready.is_empty() {
                return Some(core::mem::take(&mut self.ready));
            }
            if core::mem::take(&mut self.invalid) {
                return Some(REPLACEMENT);
            }
            let chunk = self.chunks.next()?;
            self.ready = chunk.valid();
            self.invalid = !chunk.invalid().is_empty();
        }
    }
}

impl FusedIterator for TextParts<'_> {}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::TextStream;

    /// Bytes near the rules of UTF-8: characters of every length, and their parts.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let lead =
            prop::sample::select(b"\xC2\xDF\xE0\xE1\xED\xEF\xF0\xF3\xF4\xF5\xFF\xC0".to_vec());
        let edge = prop::sample::select(b"\x7F\x80\x8F\x90\x9F\xA0\xBF".to_vec());
        let piece = prop_oneof![
            any::<char>().prop_map(|c| String::from(c).into_bytes()),
            any::<u8>().prop_map(|byte| [byte].to_vec()),
            (lead, prop::collection::vec(edge, 0..4)).prop_map(|(lead, mut edges)| {
                edges.insert(0, lead);
                edges
            }),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_pieces_make_the_text_of_the_whole(
            bytes in bytes(),
            lens in prop::collection::vec(0_usize..6, 1..32),
        ) {
            let mut stream = TextStream::new();
            let mut text = String::new();
            let mut rest = &bytes[..];
            // A zero-length piece alone would never end.
            for len in lens.iter().copied().chain([1]).cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(len.min(rest.len()));
                for part in stream.push(piece) {
                    prop_assert!(!part.is_empty());
                    text.push_str(part);
                }
                rest = after;
                // No more is held back than must be.
                let taken = &bytes[..bytes.len() - rest.len()];
                let held = stream.is_incomplete();
                let lossy = String::from_utf8_lossy(taken);
                let shown = if held { lossy.strip_suffix('\u{FFFD}') } else { Some(&*lossy) };
                prop_assert_eq!(Some(text.as_str()), shown);
            }
            text.push_str(stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            prop_assert!(!stream.is_incomplete());
        }
    }

    #[test]
    fn a_character_appears_with_its_last_byte() {
        for c in ['a', 'é', '€', '🐦'] {
            let text = String::from(c);
            let mut stream = TextStream::new();
            let (last, first) = text.as_bytes().split_last().unwrap();
            for &byte in first {
                assert_eq!(stream.push(&[byte]).count(), 0);
                assert!(stream.is_incomplete());
            }
            assert!(stream.push(&[*last]).eq([text.as_str()]));
            assert!(!stream.is_incomplete());
        }
    }

    #[test]
    fn a_broken_character_does_not_swallow_the_next() {
        let mut stream = TextStream::new();
        assert_eq!(stream.push(b"\xF0\x9F\x90").count(), 0);
        assert!(stream.push(b"ok").eq(["\u{FFFD}", "ok"]));
        assert_eq!(stream.push(b"\xE2").count(), 0);
        assert_eq!(stream.push(b"\xC3").collect::<String>(), "\u{FFFD}");
        assert!(stream.push(b"\xA9").eq(["é"]));
    }

    #[test]
    fn a_dropped_iterator_loses_only_what_it_did_not_show() {
        let mut stream = TextStream::new();
        let _ = stream.push(b"ab\xC3");
        assert!(stream.push(b"\xA9").eq(["é"]));
        assert_eq!(stream.finish(), "");
    }
}
