//! Splits text into the words that merges stay inside: GPT-2's pattern
//!
//! ```text
//! 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//!
//! applied to the text between added tokens.

use super::Trie;
use super::nfc::{Cursor, NormalizedBytes};
use super::unicode::{Class, class, encode};

/// Text between two tokens that are found before normalization.
#[derive(Clone, Debug)]
pub(super) struct Segment<'t> {
    cursor: Cursor<'t>,
}

/// What a segment is made of.
#[derive(Debug)]
pub(super) enum Word<'t> {
    /// An added token.
    Token(u16),
    /// A word that is in the text as it is.
    Plain(&'t [u8]),
    /// A word of `len` normalized bytes.
    Normalized { start: Cursor<'t>, len: usize },
}

impl<'t> Segment<'t> {
    pub(super) const fn new(cursor: Cursor<'t>) -> Self {
        Self { cursor }
    }

    /// What of the text is after the words so far.
    pub(super) fn rest(&self) -> &'t [u8] {
        self.cursor.rest()
    }

    /// The next word, or the next of the `added` tokens.
    #[inline]
    pub(super) fn next_word(&mut self, added: &Trie<'_>) -> Option<Word<'t>> {
        if let Some(id) = self.added_token(added) {
            return Some(Word::Token(id));
        }
        let mut word = Reader { cursor: self.cursor.clone(), added, plain: true, len: 0 };
        word.read()?;
        let Reader { cursor: end, plain, len, .. } = word;
        let start = core::mem::replace(&mut self.cursor, end);
        let text = start.rest();
        Some(match text.get(..len).filter(|_| plain) {
            Some(bytes) => Word::Plain(bytes),
            None => Word::Normalized { start, len },
        })
    }

    /// Takes the added token that is next, if there is one.
    fn added_token(&mut self, added: &Trie<'_>) -> Option<u16> {
        let (id, mut len) = added_token(&self.cursor, added)?;
        while len > 0 {
            len = len.checked_sub(encode(self.cursor.next()?.code).1)?;
        }
        Some(id)
    }
}

/// The longest added token at a place, and its length.
#[inline]
fn added_token(cursor: &Cursor<'_>, added: &Trie<'_>) -> Option<(u16, usize)> {
    match cursor.ascii() {
        Some(byte) if !added.starts_with(byte) => None,
        _ => added.longest(NormalizedBytes::new(cursor.clone())),
    }
}

/// Reads a word from its start to its end.
#[derive(Clone)]
struct Reader<'r, 't> {
    cursor: Cursor<'t>,
    added: &'r Trie<'r>,
    /// Whether the word is in the text as it is.
    plain: bool,
    /// The word's length, bytes.
    len: usize,
}

impl Reader<'_, '_> {
    /// Reads the word; `None` at the end of the segment.
    #[inline]
    fn read(&mut self) -> Option<()> {
        let first = self.take_any()?;
        let class_of_first = class(first);
        if first == u32::from(b'\'') && self.take_contraction() {
            return Some(());
        }
        match class_of_first {
            Class::Space => {
                if first == u32::from(b' ')
                    && let Some(next) = self.peek_class().filter(|&class| class != Class::Space)
                {
                    self.take_run(next);
                } else {
                    self.take_spaces();
                }
            }
            class => self.take_run(class),
        }
        Some(())
    }

    /// Takes a character.
    #[inline]
    fn take_any(&mut self) -> Option<u32> {
        let character = self.cursor.next()?;
        self.plain &= character.plain;
        self.len += encode(character.code).1;
        Some(character.code)
    }

    /// The class of the next character, or `None` where a segment or an added token ends the word.
    #[inline]
    fn peek_class(&self) -> Option<Class> {
        if added_token(&self.cursor, self.added).is_some() {
            return None;
        }
        match self.cursor.ascii() {
            Some(byte) => Some(class(byte.into())),
            None => Some(class(self.cursor.clone().next()?.code)),
        }
    }

    /// Takes what `'` starts, if it is a contraction.
    fn take_contraction(&mut self) -> bool {
        const ENDS: [&str; 7] = ["s", "t", "re", "ve", "m", "ll", "d"];
        ENDS.into_iter().any(|end| {
            let mut reader = self.clone();
            let found = end.bytes().all(|byte| {
                added_token(&reader.cursor, reader.added).is_none()
                    && reader.take_any() == Some(byte.into())
            });
            if found {
                *self = reader;
            }
            found
        })
    }

    /// Takes characters of a class.
    #[inline]
    fn take_run(&mut self, run: Class) {
        loop {
            while let Some(byte) = self.cursor.ascii()
                && class(byte.into()) == run
                && !self.added.starts_with(byte)
            {
                self.cursor.skip(1);
                self.len += 1;
            }
            if self.peek_class() != Some(run) || self.take_any().is_none() {
                return;
            }
        }
    }

    /// Takes whitespace, but where more text follows, its last character only if it is the first.
    /// The first is taken already.
    fn take_spaces(&mut self) {
        let mut before_last = None;
        loop {
            let here = self.clone();
            match self.peek_class() {
                // The end of the segment, where nothing that is no space follows.
                None => return,
                Some(Class::Space) => {
                    self.take_any();
                    before_last = Some(here);
                }
                Some(_) => break,
            }
        }
        if let Some(before_last) = before_last {
            *self = before_last;
        }
    }
}
