extern crate std;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::layout::{CELL_LEN, HEADER_LEN, Header, Kind, TAIL_FLAG, slot};
use super::{EncodeError, Tokenizer, TokenizerError};

const TOKENS: [&[u8]; 6] = [b"", b"a", b"ab", b"abxyz", b"cdefg", b"e"];

/// The section of `TOKENS`, assembled by hand from the layout's specification.
fn section() -> Vec<u8> {
    let mut cells = [[0; CELL_LEN]; 122];
    let mut set = |cell: usize, label: u8, link: u32, token: u8| {
        let [low, middle, high, _] = link.to_le_bytes();
        cells[cell] = [label, low, middle, high, token, 0];
    };
    set(97, b'a', 2, 1);
    set(100, b'b', 1, 2);
    set(121, b'x', TAIL_FLAG | 2 << 16 | u32::from(b'z') << 8 | u32::from(b'y'), 3);
    set(99, b'c', TAIL_FLAG | 4 << 16 | u32::from(b'e') << 8 | u32::from(b'd'), 4);
    set(101, b'e', 0, 5);
    let kind = Kind::Greedy { cells: 122, strings: 14 };
    let header = Header { kind, max_token_len: 5, vocab_len: 6 };
    let starts = [0_u16, 0, 1, 3, 8, 13, 14].map(u16::to_le_bytes);
    let strings = TOKENS.concat();
    [&header.to_bytes(), cells.as_flattened(), &[0; 4], starts.as_flattened(), &strings].concat()
}

/// Where a cell starts in a section.
fn cell_at(cell: usize) -> usize {
    HEADER_LEN + cell * CELL_LEN
}

fn ids(section: &[u8], text: &[u8]) -> Result<Vec<u32>, EncodeError> {
    Tokenizer::parse(section).unwrap().encode(text).collect()
}

#[test]
fn a_section_by_the_specification_is_read() {
    let section = section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(tokenizer.vocab_len(), 6);
    assert_eq!(tokenizer.max_token_len(), 5);
    assert_eq!(tokenizer.end_of_text(), Some(0));
    assert_eq!(tokenizer.token(0), None);
    for (id, token) in (1..).zip(&TOKENS[1..]) {
        assert_eq!(tokenizer.token(id), Some(*token));
        assert_eq!(ids(&section, token), Ok(vec![id]));
    }
    assert_eq!(tokenizer.token(6), None);
    assert_eq!(tokenizer.token(u32::MAX), None);
}

#[test]
fn the_longest_token_wins_and_a_false_start_falls_back() {
    let section = section();
    assert_eq!(ids(&section, b""), Ok(vec![]));
    assert_eq!(ids(&section, b"aab"), Ok(vec![1, 2]));
    assert_eq!(ids(&section, b"abxyzabae"), Ok(vec![3, 2, 1, 5]));
    assert_eq!(ids(&section, b"cdefgcdefg"), Ok(vec![4, 4]));
    // Tails that differ in their first, second and last byte, and that end with the text.
    for (text, position) in [("abxbz", 2), ("abxyy", 2), ("abxy", 2), ("cdeff", 0), ("cdef", 0)] {
        let byte = text.as_bytes()[position];
        assert_eq!(ids(&section, text.as_bytes()), Err(EncodeError { byte, position }));
    }
}

#[test]
fn encoding_ends_after_its_first_error() {
    let section = section();
    let mut tokens = Tokenizer::parse(&section).unwrap().encode(b"ab\xFFab");
    assert_eq!(tokens.next(), Some(Ok(2)));
    assert_eq!(tokens.position(), 2);
    let error = EncodeError { byte: 0xFF, position: 2 };
    assert_eq!(tokens.next(), Some(Err(error)));
    assert_eq!(tokens.next(), None);
    assert_eq!(error.to_string(), "the vocabulary has no token for the byte 0xff at position 2");
}

#[test]
fn bytes_are_their_own_tokens() {
    for offset in [0, 1, 1000] {
        let kind = Kind::Bytes { offset };
        let header = Header { kind, max_token_len: 1, vocab_len: offset + 256 };
        let section = header.to_bytes();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        assert_eq!(tokenizer.vocab_len(), offset as usize + 256);
        assert_eq!(tokenizer.end_of_text(), (offset > 0).then_some(0));
        for byte in 0..=u8::MAX {
            let id = u32::from(byte) + offset;
            assert_eq!(ids(&section, &[byte]), Ok(vec![id]));
            assert_eq!(tokenizer.token(id), Some(&[byte][..]));
        }
        assert_eq!(tokenizer.token(offset.wrapping_sub(1)), None);
        assert_eq!(tokenizer.token(offset + 256), None);
    }
}

