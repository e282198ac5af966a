//! Stop strings: ends a text where one of several byte strings occurs.
//!
//! A stop may be cut anywhere by tokens. Bytes that may still become a stop are held back, and
//! everything before them is shown at once:
//!
//! ```text
//! held = the longest end of the text so far that some stop begins with
//! for each byte:  held = longest end of (held + byte) that some stop begins with
//!                 show the bytes of (held + byte) before it
//!                 end where a whole stop ends it
//! ```
//!
//! Held bytes need no buffer, because they are the beginning of a stop. No text is shown twice or
//! lost, and the stop itself is not shown.

/// Finds the first of several stop strings in bytes that arrive in pieces.
///
/// ```
/// use kinglet::tokenizer::stop::StopMatcher;
///
/// let stops: [&[u8]; 2] = [b"\n\n", b"User:"];
/// let mut matcher = StopMatcher::new(&stops);
/// let mut shown = Vec::new();
/// assert_eq!(matcher.push(b" yes\n", |bytes| shown.extend_from_slice(bytes)), None);
/// assert_eq!(shown, b" yes");
/// assert_eq!(matcher.push(b"\nUser", |bytes| shown.extend_from_slice(bytes)), Some(0));
/// assert_eq!(shown, b" yes");
/// ```
#[derive(Clone, Debug)]
pub struct StopMatcher<'a, T = &'a [u8]> {
    stops: &'a [T],
    /// The stop that the held bytes begin, and how many they are.
    held: (usize, usize),
}

impl<'a, T: AsRef<[u8]>> StopMatcher<'a, T> {
    /// A matcher for `stops`; an empty one among them is never found.
    #[must_use]
    pub const fn new(stops: &'a [T]) -> Self {
        Self { stops, held: (0, 0) }
    }

    /// Takes the next bytes and calls `show` with those that are surely no part of a stop. At the
    /// end of a stop it returns the stop's index and drops what is left of `bytes`.
    pub fn push(&mut self, bytes: &[u8], mut show: impl FnMut(&[u8])) -> Option<usize> {
        // Bytes from here on are in `bytes` and not shown; those before are held.
        let mut start = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let before = self.held_bytes();
            let total = before.len() + 1;
            self.held = self.longest(before, byte);
            let released = total - self.held.1;
            // The released bytes are the first ones of the held bytes and this one, of which the
            // last `at - start` held ones are in `bytes` as well.
            let earlier = before.len() - (at - start);
            if released > 0 {
                show(&before[..released.min(earlier)]);
                let here = released.saturating_sub(earlier);
                show(&bytes[start..start + here]);
                start += here;
            }
            if let Some((stop, len)) = self.found() {
                let held = self.held_bytes();
                show(&held[..held.len() - len]);
                self.held = (0, 0);
                return Some(stop);
            }
        }
        None
    }

    /// The bytes that are held back: all of the text that is left when it ends here.
    #[must_use]
    pub fn held_bytes(&self) -> &'a [u8] {
        let (stop, len) = self.held;
        self.stops.get(stop).map_or(&[], |stop| &stop.as_ref()[..len])
    }

    /// The longest stop that the held bytes end with, and its length. A shorter one may end inside
    /// the beginning of a longer one.
    fn found(&self) -> Option<(usize, usize)> {
        let held = self.held_bytes();
        let stops = self.stops.iter().map(AsRef::as_ref).enumerate();
        let ending = stops.filter(|(_, stop)| !stop.is_empty() && held.ends_with(stop));
        ending.map(|(index, stop)| (index, stop.len())).max_by_key(|&(_, len)| len)
    }

    /// The longest end of `held` and `byte` that a stop begins with: the stop and the length.
    fn longest(&self, held: &[u8], byte: u8) -> (usize, usize) {
        for skip in 0..=held.len() {
            let end = &held[skip..];
            for (index, stop) in self.stops.iter().enumerate() {
                let stop = stop.as_ref();
                if stop.get(end.len()) == Some(&byte) && stop.starts_with(end) {
                    return (index, end.len() + 1);
                }
            }
        }
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// The text before the stop that ends first, of those the one that starts first; and whether
    /// there is one.
    fn naive<'t>(text: &'t [u8], stops: &[Vec<u8>]) -> (&'t [u8], bool) {
        let ends = (1..=text.len()).find_map(|end| {
            let ending = stops.iter().filter(|s| !s.is_empty() && text[..end].ends_with(s));
            ending.map(|stop| end - stop.len()).min()
        });
        (&text[..ends.unwrap_or(text.len())], ends.is_some())
    }

    proptest! {
        #[test]
        fn pieces_show_what_stands_before_the_first_stop(
            stops in prop::collection::vec(prop::collection::vec(b'a'..=b'c', 0..5), 0..4),
            pieces in prop::collection::vec(prop::collection::vec(b'a'..=b'c', 0..6), 0..12),
        ) {
            let text = pieces.concat();
            let mut matcher = StopMatcher::new(&stops);
            let mut shown = Vec::new();
            let stopped = pieces
                .iter()
                .any(|piece| matcher.push(piece, |bytes| shown.extend_from_slice(bytes)).is_some());
            if !stopped {
                shown.extend_from_slice(matcher.held_bytes());
            }
            prop_assert_eq!((&shown[..], stopped), naive(&text, &stops));
        }

        #[test]
        fn what_is_held_back_begins_a_stop(
            stops in prop::collection::vec(prop::collection::vec(b'a'..=b'b', 1..5), 1..4),
            text in prop::collection::vec(b'a'..=b'c', 0..12),
        ) {
            let mut matcher = StopMatcher::new(&stops);
            if matcher.push(&text, |_| ()).is_none() {
                let held = matcher.held_bytes();
                prop_assert!(text.ends_with(held));
                let longest = (0..=text.len()).map(|at| &text[at..])
                    .find(|end| end.is_empty() || stops.iter().any(|s| s.starts_with(end)));
                prop_assert_eq!(Some(held), longest);
            }
        }
    }
}
