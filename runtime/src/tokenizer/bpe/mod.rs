//! Byte-level byte-pair encoding: text is normalized, cut at added tokens, split into words, and
//! each word's bytes are merged pair by pair in the order of the merges' ranks.
//!
//! The merges are not carried out. Every prefix of a word has exactly one encoding, and a token
//! may follow another if merging the two together would leave both as they are; so the encoding of
//! a prefix is that of a shorter one and a token that may follow. Encodings grow from every byte
//! of a word at once, and as soon as all that can still grow begin with the same token, that token
//! is certain. This needs memory for the longest token, not for the longest word.

mod nfc;
mod tables;
mod unicode;
mod words;

use self::nfc::{Cursor, NormalizedBytes};
use self::words::{Segment, Word};
use super::greedy::Cell;
use super::layout::{CELL_LEN, Header, Kind, MAX_MERGED_LEN, MAX_PROBES, NO_ID, TAIL_FLAG, slot};
use super::strings::{Strings, Tables};

/// A vocabulary of byte-pair tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct BytePair<'a> {
    /// Of the tokens that merges make, and of single bytes.
    merged: Trie<'a>,
    /// Of the tokens that are found in the text as it is.
    raw: Trie<'a>,
    /// Of the tokens that are found in the normalized text.
    normalized: Trie<'a>,
    /// Ids that decode to nothing, ascending.
    silent: &'a [[u8; 2]],
    /// The two tokens that each id is merged from; its own id twice where there are none.
    parts: &'a [[[u8; 2]; 2]],
    /// The ids of merged tokens, by the hash of their parts.
    slots: &'a [[u8; 2]],
    log2_slots: u8,
    nfc: bool,
    end_of_text: u16,
}

impl<'a> BytePair<'a> {
    /// The tables that follow the header, or `None` when they do not fit.
    pub(super) fn new(header: &Header, mut tables: Tables<'a>) -> Option<Self> {
        let Kind::BytePair { log2_slots, nfc, end_of_text, .. } = header.kind else { return None };
        let cells = tables.take(header.cells_len())?.as_chunks().0;
        let strings = Strings::take(header, &mut tables)?;
        let [raw, normalized, silent, parts, slots] = header.pair_lens();
        let mut trie = |len| Some(Trie { cells: tables.take(len)?.as_chunks().0, strings });
        let (raw, normalized) = (trie(raw)?, trie(normalized)?);
        Some(Self {
            merged: Trie { cells, strings },
            raw,
            normalized,
            silent: tables.take(silent)?.as_chunks().0,
            parts: tables.take(parts)?.as_chunks().0.as_chunks().0,
            slots: tables.take(slots)?.as_chunks().0,
            log2_slots,
            nfc,
            end_of_text,
        })
    }

    pub(super) const fn end_of_text(&self) -> Option<u32> {
        match self.end_of_text {
            NO_ID => None,
            id => Some(id as u32),
        }
    }

    /// The bytes of a token, or `None` when it has none.
    pub(super) fn token(&self, id: u32) -> Option<&'a [u8]> {
        let silent = |silent: &[u8; 2]| u32::from(u16::from_le_bytes(*silent));
        match self.silent.binary_search_by_key(&id, silent) {
            Ok(_) => None,
            Err(_) => self.merged.strings.get(id),
        }
    }

    fn parts(&self, id: u16) -> Option<[u16; 2]> {
        Some(self.parts.get(usize::from(id))?.map(u16::from_le_bytes))
    }

    /// When a token is merged: 0 for a single byte, otherwise later for higher ids.
    #[inline]
    fn rank(id: u16, parts: [u16; 2]) -> u32 {
        if parts == [id, id] { 0 } else { u32::from(id) + 1 }
    }

    /// The token that a pair is merged into.
    #[inline]
    fn merged(&self, left: u16, right: u16) -> Option<u16> {
        for probe in 0..MAX_PROBES {
            let at = slot(left, right, self.log2_slots, probe);
            let id = u16::from_le_bytes(*self.slots.get(at)?);
            if id == NO_ID {
                return None;
            }
            if self.parts(id) == Some([left, right]) {
                return Some(id);
            }
        }
        None
    }

    /// Whether merging the bytes of both tokens together ends with just these two.
    ///
    /// Their merges are undone, latest first, along the border between them. Where two tokens meet
    /// at the border there must be no merge of them that comes before the merge undone last: it
    /// would have been made in its place. Of equal merges the one further left is made first.
    fn may_follow(&self, left: u16, right: u16) -> bool {
        let (mut left, mut right) = (left, right);
        let mut limit = u32::MAX;
        // Each step makes one of the two shorter.
        for _ in 0..2 * MAX_MERGED_LEN {
            if self.merged(left, right).is_some_and(|id| u32::from(id) + 1 < limit) {
                return false;
            }
            let (Some(of_left), Some(of_right)) = (self.parts(left), self.parts(right)) else {
                return false;
            };
            let ranks = [Self::rank(left, of_left), Self::rank(right, of_right)];
            match ranks {
                [0, 0] => return true,
                [a, b] if a > b => (limit, left) = (a, of_left[1]),
                [_, b] => (limit, right) = (b + 1, of_right[0]),
            }
        }
        false
    }

    /// The first token of the encoding of `bytes`, which follow the token `before` in a word.
    fn first_token(
        &self,
        bytes: impl Iterator<Item = u8>,
        before: Option<u16>,
    ) -> Result<u16, Unencodable> {
        let mut growing = heapless::Vec::<Growing, MAX_MERGED_LEN>::new();
        let start = Growing { place: ROOT, start: 0, last: before, first: None };
        let mut reached = Some(start);
        for (position, byte) in (0..).zip(bytes) {
            if let Some(new) = reached.take() {
                growing.push(new).map_err(|_| Unencodable(position))?;
            }
            growing.retain_mut(|prefix| {
                let depth = position - prefix.start;
                let Some(step) = self.merged.step(prefix.place, depth, byte) else { return false };
                prefix.place = step.place;
                if let Some(token) = step.token
                    && reached.is_none()
                    && prefix.last.is_none_or(|last| self.may_follow(last, token))
                {
                    let first = prefix.first.or(Some(token));
                    let last = Some(token);
                    reached = Some(Growing { place: ROOT, start: position + 1, last, first });
                }
                step.place != NOWHERE
            });
            let mut all = growing.iter().chain(&reached).map(|prefix| prefix.first);
            match all.next() {
                None => return Err(Unencodable(position)),
                Some(Some(first)) if all.all(|other| other == Some(first)) => return Ok(first),
                Some(_) => {}
            }
        }
        reached.and_then(|prefix| prefix.first).ok_or(Unencodable(0))
    }

    /// The token whose bytes are just these.
    fn whole(&self, bytes: &[u8]) -> Option<u16> {
        let mut place = ROOT;
        let mut token = None;
        for (depth, &byte) in (0..).zip(bytes) {
            let step = self.merged.step(place, depth, byte)?;
            (place, token) = (step.place, step.token);
        }
        token
    }
}