#[test]
fn a_section_of_another_length_is_refused() {
    let mut section = section();
    let expected = section.len() as u64;
    for len in 0..section.len() {
        let expected = if len < HEADER_LEN { HEADER_LEN as u64 } else { expected };
        let error = Tokenizer::parse(&section[..len]).unwrap_err();
        assert_eq!(error, TokenizerError::Length { found: len as u64, expected });
    }
    section.push(0);
    let error = Tokenizer::parse(&section).unwrap_err();
    assert_eq!(error, TokenizerError::Length { found: expected + 1, expected });
}

#[test]
fn a_header_of_another_version_is_refused() {
    let refused = |at: usize, value: u8| {
        let mut section = section();
        section[at] = value;
        Tokenizer::parse(&section).unwrap_err()
    };
    assert_eq!(refused(0, 4), TokenizerError::Kind { found: 4 });
    assert_eq!(refused(1, 1), TokenizerError::Layout { found: 1 });
    assert_eq!(refused(2, 0), TokenizerError::MaxTokenLen { found: 0 });
    assert_eq!(refused(3, 16), TokenizerError::MaxTokenLen { found: 4101 });
    assert_eq!(refused(16, 1), TokenizerError::Reserved);
    assert_eq!(refused(31, 1), TokenizerError::Reserved);
    assert_eq!(refused(6, 2), TokenizerError::VocabLen { found: 0x2_0006 });
    // Other numbers of ids, cells or string bytes need a section of another length.
    for at in [4, 5, 8, 9, 10, 11, 12, 13, 14, 15] {
        assert!(matches!(refused(at, 0x80), TokenizerError::Length { .. }), "{at}");
    }
    // Words have one flag, and zeros after it.
    for (at, value) in [(16, 2), (17, 1), (31, 1)] {
        let mut section = section();
        section[0] = 3;
        section[at] = value;
        assert_eq!(Tokenizer::parse(&section).unwrap_err(), TokenizerError::Reserved, "{at}");
    }
}

#[test]
fn a_byte_vocabulary_has_its_256_ids_after_the_offset() {
    let error = |offset, vocab_len, max_token_len| {
        let header = Header { kind: Kind::Bytes { offset }, max_token_len, vocab_len };
        Tokenizer::parse(&header.to_bytes()).unwrap_err()
    };
    assert_eq!(error(1, 256, 1), TokenizerError::VocabLen { found: 256 });
    assert_eq!(error(u32::MAX, 255, 1), TokenizerError::VocabLen { found: 255 });
    assert_eq!(error(1, 257, 2), TokenizerError::MaxTokenLen { found: 2 });
    let header = Header { kind: Kind::Bytes { offset: 0 }, max_token_len: 1, vocab_len: 256 };
    let mut section = header.to_bytes();
    section[12] = 1;
    assert_eq!(Tokenizer::parse(&section).unwrap_err(), TokenizerError::Reserved);
}

#[test]
fn a_greedy_vocabulary_has_at_most_65536_ids() {
    for vocab_len in [0, 65_537] {
        let kind = Kind::Greedy { cells: 0, strings: 0 };
        let header = Header { kind, max_token_len: 1, vocab_len };
        let mut section = header.to_bytes().to_vec();
        section.resize(header.section_len() as usize, 0);
        let error = Tokenizer::parse(&section).unwrap_err();
        assert_eq!(error, TokenizerError::VocabLen { found: vocab_len });
    }
}

#[test]
fn a_loop_in_a_damaged_trie_ends_at_the_longest_token() {
    let mut section = section();
    // The child of `ab` for `b` is `ab` itself.
    section[cell_at(100) + 1] = 2;
    let error = EncodeError { byte: b'b', position: 5 };
    assert_eq!(ids(&section, b"abbbbbbb"), Err(error));
    assert_eq!(ids(&section, b"abbbbabbb"), Ok(vec![2, 2]));
}

#[test]
fn an_id_beyond_a_damaged_vocabulary_is_not_a_token() {
    let mut section = section();
    section[cell_at(101) + 4] = 6;
    assert_eq!(ids(&section, b"e"), Err(EncodeError { byte: b'e', position: 0 }));
}

