//! Properties of a character: its class for the word pattern, and its decomposition, composition
//! and combining class for NFC.
//!
//! The tables ([`super::tables`], generated) hold ranges and exceptions of the Unicode Character
//! Database, sorted, and every look-up is a binary search. Text may be any bytes: a byte that is
//! no UTF-8 is a character of its own, with a number outside Unicode, so that it survives
//! splitting and normalizing as it is.

use super::tables::{CLASSES, COMPOSITIONS, DECOMPOSITIONS, MARKS, PARTS, WIDE_COMPOSITIONS};

/// A character's number, or [`INVALID`] and a byte that is not part of one.
pub(super) type Code = u32;
/// Marks a byte outside UTF-8. It is of class other and NFC leaves it alone.
const INVALID: Code = 1 << 31;

/// What the pattern that splits text into words tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Other,
    Letter,
    Number,
    Space,
}

/// The first character of `bytes` and its length, or one byte where there is no character.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(Code, usize)> {
    let first = *bytes.first()?;
    let len = match first {
        0..0x80 => return Some((first.into(), 1)),
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    };
    let character = bytes.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok());
    match character.and_then(|text| text.chars().next()) {
        Some(c) => Some((c.into(), len)),
        None => Some((INVALID | Code::from(first), 1)),
    }
}

/// The bytes of a character, and how many they are.
#[inline]
pub(super) fn encode(code: Code) -> ([u8; 4], usize) {
    let mut bytes = [0; 4];
    match char::from_u32(code) {
        Some(c) => {
            let len = c.encode_utf8(&mut bytes).len();
            (bytes, len)
        }
        None => ([code as u8, 0, 0, 0], 1),
    }
}

/// The value of the run that `code` is in; runs are packed as `first << 8 | value`.
fn run_value(runs: &[u32], code: Code) -> u8 {
    let after = runs.partition_point(|&run| run >> 8 <= code);
    after.checked_sub(1).and_then(|at| runs.get(at)).map_or(0, |&run| run as u8)
}

#[inline]
pub(super) fn class(code: Code) -> Class {
    match u8::try_from(code) {
        Ok(b'a'..=b'z' | b'A'..=b'Z') => Class::Letter,
        Ok(b'0'..=b'9') => Class::Number,
        Ok(b' ' | b'\t'..=b'\r') => Class::Space,
        Ok(0..0x80) => Class::Other,
        _ if code & INVALID != 0 => Class::Other,
        _ => match run_value(&CLASSES, code) {
            1 => Class::Letter,
            2 => Class::Number,
            3 => Class::Space,
            _ => Class::Other,
        },
    }
}

/// The canonical combining class of characters that are decomposed.
#[inline]
pub(super) fn combining_class(code: Code) -> u8 {
    match mark(code) {
        255 => 0,
        ccc => ccc,
    }
}

/// Whether NFC leaves the character alone whatever stands before it.
#[inline]
pub(super) fn is_inert(code: Code) -> bool {
    mark(code) == 0
}

#[inline]
fn mark(code: Code) -> u8 {
    // The first combining mark; ideographs, which have none, are common.
    if code < 0x300 || (0x3400..0xA000).contains(&code) || code & INVALID != 0 {
        return 0;
    }
    run_value(&MARKS, code)
}

/// First syllable, leading consonant, vowel and final of Hangul, and how many there are:
/// section 3.12 of the Unicode Standard.
const SYLLABLES: Code = 0xAC00;
const LEADS: Code = 0x1100;
const VOWELS: Code = 0x1161;
/// One before the first final.
const FINALS: Code = 0x11A7;
const VOWEL_COUNT: Code = 21;
const FINAL_COUNT: Code = 28;
const SYLLABLE_COUNT: Code = 19 * VOWEL_COUNT * FINAL_COUNT;

/// The most characters that one decomposes to.
pub(super) const MAX_PARTS: usize = 4;

/// The full canonical decomposition; empty where a character is its own.
pub(super) fn decompose(code: Code) -> heapless::Vec<Code, MAX_PARTS> {
    let parts = match code.checked_sub(SYLLABLES) {
        Some(syllable) if syllable < SYLLABLE_COUNT => {
            let lead = LEADS + syllable / (VOWEL_COUNT * FINAL_COUNT);
            let vowel = VOWELS + syllable / FINAL_COUNT % VOWEL_COUNT;
            let last = FINALS + syllable % FINAL_COUNT;
            let len = if last == FINALS { 2 } else { 3 };
            return [lead, vowel, last].into_iter().take(len).collect();
        }
        _ => table_parts(code).unwrap_or_default(),
    };
    parts.iter().take(MAX_PARTS).copied().collect()
}

fn table_parts(code: Code) -> Option<&'static [Code]> {
    let at = DECOMPOSITIONS.binary_search_by_key(&code, |entry| entry >> 13).ok()?;
    let start = |at: usize| Some((DECOMPOSITIONS.get(at)? & 0x1FFF) as usize);
    PARTS.get(start(at)?..start(at + 1)?)
}

/// The character that two compose to.
pub(super) fn compose(first: Code, second: Code) -> Option<Code> {
    compose_hangul(first, second).or_else(|| compose_by_table(first, second))
}

fn compose_hangul(first: Code, second: Code) -> Option<Code> {
    let below = |code: Code, start: Code, count: Code| {
        code.checked_sub(start).filter(|&index| index < count)
    };
    if let Some(lead) = below(first, LEADS, 19) {
        let vowel = below(second, VOWELS, VOWEL_COUNT)?;
        return Some(SYLLABLES + (lead * VOWEL_COUNT + vowel) * FINAL_COUNT);
    }
    let syllable = below(first, SYLLABLES, SYLLABLE_COUNT)?;
    let last = below(second, FINALS, FINAL_COUNT).filter(|&last| last > 0)?;
    syllable.is_multiple_of(FINAL_COUNT).then_some(first + last)
}

fn compose_by_table(first: Code, second: Code) -> Option<Code> {
    if let (Ok(first), Ok(second)) = (u16::try_from(first), u16::try_from(second)) {
        let at = COMPOSITIONS.binary_search_by_key(&(first, second), |[a, b, _]| (*a, *b)).ok()?;
        return COMPOSITIONS.get(at).map(|[_, _, composed]| (*composed).into());
    }
    let wide = WIDE_COMPOSITIONS.iter().find(|[a, b, _]| (*a, *b) == (first, second));
    wide.map(|[_, _, composed]| *composed)
}