/// No token fits: the number of bytes before the one that has none.
struct Unencodable(u32);

/// A prefix of a word and the tokens that begin where it ends.
#[derive(Clone, Copy)]
struct Growing {
    /// Where the tokens are in the trie.
    place: u32,
    /// The prefix's length, bytes.
    start: u32,
    /// The last token of the prefix.
    last: Option<u16>,
    /// The first token that is not yet certain.
    first: Option<u16>,
}

/// The place in a trie before the first byte.
const ROOT: u32 = 0;
/// A place that nothing follows. No link is as large.
const NOWHERE: u32 = u32::MAX;

/// A double-array trie of some of the ids, which cells hold plus one.
#[derive(Clone, Copy, Debug)]
struct Trie<'a> {
    cells: &'a [[u8; CELL_LEN]],
    strings: Strings<'a>,
}

/// A byte further in a trie.
struct Step {
    /// A link, or [`TAIL_FLAG`] and the id of the only token that is left.
    place: u32,
    /// The token that ends here.
    token: Option<u16>,
}

impl Trie<'_> {
    /// Where `byte` leads to from a place `depth` bytes from the root.
    #[inline]
    fn step(&self, place: u32, depth: u32, byte: u8) -> Option<Step> {
        if place & TAIL_FLAG != 0 {
            return self.step_in_tail(place as u16, depth, byte);
        }
        let cell = Cell::new(self.cells.get(place as usize + usize::from(byte))?);
        if cell.label != byte {
            return None;
        }
        let token = cell.token.checked_sub(1).map(|id| id as u16);
        if cell.link & TAIL_FLAG != 0 {
            return Some(Step { place: TAIL_FLAG | u32::from(token?), token: None });
        }
        Some(Step { place: if cell.link == 0 { NOWHERE } else { cell.link }, token })
    }

    fn step_in_tail(&self, id: u16, depth: u32, byte: u8) -> Option<Step> {
        let (found, after) = self.strings.get(id.into())?.get(depth as usize..)?.split_first()?;
        let end = Step { place: NOWHERE, token: Some(id) };
        let step = if after.is_empty() {
            end
        } else {
            Step { place: TAIL_FLAG | u32::from(id), token: None }
        };
        (*found == byte).then_some(step)
    }

    /// The longest token that `bytes` start with, and its length.
    fn longest(&self, bytes: impl Iterator<Item = u8>) -> Option<(u16, usize)> {
        let mut longest = None;
        let mut place = ROOT;
        for (depth, byte) in (0..).zip(bytes) {
            let Some(step) = self.step(place, depth, byte) else { break };
            if let Some(token) = step.token {
                longest = Some((token, depth as usize + 1));
            }
            place = step.place;
            if place == NOWHERE {
                break;
            }
        }
        longest
    }

    /// Whether a token may start with `byte`.
    #[inline]
    fn starts_with(&self, byte: u8) -> bool {
        self.cells.get(usize::from(byte)).is_some_and(|&[label, ..]| label == byte)
    }
}

/// A text on its way to tokens.
#[derive(Clone, Debug)]
pub(super) struct Text<'t> {
    vocabulary: BytePair<'t>,
    /// What follows the segment.
    rest: &'t [u8],
    segment: Segment<'t>,
    word: Remainder<'t>,
    /// Length of the text, bytes.
    len: usize,
}

