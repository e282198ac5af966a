//! Byte-level byte-pair vocabularies: checked, and packed as `kinglet::tokenizer` specifies.
//!
//! The runtime merges by ids: it needs the pair that each id is merged from, and takes the smallest
//! id for the earliest merge. So ids must ascend with their merges, which is checked here, and a
//! vocabulary in which they do not is refused. Added tokens that are found in the text as it is and
//! those found in the normalized text have a trie each.

use std::collections::{HashMap, HashSet};

use kinglet::tokenizer::layout::{
    Kind, MAX_BYTE_PAIR_VOCAB_LEN, MAX_LOG2_SLOTS, MAX_MERGED_LEN, MAX_PROBES, MAX_TOKEN_LEN,
    NO_ID, slot,
};

use super::{Strings, Vocabulary, VocabularyError, trie};

/// The token that ends a text, in GPT-2's and NeoX's vocabularies.
const END_OF_TEXT: &[u8] = b"<|endoftext|>";

/// What containers say of a byte-pair vocabulary, its text already turned into bytes.
#[derive(Default)]
pub(super) struct Source {
    /// The bytes of every id, empty where it has none.
    pub(super) tokens: Vec<Vec<u8>>,
    /// Pairs of bytes, earliest merge first.
    pub(super) merges: Vec<[Vec<u8>; 2]>,
    /// Tokens that are found in text whole.
    pub(super) added: Vec<Added>,
    /// Whether text is normalized to NFC.
    pub(super) nfc: bool,
}

/// A token that is found in text whole.
pub(super) struct Added {
    pub(super) id: u16,
    /// Whether it decodes to nothing.
    pub(super) silent: bool,
    /// Whether it is found in the normalized text, not in the text as it is.
    pub(super) normalized: bool,
}

/// What a byte-pair vocabulary has besides the bytes of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BytePair {
    /// The pair that each id is merged from, its own id twice where there is none.
    parts: Vec<[u16; 2]>,
    /// Whether encoding can give the id other than as an added token.
    mergeable: Vec<bool>,
    /// Added tokens that are found in the text as it is, and in the normalized text.
    raw: Vec<u16>,
    normalized: Vec<u16>,
    /// Ascending.
    silent: Vec<u16>,
    end_of_text: Option<u16>,
    nfc: bool,
}

impl BytePair {
    /// Checks what a container says.
    pub(super) fn new(source: &Source) -> Result<Self, VocabularyError> {
        check_lens(source)?;
        let ids = ids_by_bytes(source);
        let mut vocabulary = Self {
            parts: (0..source.tokens.len()).map(|id| [id as u16; 2]).collect(),
            mergeable: vec![false; source.tokens.len()],
            raw: Vec::new(),
            normalized: Vec::new(),
            silent: Vec::new(),
            end_of_text: None,
            nfc: source.nfc,
        };
        for byte in 0..=u8::MAX {
            if let Some(&id) = ids.get(&[byte][..]) {
                vocabulary.mergeable[usize::from(id)] = true;
            }
        }
        for added in &source.added {
            vocabulary.add(added, &source.tokens[usize::from(added.id)]);
        }
        vocabulary.silent.sort_unstable();
        vocabulary.silent.dedup();
        let merges = vocabulary.merge(source, &ids)?;
        vocabulary.find_mergeable(source, &ids, &merges);
        Ok(vocabulary)
    }

    fn add(&mut self, added: &Added, token: &[u8]) {
        let Added { id, silent, normalized } = *added;
        let found = if normalized { &mut self.normalized } else { &mut self.raw };
        found.push(id);
        if silent {
            self.silent.push(id);
            if token == END_OF_TEXT || id == 0 && self.end_of_text.is_none() {
                self.end_of_text = Some(id);
            }
        }
    }

