//! The reader of a model's output as it comes: thought, answer, and the stop that ends it.
//!
//! ```text
//! opening "Assistant: <think"            ">" thought "</think>" answer
//! opening "Assistant: <think>⏎</think"   ">" answer
//! opening "Assistant:"                   answer
//! ```
//!
//! The part that the model is in when it begins follows from the end of the opening. Stops are
//! looked for in the answer alone, on bytes, wherever tokens cut them: inside a thought only its
//! end and the end of the text count. White space before the first word is not shown.
//!
//! Reading is a function of the bytes: reading them again gives the same.

use kinglet::{StopMatcher, TextStream};

use super::answer::Piece;

/// The text that ends a thought.
pub const THOUGHT_END: &[u8] = b"</think>";

/// The part of the text that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Of a thought, whose last bytes are this many of [`THOUGHT_END`].
    Thought {
        held: usize,
    },
    Answer,
}

/// Reads what a model writes: its thought, its answer, and the stop that ends it.
///
/// ```
/// use kinglet_talk::{Piece, Reading};
///
/// let stops = [b"\n\nUser:".to_vec()];
/// let mut reading = Reading::new("Assistant: <think", false);
/// let mut piece = Piece::default();
/// assert_eq!(reading.push(b">Hm.</think>Yes.\n", &stops, &mut piece), None);
/// // The line feed may begin the stop.
/// assert_eq!((&*piece.thought, &*piece.answer), ("Hm.", "Yes."));
/// assert_eq!(reading.push(b"\nUser:", &stops, &mut piece), Some((0, 16)));
/// ```
#[derive(Clone, Debug)]
pub struct Reading {
    part: Part,
    /// Set while the opening left out a `>` that may come first.
    bracket: bool,
    /// Bytes read.
    pub(super) bytes: usize,
    /// Where the answer began, and how many of its bytes are surely no part of a stop.
    answer: (usize, usize),
    /// Bytes that may begin a stop.
    held: Vec<u8>,
    /// Bytes of `held` that were shown nevertheless.
    shown_held: usize,
    thought_text: Leading,
    answer_text: Leading,
}

/// Text without the white space before its first word.
#[derive(Clone, Debug, Default)]
struct Leading {
    begun: bool,
    stream: TextStream,
}

impl Leading {
    fn push(&mut self, bytes: &[u8], out: &mut String) {
        for text in self.stream.push(bytes) {
            let text = if self.begun { text } else { text.trim_start() };
            self.begun |= !text.is_empty();
            out.push_str(text);
        }
    }
}

/// How many of the last bytes begin the end of a thought, after `held` that did and another. Only
/// the first byte of the end is one at which it may begin.
fn end_after(held: usize, byte: u8) -> usize {
    if byte == THOUGHT_END[held] { held + 1 } else { usize::from(byte == THOUGHT_END[0]) }
}

impl Reading {
    /// A reader of the text after `opening`; plain text is shown as it is, white space before it as
    /// well.
    #[must_use]
    pub fn new(opening: &str, plain: bool) -> Self {
        let end = opening.trim_end();
        let (thinks, bracket) = match () {
            () if plain => (false, false),
            () if end.ends_with("</think") => (false, true),
            () if end.ends_with("<think") => (true, true),
            () => (end.ends_with("<think>"), false),
        };
        let leading = Leading { begun: plain, ..Leading::default() };
        Self {
            part: if thinks { Part::Thought { held: 0 } } else { Part::Answer },
            bracket,
            bytes: 0,
            answer: (0, 0),
            held: Vec::new(),
            shown_held: 0,
            thought_text: leading.clone(),
            answer_text: leading,
        }
    }