/// What is left of a word.
#[derive(Clone, Debug)]
enum Remainder<'t> {
    Nothing,
    /// Bytes of the text itself, after a token of the word if one has come.
    Plain {
        bytes: &'t [u8],
        before: Option<u16>,
    },
    /// The next `len` normalized bytes.
    Normalized {
        bytes: NormalizedBytes<'t>,
        len: usize,
        before: Option<u16>,
    },
}

impl<'t> Text<'t> {
    pub(super) fn new(vocabulary: BytePair<'t>, text: &'t [u8]) -> Self {
        let segment = Segment::new(Cursor::new(&[], vocabulary.nfc));
        let (word, len) = (Remainder::Nothing, text.len());
        Self { vocabulary, rest: text, segment, word, len }
    }

    /// How many bytes of the text the tokens so far stand for.
    pub(super) fn position(&self) -> usize {
        let word = match &self.word {
            Remainder::Plain { bytes, .. } => bytes.len(),
            _ => 0,
        };
        self.len - self.rest.len() - self.segment.rest().len() - word
    }

    /// The next token, or the position and the value of the byte that has none.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Result<u32, (usize, u8)>> {
        loop {
            match &self.word {
                Remainder::Nothing => {}
                Remainder::Plain { bytes, before } => {
                    let (bytes, before) = (*bytes, *before);
                    return Some(self.next_plain(bytes, before).map(u32::from));
                }
                Remainder::Normalized { .. } => {
                    return Some(self.next_normalized().map(u32::from));
                }
            }
            if let Some(word) = self.segment.next_word(&self.vocabulary.normalized) {
                match word {
                    Word::Token(id) => return Some(Ok(id.into())),
                    Word::Plain(bytes) => self.word = Remainder::Plain { bytes, before: None },
                    Word::Normalized { start, len } => {
                        let bytes = NormalizedBytes::new(start);
                        self.word = Remainder::Normalized { bytes, len, before: None };
                    }
                }
            } else if let Some(id) = self.next_segment()? {
                return Some(Ok(id.into()));
            }
        }
    }

    /// Goes on to the text before the next token that is found before normalization, or if it
    /// is next, returns it. `None` at the end of the text.
    fn next_segment(&mut self) -> Option<Option<u16>> {
        if self.rest.is_empty() {
            return None;
        }
        let raw = &self.vocabulary.raw;
        let mut len = 0;
        let mut found = None;
        while let Some((&byte, _)) = self.rest.get(len..).and_then(<[u8]>::split_first) {
            if raw.starts_with(byte) {
                found = raw.longest(self.rest.iter().skip(len).copied());
                if found.is_some() {
                    break;
                }
            }
            len += 1;
        }
        if let (0, Some((id, len))) = (len, found) {
            self.rest = self.rest.get(len..)?;
            return Some(Some(id));
        }
        let (segment, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        self.segment = Segment::new(Cursor::new(segment, self.vocabulary.nfc));
        Some(None)
    }

    #[inline]
    fn next_plain(&mut self, bytes: &'t [u8], before: Option<u16>) -> Result<u16, (usize, u8)> {
        let whole = if before.is_none() { self.vocabulary.whole(bytes) } else { None };
        if let Some(id) = whole {
            self.word = Remainder::Nothing;
            return Ok(id);
        }
        let token = self.vocabulary.first_token(bytes.iter().copied(), before);
        let (id, rest) = token
            .and_then(|id| {
                let token = self.vocabulary.merged.strings.get(id.into()).ok_or(Unencodable(0))?;
                Ok((id, bytes.get(token.len()..).ok_or(Unencodable(0))?))
            })
            .map_err(|Unencodable(at)| {
                let at = at as usize;
                (self.position() + at, bytes.get(at).copied().unwrap_or_default())
            })?;
        self.word = match rest {
            [] => Remainder::Nothing,
            bytes => Remainder::Plain { bytes, before: Some(id) },
        };
        Ok(id)
    }

    #[inline(never)]
    fn next_normalized(&mut self) -> Result<u16, (usize, u8)> {
        let word = core::mem::replace(&mut self.word, Remainder::Nothing);
        let Remainder::Normalized { mut bytes, len, before } = word else {
            return Err((self.position(), 0));
        };
        let position = self.position();
        let unencodable =
            |Unencodable(at)| (position, bytes.clone().nth(at as usize).unwrap_or_default());
        let id = self.vocabulary.first_token(bytes.clone().take(len), before);
        let id = id.map_err(unencodable)?;
        let token = self.vocabulary.merged.strings.get(id.into()).ok_or(Unencodable(0));
        let token_len = token.map_err(unencodable)?.len();
        let rest = len.checked_sub(token_len).ok_or(Unencodable(0)).map_err(unencodable)?;
        if rest > 0 {
            bytes.by_ref().take(token_len).for_each(drop);
            self.word = Remainder::Normalized { bytes, len: rest, before: Some(id) };
        }
        Ok(id)
    }
}