    /// Fills in the parts of merged tokens, and returns the merges by their parts.
    fn merge(
        &mut self,
        source: &Source,
        ids: &HashMap<&[u8], u16>,
    ) -> Result<HashMap<[u16; 2], u16>, VocabularyError> {
        let mut merges = HashMap::with_capacity(source.merges.len());
        let mut last = None;
        for (number, [left, right]) in (1..).zip(&source.merges) {
            let fault = |cause| VocabularyError::Merge { number, cause };
            let id = |bytes: &[u8]| {
                ids.get(bytes).copied().ok_or(fault("names a token that the vocabulary lacks"))
            };
            let merged = id(&[left.as_slice(), right].concat())?;
            let parts = [id(left)?, id(right)?];
            if parts.iter().any(|&part| {
                source.tokens[usize::from(part)].len() > 1
                    && self.parts[usize::from(part)] == [part; 2]
            }) {
                return Err(fault("uses a token that no earlier merge makes"));
            }
            if last.is_some_and(|last| merged <= last) {
                return Err(fault("makes a lower id than an earlier one"));
            }
            last = Some(merged);
            self.parts[usize::from(merged)] = parts;
            merges.insert(parts, merged);
        }
        Ok(merges)
    }

    /// Finds the tokens that their own bytes are merged into; no text is encoded to others.
    fn find_mergeable(
        &mut self,
        source: &Source,
        ids: &HashMap<&[u8], u16>,
        merges: &HashMap<[u16; 2], u16>,
    ) {
        for &id in merges.values() {
            let token = &source.tokens[usize::from(id)];
            self.mergeable[usize::from(id)] =
                merge_all(token, ids, merges).as_deref() == Some(&[id]);
        }
    }

    pub(super) fn is_silent(&self, id: u32) -> bool {
        self.silent.iter().any(|&silent| u32::from(silent) == id)
    }

    /// The tokenizer section.
    pub(super) fn pack(&self, vocabulary: &Vocabulary) -> Result<Vec<u8>, VocabularyError> {
        let trie = |has: &dyn Fn(u16) -> bool| {
            // Cells hold ids plus one.
            let mut seen = HashSet::new();
            let tokens = (0..=u16::MAX).zip(&vocabulary.tokens).map(|(id, token)| {
                if has(id) && seen.insert(token) { token.clone() } else { Vec::new() }
            });
            trie::cells(&std::iter::once(Vec::new()).chain(tokens).collect::<Vec<_>>())
        };
        let merged = trie(&|id| self.mergeable[usize::from(id)])?;
        let raw = trie(&|id| self.raw.contains(&id))?;
        let normalized = trie(&|id| self.normalized.contains(&id))?;
        let strings = Strings::new(&vocabulary.tokens);
        let slots = self.slots()?;
        let too_large = |_| VocabularyError::TrieTooLarge;
        let kind = Kind::BytePair {
            cells: merged.len() as u32,
            strings: strings.bytes.len() as u32,
            raw_cells: raw.len().try_into().map_err(too_large)?,
            normalized_cells: normalized.len().try_into().map_err(too_large)?,
            silent: self.silent.len() as u16,
            end_of_text: self.end_of_text.unwrap_or(NO_ID),
            log2_slots: slots.len().ilog2() as u8,
            nfc: self.nfc,
        };
        Ok([
            &vocabulary.header(kind).to_bytes()[..],
            merged.as_flattened(),
            &strings.starts,
            &strings.bytes,
            raw.as_flattened(),
            normalized.as_flattened(),
            &le_bytes(&self.silent),
            &le_bytes(self.parts.as_flattened()),
            &le_bytes(&slots),
        ]
        .concat())
    }