    /// Reads the bytes of a token. At the end of a stop it returns the stop's index and the number
    /// of bytes before it; what follows in `bytes` is dropped.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        stops: &[Vec<u8>],
        shown: &mut Piece,
    ) -> Option<(usize, usize)> {
        if self.bracket && !bytes.is_empty() {
            self.bracket = false;
            if let Some(rest) = bytes.strip_prefix(b">") {
                bytes = rest;
                self.bytes += 1;
                self.answer.0 = self.bytes;
            }
        }
        while let (Part::Thought { held }, Some((&byte, rest))) = (self.part, bytes.split_first()) {
            bytes = rest;
            self.bytes += 1;
            self.think(held, byte, shown);
        }
        if self.part == Part::Answer { self.read_answer(bytes, stops, shown) } else { None }
    }

    fn think(&mut self, held: usize, byte: u8, shown: &mut Piece) {
        let before = held;
        let held = end_after(before, byte);
        self.part = Part::Thought { held };
        if held > before {
            if held == THOUGHT_END.len() {
                self.part = Part::Answer;
                self.answer.0 = self.bytes;
            }
            return;
        }
        self.thought_text.push(&THOUGHT_END[..before], &mut shown.thought);
        if held == 0 {
            self.thought_text.push(&[byte], &mut shown.thought);
        }
    }

    fn read_answer(
        &mut self,
        bytes: &[u8],
        stops: &[Vec<u8>],
        shown: &mut Piece,
    ) -> Option<(usize, usize)> {
        let mut matcher = StopMatcher::new(stops);
        // The held bytes are the longest end that begins a stop: reading them again holds them.
        matcher.push(&self.held, |_| ());
        let Self { answer, shown_held, answer_text, .. } = self;
        let stop = matcher.push(bytes, |released| {
            answer.1 += released.len();
            let early = released.len().min(*shown_held);
            *shown_held -= early;
            answer_text.push(&released[early..], &mut shown.answer);
        });
        self.held = if stop.is_some() { Vec::new() } else { matcher.held_bytes().to_vec() };
        self.shown_held = self.shown_held.min(self.held.len());
        self.bytes += bytes.len();
        stop.map(|stop| (stop, self.answer.0 + self.answer.1))
    }

    /// Bytes read.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes before those that may begin a stop, where there are such.
    #[must_use]
    pub fn possible_stop(&self) -> Option<usize> {
        (!self.held.is_empty()).then(|| self.answer.0 + self.answer.1)
    }

    /// Shows what is held back, because nothing follows for now.
    pub fn show_held(&mut self) -> String {
        let mut text = String::new();
        self.answer_text.push(&self.held[self.shown_held..], &mut text);
        self.shown_held = self.held.len();
        text
    }

    /// True inside a thought, at a place where its end may be put.
    #[must_use]
    pub fn can_end_thought(&self) -> bool {
        self.part == Part::Thought { held: 0 } && !self.thought_text.stream.is_incomplete()
    }

    /// What is left of the end of a thought.
    pub(super) fn thought_end(&self) -> &'static [u8] {
        match self.part {
            Part::Thought { held } => &THOUGHT_END[held..],
            Part::Answer => &[],
        }
    }

    /// True where the next byte is one of the answer.
    pub(super) fn is_answering(&self) -> bool {
        self.part == Part::Answer && !self.bracket
    }

    /// The bytes of the answer in a token before it, if that is the last one.
    pub(super) fn opens_answer<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let without = if self.bracket { bytes.strip_prefix(b">") } else { None };
        let Part::Thought { mut held } = self.part else { return without };
        let mut rest = without.unwrap_or(bytes);
        while let Some((&byte, after)) = rest.split_first() {
            (rest, held) = (after, end_after(held, byte));
            if held == THOUGHT_END.len() {
                return Some(rest);
            }
        }
        None
    }

    /// True inside a thought.
    #[must_use]
    pub fn is_thinking(&self) -> bool {
        matches!(self.part, Part::Thought { .. })
    }

    /// Thought and answer of all the bytes that a model wrote after `opening`, which no stop ends.
    /// A character that is not whole at the end is left out.
    #[must_use]
    pub fn whole(opening: &str, plain: bool, bytes: &[u8]) -> Piece {
        let mut reading = Self::new(opening, plain);
        let mut shown = Piece::default();
        reading.push(bytes, &[], &mut shown);
        if !plain {
            shown.thought.truncate(shown.thought.trim_end().len());
            shown.answer.truncate(shown.answer.trim_end().len());
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(opening: &str, pieces: &[&[u8]], stops: &[&str]) -> (Piece, Option<(usize, usize)>) {
        let stops: Vec<_> = stops.iter().map(|stop| stop.as_bytes().to_vec()).collect();
        let mut reading = Reading::new(opening, false);
        let mut shown = Piece::default();
        for piece in pieces {
            if let Some(stop) = reading.push(piece, &stops, &mut shown) {
                return (shown, Some(stop));
            }
        }
        shown.answer += &reading.show_held();
        assert_eq!(reading.show_held(), "");
        (shown, None)
    }

    #[test]
    fn thoughts_are_told_from_answers() {
        let (shown, _) = read("Assistant: <think", &[b">\nI s", b"ee.</", b"think>\nYes"], &[]);
        assert_eq!((&*shown.thought, &*shown.answer), ("I see.", "Yes"));
        let (shown, _) = read("Assistant: <think>\n</think", &[b">\n", b"Yes > no"], &[]);
        assert_eq!((&*shown.thought, &*shown.answer), ("", "Yes > no"));
        let (shown, _) = read("Assistant:", &[b" Yes"], &[]);
        assert_eq!(shown.answer, "Yes");
        let (shown, _) = read("<think", &[b">a <b </th <</think>c"], &[]);
        assert_eq!((&*shown.thought, &*shown.answer), ("a <b </th <", "c"));
    }

    #[test]
    fn a_stop_inside_a_thought_is_none_and_one_at_once_is_obeyed() {
        let stop = "\n\nUser:";
        let (shown, found) = read("<think", &[b">\n\nUser: x</think>y\n", b"\nUser:"], &[stop]);
        assert_eq!((&*shown.answer, found), ("y", Some((0, 19))));
        assert_eq!(read("Assistant:", &[b"\n\nUser: x"], &[stop]).1, Some((0, 0)));
        assert_eq!(read("<think>\n</think", &[b">\n\nUser:"], &[stop]).1, Some((0, 1)));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            text in "[a<>/thinkUser:\n é]{0,24}",
            cuts in prop::collection::vec(0_usize..5, 1..30),
            opening in prop::sample::select(vec!["A:", "A: <think", "A: <think>\n</think"]),
        ) {
            let text = format!("{text}</think>{text}\n\nU");
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let stops = ["\n\nU", "<a"];
            prop_assert_eq!(read(opening, &pieces, &stops), read(opening, &[text.as_bytes()], &stops));
        }
    }
}