/// The section of the tokens end of text, `a`, `b` and `ab`, assembled by hand from the layout's
/// specification.
fn byte_pairs() -> Vec<u8> {
    let kind = Kind::BytePair {
        cells: 100,
        strings: 4,
        raw_cells: 0,
        normalized_cells: 0,
        silent: 1,
        end_of_text: 0,
        log2_slots: 1,
        nfc: true,
    };
    let header = Header { kind, max_token_len: 2, vocab_len: 4 };
    let mut cells = [[0; CELL_LEN]; 100];
    // Ids plus one; the child of `a` for `b` is at its link plus 98.
    cells[97] = [b'a', 1, 0, 0, 2, 0];
    cells[98] = [b'b', 0, 0, 0, 3, 0];
    cells[99] = [b'b', 0, 0, 0, 4, 0];
    let starts = [0_u16, 0, 1, 2, 4].map(u16::to_le_bytes);
    let parts = [0_u16, 0, 1, 1, 2, 2, 1, 2].map(u16::to_le_bytes);
    let mut slots = [[0xFF; 2]; 2];
    slots[slot(1, 2, 1, 0)] = [3, 0];
    [
        &header.to_bytes()[..],
        cells.as_flattened(),
        &[0; 4],
        starts.as_flattened(),
        b"abab",
        &[0; 2],
        parts.as_flattened(),
        slots.as_flattened(),
    ]
    .concat()
}

#[test]
fn one_slot_is_that_of_every_pair() {
    for probe in 0..4 {
        assert_eq!(
            [slot(0, 0, 0, probe), slot(1, 2, 0, probe), slot(65535, 65534, 0, probe)],
            [0; 3]
        );
    }
}

#[test]
fn a_section_of_byte_pairs_by_the_specification_is_read() {
    let section = byte_pairs();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(tokenizer.end_of_text(), Some(0));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|id| tokenizer.token(id)),
        [None, Some(&b"a"[..]), Some(b"b"), Some(b"ab"), None]
    );
    assert_eq!(ids(&section, b"abbaaab"), Ok(vec![3, 2, 1, 1, 3]));
    assert_eq!(ids(&section, b""), Ok(vec![]));
    assert_eq!(ids(&section, b"ab c"), Err(EncodeError { byte: b' ', position: 2 }));
    // A letter without a token in a word that has others.
    assert_eq!(ids(&section, b"abac"), Err(EncodeError { byte: b'c', position: 3 }));
    // e and a mark are one character after normalization, and have no token either way.
    assert!(ids(&section, "ae\u{301}".as_bytes()).is_err());
    for len in 0..section.len() {
        assert!(Tokenizer::parse(&section[..len]).is_err());
    }
}

#[test]
fn a_header_of_byte_pairs_is_checked() {
    let refused = |at: usize, value: u8| {
        let mut section = byte_pairs();
        section[at] = value;
        Tokenizer::parse(&section).unwrap_err()
    };
    assert_eq!(refused(24, 21), TokenizerError::Reserved);
    assert_eq!(refused(25, 2), TokenizerError::Reserved);
    assert_eq!(refused(26, 1), TokenizerError::Reserved);
    assert_eq!(refused(1, 1), TokenizerError::Layout { found: 1 });
    for at in [4, 8, 12, 16, 18, 20, 24] {
        assert!(matches!(refused(at, 0x11), TokenizerError::Length { .. }), "{at}");
    }
}

proptest! {
    #[test]
    fn damage_gives_errors_or_wrong_tokens(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        // Most random bytes lead nowhere.
        text in prop::collection::vec(prop::sample::select(b"abcdefgxyz\0\xFF".to_vec()), 0..64),
        in_cells in any::<bool>(),
    ) {
        let mut section = section();
        let used = [97, 99, 100, 101, 121];
        for (at, value) in damage {
            let at = if in_cells {
                cell_at(used[at.index(used.len())]) + usize::from(value) % CELL_LEN
            } else {
                at.index(section.len())
            };
            section[at] = section[at].wrapping_add(value);
        }
        if let Ok(tokenizer) = Tokenizer::parse(&section) {
            let mut tokens = tokenizer.encode(&text);
            let mut before = 0;
            while let Some(Ok(id)) = tokens.next() {
                prop_assert!((id as usize) < tokenizer.vocab_len());
                let len = tokens.position() - before;
                prop_assert!((1..=tokenizer.max_token_len()).contains(&len));
                before = tokens.position();
            }
            prop_assert!(tokens.position() <= text.len());
            for id in 0..8 {
                prop_assert!(tokenizer.token(id).is_none_or(|token| !token.is_empty()));
            }
        }
    }
}
