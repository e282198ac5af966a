//! Text as the characters of its canonical composition (NFC, Unicode Standard Annex #15).
//!
//! Marks are reordered and composed without memory for them: the run of marks after a starter is
//! walked once for each combining class in it. A cursor is a place in the normalized text and can
//! be copied to come back to.

use super::unicode::{
    Code, MAX_PARTS, combining_class, compose, decode, decompose, encode, is_inert,
};

/// The characters of a text, decomposed but not reordered.
#[derive(Clone, Debug, Default)]
struct Decomposed<'t> {
    rest: &'t [u8],
    /// Parts of a character, last first, that are due before `rest`.
    parts: heapless::Vec<Code, MAX_PARTS>,
}

impl Iterator for Decomposed<'_> {
    type Item = Code;

    fn next(&mut self) -> Option<Code> {
        if let Some(part) = self.parts.pop() {
            return Some(part);
        }
        let (code, len) = decode(self.rest)?;
        self.rest = self.rest.get(len..)?;
        self.parts = decompose(code);
        self.parts.reverse();
        Some(self.parts.pop().unwrap_or(code))
    }
}

/// The run of marks after a starter, in canonical order, without those that compose with it.
#[derive(Clone, Debug)]
struct Marks<'t> {
    /// What the starter is so far; `None` where a text begins with marks.
    starter: Option<Code>,
    run: Decomposed<'t>,
    /// The combining class under way.
    class: u8,
    /// What of the run is not yet searched for that class.
    rest: Decomposed<'t>,
    /// Whether a mark of that class did not compose, which keeps the others from it.
    blocked: bool,
}

impl<'t> Marks<'t> {
    fn new(starter: Option<Code>, run: Decomposed<'t>) -> Self {
        Self { starter, run, class: 0, rest: Decomposed::default(), blocked: false }
    }

    /// Starts with the next combining class of the run; false if there is none.
    fn next_class(&mut self) -> bool {
        let classes = self.run.clone().map(combining_class).take_while(|&class| class > 0);
        let Some(class) = classes.filter(|&class| class > self.class).min() else { return false };
        (self.class, self.blocked, self.rest) = (class, false, self.run.clone());
        true
    }
}

impl Iterator for Marks<'_> {
    type Item = Code;

    fn next(&mut self) -> Option<Code> {
        loop {
            while let Some(code) = self.rest.next() {
                let class = combining_class(code);
                if class == 0 {
                    self.rest = Decomposed::default();
                }
                if class != self.class || class == 0 {
                    continue;
                }
                let starter = self.starter.filter(|_| !self.blocked);
                match starter.and_then(|starter| compose(starter, code)) {
                    Some(composed) => self.starter = Some(composed),
                    None => {
                        self.blocked = true;
                        return Some(code);
                    }
                }
            }
            if !self.next_class() {
                return None;
            }
        }
    }
}

/// A place in a text's characters.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'t> {
    source: Decomposed<'t>,
    /// Marks that are due before `source`.
    marks: Option<Marks<'t>>,
    normalize: bool,
}

/// A character of the normalized text.
pub(super) struct Character {
    pub(super) code: Code,
    /// Whether it is the text's own next character, unaltered.
    pub(super) plain: bool,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t [u8], normalize: bool) -> Self {
        let source = Decomposed { rest: text, parts: heapless::Vec::new() };
        Self { source, marks: None, normalize }
    }

    /// The text after this place. It says where a place is only between plain characters.
    #[inline]
    pub(super) fn rest(&self) -> &'t [u8] {
        self.source.rest
    }

    /// The next character if it is ASCII and nothing is to be normalized.
    #[inline]
    pub(super) fn ascii(&self) -> Option<u8> {
        let (&byte, after) = self.source.rest.split_first()?;
        // The first byte of the first combining mark, U+0300, is 0xCC.
        let alone = after.first().is_none_or(|&next| next < 0xCC);
        (byte < 0x80 && alone && self.is_between()).then_some(byte)
    }

    /// Skips bytes that are plain.
    #[inline]
    pub(super) fn skip(&mut self, len: usize) {
        self.source.rest = self.source.rest.get(len..).unwrap_or_default();
    }

    /// Whether nothing is due before `rest`.
    #[inline]
    fn is_between(&self) -> bool {
        self.marks.is_none() && self.source.parts.is_empty()
    }

    /// The next character.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Character> {
        if self.is_between() {
            let (code, len) = decode(self.rest())?;
            let after = self.rest().get(len..)?;
            let alone = || decode(after).is_none_or(|(next, _)| is_inert(next));
            if !self.normalize || is_inert(code) && alone() {
                self.source.rest = after;
                return Some(Character { code, plain: true });
            }
        }
        self.next_composed().map(|code| Character { code, plain: false })
    }

    #[inline(never)]
    fn next_composed(&mut self) -> Option<Code> {
        if let Some(marks) = &mut self.marks {
            if let Some(mark) = marks.next() {
                return Some(mark);
            }
            self.marks = None;
        }
        let start = self.source.clone();
        let first = self.source.next()?;
        let mut starter = (combining_class(first) == 0).then_some(first);
        if starter.is_none() {
            self.source = start;
        }
        loop {
            let mut marks = Marks::new(starter, self.source.clone());
            let after = after_marks(&self.source);
            let mut end = marks.clone();
            let is_left = end.next().is_some();
            end.by_ref().for_each(drop);
            self.source = after;
            if is_left {
                let code = end.starter.or_else(|| marks.next());
                self.marks = Some(marks);
                return code;
            }
            let mut rest = self.source.clone();
            let joined = end.starter.zip(rest.next()).and_then(|(a, b)| compose(a, b));
            match joined {
                Some(joined) => (starter, self.source) = (Some(joined), rest),
                None => return end.starter,
            }
        }
    }
}

/// The first starter.
fn after_marks<'t>(from: &Decomposed<'t>) -> Decomposed<'t> {
    let mut place = from.clone();
    loop {
        let before = place.clone();
        match place.next() {
            Some(code) if combining_class(code) > 0 => {}
            _ => return before,
        }
    }
}

/// The bytes of the characters after a place.
#[derive(Clone, Debug)]
pub(super) struct NormalizedBytes<'t> {
    cursor: Cursor<'t>,
    bytes: [u8; 4],
    at: u8,
    len: u8,
}

impl<'t> NormalizedBytes<'t> {
    pub(super) fn new(cursor: Cursor<'t>) -> Self {
        Self { cursor, bytes: [0; 4], at: 0, len: 0 }
    }
}

impl Iterator for NormalizedBytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.at == self.len {
            let (bytes, len) = encode(self.cursor.next()?.code);
            (self.bytes, self.at, self.len) = (bytes, 0, len as u8);
        }
        let byte = self.bytes.get(usize::from(self.at)).copied();
        self.at += 1;
        byte
    }
}