    /// The table of pairs, of the least length at which every pair is found in time.
    fn slots(&self) -> Result<Vec<u16>, VocabularyError> {
        let merged = (0..)
            .zip(&self.parts)
            .filter(|&(id, &parts)| parts != [id; 2] && self.mergeable[usize::from(id)]);
        let merged: Vec<(u16, [u16; 2])> = merged.map(|(id, &parts)| (id, parts)).collect();
        // An eighth of the slots stays empty, or a missing pair would be searched for long.
        let least = (merged.len() * 8).div_ceil(7).next_power_of_two().ilog2() as u8;
        (least.max(1)..=MAX_LOG2_SLOTS)
            .find_map(|log2_slots| {
                let mut slots = vec![NO_ID; 1 << log2_slots];
                for &(id, [left, right]) in &merged {
                    let free = (0..MAX_PROBES)
                        .map(|probe| slot(left, right, log2_slots, probe))
                        .find(|&slot| slots[slot] == NO_ID)?;
                    slots[free] = id;
                }
                Some(slots)
            })
            .ok_or(VocabularyError::TrieTooLarge)
    }
}

fn check_lens(source: &Source) -> Result<(), VocabularyError> {
    if source.tokens.len() > MAX_BYTE_PAIR_VOCAB_LEN as usize {
        let (found, most) = (source.tokens.len(), MAX_BYTE_PAIR_VOCAB_LEN);
        return Err(VocabularyError::TooMany { found, most });
    }
    if source.merges.is_empty() {
        return Err(VocabularyError::NoMerges);
    }
    let is_added = |id: u32| source.added.iter().any(|added| u32::from(added.id) == id);
    for (id, token) in (0..).zip(&source.tokens) {
        let most = if token.len() > MAX_MERGED_LEN && is_added(id) {
            MAX_TOKEN_LEN
        } else {
            MAX_MERGED_LEN
        };
        if token.len() > most {
            return Err(VocabularyError::TooLong { id, found: token.len(), most });
        }
    }
    Ok(())
}

/// The ids of tokens that merging may give. Bytes of added tokens may stand twice.
fn ids_by_bytes(source: &Source) -> HashMap<&[u8], u16> {
    let mut ids: HashMap<&[u8], u16> =
        (0..).zip(&source.tokens).map(|(id, token)| (token.as_slice(), id)).collect();
    for added in &source.added {
        let token = source.tokens[usize::from(added.id)].as_slice();
        if ids.get(token) == Some(&added.id) {
            ids.remove(token);
        }
    }
    // Where an added token hid another of the same bytes.
    let is_added = |id| source.added.iter().any(|added| added.id == id);
    for added in &source.added {
        let token = &source.tokens[usize::from(added.id)];
        let other = (0..).zip(&source.tokens).find(|&(id, other)| other == token && !is_added(id));
        if let Some((id, other)) = other {
            ids.insert(other, id);
        }
    }
    ids.remove(&b""[..]);
    ids
}

/// Merges bytes as byte-pair encoding is defined: always the pair of the lowest rank, of equal
/// ones the first. `None` where a byte has no token.
fn merge_all(
    bytes: &[u8],
    ids: &HashMap<&[u8], u16>,
    merges: &HashMap<[u16; 2], u16>,
) -> Option<Vec<u16>> {
    let mut tokens: Vec<u16> =
        bytes.chunks(1).map(|byte| ids.get(byte).copied()).collect::<Option<_>>()?;
    loop {
        let pairs = tokens.windows(2).enumerate();
        let merged = pairs.filter_map(|(at, pair)| Some((*merges.get(&[pair[0], pair[1]])?, at)));
        // Higher ids are merged later.
        let Some((id, at)) = merged.min() else { return Some(tokens) };
        tokens.splice(at..at + 2, [id]);
    }
}

fn le_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The bytes that a token of GPT-2's byte alphabet stands for: printable Latin-1 is itself, and
/// the other bytes are, in order, the characters from U+0100. `None` for text outside it.
pub(super) fn from_alphabet(text: &str) -> Option<Vec<u8>> {
    let is_printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    text.chars()
        .map(|c| match u8::try_from(c) {
            Ok(byte) => is_printable(byte).then_some(byte),
            Err(_) => {
                let index = (c as usize).checked_sub(0x100)?;
                (0..=u8::MAX).filter(|&byte| !is_printable(byte)).nth(index)
            }
        })
        .collect()
}
